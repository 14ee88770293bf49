//! Nonsense in the stream is named, and costs nothing that came before it.
//!
//! A receiver that takes a length at its word dies of it; one that passes over what it does not
//! understand archives a hole; one that stops for good at the first hiccup of a proxy lets the
//! server's disk fill up.

use std::fs;

use super::scene::{self, SECRET, Scene, wal};
use super::{FakeServer, Step};
use crate::real_server::Tapster;
use crate::wire::{backend, hex};

/// Long enough to span some pages, short enough to stay inside the first segment.
const BEFORE: u64 = 50_000;

/// What the receiver says of each, where START_REPLICATION has begun to be answered.
fn nonsense() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "announces 1414811695 bytes"),
        // 2 GB of WAL, of an error message, and of nothing.
        (hex("64 7fffffff 77"), "CopyData announces 2147483647 bytes"),
        (hex("45 7fffffff"), "ErrorResponse announces 2147483647 bytes"),
        (hex("64 ffffffff"), "announces a length of -1"),
        (backend::copy_data(b"z new in version 25"), "unknown kind 0x7a"),
        (backend::copy_data(b""), "without a kind"),
        (backend::copy_data(b"w too short for a head"), "XLogData ends early"),
        (backend::copy_data(b"k too long for a keepalive"), "keepalive is not 18 bytes long"),
        (backend::text_row(&["no columns"]), "server sent DataRow"),
        (backend::copy_both(), "server sent CopyBothResponse"),
        (backend::trust("17.4"), "server sent Authentication"),
        ([backend::copy_done(), backend::copy_done()].concat(), "server sent CopyDone"),
    ]
}

#[test]
fn nonsense_in_the_stream_is_named_and_the_wal_before_it_is_kept() {
    for (bytes, words) in nonsense() {
        let log = scene::log();
        let end = log.start + BEFORE;
        let sent = [backend::copy_both(), wal(&log, log.start, end), bytes].concat();
        let script =
            FakeServer::alone().on("START_REPLICATION", vec![Step::Send(sent), Step::Hold]);
        let scene = Scene::new(log, script);
        let mut receiver = scene.receive();
        scene.waits_to_be_told(&mut receiver, "cannot receive; trying again");
        let said = scene.said(&receiver);
        for word in [words, "ERROR", "server=main", "127.0.0.1", "START_REPLICATION", "check that"]
        {
            assert!(said.contains(word), "{word:?} is not said: {said}");
        }
        assert!(receiver.is_running(), "a proxy may have been at fault: {said}");
        assert!(peak_memory(receiver.pid()) < 200 << 20, "two gigabytes were believed");
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        scene.holds_until(end);
    }
}

/// The most memory that a process has had, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says so");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("KiB");
    kib << 10
}

#[test]
fn nonsense_in_place_of_an_answer_ends_the_receiver_before_it_has_begun() {
    let cases = [
        (
            "IDENTIFY_SYSTEM",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "announces 1414811695 bytes",
        ),
        ("IDENTIFY_SYSTEM", hex("44 7fffffff"), "DataRow announces 2147483647 bytes"),
        ("IDENTIFY_SYSTEM", backend::copy_both(), "server sent CopyBothResponse"),
        ("IDENTIFY_SYSTEM", backend::ready(), "IDENTIFY_SYSTEM has no row"),
        ("IDENTIFY_SYSTEM", backend::show("systemid", "many"), "\"many\" as systemid"),
        ("SHOW wal_segment_size", backend::show("wal_segment_size", "3MB"), "3MB"),
        ("SHOW wal_segment_size", backend::show("wal_segment_size", "a lot"), "a lot"),
    ];
    for (command, answer, words) in cases {
        let script = FakeServer::alone().on(command, vec![Step::Send(answer), Step::Hold]);
        let (verb, _) = command.split_once(' ').unwrap_or((command, ""));
        refused(&Scene::new(scene::log(), script).tapster, &[words, "127.0.0.1", verb]);
    }
}

