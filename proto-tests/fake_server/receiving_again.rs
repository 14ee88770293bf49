//! After an end of the stream the receiver does what that end asks for, and no more.
//!
//! An error that is asked for again and again floods the server; a gap that is accepted too
//! soon, or passed over in silence, is found by the restore; the WAL of another cluster in
//! between makes the archive worthless.

use std::fs;

use tapster::disk::RealDisk;
use tapster::repository::{HoleCause, Holes, wal_facts};
use tapster::wal::{Lsn, SystemIdentifier, Timeline};

use super::scene::{self, Scene, identify, wal, wal_of};
use super::{FakeServer, Heard, Step};
use crate::crash::log::{Log, SYSTEM};
use crate::wire::backend;

fn refusal_after_copy_both(code: &str, text: &str) -> Vec<Step> {
    let sent = [backend::copy_both(), super::answers::refusal(code, text)].concat();
    vec![Step::Send(sent)]
}

#[test]
fn wal_that_is_gone_is_asked_for_once_more_and_then_the_gap_is_named() {
    let log = scene::log();
    let text = "requested WAL segment 000000010000000000000002 has already been removed";
    let script = FakeServer::alone()
        .once("START_REPLICATION", refusal_after_copy_both("58P01", text))
        .once("START_REPLICATION", refusal_after_copy_both("58P01", text))
        .on("START_REPLICATION", scene::stream(1));
    let (needed, present) = (log.start, log.end(1).segment_start(log.size));
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene.waits_to_be_told(&mut receiver, "WAL is missing in the archive");
    scene.server.wait_to_hear(
        "WAL behind the gap to be flushed",
        |heard| matches!(heard, Heard::Status { written, .. } if *written > present),
    );
    assert_eq!(scene.asked(), [(needed, 1), (needed, 1), (present, 1)]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    // Recorded before anything behind it was asked for, and known to whoever looks.
    let holes = Holes::read(&RealDisk, &scene.layout()).expect("the holes");
    let holes: Vec<_> = holes.iter().map(|hole| (hole.from, hole.to, hole.why)).collect();
    assert_eq!(holes, [(needed, present, HoleCause::Removed)]);
    let said = scene.said(&receiver);
    for word in [text, "take a new base backup", &format!("from={needed} to={present}")] {
        assert!(said.contains(word), "{word:?} is not said: {said}");
    }
}

#[test]
fn of_several_hosts_the_one_that_matches_is_streamed_from() {
    // First an old copy of the cluster that stands before what is stored, then another cluster,
    // then the right one.
    let log = scene::log();
    let behind = log.start + 100;
    let script = FakeServer::alone().on("START_REPLICATION", scene::stream(1));
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene.archives(1, 2..4);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    drop(receiver);
    let size = || vec![Step::Send(backend::show("wal_segment_size", "1MB"))];
    let old = FakeServer::alone()
        .on("IDENTIFY_SYSTEM", identify(SYSTEM, 1, behind))
        .on("SHOW wal_segment_size", size())
        .start();
    let other = FakeServer::alone()
        .on("IDENTIFY_SYSTEM", identify(SystemIdentifier(1), 1, scene.log.end(1)))
        .on("SHOW wal_segment_size", size())
        .start();
    scene.tapster.write_server("main", &scene::section(&[&old, &other, &scene.server]));
    let mut receiver = scene.receive();
    scene.waits_to_be_told(&mut receiver, "another host matches");
    scene.wait_until_flushed(scene.log.end(1));
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    for wrong in [&old, &other] {
        let asked = wrong.commands().into_iter().filter(|command| command == "IDENTIFY_SYSTEM");
        assert_eq!(asked.count(), 1, "who has refused is asked again");
        assert!(!wrong.commands().iter().any(|command| command.starts_with("START")));
    }
}

#[test]
fn wal_that_one_host_has_removed_is_sought_on_the_others_before_a_gap_is_accepted() {
    let text = "requested WAL segment 000000010000000000000002 has already been removed";
    let script = FakeServer::alone().on("START_REPLICATION", scene::stream(1));
    let scene = Scene::new(scene::log(), script);
    let fresh = FakeServer::alone()
        .on("IDENTIFY_SYSTEM", identify(SYSTEM, 1, scene.log.end(1)))
        .on("SHOW wal_segment_size", vec![Step::Send(backend::show("wal_segment_size", "1MB"))])
        .on("START_REPLICATION", refusal_after_copy_both("58P01", text))
        .start();
    scene.tapster.write_server("main", &scene::section(&[&fresh, &fresh, &scene.server]));
    let mut receiver = scene.receive();
    scene.archives(1, 2..4);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    let asked = fresh.commands().into_iter().filter(|command| command.starts_with("START"));
    assert_eq!(asked.count(), 2, "each name of the host once");
    assert!(!scene.said(&receiver).contains("WAL is missing"));
    assert!(Holes::read(&RealDisk, &scene.layout()).expect("the holes").iter().next().is_none());
}

#[test]
fn a_bad_record_raises_an_alarm_at_once_and_no_byte_is_dropped() {
    let log = scene::log();
    let (start, end) = (log.start, log.end(1));
    let sent = move || {
        let log = scene::log();
        let mut bytes = log.bytes(1, start, end).to_vec();
        // In the first segment, in the body of a record.
        bytes[700_000] ^= 0x10;
        bytes
    };
    let streaming = Step::reply(move |_| {
        let messages = sent();
        let pieces = messages.chunks(100_000).enumerate();
        let frames =
            pieces.flat_map(|(at, piece)| backend::xlog_data(start + at as u64 * 100_000, piece));
        [backend::copy_both(), frames.collect()].concat()
    });
    let script = FakeServer::alone()
        .once("START_REPLICATION", [vec![streaming], scene::farewell()].concat());
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    // While the stream stands, not at its end.
    scene.waits_to_be_told(&mut receiver, "damaged WAL came from the server");
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    let damaged = start + 700_000;
    let holes = Holes::read(&RealDisk, &scene.layout()).expect("the holes");
    let holes: Vec<_> = holes.iter().collect();
    assert_eq!((holes.len(), holes[0].why), (1, HoleCause::Damaged));
    assert!(holes[0].from <= damaged && damaged < holes[0].to, "{:?}", holes[0]);
    let facts = wal_facts::read_all(&RealDisk, &scene.layout()).expect("the facts");
    let marked: Vec<String> = facts
        .values()
        .filter(|facts| facts.damage.is_some())
        .map(|facts| facts.name.to_string())
        .collect();
    assert_eq!(marked, ["000000010000000000000002"]);
    for (name, bytes) in
        ["000000010000000000000002", "000000010000000000000003"].iter().zip(sent().chunks(1 << 20))
    {
        let stored = fs::read(&scene.tapster.archived("main")[*name]).expect("it is archived");
        assert!(stored == bytes, "{name} holds other bytes than were sent");
    }
}

#[test]
fn wal_that_is_gone_once_and_there_the_next_time_leaves_no_gap() {
    let script = FakeServer::alone()
        .once("START_REPLICATION", refusal_after_copy_both("58P01", "could not open it"))
        .on("START_REPLICATION", scene::stream(1));
    let scene = Scene::new(scene::log(), script);
    let mut receiver = scene.receive();
    scene.archives(1, 2..4);
    assert_eq!(scene.asked(), [(scene.log.start, 1); 2]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    assert!(!scene.said(&receiver).contains("WAL is missing"));
}

#[test]
fn a_start_ahead_of_the_server_is_said_and_waited_out() {
    let text = "requested starting point 0/200000 is ahead of the WAL flush position";
    let script =
        FakeServer::alone().on("START_REPLICATION", refusal_after_copy_both("XX000", text));
    let scene = Scene::new(scene::log(), script);
    let mut receiver = scene.receive();
    scene.waits_to_be_told(&mut receiver, "cannot receive; trying again");
    let said = scene.said(&receiver);
    assert!(said.contains(text) && said.contains("XX000"), "{said}");
    assert!(receiver.is_running(), "{said}");
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    assert_eq!(scene.asked(), [(scene.log.start, 1)], "it was asked for again at once");
    scene.holds_until(scene.log.start);
}

#[test]
fn a_shutdown_gets_its_report_and_is_no_alarm() {
    let log = scene::log();
    let (middle, end) = (log.start + (1 << 20) + 50_000, log.end(1));
    let steps = vec![
        Step::Send([backend::copy_both(), wal(&log, log.start, middle)].concat()),
        // As a server does that shuts down: it waits until everything is durable here.
        Step::Send(backend::keepalive(middle, true)),
        Step::until(
            move |heard| matches!(heard, Heard::Status { flushed, .. } if *flushed == middle),
        ),
        Step::Send(backend::complete("COPY 0")),
        Step::Close,
    ];
    let script = FakeServer::alone()
        .once("START_REPLICATION", steps)
        .on("START_REPLICATION", scene::stream(1));
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene.waits_to_be_told(&mut receiver, "server shut down; all its WAL is here");
    scene.archives(1, 2..4);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    assert_eq!(scene.asked(), [(scene.log.start, 1), (middle, 1)]);
    let said = scene.said(&receiver);
    assert!(!said.contains("ERROR") && !said.contains("WARN "), "{said}");
    scene.holds_until(end);
}

#[test]
fn another_cluster_behind_the_same_address_is_refused_and_adds_nothing() {
    let log = scene::log();
    let (middle, other) = (log.start + (1 << 20) + 50_000, SystemIdentifier(4711));
    let first = [backend::copy_both(), wal(&log, log.start, middle)].concat();
    let script = FakeServer::alone()
        .once("IDENTIFY_SYSTEM", identify(SYSTEM, 1, log.end(1)))
        .on("IDENTIFY_SYSTEM", identify(other, 1, log.end(1)))
        .once("START_REPLICATION", vec![Step::Send(first), Step::Close])
        .on("START_REPLICATION", scene::stream(1));
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene.waits_to_be_told(&mut receiver, "give the other cluster a server entry of its own");
    receiver.interrupt();
    let said = scene.said(&receiver);
    for word in ["ERROR", &other.to_string(), &SYSTEM.to_string()] {
        assert!(said.contains(word), "{word:?} is not said: {said}");
    }
    assert_eq!(scene.asked(), [(scene.log.start, 1)], "it was asked for its WAL");
    scene.archives(1, 2..3);
    scene.holds_until(middle);
}

#[test]
fn a_switch_exactly_on_a_segment_boundary_is_followed_on_the_same_connection() {
    // What the second timeline has in common with the first ends in its third segment.
    let mut log = Log::new(&[2 << 20, (3 << 20) + 300_000]);
    let boundary = log.start + (2 << 20);
    log.cut(1, boundary);
    let history = [("filename", "00000002.history"), ("content", &log.history_text(2))];
    let history = [backend::one_row(&history, "TIMELINE_HISTORY"), backend::ready()].concat();
    let end = log.end(2);
    let on_first = [
        backend::copy_both(),
        wal(&log, log.start, boundary),
        backend::keepalive(boundary, false),
        backend::copy_done(),
    ];
    let on_second =
        [backend::copy_both(), wal_of(&log, 2, boundary, end), backend::keepalive(end, true)];
    let script = FakeServer::alone()
        .on("TIMELINE_HISTORY 2", vec![Step::Send(history)])
        .once(
            "START_REPLICATION",
            vec![
                Step::Send(on_first.concat()),
                Step::until(|heard| *heard == Heard::CopyDone),
                Step::Send(backend::next_timeline(2, boundary)),
            ],
        )
        .once(
            "START_REPLICATION",
            [vec![Step::Send(on_second.concat())], scene::farewell()].concat(),
        );
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene.archives(1, 2..4);
    scene.archives(2, 4..5);
    scene.wait_until_flushed(end);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    assert_eq!(scene.asked(), [(scene.log.start, 1), (boundary, 2)]);
    let startups = |heard: &Heard| matches!(heard, Heard::Startup(_));
    assert_eq!(scene.server.heard().into_iter().filter(startups).count(), 1);
    let said = scene.said(&receiver);
    assert!(said.contains("timeline switch") && !said.contains("ERROR"), "{said}");
    let stored = scene.tapster.archived("main");
    let stored = fs::read_to_string(&stored["00000002.history"]).expect("it is archived");
    assert_eq!(stored, scene.log.history_text(2));
    // Nothing of the first timeline was begun behind its end.
    let begun = format!("{}.partial", name_at(&scene.log, boundary));
    assert!(!scene.streaming().join(begun).exists());
}

fn name_at(log: &Log, position: Lsn) -> String {
    tapster::wal::SegmentName::containing(Timeline::FIRST, position, log.size).to_string()
}
