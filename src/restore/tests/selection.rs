//! A restore whose WAL has a hole looks complete until the server is started on the worst day.
//!
//! Barman once copied no WAL at all, with exit status 0, because two lines of its database were
//! swapped; and it stopped at a promotion that PostgreSQL follows. Each table here is a set of
//! files and what recovery reads of them.

use super::*;
use crate::repository::HoleCause;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

fn tli(id: u32) -> Timeline {
    Timeline::new(id).expect("not 0")
}

fn lsn(text: &str) -> Lsn {
    text.parse().expect("a position")
}

fn names(list: &[&str]) -> Vec<SegmentName> {
    list.iter().map(|name| short(name)).collect()
}

/// `1/2A` is segment 0x2A of timeline 1.
fn short(name: &str) -> SegmentName {
    let (timeline, number) = name.split_once('/').expect("timeline/segment");
    let number = u64::from_str_radix(number, 16).expect("hexadecimal");
    SegmentName::new(tli(timeline.parse().expect("a number")), SegmentNumber(number), SIZE)
}

fn backup() -> BackupRange {
    BackupRange {
        timeline: tli(1),
        begin: lsn("0/2A000028"),
        end_timeline: tli(1),
        end: lsn("0/2B000100"),
        segment_size: SIZE,
    }
}

fn wal(segments: &[&str], histories: &[(u32, &str)]) -> AvailableWal {
    let mut wal = AvailableWal::default();
    wal.segments.extend(names(segments));
    for (timeline, text) in histories {
        let history =
            TimelineHistory::parse(tli(*timeline), text.as_bytes()).expect("a history file");
        wal.histories.insert(tli(*timeline), history);
    }
    wal
}

fn with_partial(mut wal: AvailableWal, name: &str, valid_end: &str) -> AvailableWal {
    wal.partials.insert(short(name), Incomplete { end: lsn(valid_end), damaged: false });
    wal
}

const PROMOTED: (u32, &str) = (2, "1\t0/2D000500\tno recovery target specified\n");

#[test]
fn everything_behind_the_beginning_is_taken_in_order_and_nothing_before_it() {
    let wal = wal(&["1/2C", "1/29", "1/2B", "1/2A", "1/28"], &[]);
    let chosen = wal.select(&backup(), tli(1), Reach::End).expect("complete");
    assert_eq!(chosen.segments, names(&["1/2A", "1/2B", "1/2C"]));
    assert_eq!((chosen.end, chosen.gap), (lsn("0/2D000000"), None));
}

#[test]
fn a_backup_whose_own_wal_is_incomplete_is_refused_by_the_name_of_the_segment() {
    for (there, missing) in [
        (&["1/2B", "1/2C"][..], "1/2A"),
        (&["1/2A", "1/2C"], "1/2B"),
        (&["1/2A"], "1/2B"),
        (&[], "1/2A"),
    ] {
        let refused = wal(there, &[]).select(&backup(), tli(1), Reach::Backup);
        let Err(Refusal::BackupWalMissing { missing: name, .. }) = refused else {
            panic!("{there:?}: {refused:?}");
        };
        assert_eq!(name, short(missing), "{there:?}");
    }
}

#[test]
fn a_backup_that_ends_on_a_boundary_does_not_need_the_segment_behind() {
    let backup = BackupRange { end: lsn("0/2B000000"), ..backup() };
    let chosen = wal(&["1/2A", "1/2B"], &[]).select(&backup, tli(1), Reach::Backup);
    assert_eq!(chosen.expect("complete").segments, names(&["1/2A"]));
}

#[test]
fn a_hole_behind_the_backup_is_named_and_ends_the_selection() {
    let wal = wal(&["1/2A", "1/2B", "1/2D", "1/2E"], &[]);
    let chosen = wal.select(&backup(), tli(1), Reach::End).expect("the backup is complete");
    assert_eq!(chosen.segments, names(&["1/2A", "1/2B"]));
    assert_eq!(chosen.gap, Some(Gap { missing: short("1/2C"), behind: 2, hole: None }));
    let chosen = wal.select(&backup(), tli(1), Reach::Backup).expect("complete");
    assert_eq!(chosen.gap, None, "a hole behind the target matters to nobody");
}

