//! Verification of WAL against a small writer of WAL.
//!
//! The disaster: a segment is archived with a page of zeros in it, and nobody knows until
//! recovery stops there.

use proptest::prelude::*;

use super::page::{PAGE_SIZE, PageHeader, PageMagic};
use super::record::{RecordHeader, commit_time, record_crc};
use super::written::{SYSTEM, WalWriter};
use super::*;

const ONE_MIB: u64 = 1 << 20;
const START: Lsn = Lsn(3 * ONE_MIB);

fn segment_size() -> SegmentSize {
    SegmentSize::new(ONE_MIB).expect("a power of two")
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(text, 16).expect("hexadecimal")
    };
    digits.chunks(2).map(pair).collect()
}

fn writer(magic: u16) -> WalWriter {
    WalWriter::new(magic, START, segment_size())
}

fn checker() -> WalChecker {
    WalChecker::new(Timeline::FIRST, Some(SYSTEM), segment_size(), START)
}

fn check(bytes: &[u8]) -> (WalChecker, Vec<Finding>) {
    let (mut checker, mut findings) = (checker(), Vec::new());
    checker.feed(START, bytes, &mut findings);
    (checker, findings)
}

/// Records of all sizes, one across three pages, commits, a switch, and what follows it.
fn busy(magic: u16) -> WalWriter {
    let mut writer = writer(magic);
    for length in [0_usize, 1, 7, 8, 100, 8000, 20_000, 8192 - 24] {
        writer.record(10, 0, &vec![length as u8; length]);
    }
    writer.commit(700);
    writer.commit(500);
    writer.switch();
    writer.record(10, 0, &[1; 300]);
    writer.commit(900);
    writer
}

#[test]
fn wal_of_every_version_passes_without_a_finding() {
    for magic in [0xD097, 0xD098, 0xD101, 0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118] {
        let writer = busy(magic);
        let (mut checker, findings) = check(&writer.bytes);
        assert_eq!(findings, [], "{magic:#X}");
        assert_eq!(checker.valid_end(), Some(writer.position()));
        assert_eq!(checker.major_version(), PageMagic(magic).major_version());
        let times = checker.take_commit_times().expect("commits");
        let commit = |record: Lsn, time| Commit { end: record + 34, time: PgTimestamp(time) };
        let starts = &writer.starts;
        assert_eq!(times.first, commit(starts[8], 700));
        assert_eq!(times.last, commit(starts[starts.len() - 1], 900));
        assert_eq!((times.earliest.0, times.latest.0), (500, 900));
        assert_eq!(checker.take_commit_times(), None);
    }
}

#[test]
fn a_cut_at_any_position_changes_nothing() {
    let mut writer = writer(0xD118);
    for length in [0, 1, 7, 8, 100, 7000, 9000] {
        writer.record(10, 0, &vec![length as u8; length]);
    }
    writer.commit(1);
    let (mut prefix, mut findings) = (checker(), Vec::new());
    for (at, byte) in writer.bytes.iter().enumerate() {
        let here = START + at as u64;
        let mut whole = prefix.clone();
        whole.feed(here, &writer.bytes[at..], &mut findings);
        assert_eq!((&findings[..], whole.valid_end()), (&[][..], Some(writer.position())), "{at}");
        prefix.feed(here, &[*byte], &mut findings);
    }
}

#[test]
fn the_valid_end_moves_only_when_a_record_is_complete() {
    let mut writer = writer(0xD118);
    for length in [3, 40, 9000, 5] {
        writer.record(10, 0, &vec![1; length]);
    }
    let ends = [&writer.starts[1..], &[writer.position()]].concat();
    let (mut checker, mut findings) = (checker(), Vec::new());
    for (at, byte) in writer.bytes.iter().enumerate() {
        checker.feed(START + at as u64, &[*byte], &mut findings);
        // Padding, 7 bytes at most, counts as it comes.
        let complete = ends.iter().rfind(|end| end.0 <= checker.position().0);
        match checker.valid_end() {
            None => assert_eq!(complete, None),
            Some(valid) if complete == Some(&valid) => {}
            Some(valid) => {
                assert!(ends.iter().any(|end| (1..8).contains(&end.bytes_since(valid))));
            }
        }
    }
    assert_eq!(findings, []);
}

#[test]
fn the_rest_of_a_record_from_the_segment_before_is_skipped() {
    let mut writer = writer(0xD118);
    while writer.bytes.len() < ONE_MIB as usize - 30_000 {
        writer.record(10, 0, &[7; 5000]);
    }
    writer.record(10, 0, &vec![9; 50_000]);
    writer.commit(42);
    let second = START + ONE_MIB;
    let mut checker = WalChecker::new(Timeline::FIRST, Some(SYSTEM), segment_size(), second);
    let mut findings = Vec::new();
    checker.feed(second, &writer.bytes[ONE_MIB as usize..], &mut findings);
    assert_eq!(findings, []);
    assert_eq!(checker.valid_end(), Some(writer.position()));
    assert!(checker.take_commit_times().is_some());
}

