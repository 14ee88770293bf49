//! Ends, silences and floods at every point of a stream: none costs a byte that had come, and
//! none holds the receiver up for good.

use std::fs;
use std::thread;

use tapster::wal::{Lsn, SegmentName, Timeline};

use super::receiving_lies::peak_memory;
use super::scene::{self, Scene, asked_from, wal, wal_of};
use super::{FakeServer, Heard, Step};
use crate::crash::log::Log;
use crate::wire::backend;

/// Inside the first segment, and in the middle of a record.
const MIDDLE: u64 = 50_000;

/// Each case is a receiver and a server of its own, and most of them only wait: all at once.
fn each<T: Send>(cases: Vec<T>, check: impl Fn(T) + Sync) {
    let check = &check;
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || check(case));
        }
    });
}

#[test]
fn a_server_that_falls_silent_at_any_point_is_given_up_and_gone_back_to() {
    let log = scene::log();
    let middle = log.start + MIDDLE;
    let begun = backend::copy_both();
    let some = [begun.clone(), wal(&log, log.start, middle)].concat();
    let cases = vec![
        ("before the stream", Vec::new(), log.start),
        ("before the first byte", begun, log.start),
        ("behind a message of WAL", some.clone(), middle),
        ("behind a keepalive", [some.clone(), backend::keepalive(middle, false)].concat(), middle),
        ("in the head of a message", [&some[..], b"d\0\0"].concat(), middle),
        ("behind the end of the stream", [some, backend::copy_done()].concat(), middle),
    ];
    each(cases, |(when, sent, stored)| {
        let timeout = "wal_sender_timeout";
        let script = FakeServer::alone()
            .on("SHOW wal_sender_timeout", vec![Step::Send(backend::show(timeout, "2s"))])
            .once("START_REPLICATION", vec![Step::Send(sent), Step::Hold])
            .on("START_REPLICATION", scene::stream(1));
        let scene = Scene::new(scene::log(), script);
        let mut receiver = scene.receive();
        scene.archives(1, 2..4);
        assert_eq!(scene.asked(), [(scene.log.start, 1), (stored, 1)], "silent {when}");
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        let said = scene.said(&receiver);
        assert!(!said.contains("ERROR"), "silent {when}: a lost connection is no alarm: {said}");
    });
}

#[test]
fn an_error_in_mid_stream_is_said_and_costs_nothing_that_came_before_it() {
    let cases = vec![
        ("57P01", "terminating connection due to administrator command"),
        ("57P02", "terminating connection because of crash of another server process"),
        ("58P01", "requested WAL segment 000000010000000000000002 has already been removed"),
        ("53100", "could not write to log file: No space left on device"),
    ];
    each(cases, |(code, text)| {
        let log = scene::log();
        let middle = log.start + MIDDLE;
        let failed = [
            backend::copy_both(),
            wal(&log, log.start, middle),
            backend::error("FATAL", code, text),
        ];
        let script = FakeServer::alone()
            .once("START_REPLICATION", vec![Step::Send(failed.concat()), Step::Close])
            .on("START_REPLICATION", scene::stream(1));
        let scene = Scene::new(log, script);
        let mut receiver = scene.receive();
        scene.waits_to_be_told(&mut receiver, text);
        scene.archives(1, 2..4);
        assert_eq!(scene.asked(), [(scene.log.start, 1), (middle, 1)], "{code}");
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        scene.said(&receiver);
    });
}

/// Where the first timeline ends, at least, and how much of its dead rest is sent all the same.
fn ends() -> Vec<(u64, u64)> {
    vec![
        // Behind the very first record, in the first page, behind some pages.
        (1, 0),
        (4_000, 0),
        (MIDDLE, 0),
        // The rest of a record that was never finished.
        (MIDDLE, 40),
        (MIDDLE, 30_000),
        // Around the end of a segment; and over it, with a dead rest.
        ((1 << 20) - 60, 0),
        ((1 << 20) + 1, 0),
        ((1 << 20) - 5_000, 20_000),
    ]
}