fn lost(timeline: u32, from: &str, to: &str) -> Hole {
    Hole {
        timeline: tli(timeline),
        from: lsn(from),
        to: lsn(to),
        since: jiff::Timestamp::UNIX_EPOCH,
        why: HoleCause::Damaged,
    }
}

#[test]
fn recorded_lost_wal_ends_the_selection_whatever_files_are_there() {
    let all = ["1/2A", "1/2B", "1/2C", "1/2D", "1/2E"];
    let with = |segments: &[&str], hole| AvailableWal {
        holes: [hole].into_iter().collect(),
        ..wal(segments, &[])
    };
    // A bad record in the middle of a segment: what comes before it is taken.
    let damaged = lost(1, "0/2C100000", "0/2C200000");
    let chosen = with(&all, damaged).select(&backup(), tli(1), Reach::End).expect("a way");
    assert_eq!(chosen.segments, names(&all[..3]));
    assert_eq!(chosen.end, damaged.from);
    let gap = Gap { missing: short("1/2C"), behind: 2, hole: Some(damaged) };
    assert_eq!(chosen.gap, Some(gap));
    let before = Reach::Past(lsn("0/2C0FFFF8"));
    let chosen = with(&all, damaged).select(&backup(), tli(1), before).expect("a way");
    assert_eq!((chosen.end, chosen.gap), (damaged.from, None));
    // Removed, from a segment's start on; the archive itself does not show it.
    let removed = lost(1, "0/2C000000", "0/2F000000");
    let there = with_partial(with(&all[..2], removed), "1/2C", "0/2C500000");
    let chosen = there.select(&backup(), tli(1), Reach::End).expect("a way");
    assert_eq!((chosen.segments, chosen.partial), (names(&all[..2]), None));
    assert_eq!(chosen.gap, Some(Gap { missing: short("1/2C"), behind: 0, hole: Some(removed) }));
    // Before the backup, and on a branch that is not followed.
    for other in [lost(1, "0/29000000", "0/2A000000"), lost(3, "0/2C000000", "0/2D000000")] {
        let chosen = with(&all, other).select(&backup(), tli(1), Reach::End).expect("a way");
        assert_eq!((chosen.end, chosen.gap), (lsn("0/2F000000"), None));
    }
    let refused = with(&all, lost(1, "0/2B000080", "0/2B002000"));
    let refused = refused.select(&backup(), tli(1), Reach::End);
    assert!(matches!(refused, Err(Refusal::BackupWalLost { .. })), "{refused:?}");
}

#[test]
fn a_position_on_the_last_bytes_of_a_segment_takes_the_next_one_along() {
    let wal = wal(&["1/2A", "1/2B", "1/2C", "1/2D", "1/2E"], &[]);
    let chosen = wal.select(&backup(), tli(1), Reach::Past(lsn("0/2CFFFFF8"))).expect("complete");
    assert_eq!(chosen.segments.last(), Some(&short("1/2D")));
}

#[test]
fn recovery_follows_a_promotion_through_the_segment_that_both_timelines_have() {
    let wal = wal(&["1/2A", "1/2B", "1/2C", "1/2D", "2/2D", "2/2E", "1/2E"], &[PROMOTED]);
    let latest = wal.choose_timeline(&backup(), TargetTimeline::Latest);
    assert_eq!(latest, Ok(tli(2)));
    let chosen = wal.select(&backup(), tli(2), Reach::End).expect("complete");
    assert_eq!(chosen.segments, names(&["1/2A", "1/2B", "1/2C", "2/2D", "2/2E"]));
    assert_eq!(chosen.histories, [tli(2)]);
    let own = wal.select(&backup(), tli(1), Reach::End).expect("complete");
    assert_eq!(own.segments, names(&["1/2A", "1/2B", "1/2C", "1/2D", "1/2E"]));
    assert_eq!(own.not_followed, [tli(2)]);
}

