//! A backup that is called done restores, whatever else was going on; one that was cut short is
//! never called done.
//!
//! Retention deletes older backups because a newer one is there. If that one was cut short by
//! a kill or a stop of its server and counted all the same, nothing is left.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::scratch::wait_until;
use super::tapster::Running;
use super::{Cluster, Load, Stop, Tapster};

/// Restores the latest backup without WAL from elsewhere; the server opens by itself.
fn restore_latest(tapster: &Tapster, cluster: &Cluster, folder: &str, options: &[&str]) -> Cluster {
    let folder = tapster.path().join(folder);
    let text = folder.display().to_string();
    tapster.ok(&[&["restore"], options, &["main", "latest", &text]].concat());
    let restored = Cluster::of_directory(cluster.major(), &folder);
    restored.launch();
    restored
}

/// How many backups are listed with a size: the ones that are done.
fn done(tapster: &Tapster) -> usize {
    tapster.ok(&["list-backups", "main"]).stdout.matches("- Size:").count()
}

/// A server with enough data for a backup to be cut short, and a limit on its rate.
fn slow_backup(cluster: &Cluster) -> Tapster {
    cluster.sql(
        "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 100000) n",
    );
    let tapster = Tapster::new();
    let options = Tapster::server_options(cluster) + "bandwidth_limit = 4096\n";
    tapster.write_server("main", &options);
    tapster
}

/// Bytes of all files; those that come and go meanwhile may be missed.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// Waits until data of a backup arrives.
fn wait_for_data(tapster: &Tapster, backup: &mut Running) {
    let base = tapster.server("main").join("base");
    wait_until(
        "data in base/",
        Duration::from_secs(60),
        || {
            assert!(backup.is_running(), "the backup ended: {}", backup.output());
            (bytes_below(&base) > 1 << 20).then_some(())
        },
        || format!("nothing in {}", base.display()),
    );
}

#[test]
fn a_backup_without_a_receiver_brings_the_wal_that_it_needs() {
    for major in [10, 14, 18] {
        let cluster = Cluster::start(major);
        let tapster = Tapster::of(&cluster);
        let load = Load::start(&cluster, 5000);
        load.wait_for(20);
        let before = load.committed();
        tapster.ok(&["backup", "main"]);
        load.stop();
        cluster.wait_for_no_slot();
        let restored = restore_latest(&tapster, &cluster, "restored", &["--target-immediate"]);
        super::round_trip::open_at_target(&restored);
        let counted = restored.sql("SELECT count(*), max(id) FROM ledger");
        assert_eq!(counted[0][0], counted[0][1], "a gap in the ledger");
        let last: u64 = counted[0][1].as_ref().and_then(|n| n.parse().ok()).expect("a number");
        assert!(
            last >= before,
            "row {before} was committed before the backup began, {last} is there"
        );
    }
}

#[test]
fn a_killed_backup_is_never_called_done_and_the_next_one_is() {
    let cluster = Cluster::start(17);
    let tapster = slow_backup(&cluster);
    let mut backup = tapster.spawn(&["backup", "main"]);
    wait_for_data(&tapster, &mut backup);
    backup.kill();
    assert_eq!(done(&tapster), 0);
    tapster.refused(&[
        "restore",
        "main",
        "latest",
        &tapster.path().join("r").display().to_string(),
    ]);
    assert!(!tapster.path().join("r").join("PG_VERSION").exists());
    cluster.wait_for_no_slot();
    tapster.write_server("main", &Tapster::server_options(&cluster));
    tapster.ok(&["backup", "main"]);
    assert_eq!(done(&tapster), 1);
    restore_latest(&tapster, &cluster, "restored", &[]).wait_until_writable();
}

#[test]
fn an_interrupted_backup_fails_and_leaves_no_slot() {
    let cluster = Cluster::start(12);
    let tapster = slow_backup(&cluster);
    let mut backup = tapster.spawn(&["backup", "main"]);
    wait_for_data(&tapster, &mut backup);
    assert_ne!(backup.interrupt(), 0, "{}", backup.output());
    assert_eq!(done(&tapster), 0);
    cluster.wait_for_no_slot();
}

#[test]
fn a_server_that_goes_away_fails_the_backup() {
    let cluster = Cluster::start(16);
    let tapster = slow_backup(&cluster);
    let mut backup = tapster.spawn(&["backup", "main"]);
    wait_for_data(&tapster, &mut backup);
    cluster.stop(Stop::Immediate);
    assert_ne!(backup.wait(), 0, "{}", backup.output());
    assert!(!backup.output().contains("panicked"), "{}", backup.output());
    assert_eq!(done(&tapster), 0);
}

#[test]
fn a_second_backup_at_the_same_time_does_not_disturb_the_first() {
    let cluster = Cluster::start(15);
    let tapster = slow_backup(&cluster);
    let mut first = tapster.spawn(&["backup", "main"]);
    wait_for_data(&tapster, &mut first);
    let second = tapster.run(&["backup", "main"]);
    assert_ne!(second.code, 0, "{second}");
    assert_eq!(first.wait(), 0, "{}", first.output());
    assert_eq!(done(&tapster), 1);
}

#[test]
fn a_standby_is_backed_up_as_well() {
    for major in [10, 13, 18] {
        let cluster = Cluster::start(major);
        cluster.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n");
        let standby = cluster.standby();
        cluster.wait_for_standby(&standby);
        let load = Load::start(&cluster, 20_000);
        let tapster = Tapster::new();
        // WAL that a backup of a standby needs is finished by the primary only.
        tapster.write_server(
            "main",
            &(Tapster::server_options(&standby)
                + &format!("primary_conninfo = {}\n", cluster.conninfo())),
        );
        tapster.ok(&["backup", "main"]);
        load.stop();
        let restored = restore_latest(&tapster, &cluster, "restored", &[]);
        restored.wait_until_writable();
        assert_eq!(restored.value("SELECT count(*) FROM t"), "1000");
    }
}
