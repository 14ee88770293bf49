//! The last bytes of a timeline are those that nobody else has: they are restored as far as they
//! are good, what cannot be had of them is said before hours of copying, and nobody who does not
//! need them is kept from his backup.

use super::*;
use crate::restore::target::{TargetTime, TargetTimeline};
use crate::wal::written::WalWriter;
use crate::wal::{Lsn, SegmentSize};

const START: Lsn = Lsn(5 * SEGMENT as u64);

/// The beginning of the segment behind those of the fixture: a commit every few pages, at the
/// second of its number, for a minute.
fn written() -> WalWriter {
    let size = SegmentSize::new(u64::from(SEGMENT)).expect("a size");
    let mut writer = WalWriter::new(0xD110, START, size);
    writer.system = SYSTEM;
    let mut chaos = 1_u32;
    for second in 0..60 {
        let body = std::iter::repeat_with(|| {
            chaos = chaos.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (chaos >> 24) as u8
        });
        writer.record(10, 0, &body.take(6000).collect::<Vec<u8>>());
        writer.commit(second * 1_000_000);
    }
    writer
}

fn partial() -> String {
    WalFileName::Partial(segment_name(5)).to_string()
}

fn at_second(second: f64) -> Goal {
    let text = format!("2000-01-01 00:00:{second:09.6}+00");
    let (time, _) = TargetTime::parse(&text, &jiff::tz::TimeZone::UTC).expect("a time");
    Goal { target: Some(RecoveryTarget::Time(time)), ..Goal::default() }
}

/// What was said.
fn warnings(fixture: &Fixture, disk: &ModelDisk, goal: Goal) -> Vec<String> {
    let mut witness = Witness::default();
    fixture.restore_to(disk, goal, &mut witness).expect("restored");
    witness.warnings
}

fn names_the_last_commit(warnings: &[String], second: u32) -> bool {
    let text = format!("the last commit in the WAL is of 2000-01-01T00:00:{second:02}Z");
    matches!(warnings, [only] if only.starts_with(&text))
}

#[test]
fn a_time_that_only_the_dead_branch_has_seen_is_not_taken_for_one_that_is_reached() {
    let fixture = Fixture::new();
    let writer = written();
    // In the middle; each commit is a record behind another.
    let (switchpoint, second) = (writer.starts[2 * 32], 31);
    let mut whole = writer.bytes;
    whole.resize(SEGMENT as usize, 0);
    let history = format!("1\t{switchpoint}\tno recovery target specified\n");
    let streaming = fixture.layout().streaming().join(partial());
    for place in [fixture.layout().wal(WalFileName::Segment(segment_name(5))), streaming] {
        let disk = fixture.packed();
        disk.put(&place, &whole);
        let ends_there = |timeline| Goal { timeline: Some(timeline), ..at_second(40.5) };
        let told = warnings(&fixture, &disk.after_kill(0), ends_there(TargetTimeline::Latest));
        assert_eq!(told, Vec::<String>::new(), "the old timeline goes on to there");
        disk.put(&fixture.layout().wals().join("00000002.history"), history.as_bytes());
        let told = warnings(&fixture, &disk.after_kill(0), ends_there(TargetTimeline::Latest));
        assert!(names_the_last_commit(&told, second), "{told:?}");
        let told = warnings(&fixture, &disk, ends_there(TargetTimeline::Current));
        assert_eq!(told, Vec::<String>::new());
    }
}

#[test]
fn the_last_commit_is_that_of_the_file_that_goes_furthest() {
    let fixture = Fixture::new();
    let writer = written();
    let disk = fixture.packed();
    let archived = fixture.layout().wal(WalFileName::Partial(segment_name(5)));
    let ends = writer.starts[2 * 20].bytes_since(START) as usize;
    disk.put(&archived, &pack("zstd", &writer.bytes[..ends]));
    let told = warnings(&fixture, &disk.after_kill(0), at_second(40.5));
    assert!(names_the_last_commit(&told, 19), "{told:?}");
    disk.put(&fixture.layout().streaming().join(partial()), &writer.bytes);
    let told = warnings(&fixture, &disk.after_kill(0), at_second(40.5));
    assert_eq!(told, Vec::<String>::new());
    let told = warnings(&fixture, &disk, at_second(59.5));
    assert!(names_the_last_commit(&told, 59), "{told:?}");
}