#[test]
fn every_flipped_byte_of_a_record_is_found_and_the_next_page_is_verified_again() {
    let mut writer = writer(0xD118);
    for _ in 0..40 {
        writer.record(10, 0, &[3; 1000]);
    }
    let victim = (writer.starts[5].0 - START.0) as usize;
    let header = victim..victim + 24;
    for at in header.chain((victim + 24..victim + 1024).step_by(37)) {
        let mut bytes = writer.bytes.clone();
        bytes[at] ^= 0x10;
        let (checker, findings) = check(&bytes);
        assert!(findings[0].is_damage() || matches!(findings[0], Finding::EndOfWal { .. }));
        assert!(matches!(findings[1], Finding::Resumed { .. }), "{at}: {findings:?}");
        assert_eq!(findings.len(), 2, "{at}: {findings:?}");
        assert_eq!(checker.valid_end(), Some(writer.starts[5]));
    }
}

#[test]
fn zeros_end_the_wal_of_a_file_quietly_at_the_last_record() {
    let writer = busy(0xD118);
    for end in [writer.starts[4], writer.starts[7]] {
        let mut bytes = writer.bytes.clone();
        bytes.truncate((end.0 - START.0) as usize);
        bytes.resize(ONE_MIB as usize, 0);
        let (mut checker, findings) = check(&bytes);
        assert_eq!(checker.valid_end(), Some(end));
        assert_eq!(findings, [Finding::EndOfWal { at: end }]);
        // What the server sends from there on continues it.
        assert_eq!(checker.rewind(), Some(end));
        let mut findings = Vec::new();
        checker.feed(end, &writer.bytes[(end.0 - START.0) as usize..], &mut findings);
        assert_eq!((findings, checker.valid_end()), (vec![], Some(writer.position())));
    }
}

#[test]
fn a_page_of_zeros_in_the_middle_does_not_move_the_valid_end_beyond_it() {
    let mut writer = writer(0xD118);
    for _ in 0..100 {
        writer.record(10, 0, &[3; 1000]);
    }
    let mut bytes = writer.bytes.clone();
    bytes[2 * 8192..3 * 8192].fill(0);
    let (checker, findings) = check(&bytes);
    assert!(checker.valid_end().expect("records before the hole") < START + 2 * 8192);
    assert!(findings.iter().any(|finding| matches!(finding, Finding::Resumed { .. })));
}

