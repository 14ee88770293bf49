//! The writer in its thread: what it does when the disk refuses, stalls or is full.

use std::path::Path;
use std::sync::LazyLock;
use std::thread::JoinHandle;

use rustix::io::Errno;

use super::*;
use crate::disk::ModelDisk;
use crate::receive::Synchronous;
use crate::receive::fixture::{self, DIRECTORY, disk, until};
use crate::receive::queue::{QueueSender, queue};
use crate::wal::SegmentSize;

const SIZE: u64 = 1 << 20;
const START: Lsn = Lsn(SIZE);

fn target(disk: &ModelDisk, when_full: WhenFull) -> Target {
    Target { when_full, ..fixture::target(disk, SIZE) }
}

type Thread = JoinHandle<Result<(), DiskError>>;

fn run(target: Target) -> Result<(QueueSender, Arc<Positions>, Thread), DiskError> {
    let writer = Writer::open(target, Timeline::FIRST, START)?;
    let positions = writer.positions();
    let (sender, receiver) = queue(writer.queue_bytes());
    Ok((sender, positions, std::thread::spawn(move || writer.run(receiver))))
}

/// What stands at a position.
fn wal(from: Lsn, to: Lsn) -> Bytes {
    static ALL: LazyLock<Bytes> =
        LazyLock::new(|| (0..4 * SIZE).map(|at| (at % 251) as u8).collect::<Vec<_>>().into());
    ALL.slice((from - START) as usize..(to - START) as usize)
}

/// Pushes the WAL from `from` to `to`, with room or without, as long as the writer lives.
fn push(sender: &mut QueueSender, from: Lsn, to: Lsn) {
    let mut at = from;
    while at < to {
        let end = Lsn(to.0.min(at.0 + 100_000));
        if sender.push(at, wal(at, end)).is_err() {
            return;
        }
        at = end;
    }
    let _ = sender.flush();
}

/// What is stored of the stream, whatever the files are called.
fn stored(disk: &ModelDisk, flushed: Lsn) -> bool {
    (START.0..flushed.0).step_by(SIZE as usize).all(|start| {
        let size = SegmentSize::new(SIZE).expect("a size");
        let name = SegmentName::containing(Timeline::FIRST, Lsn(start), size);
        let directory = Path::new(DIRECTORY);
        let found = disk
            .bytes(&resume::complete_path(directory, name))
            .or_else(|| disk.bytes(&resume::partial_path(directory, name)));
        let wanted = wal(Lsn(start), Lsn(flushed.0.min(start + SIZE)));
        found.is_some_and(|bytes| bytes.get(..wanted.len()) == Some(&wanted[..]))
    })
}

#[test]
fn nobody_waits_for_a_writer_that_has_panicked() {
    let (mut sender, positions, thread) = run(target(&disk(1), WhenFull::Fail)).expect("opened");
    sender.push(START + 8, Bytes::from_static(b"behind a gap")).expect("queued");
    sender.end_read().expect("queued");
    thread.join().expect_err("a gap was written");
    assert!(positions.has_ended(), "the reader would wait for ever");
}

#[test]
fn a_disk_that_is_full_for_a_moment_costs_nothing_but_time_at_whichever_call_it_comes() {
    let end = START + 2 * SIZE + 300_000;
    let retry = WhenFull::Wait(Duration::from_millis(1));
    let calls = {
        let disk = disk(0);
        let (mut sender, _, thread) = run(target(&disk, retry)).expect("opened");
        push(&mut sender, START, end);
        drop(sender);
        thread.join().expect("no panic").expect("no fault");
        disk.history()
    };
    let mut waited = 0;
    for (at, call) in calls.iter().enumerate() {
        for error in [Errno::NOSPC, Errno::DQUOT] {
            let disk = disk(at as u64);
            disk.fail_call(at as u64, error);
            let Ok((mut sender, positions, thread)) = run(target(&disk, retry)) else { continue };
            push(&mut sender, START, end);
            // The reader is there until everything is flushed or the writer has given up.
            until("the end", || positions.read().flushed >= end || positions.has_ended());
            drop(sender);
            let result = thread.join().expect("no panic");
            let flushed = positions.read().flushed;
            match result {
                Ok(()) => {
                    assert_eq!(flushed, end, "{error:?} at {call}");
                    waited += 1;
                }
                // What a failed sync was to make durable is not tried again on this file; and
                // what only hints or looks does not wait.
                Err(error) => assert!(
                    error.is_of_sync() || !error.operation.starts_with("write"),
                    "{call}: {error}"
                ),
            }
            assert!(stored(&disk.after_power_loss(at as u64), flushed), "{error:?} at {call}");
        }
    }
    assert!(waited >= calls.len(), "only {waited} of {} went on", 2 * calls.len());
}

