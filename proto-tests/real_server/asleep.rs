//! A receiver that slept through a failover wakes to WAL that nobody has any more.
//!
//! The stored WAL goes on behind the gap, on another timeline, and looks whole file by file. A
//! restore that believed it would end in the middle, or promise an instant that never comes.

use std::time::Duration;

use tapster::disk::RealDisk;
use tapster::repository::{Hole, HoleCause, Holes, ServerLayout};
use tapster::wal::Lsn;

use super::refusals::says;
use super::round_trip::open_at_target;
use super::scratch::wait_until;
use super::tables::assert_same_tables;
use super::tapster::Outcome;
use super::{Cluster, Stop, Tapster};

#[test]
fn what_a_failover_took_while_the_receiver_slept_is_a_hole_that_everybody_knows() {
    for major in [11, 14, 18] {
        check(major);
    }
}

fn check(major: u32) {
    let (keep, much) = keep(major);
    let primary = Cluster::builder(major)
        .segment_mib(1)
        .setting(keep, much)
        .setting("min_wal_size", "2MB")
        .setting("max_wal_size", "2MB")
        .start();
    primary.sql("CREATE TABLE t (v text)");
    let nodes = [primary.standby(), primary];
    let [standby, primary] = &nodes;
    let tapster = Tapster::new();
    configure(&tapster, &nodes);
    let mut receiver = tapster.receive(primary);
    tapster.ok(&["backup", "main"]);
    let before = note(primary, "before");
    tapster.wait_for_archived("main", &[primary.switch_wal()]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    tapster.ok(&["receive-wal", "--drop-slot", "main"]);

    let asleep = note(primary, "asleep");
    let needed = primary.value(&format!("SELECT pg_walfile_name('{}')", asleep.lsn));
    primary.advance_wal(3);
    primary.wait_for_standby(standby);
    primary.stop(Stop::Crash);
    standby.promote();
    remove_wal(standby, &needed);
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    receiver.wait_for_log(&tapster, "WAL is missing in the archive");
    receiver.wait_until_streaming(standby);
    let behind = note(standby, "behind");
    tapster.wait_for_archived("main", &[standby.switch_wal()]);

    let holes = holes(&tapster);
    let timelines: Vec<u32> = holes.iter().map(|hole| hole.timeline.id()).collect();
    assert_eq!(timelines, [1, 2], "lost on the old timeline and on the new one: {holes:?}");
    let [old, new] = holes[..] else { panic!("{holes:?}") };
    assert_eq!((old.to, old.why, new.why), (new.from, HoleCause::Removed, HoleCause::Removed));
    let within = |moment: &Moment| old.from <= moment.position() && moment.position() < new.to;
    assert_eq!([&before, &asleep, &behind].map(within), [false, true, false], "{holes:?}");
    is_known(&tapster, &old);

    // What is lost, and what is behind it, is refused with the reason; what is before is there.
    for moment in [&asleep, &behind] {
        for target in [["--target-lsn", &moment.lsn], ["--target-time", &moment.time]] {
            says(&refused_restore(&tapster, &target), &["is lost", &old.from.to_string()]);
        }
    }
    let restored =
        tapster.restore(major, "before", &["--target-lsn", &before.lsn, "main", "first"]);
    open_at_target(&restored);
    assert_same_tables(&before.tables, &restored.checksums());
    drop(restored);

    // A backup behind the hole makes what comes after it restorable, and nothing else.
    tapster.ok(&["backup", "main"]);
    let later = note(standby, "later");
    tapster.wait_for_archived("main", &[standby.switch_wal()]);
    let check = tapster.run(&["check", "main"]).stdout;
    assert!(!check.contains("lost WAL"), "{check}");
    let restored = tapster.restore(major, "later", &["--target-lsn", &later.lsn, "main", "latest"]);
    open_at_target(&restored);
    assert_same_tables(&later.tables, &restored.checksums());
    says(&refused_restore(&tapster, &["--target-lsn", &later.lsn]), &["is lost"]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}

/// The setting that keeps WAL, and 64 MB of it.
fn keep(major: u32) -> (&'static str, &'static str) {
    match major {
        ..13 => ("wal_keep_segments", "64"),
        _ => ("wal_keep_size", "64MB"),
    }
}

/// An instant, and what was there.
struct Moment {
    lsn: String,
    time: String,
    tables: super::tables::Checksums,
}

impl Moment {
    fn position(&self) -> Lsn {
        self.lsn.parse().expect("a position")
    }
}

/// Commits something, and remembers the instant behind it. There is a commit behind that too: a
/// target that nothing follows is never reached.
fn note(cluster: &Cluster, what: &str) -> Moment {
    cluster.sql(&format!("INSERT INTO t VALUES ('{what}')"));
    let lsn = cluster.value("SELECT pg_current_wal_insert_lsn()");
    let time = cluster.value("SELECT clock_timestamp()");
    let tables = cluster.checksums();
    cluster.sql(&format!("INSERT INTO t VALUES ('behind {what}')"));
    Moment { lsn, time, tables }
}

/// Has the server write and check until it has removed a segment.
fn remove_wal(cluster: &Cluster, segment: &str) {
    let path = cluster.pg_wal().join(segment);
    let (keep, _) = keep(cluster.major());
    cluster.sql(&format!("ALTER SYSTEM SET {keep} = 0"));
    cluster.reload();
    wait_until(
        &format!("{segment} to be removed"),
        Duration::from_secs(60),
        || {
            cluster.switch_wal();
            cluster.sql("CHECKPOINT");
            (!path.exists()).then_some(())
        },
        || cluster.log_tail(),
    );
}

/// The primary is whichever of the two hosts says so; its slot protects nobody who drops it.
fn configure(tapster: &Tapster, nodes: &[Cluster]) {
    let primary = "target_session_attrs=primary";
    let hosts = Tapster::hosts_options(nodes, primary, primary);
    tapster.write_server("main", &(hosts + "slot_name = tapster\n"));
}

fn holes(tapster: &Tapster) -> Vec<Hole> {
    let layout =
        ServerLayout::below(&tapster.path().join("repository"), "main".parse().expect("a name"));
    Holes::read(&RealDisk, &layout).expect("the holes").iter().copied().collect()
}

/// Whoever asks about the backup before a hole hears of the hole.
fn is_known(tapster: &Tapster, hole: &Hole) {
    let check = tapster.run(&["check", "main"]);
    let found = check.stdout.lines().find(|line| line.contains("lost WAL: FAILED"));
    let is_named =
        |line: &str| line.contains(&hole.to_string()) && line.contains("take a new base backup");
    assert!(check.code != 0 && found.is_some_and(is_named), "{check}");
    let past = format!("past {}", hole.from);
    let listed = tapster.ok(&["list-backups", "main"]);
    says(&listed, &["WARNING", &past, &hole.to_string()]);
    let shown = tapster.ok(&["show-backup", "main", "first"]);
    assert!(shown.stdout.contains(&format!("cannot be restored {past}")), "{shown}");
}

/// Of the backup before the hole, on whatever timeline is the newest.
fn refused_restore(tapster: &Tapster, target: &[&str; 2]) -> Outcome {
    let folder = tapster.path().join("refused");
    let folder = folder.to_str().expect("UTF-8");
    let begin = ["restore", "--target-tli", "latest"];
    let outcome = tapster.refused(&[&begin[..], target, &["main", "first", folder]].concat());
    assert!(!std::path::Path::new(folder).exists(), "something was restored: {outcome}");
    outcome
}