#[test]
fn a_promotion_on_a_boundary_needs_no_segment_twice() {
    let wal = wal(&["1/2A", "1/2B", "2/2C"], &[(2, "1\t0/2C000000\tr\n")]);
    let chosen = wal.select(&backup(), tli(2), Reach::End).expect("complete");
    assert_eq!(chosen.segments, names(&["1/2A", "1/2B", "2/2C"]));
}

#[test]
fn until_the_new_timelines_first_segment_is_there_the_old_ones_reaches_the_switchpoint() {
    let wal = wal(&["1/2A", "1/2B", "1/2C", "1/2D"], &[PROMOTED]);
    let chosen = wal.select(&backup(), tli(2), Reach::End).expect("complete");
    assert_eq!(chosen.segments.last(), Some(&short("1/2D")));
    assert_eq!(chosen.end, lsn("0/2D000500"));
    let open = with_partial(wal, "2/2D", "0/2D000900");
    let chosen = open.select(&backup(), tli(2), Reach::End).expect("complete");
    assert_eq!(chosen.segments.last(), Some(&short("1/2C")));
    assert_eq!((chosen.partial, chosen.end), (Some(short("2/2D")), lsn("0/2D000900")));
}

#[test]
fn the_open_segment_is_offered_only_when_nothing_supersedes_it() {
    let complete = ["1/2A", "1/2B", "1/2C"];
    let open = with_partial(wal(&complete, &[]), "1/2D", "0/2D000600");
    let chosen = open.select(&backup(), tli(1), Reach::End).expect("complete");
    assert_eq!((chosen.partial, chosen.end), (Some(short("1/2D")), lsn("0/2D000600")));

    let chosen = open.select(&backup(), tli(1), Reach::Backup).expect("complete");
    assert_eq!(chosen.partial, None, "nobody needs it");

    let later = with_partial(wal(&["1/2A", "1/2B", "1/2C", "1/2E"], &[]), "1/2D", "0/2D000600");
    let chosen = later.select(&backup(), tli(1), Reach::End).expect("complete");
    assert_eq!(chosen.partial, None, "a later segment says that it was completed elsewhere");
    assert_eq!(chosen.gap, Some(Gap { missing: short("1/2D"), behind: 1, hole: None }));

    let detached = with_partial(wal(&["1/2A", "1/2B"], &[]), "1/2D", "0/2D000600");
    let chosen = detached.select(&backup(), tli(1), Reach::End).expect("complete");
    assert_eq!(chosen.partial, None, "a hole lies before it");
}