#[test]
fn a_timeline_is_followed_wherever_it_ends() {
    each(ends(), |(end, rest)| {
        let log = Log::new(&[end, (2 << 20) + 300_000]);
        let (switchpoint, last) = (log.end(1), log.end(2));
        // The author writes the same first timeline, however long it is.
        let longer = Log::new(&[end + rest + 60_000]);
        let sent = switchpoint + rest;
        let on_first = [backend::copy_both(), wal(&longer, log.start, sent), backend::copy_done()];
        let text = log.history_text(2);
        let history = [("filename", "00000002.history"), ("content", &text)];
        let history = [backend::one_row(&history, "TIMELINE_HISTORY"), backend::ready()].concat();
        let on_second = Step::reply(move |command| {
            let log = Log::new(&[end, (2 << 20) + 300_000]);
            let wal = wal_of(&log, 2, asked_from(command), last);
            [backend::copy_both(), wal, backend::keepalive(last, true)].concat()
        });
        let script = FakeServer::alone()
            .on("TIMELINE_HISTORY 2", vec![Step::Send(history)])
            .once(
                "START_REPLICATION",
                vec![
                    Step::Send(on_first.concat()),
                    Step::until(|heard| *heard == Heard::CopyDone),
                    Step::Send(backend::next_timeline(2, switchpoint)),
                ],
            )
            .on("START_REPLICATION", [vec![on_second], scene::farewell()].concat());
        let scene = Scene::new(log, script);
        let mut receiver = scene.receive();
        let first = switchpoint.segment(scene.log.size).0;
        scene.archives(2, first..4);
        scene.wait_until_flushed(last);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        let said = scene.said(&receiver);
        let from = switchpoint.segment_start(scene.log.size);
        assert_eq!(scene.asked(), [(scene.log.start, 1), (from, 2)], "{end} {rest}: {said}");
        assert!(said.contains("timeline switch"), "{said}");
        // The dead rest is kept, under the name of its own timeline.
        keeps(&scene, &longer, sent);
    });
}

/// The first timeline is stored as it was sent, up to its last byte.
#[track_caller]
fn keeps(scene: &Scene, log: &Log, end: Lsn) {
    let size = log.size;
    let mut start = log.start;
    while start < end {
        let number = start.segment(size);
        let name = SegmentName::new(Timeline::FIRST, number, size).to_string();
        let sent = log.bytes(1, start, end.min(number.end(size)));
        let stored = scene.tapster.stored("main", &name).unwrap_or_default();
        let differs = sent.iter().zip(&stored).position(|(a, b)| a != b);
        assert!(
            stored.get(..sent.len()) == Some(sent),
            "{name}: {} bytes are not the {} that were sent, from {differs:?} on",
            stored.len(),
            sent.len()
        );
        start = number.end(size);
    }
}

#[test]
fn a_stream_that_ends_without_a_successor_is_asked_for_again() {
    let log = scene::log();
    let middle = log.start + MIDDLE;
    let sent = [backend::copy_both(), wal(&log, log.start, middle), backend::copy_done()];
    let ended = [backend::complete("START_REPLICATION"), backend::ready()];
    let script = FakeServer::alone()
        .once(
            "START_REPLICATION",
            vec![
                Step::Send(sent.concat()),
                Step::until(|heard| *heard == Heard::CopyDone),
                Step::Send(ended.concat()),
            ],
        )
        .on("START_REPLICATION", scene::stream(1));
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene.archives(1, 2..4);
    assert_eq!(scene.asked(), [(scene.log.start, 1), (middle, 1)]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    scene.said(&receiver);
}

#[test]
fn wal_in_messages_of_one_byte_is_put_together() {
    let log = scene::log();
    let (middle, end) = (log.start + 20_000, log.end(1));
    let mut sent = backend::copy_both();
    for offset in 0..20_000 {
        let start = log.start + offset;
        sent.extend(wal(&log, start, start + 1));
    }
    sent.extend([wal(&log, middle, end), backend::keepalive(end, true)].concat());
    let script = FakeServer::alone()
        .on("START_REPLICATION", [vec![Step::Send(sent)], scene::farewell()].concat());
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene.archives(1, 2..4);
    scene.wait_until_flushed(end);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    scene.said(&receiver);
    scene.holds_until(end);
    assert_eq!(scene.asked(), [(scene.log.start, 1)]);
}

#[test]
fn a_storm_of_keepalives_is_answered_and_holds_nothing_up() {
    const STORM: usize = 200_000;
    let log = scene::log();
    let (middle, end) = (log.start + MIDDLE, log.end(1));
    let question = backend::keepalive(end, true);
    let steps = vec![
        Step::Send([backend::copy_both(), wal(&log, log.start, middle)].concat()),
        Step::Send(question.repeat(STORM)),
        Step::until(
            move |heard| matches!(heard, Heard::Status { flushed, .. } if *flushed == middle),
        ),
        Step::Send([wal(&log, middle, end), question].concat()),
    ];
    let script = FakeServer::alone().on("START_REPLICATION", [steps, scene::farewell()].concat());
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene.archives(1, 2..4);
    scene.wait_until_flushed(end);
    let peak = peak_memory(receiver.pid());
    assert!(peak < 100 << 20, "{} MiB for {STORM} keepalives", peak >> 20);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    scene.said(&receiver);
    let heard = scene.server.heard();
    let statuses = heard.iter().filter(|heard| matches!(heard, Heard::Status { .. })).count();
    // One answer for all questions that came in one read.
    assert!(statuses < STORM / 10, "{statuses} answers to {STORM} questions");
    assert_eq!(scene.asked(), [(scene.log.start, 1)]);
    assert!(fs::read_dir(scene.streaming()).expect("a folder").count() < 4);
}
