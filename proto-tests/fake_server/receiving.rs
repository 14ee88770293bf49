//! A receiver says what is true, at once when asked, and takes WAL in whatever pieces it comes.
//!
//! The server deletes what the receiver calls flushed, and a commit may wait for it: a byte too
//! much is lost by the next power cut, a report too late stops the application.

use tapster::wal::Lsn;

use super::scene::{self, Scene, wal};
use super::{FakeServer, Heard, Step};
use crate::real_server::tapster::Running;
use crate::wire::backend;

fn flushed_is(position: Lsn) -> Step {
    Step::until(move |heard| matches!(heard, Heard::Status { flushed, .. } if *flushed == position))
}

/// Reports of what is flushed, in the order in which they came.
fn reports(scene: &Scene) -> Vec<Lsn> {
    let heard = scene.server.heard().into_iter();
    let flushed = heard.filter_map(|heard| match heard {
        Heard::Status { flushed, .. } => Some(flushed),
        _ => None,
    });
    flushed.filter(|flushed| *flushed != Lsn::INVALID).collect()
}

/// The server hears what its script waits for, and the receiver leaves in peace.
#[track_caller]
fn comes_to_its_end(scene: &Scene, receiver: &mut Running) {
    scene.wait_until_flushed(scene.log.end(1));
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    scene.said(receiver);
}

#[test]
fn every_question_is_answered_at_once_with_what_is_durable() {
    let log = scene::log();
    let (middle, end) = (log.start + 50_000, log.end(1));
    // Where the server's WAL ends says nothing about what is durable here.
    let question = backend::keepalive(Lsn(1 << 40), true);
    let mut steps = vec![
        Step::Send(backend::copy_both()),
        Step::Send(wal(&log, log.start, middle)),
        Step::Send(question.clone()),
        flushed_is(middle),
    ];
    // Regular reports come every ten seconds; these answers could not all be some.
    for _ in 0..30 {
        steps.extend([Step::Send(question.clone()), flushed_is(middle)]);
    }
    steps.extend([Step::Send(wal(&log, middle, end)), Step::Send(question)]);
    steps.extend(scene::farewell());
    let scene = Scene::new(log, FakeServer::alone().on("START_REPLICATION", steps));
    let mut receiver = scene.receive();
    comes_to_its_end(&scene, &mut receiver);
    let reports = reports(&scene);
    assert!(reports.is_sorted(), "a report was taken back: {reports:?}");
    let excess: Vec<_> = reports.iter().filter(|&&flushed| flushed > end).collect();
    assert_eq!(excess, [&Lsn(0); 0], "more was called durable than was sent");
    assert!(reports.iter().filter(|&&flushed| flushed == middle).count() >= 31);
}

#[test]
fn a_server_that_sends_byte_by_byte_is_understood_from_the_login_on() {
    let log = scene::log();
    let (middle, end) = (log.start + 3000, log.end(1));
    let mut pieces = backend::copy_both();
    // Many messages, with keepalives between: each head is cut everywhere.
    for start in (0..3000).step_by(100) {
        let start = log.start + start;
        pieces.extend(wal(&log, start, start + 100));
        pieces.extend(backend::keepalive(end, false));
    }
    let rest = [wal(&log, middle, end), backend::keepalive(end, true)].concat();
    let identity = backend::identify_system(crate::crash::log::SYSTEM.0, 1, end);
    let script = FakeServer::alone().on("IDENTIFY_SYSTEM", vec![Step::Dribble(identity)]).on(
        "START_REPLICATION",
        [vec![Step::Dribble(pieces), Step::Send(rest)], scene::farewell()].concat(),
    );
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene.archives(1, 2..4);
    comes_to_its_end(&scene, &mut receiver);
    scene.holds_until(end);
    assert_eq!(scene.asked(), [(scene.log.start, 1)]);
}

#[test]
fn a_server_that_falls_silent_in_mid_frame_is_asked_given_up_and_gone_back_to() {
    let log = scene::log();
    let middle = log.start + 50_000;
    let cut = [backend::copy_both(), wal(&log, log.start, middle + 50_000)].concat();
    let half = cut[..cut.len() - 50_000].to_vec();
    let timeout = "wal_sender_timeout";
    let script = FakeServer::alone()
        .on("SHOW wal_sender_timeout", vec![Step::Send(backend::show(timeout, "2s"))])
        .once("START_REPLICATION", vec![Step::Send(half), Step::Hold])
        .on("START_REPLICATION", scene::stream(1));
    let scene = Scene::new(log, script);
    let mut receiver = scene.receive();
    scene
        .server
        .wait_to_hear("a question", |heard| matches!(heard, Heard::Status { reply_now: true, .. }));
    scene.waits_to_be_told(&mut receiver, "has not answered START_REPLICATION");
    scene.archives(1, 2..4);
    assert_eq!(scene.asked(), [(scene.log.start, 1), (middle, 1)]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    let said = scene.said(&receiver);
    assert!(said.contains("not connected; trying again"), "{said}");
}

#[test]
fn half_a_frame_is_kept_and_the_other_half_asked_for() {
    // In a control message, in the head of a message of WAL, and in WAL.
    let (log, whole) = (scene::log(), 100_000);
    let sent = [backend::copy_both(), wal(&log, log.start, log.start + whole)].concat();
    for (cut, stored) in [(4, 0), (8 + 5, 0), (8 + 5 + 24, 0), (8 + 5 + 25 + 33_333, 33_333)] {
        let script = FakeServer::alone()
            .once("START_REPLICATION", vec![Step::Send(sent[..cut].to_vec()), Step::Close])
            .on("START_REPLICATION", scene::stream(1));
        let scene = Scene::new(scene::log(), script);
        let mut receiver = scene.receive();
        scene.archives(1, 2..4);
        let from = scene.log.start;
        assert_eq!(scene.asked(), [(from, 1), (from + stored, 1)], "cut at {cut}");
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        let said = scene.said(&receiver);
        assert!(said.contains("not connected; trying again"), "{said}");
        assert!(!said.contains("ERROR"), "a lost connection is no alarm: {said}");
    }
}