#[test]
fn what_a_timeline_left_behind_is_offered_to_whoever_follows_it() {
    let complete = ["1/2A", "1/2B", "1/2C"];
    // It was received further than the new primary had got.
    let left = with_partial(wal(&complete, &[PROMOTED]), "1/2D", "0/2D000900");
    let chosen = left.select(&backup(), tli(1), Reach::End).expect("complete");
    assert_eq!((chosen.partial, chosen.end), (Some(short("1/2D")), lsn("0/2D000900")));
    assert_eq!((chosen.cut, chosen.not_followed), (None, vec![tli(2)]));
    // The new timeline has the same bytes up to the switchpoint, and others behind it.
    let chosen = left.select(&backup(), tli(2), Reach::End).expect("complete");
    assert_eq!((chosen.partial, chosen.end), (Some(short("1/2D")), lsn("0/2D000500")));
    assert_eq!(chosen.cut_of(short("1/2D")), Some(lsn("0/2D000500")));
    let open = with_partial(left.clone(), "2/2D", "0/2D000800");
    let chosen = open.select(&backup(), tli(2), Reach::End).expect("complete");
    let expected = (Some(short("2/2D")), lsn("0/2D000800"), None);
    assert_eq!((chosen.partial, chosen.end, chosen.cut), expected);
    // It ends before the switchpoint.
    let short_of_it = with_partial(wal(&complete, &[PROMOTED]), "1/2D", "0/2D000400");
    let chosen = short_of_it.select(&backup(), tli(2), Reach::End).expect("complete");
    assert_eq!((chosen.partial, chosen.end), (Some(short("1/2D")), lsn("0/2D000400")));
    // The old timeline's is whole, and went on.
    let whole = wal(&["1/2A", "1/2B", "1/2C", "1/2D", "1/2E"], &[PROMOTED]);
    let chosen = whole.select(&backup(), tli(2), Reach::End).expect("complete");
    assert_eq!(chosen.segments.last(), Some(&short("1/2D")));
    assert_eq!(chosen.cut_of(short("1/2D")), Some(lsn("0/2D000500")));
    assert_eq!(chosen.cut_of(short("1/2C")), None);
}

#[test]
fn the_open_segment_may_hold_the_end_of_the_backup() {
    let open = with_partial(wal(&["1/2A"], &[]), "1/2B", "0/2B000100");
    assert!(open.select(&backup(), tli(1), Reach::Backup).is_ok());
    let short_of_it = with_partial(wal(&["1/2A"], &[]), "1/2B", "0/2B0000F8");
    assert!(short_of_it.select(&backup(), tli(1), Reach::Backup).is_err());
}

#[test]
fn latest_is_the_newest_that_descends_from_the_backup() {
    // Timeline 2 left before the backup ended; 3 and 4 descend, 4 through 3.
    let histories = [
        (2, "1\t0/1000000\tr\n"),
        (3, "1\t0/2D000500\tr\n"),
        (4, "1\t0/2D000500\tr\n3\t0/30000000\tr\n"),
        (6, "1\t0/1000000\tr\n2\t0/40000000\tr\n"),
    ];
    let wal = wal(&["1/2A", "1/2B"], &histories);
    assert_eq!(wal.choose_timeline(&backup(), TargetTimeline::Latest), Ok(tli(4)));
    assert_eq!(wal.choose_timeline(&backup(), TargetTimeline::Current), Ok(tli(1)));
    assert_eq!(wal.servers_latest(&backup()), tli(4));
    let exact = |id| wal.choose_timeline(&backup(), TargetTimeline::Exact(tli(id)));
    assert_eq!(exact(3), Ok(tli(3)));
    assert_eq!(exact(1), Ok(tli(1)));
    assert!(matches!(exact(2), Err(Refusal::NotDescendant { left_at: Some(Lsn(0x100_0000)), .. })));
    let Err(Refusal::UnknownTimeline { known, .. }) = exact(7) else { panic!("7 was accepted") };
    assert_eq!(known, [1, 2, 3, 4, 6].map(tli));
}

#[test]
fn what_a_new_timeline_has_sent_hides_no_more_of_its_ancestors_than_it_holds() {
    let old = wal(&["1/2A", "1/2B", "1/2C", "1/2D"], &[PROMOTED]);
    let left = with_partial(wal(&["1/2A", "1/2B", "1/2C"], &[PROMOTED]), "1/2D", "0/2D000900");
    for there in [&old, &left] {
        for end in ["0/2D000000", "0/2D000400"] {
            let behind = with_partial(there.clone(), "2/2D", end);
            let chosen = behind.select(&backup(), tli(2), Reach::End).expect("complete");
            assert_eq!(chosen.end, lsn("0/2D000500"), "its own reaches {end}");
            assert_eq!(chosen.cut_of(short("1/2D")), Some(lsn("0/2D000500")));
        }
        let as_far = with_partial(there.clone(), "2/2D", "0/2D000500");
        let chosen = as_far.select(&backup(), tli(2), Reach::End).expect("complete");
        assert_eq!((chosen.partial, chosen.cut), (Some(short("2/2D")), None));
    }
    // The end of a record may be all that there is of it.
    let alone = with_partial(wal(&["1/2A", "1/2B", "1/2C"], &[]), "1/2D", "0/2D000000");
    let chosen = alone.select(&backup(), tli(1), Reach::End).expect("complete");
    assert_eq!((chosen.partial, chosen.end), (Some(short("1/2D")), lsn("0/2D000000")));
}

