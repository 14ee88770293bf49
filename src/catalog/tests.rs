//! What follows from a repository, shown on those that Barman made.

use std::path::{Path, PathBuf};

use super::*;
use crate::disk::RealDisk;
use crate::repository::{HoleCause, XlogLine};
use crate::wal::{SegmentName, SegmentNumber, SegmentSize};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-tests/fixtures/barman").join(name)
}

/// A repository of `server` with these backups and the xlog database of a sample.
fn repository(
    server: &str,
    xlogdb: &str,
    backups: &[(&str, &str)],
) -> (tempfile::TempDir, ServerLayout) {
    let home = tempfile::tempdir().expect("a directory");
    let layout = ServerLayout::below(home.path(), server.parse().expect("a name"));
    layout.create_directories(&RealDisk).expect("directories");
    let copy = |from: &str, to: &Path| {
        std::fs::copy(fixture(from), to).expect(from);
    };
    copy(&format!("xlogdb/{xlogdb}-xlog.db"), &layout.xlogdb());
    for (id, sample) in backups {
        let id = id.parse().expect("an id");
        copy(&format!("backup-info/{sample}.backup.info"), &layout.backup_info(id));
    }
    (home, layout)
}

fn load(layout: &ServerLayout) -> Catalog {
    Catalog::load(&RealDisk, layout).expect("a catalogue")
}

fn segment(text: &str) -> SegmentName {
    text.parse().expect(text)
}

const PG17: &[(&str, &str)] = &[
    ("20261123T065829", "postgres17-full"),
    ("20261123T065832", "postgres17-incremental"),
    ("20261123T070000", "postgres-failed"),
];

#[test]
fn backups_are_found_by_place_id_and_name() {
    let (_home, layout) = repository("pg17", "pg17", PG17);
    let catalog = load(&layout);
    for (wanted, found) in [
        ("latest", "20261123T065832"),
        ("last", "20261123T065832"),
        ("oldest", "20261123T065829"),
        ("first", "20261123T065829"),
        ("latest-full", "20261123T065829"),
        ("last-full", "20261123T065829"),
        ("last-failed", "20261123T070000"),
        ("inc1", "20261123T065832"),
        ("20261123T070000", "20261123T070000"),
    ] {
        assert_eq!(catalog.find(wanted).expect(wanted).id.as_str(), found, "{wanted}");
    }
    for unknown in ["nosuch", "20200101T000000", "fail", "a"] {
        let error = catalog.find(unknown).expect_err(unknown);
        assert_eq!(error.to_string(), format!("Unknown backup '{unknown}' for server 'pg17'"));
    }
}

#[test]
fn a_name_that_two_backups_carry_is_refused_with_both_ids() {
    let twice = [
        ("20261123T063903", "postgres-tar-none-named"),
        ("20261123T063904", "postgres-tar-none-named"),
    ];
    let (_home, layout) = repository("main-none", "main-none", &twice);
    assert_eq!(
        load(&layout).find("hooked").expect_err("two").to_string(),
        "Multiple backups found matching name 'hooked' (try using backup ID instead): \
         20261123T063903 20261123T063904"
    );
}

#[test]
fn chains_and_neighbours_are_those_of_copied_backups() {
    let (_home, layout) = repository("pg17", "pg17", PG17);
    let catalog = load(&layout);
    let child = catalog.find("inc1").expect("a backup");
    let (root, length) = catalog.chain(child);
    assert_eq!((root.id.as_str(), length), ("20261123T065829", 2));
    assert_eq!(catalog.previous(child.id).map(|backup| backup.id), Some(root.id));
    assert_eq!(catalog.next(child.id).map(|backup| backup.id), None);
}

#[test]
fn a_damaged_backup_is_set_aside_and_hides_no_other() {
    let (_home, layout) = repository("pg17", "pg17", PG17);
    let id = "20261123T080000".parse().expect("an id");
    std::fs::write(layout.backup_info(id), "rubbish\n").expect("written");
    let catalog = load(&layout);
    assert_eq!(catalog.backups().len(), 3);
    assert_eq!(catalog.damaged().len(), 1);
    assert!(
        catalog.damaged()[0].1.to_string().ends_with("-backup.info:1: not of the form key=value")
    );
}

#[test]
fn a_keep_is_read_from_both_places() {
    let (_home, layout) = repository("pg17", "pg17", PG17);
    let (old, new) =
        ("20261123T065829".parse().expect("id"), "20261123T065832".parse().expect("id"));
    std::fs::create_dir_all(layout.old_keep(old).parent().expect("a parent")).expect("made");
    std::fs::write(layout.old_keep(old), "standalone").expect("written");
    std::fs::write(layout.keep(new), "full").expect("written");
    let catalog = load(&layout);
    assert_eq!(catalog.keep(old), Some(Keep::Standalone));
    assert_eq!(catalog.keep(new), Some(Keep::Full));
}

#[test]
fn usage_counts_segments_whatever_the_order_of_lines_and_ignores_labels() {
    let (_home, layout) = repository(
        "main-rsync",
        "main-rsync",
        &[("20261123T063037", "rsync-first"), ("20261123T063105", "rsync-link-named")],
    );
    let catalog = load(&layout);
    let usage = catalog.usage(catalog.find("oldest").expect("a backup")).expect("a usage");
    assert_eq!((usage.own_segments, usage.own_bytes), (1, 16_544));
    assert_eq!((usage.later_segments, usage.later_bytes), (2, 67_092));
    assert_eq!(usage.last, Some(segment("000000010000000000000017")));

    let (_home, layout) =
        repository("standby", "standby", &[("20261123T064330", "rsync-from-standby")]);
    let catalog = load(&layout);
    let usage = catalog.usage(catalog.find("latest").expect("a backup")).expect("a usage");
    assert_eq!(usage.last, Some(segment("00000001000000000000002C")));
    let rate = usage.segments_per_second.expect("a rate");
    assert_eq!(format!("{rate}"), "0.004747708967356151");
}