#[test]
fn of_a_packed_open_segment_that_is_damaged_what_can_be_unpacked_is_restored_and_the_rest_said() {
    let fixture = Fixture::new();
    let bytes = written().bytes;
    let place = fixture.layout().wal(WalFileName::Partial(segment_name(5)));
    let name = segment_name(5);
    for word in ["zstd", "gzip"] {
        let packed = pack(word, &bytes);
        let disk = fixture.packed();
        disk.put(&place, &packed[..packed.len() * 3 / 4]);
        let late = disk.after_kill(0);
        let mut witness = Witness::default();
        let done = fixture.restore_to(&disk, Goal::default(), &mut witness).expect("restored");
        let end = done.plan.wal.end;
        assert!(end > START + 100_000, "{word}: to {end}");
        let [told] = &witness.warnings[..] else { panic!("{word}: {:?}", witness.warnings) };
        assert!(told.contains(&format!("{name}, which was not received to its end, is damaged")));
        assert!(told.ends_with(&format!("further than {end}")), "{told}");
        let found = disk.bytes(&restored(&format!("pg_wal/{name}"))).expect("copied");
        let good = end.bytes_since(START) as usize;
        assert_eq!(found.len(), SEGMENT as usize, "{word}");
        assert!(found[..good] == bytes[..good], "{word}");
        let told = warnings(&fixture, &late.after_kill(0), at_second(59.5));
        assert!(told.iter().any(|told| told.starts_with("the last commit in the WAL")), "{told:?}");
        let early = warnings(&fixture, &late, at_second(5.5));
        assert!(!early.iter().any(|told| told.starts_with("the last commit")), "{early:?}");
    }
}

#[test]
fn damage_in_front_of_good_records_is_said_and_the_end_of_what_was_received_is_none() {
    let fixture = Fixture::new();
    let writer = written();
    let place = fixture.layout().streaming().join(partial());
    let mut bytes = writer.bytes.clone();
    let bad = writer.starts[2 * 20];
    bytes[bad.bytes_since(START) as usize + 100] ^= 1;
    let disk = fixture.packed();
    disk.put(&place, &bytes);
    let [told] = &warnings(&fixture, &disk, Goal::default())[..] else { panic!("not said") };
    assert!(
        told.ends_with(&format!("is damaged: recovery can go no further than {bad}")),
        "{told}"
    );
    // Half a record, and what the file held before.
    let mut received = writer.bytes[..bad.bytes_since(START) as usize + 100].to_vec();
    received.resize(SEGMENT as usize, 7);
    let disk = fixture.packed();
    disk.put(&place, &received);
    assert_eq!(warnings(&fixture, &disk, Goal::default()), Vec::<String>::new());
}

#[test]
fn an_open_segment_of_another_cluster_is_refused_before_anything_is_written() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let foreign = segment(5, SystemIdentifier(1));
    disk.put(&fixture.layout().streaming().join(partial()), &foreign);
    let before = disk.files();
    let refused = fixture.restore(&disk).expect_err("of another cluster");
    assert!(matches!(refused, RestoreError::ForeignSegment { .. }), "{refused}");
    assert_eq!(disk.files(), before);
}

#[test]
fn a_disk_that_does_not_give_the_open_segment_keeps_only_those_from_their_backup_who_need_it() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let place = fixture.layout().streaming().join(partial());
    disk.put(&place, &written().bytes);
    // What is read first is the same each time.
    let trial = disk.after_kill(0);
    fixture.restore(&trial).expect("a good disk");
    let of_it = |call: &&(usize, String)| call.1 == format!("read {}", place.display());
    let calls: Vec<(usize, String)> = trial.history().into_iter().enumerate().collect();
    let reads: Vec<u64> = calls.iter().filter(of_it).map(|(call, _)| *call as u64).collect();
    let failing = |read: usize| {
        let disk = disk.after_kill(0);
        disk.fail_call(reads[read], Errno::IO);
        disk
    };
    let immediate = || Goal { target: Some(RecoveryTarget::Immediate), ..Goal::default() };
    for read in [0, 1, 2, 30] {
        let disk = failing(read);
        let before = disk.files();
        let refused = fixture.restore(&disk).expect_err("the end of the WAL cannot be read");
        let RestoreError::UnreadWal { name, source } = &refused else { panic!("{refused}") };
        assert_eq!(*name, segment_name(5));
        assert!(source.to_string().contains(".partial"), "{source}");
        assert!(refused.hint().is_some_and(|hint| hint.starts_with("try again")));
        assert_eq!(disk.files(), before, "nothing is written");
        assert_eq!(warnings(&fixture, &failing(read), immediate()), Vec::<String>::new());
    }
    // Thirty pages hold some twenty seconds.
    assert_eq!(warnings(&fixture, &failing(30), at_second(5.5)), Vec::<String>::new());
    let refused = fixture.restore_to(&failing(30), at_second(50.5), &mut Witness::default());
    assert!(matches!(refused, Err(RestoreError::UnreadWal { .. })), "{refused:?}");
}

#[test]
fn what_cannot_be_unpacked_at_all_is_said_where_it_was_wanted() {
    let fixture = Fixture::new();
    let place = fixture.layout().wal(WalFileName::Partial(segment_name(5)));
    // A block of lz4 is all or nothing.
    let packed = pack("lz4", &written().bytes);
    for (content, why) in
        [(&b"\x85\x01\x0c\0\0\0"[..], "gpg"), (&packed[..packed.len() / 2], "cannot unpack")]
    {
        let disk = fixture.packed();
        disk.put(&place, content);
        let [told] = &warnings(&fixture, &disk, Goal::default())[..] else { panic!("not said") };
        assert!(told.contains(why) && told.ends_with("no further than 0/500000"), "{told}");
    }
}
