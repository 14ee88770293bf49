//! What a receiver finds that its predecessor, or another program, left behind.

use std::path::Path;

use rustix::io::Errno;
use tapster::wal::{Lsn, SegmentName, Timeline, WalFileName};

use super::received_wal::{Promises, Receiver, STREAMING, check, fresh, log};

#[test]
fn what_a_killed_receiver_has_named_is_durable_before_the_next_one_reports_it() {
    let log = log();
    let disk = fresh(0);
    let mut calls = Promises::default();
    Receiver { log: &log, disk: &disk, synchronous: false }.live(&mut calls).expect("no fault");
    for at in 0..disk.calls() {
        let disk = fresh(at);
        disk.fail_call(at, Errno::IO);
        let mut promises = Promises::default();
        let _ = Receiver { log: &log, disk: &disk, synchronous: false }.live(&mut promises);
        let found = disk.after_kill(at);
        let next = Receiver { log: &log, disk: &found, synchronous: false };
        let (timeline, position) = next.start().expect("a position");
        next.receive(timeline, position, position, &mut promises).expect("opened");
        for seed in 0..4 {
            let what = format!("killed at {at}, power cut after the next start, seed {seed}");
            check(&log, &found.after_power_loss(seed), &promises, &what);
        }
    }
}

#[test]
fn a_segment_is_reported_although_there_is_no_room_for_the_next_one() {
    let log = log();
    let spares = |history: &[String]| -> Vec<u64> {
        let numbered = history.iter().enumerate();
        let spare = |call: &str| call.starts_with("create ") && call.ends_with("/spare.tmp");
        numbered.filter(|(_, call)| spare(call)).map(|(number, _)| number as u64).collect()
    };
    let live = |failing: &[u64]| {
        let disk = fresh(0);
        failing.iter().for_each(|call| disk.fail_call(*call, Errno::NOSPC));
        let mut promises = Promises::default();
        let result = Receiver { log: &log, disk: &disk, synchronous: false }.live(&mut promises);
        (disk.history(), promises, result)
    };
    // The one that is made ahead, and then the one that is made in its stead.
    let ahead = spares(&live(&[]).0)[1];
    let needed = spares(&live(&[ahead]).0)[2];
    let (_, promises, result) = live(&[ahead, needed]);
    result.expect_err("there was room");
    let end = log.start.segment(log.size).end(log.size);
    assert_eq!(promises.highest(), end, "the first segment is complete");
}

#[test]
fn an_incomplete_segment_of_another_length_has_its_own_under_its_final_name() {
    let log = log();
    for length in [0, 5000, u64::from(log.size.bytes()) + 8192] {
        let disk = fresh(0);
        let name = SegmentName::containing(Timeline::FIRST, log.start, log.size);
        let mut bytes = log.bytes(1, log.start, log.start + 4000).to_vec();
        bytes.resize(length as usize, 0);
        disk.put(&Path::new(STREAMING).join(WalFileName::Partial(name).to_string()), &bytes);
        let mut promises = Promises::default();
        let receiver = Receiver { log: &log, disk: &disk, synchronous: false };
        receiver.live(&mut promises).expect("received");
        assert!(promises.highest() > Lsn(0));
        check(&log, &disk, &promises, &format!("a .partial of {length} bytes"));
    }
}
