//! Where stored WAL ends is where streaming begins.
//!
//! A position too high leaves a hole that no later start looks at; one that trusts what a crash
//! has torn leaves a segment with a rotten middle under a final name.

use std::io::Write;
use std::path::Path;

use tapster::codec::Packing;
use tapster::disk::ModelDisk;
use tapster::receive::start::LocalEnd;
use tapster::receive::stored::Places;
use tapster::wal::{Lsn, SegmentName, SystemIdentifier, Timeline};

use super::log::{Log, SYSTEM};

const STREAMING: &str = "/repository/main/streaming";
const WALS: &str = "/repository/main/wals";
const MIB: u64 = 1 << 20;

/// Three segments and a half of one timeline, from segment 2 on.
fn log() -> Log {
    Log::new(&[3 * MIB + MIB / 2])
}

fn disk() -> ModelDisk {
    let disk = ModelDisk::new(5);
    disk.put_directory(Path::new(STREAMING));
    disk.put_directory(Path::new(WALS));
    disk
}

fn name(log: &Log, index: u64) -> SegmentName {
    SegmentName::containing(Timeline::FIRST, log.start + index * MIB, log.size)
}

/// The bytes of a segment up to `length`, and zeros behind.
fn segment(log: &Log, index: u64, length: u64) -> Vec<u8> {
    let start = log.start + index * MIB;
    let end = Lsn((start + length).0.min(log.end(1).0));
    let mut bytes = log.bytes(1, start, end).to_vec();
    bytes.resize(MIB as usize, 0);
    bytes
}

fn put(disk: &ModelDisk, file: impl std::fmt::Display, bytes: &[u8]) {
    disk.put(&Path::new(STREAMING).join(file.to_string()), bytes);
}

fn archive(disk: &ModelDisk, log: &Log, index: u64) {
    let name = name(log, index);
    let path = Path::new(WALS).join(name.hash_directory()).join(name.to_string());
    disk.put(&path, &segment(log, index, MIB));
}

/// The same, packed as the archive packs it.
fn archive_packed(disk: &ModelDisk, log: &Log, index: u64) {
    let name = name(log, index);
    let path = Path::new(WALS).join(name.hash_directory()).join(name.to_string());
    let packing = Packing::choose(Some("zstd"), None).expect("written");
    let mut packed = packing.expect("a codec").encoder(MIB, Vec::new()).expect("begun");
    packed.write_all(&segment(log, index, MIB)).expect("packed");
    disk.put(&path, &packed.finish().expect("finished"));
}

fn end(log: &Log, disk: &ModelDisk) -> (Option<u64>, Option<SystemIdentifier>) {
    let places = Places {
        disk,
        streaming: Path::new(STREAMING),
        wals: Path::new(WALS),
        segment_size: log.size,
    };
    let (local, system) = places.end().expect("readable");
    let offset = |local: LocalEnd| {
        assert_eq!(local.timeline, Timeline::FIRST);
        local.position - log.start
    };
    (local.map(offset), system)
}

#[test]
fn nothing_stored_is_no_position() {
    assert_eq!(end(&log(), &disk()), (None, None));
}

#[test]
fn with_nothing_left_in_streaming_the_archive_says_where_it_ended() {
    let (log, disk) = (log(), disk());
    for index in 0..2 {
        archive(&disk, &log, index);
    }
    assert_eq!(end(&log, &disk), (Some(2 * MIB), Some(SYSTEM)));
}

#[test]
fn a_partial_segment_counts_up_to_its_last_whole_record() {
    let (log, disk) = (log(), disk());
    archive(&disk, &log, 0);
    for length in [MIB / 3, MIB / 3 + 1, MIB / 2 + 4099] {
        put(&disk, format!("{}.partial", name(&log, 1)), &segment(&log, 1, length));
        let (found, system) = end(&log, &disk);
        let found = found.expect("a position");
        // The longest record of the log is 40 000 bytes.
        assert!(found <= MIB + length && found + 41_000 > MIB + length, "{found} of {length}");
        assert_eq!(system, Some(SYSTEM));
    }
}