#[test]
fn timelines_that_fork_behind_the_end_of_a_backup_can_be_reached_from_it() {
    let (_home, layout) =
        repository("standby", "standby", &[("20261123T064330", "rsync-from-standby")]);
    let two = Timeline::new(2).expect("a timeline");
    let path = layout.wal(WalFileName::History(two));
    std::fs::write(&path, "1\t0/2D0000A0\tno recovery target specified\n").expect("written");
    let catalog = load(&layout);
    let backup = catalog.find("latest").expect("a backup");
    assert_eq!(catalog.reachable_timelines(backup), [two]);
    std::fs::write(&path, "1\t0/2A0000A0\tforked before the end\n").expect("written");
    let catalog = load(&layout);
    let backup = catalog.find("latest").expect("a backup");
    assert_eq!(catalog.reachable_timelines(backup), []);
}

#[test]
fn lost_wal_that_the_new_timelines_own_file_holds_keeps_nobody_from_what_lies_behind() {
    let (_home, layout) =
        repository("standby", "standby", &[("20261123T064330", "rsync-from-standby")]);
    let hole = Hole {
        timeline: Timeline::FIRST,
        from: Lsn(0x2D00_0010),
        to: Lsn(0x2D00_0050),
        since: Timestamp::UNIX_EPOCH,
        why: HoleCause::Damaged,
    };
    Holes::record(&RealDisk, &layout, hole).expect("recorded");
    let two = Timeline::new(2).expect("a timeline");
    let history = |switchpoint: &str| {
        let path = layout.wal(WalFileName::History(two));
        std::fs::write(&path, format!("1\t{switchpoint}\tr\n")).expect("written");
    };
    let found = || {
        let catalog = Catalog::load_from_tree(&RealDisk, &layout).expect("a catalogue");
        catalog.hole_behind(catalog.find("latest").expect("a backup")).copied()
    };
    history("0/2D0000A0");
    assert_eq!(found(), Some(hole));
    let own = WalFileName::Segment(segment("00000002000000000000002D"));
    std::fs::create_dir_all(layout.wal_directory(own)).expect("made");
    std::fs::write(layout.wal(own), b"x").expect("written");
    assert_eq!(found(), None);
    // That file does not hold it if the timelines part in another segment.
    history("0/2E0000A0");
    assert_eq!(found(), Some(hole));
}

fn archive(numbers: impl IntoIterator<Item = u64>) -> ArchivedWal {
    let name =
        |number| SegmentName::new(Timeline::FIRST, SegmentNumber(number), SegmentSize::DEFAULT);
    ArchivedWal::from_lines(numbers.into_iter().map(|number| XlogLine {
        name: WalFileName::Segment(name(number)),
        size: 1,
        modified: 0.0,
        compression: None,
        encryption: None,
    }))
}

#[test]
fn a_backup_is_complete_exactly_when_every_segment_from_begin_to_end_is_there() {
    let size = SegmentSize::DEFAULT;
    let name = |number| SegmentName::new(Timeline::FIRST, SegmentNumber(number), size);
    let state = |wal: &[u64]| wal_state(name(5), name(7), size, &archive(wal.iter().copied()));
    assert_eq!(state(&[]), WalState::Waiting);
    assert_eq!(state(&[3, 4]), WalState::Waiting);
    assert_eq!(state(&[5]), WalState::Waiting);
    assert_eq!(state(&[5, 6]), WalState::Waiting);
    assert_eq!(state(&[7, 5, 6]), WalState::Complete);
    assert_eq!(state(&[5, 6, 7, 8]), WalState::Complete);
    assert_eq!(state(&[6]), WalState::Missing(name(5)));
    assert_eq!(state(&[5, 7]), WalState::Missing(name(6)));
    assert_eq!(state(&[5, 6, 8]), WalState::Missing(name(7)));
    // A segment of another timeline proves nothing.
    let two = Timeline::new(2).expect("a timeline");
    let (begin, end) = (
        SegmentName::new(two, SegmentNumber(5), size),
        SegmentName::new(two, SegmentNumber(7), size),
    );
    assert_eq!(wal_state(begin, end, size, &archive([5, 6, 7])), WalState::Waiting);
}

#[test]
fn gaps_are_what_is_missing_between_what_is_there() {
    let gaps = archive([254, 255, 258, 259, 261]).gaps(SegmentSize::DEFAULT);
    let gap = |first, last| Gap {
        timeline: Timeline::FIRST,
        first: SegmentNumber(first),
        last: SegmentNumber(last),
    };
    assert_eq!(gaps, [gap(256, 257), gap(260, 260)]);
    assert_eq!(archive([]).gaps(SegmentSize::DEFAULT), []);
}

#[test]
fn the_tree_overrules_the_database() {
    let (_home, layout) = repository("main", "main", &[]);
    let name = WalFileName::Segment(segment("000000010000000000000099"));
    std::fs::create_dir_all(layout.wal_directory(name)).expect("made");
    std::fs::write(layout.wal(name), b"x").expect("written");
    let catalog = Catalog::load_from_tree(&RealDisk, &layout).expect("a catalogue");
    let names: Vec<String> = catalog.wal().segments().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["000000010000000000000099"]);
}