#[test]
fn of_two_promotions_within_a_segment_the_newest_file_that_is_there_stands_in() {
    let twice = (3, "1\t0/2D000500\tr\n2\t0/2D000900\tr\n");
    let complete = ["1/2A", "1/2B", "1/2C"];
    let with = |more: &[&str]| wal(&[&complete[..], more].concat(), &[PROMOTED, twice]);
    let of = |wal: AvailableWal| {
        let chosen = wal.select(&backup(), tli(3), Reach::End).expect("complete");
        let name = chosen.partial.or(chosen.segments.last().copied()).expect("there are some");
        (name, chosen.end, chosen.cut)
    };
    let (first, second) = (lsn("0/2D000500"), lsn("0/2D000900"));
    assert_eq!(of(with(&["1/2D"])), (short("1/2D"), first, Some(first)));
    assert_eq!(of(with(&["1/2D", "2/2D"])), (short("2/2D"), second, Some(second)));
    let whole = of(with(&["1/2D", "2/2D", "3/2D"]));
    assert_eq!(whole, (short("3/2D"), lsn("0/2E000000"), None));
    for (name, valid_end, end, cut) in [
        ("1/2D", "0/2D000A00", first, Some(first)),
        ("2/2D", "0/2D000A00", second, Some(second)),
        ("2/2D", "0/2D000700", lsn("0/2D000700"), Some(second)),
        ("3/2D", "0/2D000A00", lsn("0/2D000A00"), None),
    ] {
        let open = with_partial(with(&[]), name, valid_end);
        assert_eq!(of(open), (short(name), end, cut), "{name} to {valid_end}");
    }
    // The middle one got less far than the oldest one counts.
    let short_of_it = with_partial(with(&["1/2D"]), "2/2D", "0/2D000200");
    assert_eq!(of(short_of_it), (short("1/2D"), first, Some(first)));
}