#[test]
fn a_login_that_is_none_ends_the_receiver() {
    for (bytes, words) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "announces 1414811695 bytes"),
        (hex("52 7fffffff"), "2147483647 bytes"),
        (hex("52 00000004"), "malformed Authentication"),
        (backend::session("17.4"), "while"),
    ] {
        // A server without TLS says N first, so that its nonsense comes in the login.
        let server = FakeServer::alone().at_startup(vec![Step::Send(bytes), Step::Hold]).start();
        refused(&scene::repository_of(&server), &[words, "127.0.0.1", "log in"]);
    }
}

/// The receiver ends with what, where and what next, and has stored nothing.
#[track_caller]
fn refused(tapster: &Tapster, words: &[&str]) {
    let outcome = tapster.refused(&["receive-wal", "main"]);
    let general = ["ERROR: cannot receive WAL from server main", "because:", "try:"];
    for word in general.iter().chain(words) {
        assert!(outcome.stderr.contains(word), "{word:?} is not said: {outcome}");
    }
    scene::said(tapster, &outcome.to_string());
    assert_eq!(scene::final_names(tapster), [""; 0]);
    assert!(!outcome.stderr.contains(SECRET), "{outcome}");
}

#[test]
fn wal_that_does_not_follow_on_what_came_before_is_not_stored() {
    for (offset, words) in [(BEFORE + 8, "comes next"), (BEFORE - 8, "comes next")] {
        let log = scene::log();
        let (end, other) = (log.start + BEFORE, log.start + offset);
        let broken =
            [backend::copy_both(), wal(&log, log.start, end), wal(&log, other, other + BEFORE)]
                .concat();
        let script = FakeServer::alone()
            .once("START_REPLICATION", vec![Step::Send(broken), Step::Hold])
            .on("START_REPLICATION", scene::stream(1));
        let scene = Scene::new(log, script);
        let mut receiver = scene.receive();
        scene.waits_to_be_told(&mut receiver, words);
        receiver.interrupt();
        let said = scene.said(&receiver);
        for word in ["ERROR", "look for a proxy", &end.to_string(), &other.to_string()] {
            assert!(said.contains(word), "{word:?} is not said: {said}");
        }
        scene.holds_until(end);
        // The next receiver goes on behind the last whole record, and the segments are right.
        let mut receiver = scene.receive();
        scene.archives(1, 2..4);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        let asked = scene.asked();
        assert_eq!(asked[0], (scene.log.start, 1));
        assert!(asked[1].0 <= end && end - asked[1].0 < 45_000, "{asked:?}");
    }
}

#[test]
fn a_timeline_that_cannot_be_is_not_followed() {
    for (answer, words) in [
        // The same timeline, one before the first, one without a history.
        (backend::next_timeline(1, scene::log().start + BEFORE), "says that timeline 1 is over"),
        (backend::next_timeline(0, scene::log().start + BEFORE), "\"0\" as next_tli"),
        (backend::next_timeline(7, scene::log().start + BEFORE), "TIMELINE_HISTORY"),
        ([backend::copy_done(), backend::ready()].concat(), "server sent CopyDone"),
    ] {
        let log = scene::log();
        let end = log.start + BEFORE;
        let streamed = [backend::copy_both(), wal(&log, log.start, end), backend::copy_done()];
        let script = FakeServer::alone().on(
            "START_REPLICATION",
            vec![
                Step::Send(streamed.concat()),
                Step::until(|heard| *heard == super::Heard::CopyDone),
                Step::Send(answer),
            ],
        );
        let scene = Scene::new(log, script);
        let mut receiver = scene.receive();
        scene.waits_to_be_told(&mut receiver, words);
        receiver.interrupt();
        scene.said(&receiver);
        scene.holds_until(end);
        assert!(scene.asked().iter().all(|(_, timeline)| *timeline == 1), "{:?}", scene.asked());
    }
}