#[test]
fn a_writer_without_room_ends_when_its_reader_has_ended() {
    let disk = disk(3);
    let retry = WhenFull::Wait(Duration::from_millis(1));
    let (mut sender, positions, thread) = run(target(&disk, retry)).expect("opened");
    disk.fail_from_call(disk.calls(), Errno::NOSPC);
    push(&mut sender, START, START + SIZE);
    until("a stall", || positions.is_stalled());
    drop(sender);
    let error = thread.join().expect("no panic").expect_err("nothing was written");
    assert!(error.is_full(), "{error}");
    assert_eq!(positions.read().flushed, START);
}

#[test]
fn a_thousand_pieces_reach_the_file_without_an_allocation_for_each() {
    let directory = tempfile::tempdir().expect("a directory");
    let target = Target {
        disk: Arc::new(crate::disk::RealDisk),
        directory: directory.path().to_owned(),
        segment_size: SegmentSize::new(16 << 20).expect("a size"),
        ..target(&disk(1), WhenFull::Fail)
    };
    let (start, synchronous) = (Lsn(16 << 20), target.synchronous.clone());
    let mut writer = Writer::open(target, Timeline::FIRST, start).expect("opened");
    let piece = Bytes::from(vec![7; 8000]);
    let mut at = start;
    // The first one opens the segment.
    writer.push(at, piece.clone());
    writer.write_batch().expect("written");
    let info = allocation_counter::measure(|| {
        // One by one through the page cache, and by fifties past it; where commits wait, all past
        // it.
        for (commits_wait, together) in [(false, 1), (false, 50), (true, 1), (true, 50)] {
            synchronous.set(commits_wait);
            for _ in 0..500 / together {
                for _ in 0..together {
                    at = at + 8000;
                    writer.push(at, piece.clone());
                }
                writer.write_batch().expect("written");
            }
        }
    });
    assert_eq!(info.count_total, 0, "allocations in the writer");
    writer.flush().expect("flushed");
    assert_eq!(writer.progress().flushed, at + 8000);
}

#[test]
fn a_disk_that_does_not_answer_is_seen_from_outside_and_a_full_one_that_is_tried_again_lives() {
    let disk = disk(4);
    let target = target(&disk, WhenFull::Wait(Duration::from_millis(1)));
    let meters = Arc::clone(&target.meters);
    let (mut sender, positions, thread) = run(target).expect("opened");
    disk.hold("sync");
    push(&mut sender, START, START + 300_000);
    disk.wait_until_held();
    until("a busy writer", || meters.read().busy >= Duration::from_millis(50));
    assert_eq!(meters.read().full_since, None);
    disk.release();
    // The held call may have been that of a name, before the flush was even asked for.
    until("a flush", || meters.read().flushes.count > 0);
    until("rest", || meters.read().busy.is_zero());
    disk.fail_from_call(disk.calls(), Errno::NOSPC);
    push(&mut sender, START + 300_000, START + 2 * SIZE);
    until("a stall", || positions.is_stalled());
    let begun = Instant::now();
    // The least of many looks: this thread may be kept waiting, too.
    let mut least = Duration::MAX;
    while begun.elapsed() < Duration::from_millis(100) {
        least = least.min(meters.read().busy);
    }
    assert!(least < Duration::from_millis(50), "a writer that tries again passed for dead");
    assert!(meters.read().full_since.is_some());
    drop(sender);
    thread.join().expect("no panic").expect_err("nothing was written");
}

#[test]
fn behind_small_flushes_zeros_are_written_and_not_where_a_bulk_load_keeps_the_disk_busy() {
    let filling_after = |flush: u64, stall: Duration| {
        let disk = disk(9);
        let target = Target {
            synchronous: Synchronous::new(true),
            preparation: Preparation::Background,
            ..target(&disk, WhenFull::Fail)
        };
        let mut writer = Writer::open(target, Timeline::FIRST, START).expect("opened");
        for at in (START.0..START.0 + SIZE).step_by(flush as usize) {
            writer.push(Lsn(at), wal(Lsn(at), Lsn(at + flush)));
            writer.write_batch().expect("written");
            if at == START.0 && !stall.is_zero() {
                disk.hold("sync");
                let disk = disk.clone();
                std::thread::spawn(move || {
                    disk.wait_until_held();
                    std::thread::sleep(stall);
                    disk.release();
                });
            }
            writer.flush().expect("flushed");
        }
        writer.filled.order().filling
    };
    let small = 8 << 10;
    assert_eq!(filling_after(small, Duration::ZERO), Filling::Zeros);
    let bulk = 128 << 10;
    let busy = Duration::from_millis(2 * SIZE / bulk);
    assert_eq!(filling_after(bulk, busy), Filling::Reserved, "more than a millisecond each");
}