#[test]
fn the_segment_that_is_named_as_missing_is_the_one_that_is_not_there_to_its_end() {
    let complete = ["1/2A", "1/2B", "1/2C", "2/2E"];
    let left = with_partial(wal(&complete, &[PROMOTED]), "1/2D", "0/2D000900");
    let whole = wal(&["1/2A", "1/2B", "1/2C", "1/2D", "2/2E"], &[PROMOTED]);
    for stands_in in [left, whole] {
        let chosen = stands_in.select(&backup(), tli(2), Reach::End).expect("the backup is");
        assert_eq!(chosen.end, lsn("0/2D000500"));
        assert_eq!(chosen.gap, Some(Gap { missing: short("2/2D"), behind: 1, hole: None }));
        let ends_behind = BackupRange { end_timeline: tli(2), end: lsn("0/2D000600"), ..backup() };
        let refused = stands_in.select(&ends_behind, tli(2), Reach::End);
        let Err(Refusal::BackupWalMissing { missing, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(missing, short("2/2D"));
    }
    let open = with_partial(wal(&["1/2A"], &[]), "1/2B", "0/2B000080");
    let refused = open.select(&backup(), tli(1), Reach::End);
    let Err(Refusal::BackupWalMissing { missing, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(missing, short("1/2B"));
}

#[test]
fn lost_wal_in_a_file_that_stands_in_ends_the_selection_and_in_one_that_is_not_taken_does_not() {
    let hole = lost(1, "0/2D000200", "0/2D000300");
    let with = |wal: AvailableWal| AvailableWal { holes: [hole].into_iter().collect(), ..wal };
    let complete = ["1/2A", "1/2B", "1/2C"];
    let left = with_partial(wal(&complete, &[PROMOTED]), "1/2D", "0/2D000900");
    let whole = wal(&["1/2A", "1/2B", "1/2C", "1/2D"], &[PROMOTED]);
    for stands_in in [left, whole] {
        let chosen = with(stands_in.clone()).select(&backup(), tli(2), Reach::End).expect("a way");
        assert_eq!(chosen.end, hole.from);
        let gap = Gap { missing: short("2/2D"), behind: 0, hole: Some(hole) };
        assert_eq!(chosen.gap, Some(gap));
        // The new primary had it.
        let open = with(with_partial(stands_in, "2/2D", "0/2D000600"));
        let chosen = open.select(&backup(), tli(2), Reach::End).expect("a way");
        let expected = (Some(short("2/2D")), lsn("0/2D000600"), None);
        assert_eq!((chosen.partial, chosen.end, chosen.gap), expected);
    }
    // Behind the switchpoint it is another branch's.
    let other = lost(1, "0/2D000700", "0/2D000800");
    let there = wal(&["1/2A", "1/2B", "1/2C", "1/2D"], &[PROMOTED]);
    let there = AvailableWal { holes: [other].into_iter().collect(), ..there };
    let chosen = there.select(&backup(), tli(2), Reach::End).expect("a way");
    assert_eq!((chosen.end, chosen.gap), (lsn("0/2D000500"), None));
}

#[test]
fn what_was_received_of_a_segment_in_front_of_lost_wal_is_taken_whatever_came_behind() {
    let hole = lost(1, "0/2C100000", "0/2E000000");
    let there = with_partial(wal(&["1/2A", "1/2B", "1/2E"], &[]), "1/2C", "0/2C100000");
    let there = AvailableWal { holes: [hole].into_iter().collect(), ..there };
    let chosen = there.select(&backup(), tli(1), Reach::End).expect("a way");
    assert_eq!((chosen.partial, chosen.end), (Some(short("1/2C")), hole.from));
    let gap = Gap { missing: short("1/2C"), behind: 1, hole: Some(hole) };
    assert_eq!(chosen.gap, Some(gap));
}

#[test]
fn an_incomplete_segment_that_cannot_be_read_matters_to_whoever_needs_more_than_was_read() {
    let read = with_partial(wal(&["1/2A", "1/2B", "1/2C"], &[]), "1/2D", "0/2D000600");
    let unread = AvailableWal { unread: [short("1/2D")].into_iter().collect(), ..read };
    let chosen = unread.select(&backup(), tli(1), Reach::End).expect("the backup is complete");
    assert_eq!(chosen.unread, Some(short("1/2D")));
    for reach in [Reach::Backup, Reach::Past(lsn("0/2C000100")), Reach::Past(lsn("0/2D0005F8"))] {
        let chosen = unread.select(&backup(), tli(1), reach).expect("complete");
        assert_eq!(chosen.unread, None, "{reach:?}");
    }
    let refused = unread.select(&backup(), tli(1), Reach::Past(lsn("0/2D000600")));
    assert_eq!(refused, Err(Refusal::UnreadWal(short("1/2D"))));
    let needed = BackupRange { end: lsn("0/2D000700"), ..backup() };
    let refused = unread.select(&needed, tli(1), Reach::Backup);
    assert_eq!(refused, Err(Refusal::UnreadWal(short("1/2D"))));
    // Completed elsewhere.
    let later = AvailableWal { unread: unread.unread, ..wal(&["1/2A", "1/2B", "1/2E"], &[]) };
    let chosen = later.select(&backup(), tli(1), Reach::End).expect("the backup is complete");
    assert_eq!(chosen.unread, None);
}