#[test]
fn what_is_behind_a_torn_sector_does_not_count() {
    let (log, disk) = (log(), disk());
    archive(&disk, &log, 0);
    let mut bytes = segment(&log, 1, MIB);
    let torn = 300 * 1024;
    bytes[torn..torn + 512].fill(0);
    put(&disk, format!("{}.partial", name(&log, 1)), &bytes);
    let found = end(&log, &disk).0.expect("a position");
    assert!(found <= MIB + torn as u64 && found > MIB, "{found}");
}

#[test]
fn a_record_that_began_in_a_segment_that_is_gone_makes_the_whole_segment_count_for_nothing() {
    let (log, disk) = (log(), disk());
    let starts_inside_a_record = (1..3).find(|index| {
        let header = segment(&log, *index, 64);
        header[2] & 1 == 1
    });
    let index = starts_inside_a_record.expect("records cross segments in this log");
    put(&disk, format!("{}.partial", name(&log, index)), &segment(&log, index, MIB / 2));
    assert_eq!(end(&log, &disk).0, Some(index * MIB));
    archive(&disk, &log, index - 1);
    if index > 1 {
        archive(&disk, &log, index - 2);
    }
    assert!(end(&log, &disk).0 > Some(index * MIB), "the chain is there and does not help");
}

#[test]
fn a_segment_that_the_archive_has_packed_says_as_much_as_a_plain_one() {
    let (log, disk) = (log(), disk());
    for index in 0..2 {
        archive_packed(&disk, &log, index);
    }
    assert_eq!(end(&log, &disk), (Some(2 * MIB), Some(SYSTEM)));
    // The records of the open segment begin in packed ones.
    let (plain, packed) = (self::disk(), self::disk());
    for (disk, archive) in [
        (&plain, archive as fn(&ModelDisk, &Log, u64)),
        (&packed, archive_packed as fn(&ModelDisk, &Log, u64)),
    ] {
        for index in 0..2 {
            archive(disk, &log, index);
        }
        put(disk, format!("{}.partial", name(&log, 2)), &segment(&log, 2, MIB / 2));
    }
    assert!(end(&log, &packed).0 > Some(2 * MIB), "nothing of the open segment counts");
    assert_eq!(end(&log, &packed), end(&log, &plain));
}

#[test]
fn an_empty_mark_is_a_position_whatever_lies_before_it() {
    let (log, disk) = (log(), disk());
    archive(&disk, &log, 0);
    put(&disk, format!("{}.partial", name(&log, 2)), b"");
    assert_eq!(end(&log, &disk).0, Some(2 * MIB));
}

#[test]
fn a_partial_segment_that_is_also_complete_is_old_and_counts_for_nothing() {
    let (log, disk) = (log(), disk());
    archive(&disk, &log, 0);
    archive(&disk, &log, 1);
    put(&disk, format!("{}.partial", name(&log, 1)), &segment(&log, 1, MIB / 4));
    assert_eq!(end(&log, &disk).0, Some(2 * MIB));
}

#[test]
fn a_complete_name_over_too_few_bytes_is_not_believed() {
    let (log, disk) = (log(), disk());
    put(&disk, name(&log, 0), &segment(&log, 0, MIB));
    put(&disk, name(&log, 1), b"short");
    assert_eq!(end(&log, &disk), (Some(MIB), Some(SYSTEM)));
}

#[test]
fn files_that_are_no_wal_say_nothing() {
    let (log, disk) = (log(), disk());
    for file in ["spare.tmp", "notes.txt", "000000010000000000000002.gz", "00000002.history.tmp"] {
        put(&disk, file, b"x");
    }
    assert_eq!(end(&log, &disk), (None, None));
}