#[test]
fn what_an_earlier_life_acknowledged_stays_while_it_is_received_again() {
    for commits_wait in [false, true] {
        let disk = disk(11);
        let target = || Target {
            synchronous: Synchronous::new(commits_wait),
            ..target(&disk, WhenFull::Fail)
        };
        let acknowledged = START + 700_001;
        let mut writer = Writer::open(target(), Timeline::FIRST, START).expect("opened");
        writer.push(START, wal(START, acknowledged));
        writer.write_batch().expect("written");
        writer.flush().expect("flushed");
        drop(writer);
        // Where the segment begins in a record whose start is not here, it is received anew.
        let mut writer = Writer::open(target(), Timeline::FIRST, START).expect("opened");
        let mut at = START;
        while at < acknowledged {
            let end = at + 99_999;
            writer.push(at, wal(at, end));
            writer.write_batch().expect("written");
            assert!(stored(&disk.after_kill(3), acknowledged), "written up to {end}");
            writer.flush().expect("flushed");
            assert!(stored(&disk.after_power_loss(end.0), acknowledged), "flushed up to {end}");
            at = end;
        }
    }
}

#[test]
fn whichever_door_a_batch_takes_the_file_holds_the_stream_and_a_refused_door_is_left_alone() {
    // How the writes of a life that changes its mind went; `None` when the disk refused one.
    let live = |refused: Option<(u64, Errno)>| {
        let disk = disk(12);
        if let Some((call, error)) = refused {
            disk.fail_call(call, error);
        }
        let target = target(&disk, WhenFull::Fail);
        let synchronous = target.synchronous.clone();
        let mut writer = Writer::open(target, Timeline::FIRST, START).ok()?;
        let (mut at, mut tries) = (START, 0);
        for length in [7, 70_000, 4096, 5, 200_000, 4091, 131_072, 1, 90_000].repeat(4) {
            tries += 1;
            synchronous.set(tries % 5 < 3);
            writer.push(at, wal(at, at + length));
            at = at + length;
            // A failed write has claimed nothing.
            while let Err(error) = writer.write_batch() {
                if !error.is_full() || error.is_of_sync() {
                    return None;
                }
            }
            assert!(stored(&disk.after_kill(1), at), "{refused:?}, up to {at}");
            if tries % 3 == 0 {
                writer.flush().ok()?;
                assert!(stored(&disk.after_power_loss(at.0), at), "{refused:?}, up to {at}");
            }
        }
        Some(disk.history())
    };
    let history = live(None).expect("no fault");
    let direct: Vec<usize> =
        (0..history.len()).filter(|call| history[*call].starts_with("write direct")).collect();
    let cached = history.iter().filter(|call| call.starts_with("write /")).count();
    assert!(direct.len() > 20 && cached > 10, "{} direct, {cached} cached", direct.len());
    for call in direct {
        live(Some((call as u64, Errno::INVAL))).expect("it goes through the other door");
        live(Some((call as u64, Errno::NOSPC))).expect("it is tried again");
    }
}

#[test]
fn where_commits_wait_nothing_passes_through_the_page_cache() {
    let disk = disk(13);
    let target = Target { synchronous: Synchronous::new(true), ..target(&disk, WhenFull::Fail) };
    let mut writer = Writer::open(target, Timeline::FIRST, START).expect("opened");
    let mut at = START;
    for length in [100, 9000, 300_000].repeat(5) {
        writer.push(at, wal(at, at + length));
        at = at + length;
        writer.write_batch().expect("written");
        writer.flush().expect("flushed");
    }
    let history = disk.history();
    let cached: Vec<&String> = history.iter().filter(|call| call.starts_with("write /")).collect();
    assert!(cached.is_empty(), "{cached:?}");
    assert!(stored(&disk.after_power_loss(1), at));
}