#[test]
fn a_record_that_a_crash_left_incomplete_is_dropped_without_damage() {
    let mut writer = writer(0xD118);
    writer.record(10, 0, &[1; 100]);
    let abandoned = writer.abandon_record();
    writer.record(0, 0xD0, &[255, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let (checker, findings) = check(&writer.bytes);
    let page = START + u64::from(PAGE_SIZE);
    assert_eq!(findings, [Finding::Overwritten { record: abandoned, page }]);
    assert!(!findings[0].is_damage());
    assert_eq!(checker.valid_end(), Some(writer.position()));
}

#[test]
fn wal_of_another_cluster_a_moved_page_and_a_hole_are_told_apart() {
    let writer = busy(0xD118);
    let mut other = writer.bytes.clone();
    other[24] ^= 1;
    assert!(matches!(check(&other).1[0], Finding::System { .. }));
    let mut moved = writer.bytes.clone();
    moved[8192 + 8 + 5] ^= 1;
    assert!(matches!(check(&moved).1[0], Finding::PageAddress { .. }));
    let mut newer = writer.bytes.clone();
    newer[8192 + 4] = 2;
    assert!(matches!(check(&newer).1[0], Finding::PageTimeline { found: 2, .. }));
    let (mut checker, mut findings) = (checker(), Vec::new());
    checker.feed(START, &writer.bytes[..100], &mut findings);
    checker.feed(START + 8192, &writer.bytes[8192..], &mut findings);
    assert_eq!(findings[0], Finding::Gap { expected: START + 100, got: START + 8192 });
    assert!(matches!(findings[1], Finding::Resumed { .. }), "{findings:?}");
    // The same piece again, after a reconnection.
    findings.clear();
    checker.feed(START, &writer.bytes, &mut findings);
    assert_eq!((findings, checker.valid_end()), (vec![], Some(writer.position())));
}

#[test]
fn data_behind_a_switch_is_found_in_every_format() {
    for magic in [0xD097, 0xD118] {
        let mut writer = WalWriter::new(magic, START, segment_size());
        writer.switch();
        let mut bytes = writer.bytes;
        bytes[500_000] = 1;
        assert!(matches!(check(&bytes).1[0], Finding::Filler { .. }), "{magic:#X}");
    }
}

#[test]
fn what_a_standbys_recycled_file_held_behind_a_switch_is_said_once_and_is_no_damage() {
    for magic in [0xD097, 0xD118] {
        let mut writer = WalWriter::new(magic, START, segment_size());
        writer.record(10, 0, &[7; 300]);
        writer.switch();
        let switched = *writer.starts.last().expect("the switch");
        let end = writer.position();
        writer.record(10, 0, &[7; 300]);
        let mut bytes = writer.bytes.clone();
        // Pages of an older segment, from a page on behind the switch.
        let mut older =
            WalWriter::new(magic, SegmentNumber(0).start(segment_size()), segment_size());
        while older.bytes.len() < ONE_MIB as usize {
            older.record(10, 0, &[3; 900]);
        }
        bytes[5 * 8192..ONE_MIB as usize].copy_from_slice(&older.bytes[5 * 8192..ONE_MIB as usize]);
        let (checker, findings) = check(&bytes);
        let at = START + 5 * 8192;
        assert_eq!(findings, [Finding::Filler { at }], "{magic:#X}");
        assert!(!findings[0].is_damage());
        assert_eq!(checker.damage(), None);
        // Nobody resumes behind what may not have been received.
        let valid = checker.valid_end().expect("the switch");
        assert!(valid > switched && valid <= at && valid < end, "{valid}");
    }
}

#[test]
fn golden_headers_and_records_of_real_servers_are_read() {
    // 18, timeline 2, segment 0/27000000 of 16 MiB.
    let page = hex(
        "18d1 0600 02000000 0000002700000000 00000000 00000000 4283420166dc036b 00000001 00200000",
    );
    let header = PageHeader::parse(&page).expect("40 bytes");
    assert_eq!(header.magic.major_version(), Some(18));
    assert_eq!((header.timeline, header.address), (2, Lsn(0x2700_0000)));
    let long = header.long.expect("a long header");
    assert_eq!((long.system, long.segment_size, long.page_size), (SYSTEM, 16 << 20, 8192));
    for (text, switch) in [
        // 18: switch at 0/27000130; checkpoint redo at 0/27000060; 10: switch at 0/60000D0.
        ("1800000000000000b800002700000000400000007bb4ba93", true),
        ("1e000000000000002800002700000000e00000001619691aff0401000000", false),
        ("18000000000000006000000600000000400000003bea31b7", true),
    ] {
        let bytes = hex(text);
        let (header, body) = bytes.split_first_chunk().expect("24 bytes");
        let parsed = RecordHeader::parse(header);
        assert_eq!(parsed.length as usize, bytes.len());
        assert_eq!(parsed.crc, record_crc(header, body));
        assert_eq!(parsed.is_segment_switch(), switch);
    }
    assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
}

#[test]
fn a_commit_time_is_found_behind_any_fragments() {
    let time = [1, 2, 3, 4, 5, 6, 7, 8];
    let expected = Some(PgTimestamp(i64::from_le_bytes(time)));
    let plain = [&[255, 8][..], &time].concat();
    let long = [&[254, 8, 0, 0, 0][..], &time].concat();
    let origin = [&[253, 9, 9, 252, 1, 1, 1, 1, 255, 8][..], &time].concat();
    // Block 0 with a compressed image with a hole: 3 bytes of image, 2 of data.
    let mut block = vec![0, 0x10 | 0x20, 2, 0, 3, 0, 0, 0, 0x01 | 0x04, 0, 0];
    block.extend([0; 16]);
    block.extend([255, 8, 9, 9, 9, 9, 9]);
    block.extend(time);
    for body in [&plain, &long, &origin, &block] {
        assert_eq!(commit_time(body, PageMagic(0xD118)), expected);
        for cut in 0..body.len() {
            assert_eq!(commit_time(&body[..cut], PageMagic(0xD118)), None);
        }
    }
    assert_eq!(commit_time(&[200; 20], PageMagic(0xD118)), None);
}

proptest! {
    #[test]
    fn any_pieces_give_the_same_result_as_the_whole(
        lengths in proptest::collection::vec(0_usize..20_000, 1..40),
        cuts in proptest::collection::vec(1_usize..5000, 1..200),
        damage in proptest::option::of(0_usize..100_000),
    ) {
        let mut writer = WalWriter::new(0xD110, START, segment_size());
        for length in lengths {
            writer.record(10, 0, &vec![5; length]);
        }
        let mut bytes = writer.bytes;
        if let Some(byte) = damage.and_then(|at| bytes.get_mut(at)) {
            *byte ^= 0x40;
        }
        let (whole, expected) = check(&bytes);
        let (mut checker, mut findings) = (checker(), Vec::new());
        let mut at = 0;
        for cut in cuts.iter().cycle() {
            let end = bytes.len().min(at + cut);
            checker.feed(START + at as u64, &bytes[at..end], &mut findings);
            at = end;
            if at == bytes.len() {
                break;
            }
        }
        prop_assert_eq!(findings, expected);
        prop_assert_eq!(checker.valid_end(), whole.valid_end());
    }
}
