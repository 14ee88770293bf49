//! Backups of servers that are not as most servers are: a standby that is promoted meanwhile,
//! in-place tablespaces, a data directory that the group may read, WAL segments of a gigabyte.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::scratch::wait_until;
use super::tables::assert_same_tables;
use super::{Cluster, Load, Stop, Tapster};

#[test]
fn a_standby_that_is_promoted_during_its_backup_fails_it_with_that_reason() {
    for major in [12, 18] {
        let cluster = Cluster::start(major);
        cluster.sql(
            "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 50000) n",
        );
        let standby = cluster.standby();
        cluster.wait_for_standby(&standby);
        let tapster = Tapster::new();
        let options = Tapster::server_options(&standby)
            + &format!("primary_conninfo = {}\nbandwidth_limit = 8192\n", cluster.conninfo());
        tapster.write_server("main", &options);
        let mut backup = tapster.spawn(&["backup", "main"]);
        let sends = "SELECT count(*) FROM pg_stat_replication WHERE state = 'backup'";
        wait_until(
            "the standby to send its data",
            Duration::from_secs(60),
            || {
                assert!(backup.is_running(), "it ended: {}", backup.output());
                (standby.value(sends) != "0").then_some(())
            },
            || standby.log_tail(),
        );
        standby.promote();
        assert_eq!(backup.wait(), 1, "{}", backup.output());
        let said = backup.output();
        assert!(said.contains("the standby was promoted during online backup"), "{said}");
        let shown = tapster.ok(&["show-backup", "main", "last-failed"]);
        assert!(shown.stdout.contains("the standby was promoted during"), "{shown}");
        // It is a primary now, and backed up as one.
        tapster.ok(&["backup", "--bwlimit=0", "--wait", "main"]);
    }
}

#[test]
fn the_last_segment_of_a_standbys_backup_is_closed_by_its_idle_primary() {
    let cluster = Cluster::start(16);
    let standby = cluster.standby();
    // In the middle of a segment.
    cluster.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n");
    cluster.sql("CHECKPOINT");
    cluster.wait_for_standby(&standby);
    let tapster = Tapster::new();
    let options = Tapster::server_options(&standby);
    tapster.write_server("main", &options);
    let alone = tapster.run(&["backup", "--wait-timeout", "2", "main"]);
    assert_eq!(alone.code, 1, "nobody closes the segment\n{alone}");
    assert!(alone.stderr.contains("has not been received in 2 seconds"), "{alone}");
    let primary = format!("primary_conninfo = {}\n", cluster.conninfo());
    tapster.write_server("main", &(options + &primary));
    tapster.ok(&["backup", "--wait", "main"]);
    let restored = tapster.restore(16, "restored", &["main", "latest"]);
    restored.wait_until_writable();
    assert_eq!(restored.value("SELECT count(*) FROM t"), "1000");
}

/// A cluster with an ordinary tablespace and one in its data directory, with a table in each.
fn with_in_place_tablespace(major: u32) -> Cluster {
    let cluster = Cluster::start(major);
    cluster.create_tablespace("outside");
    let session = cluster.session("postgres");
    session.sql("SET allow_in_place_tablespaces = on");
    session.sql("CREATE TABLESPACE inside LOCATION ''");
    cluster.sql(
        "CREATE TABLE i TABLESPACE inside AS SELECT n FROM generate_series(1, 1000) n;
         CREATE TABLE o TABLESPACE outside AS SELECT n FROM generate_series(1, 1000) n",
    );
    cluster
}

#[test]
fn in_place_tablespaces_come_back_in_their_place() {
    for major in [16, 18] {
        let cluster = with_in_place_tablespace(major);
        let expected = cluster.checksums();
        let tapster = Tapster::of(&cluster);
        tapster.ok(&["backup", "main"]);
        tapster.ok(&["verify-backup", "main", "latest"]);
        let outside = tapster.path().join("outside");
        let moved = format!("outside:{}", outside.display());
        fs::create_dir(&outside).expect("a folder");
        let folder = tapster.path().join("restored");
        let text = folder.display().to_string();
        let said = tapster.ok(&["restore", "--tablespace", &moved, "main", "latest", &text]);
        // The server itself wants to be told before it replays WAL over such a directory.
        assert!(said.stderr.contains("allow_in_place_tablespaces = on until"), "{said}");
        let auto = folder.join("postgresql.auto.conf");
        let settings = fs::read_to_string(&auto).expect("it was restored");
        fs::write(&auto, settings + "allow_in_place_tablespaces = on\n").expect("written");
        super::scratch::give_to_server(&outside);
        cluster.stop(Stop::Fast);
        let restored = Cluster::of_directory(major, &folder);
        restored.launch();
        restored.wait_until_writable();
        assert_same_tables(&expected, &restored.checksums());
        let oid = restored.value("SELECT oid FROM pg_tablespace WHERE spcname = 'inside'");
        let place = folder.join("pg_tblspc").join(oid);
        assert!(fs::symlink_metadata(&place).expect("it is there").is_dir(), "{place:?}");
    }
}

#[test]
fn in_place_tablespaces_that_the_server_would_leave_out_are_no_backup() {
    let cluster = with_in_place_tablespace(15);
    let tapster = Tapster::of(&cluster);
    let refused = tapster.refused(&["backup", "main"]);
    assert!(refused.stderr.contains("and this one has: inside"), "{refused}");
    assert_eq!(tapster.ok(&["list-backups", "main"]).stdout, "", "there is nothing to believe");
    let rehearsed = tapster.run(&["backup", "--dry-run", "main"]);
    assert_eq!(rehearsed.code, 1, "{rehearsed}");
    assert!(rehearsed.stderr.contains("and this one has: inside"), "{rehearsed}");
}

/// Every mode below a directory that lets others in than it should, or keeps the group out.
fn modes(folder: &Path, found: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let data = entry.metadata().expect("it is there");
        found.push((entry.path().display().to_string(), data.permissions().mode() & 0o7777));
        if data.is_dir() {
            modes(&entry.path(), found);
        }
    }
}

#[test]
fn a_data_directory_that_the_group_may_read_is_restored_as_one() {
    for major in [11, 17] {
        let cluster = Cluster::builder(major).initdb("-g").start();
        cluster.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n");
        let tapster = Tapster::of(&cluster);
        tapster.ok(&["backup", "main"]);
        let folder = tapster.path().join("restored");
        tapster.ok(&["restore", "main", "latest", &folder.display().to_string()]);
        let mode =
            |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(mode(cluster.data()), 0o750, "the test is broken");
        assert_eq!(mode(&folder), 0o750);
        let mut found = Vec::new();
        for name in ["base", "global", "pg_xact", "PG_VERSION"] {
            let path = folder.join(name);
            found.push((name.to_owned(), mode(&path)));
            if path.is_dir() {
                modes(&path, &mut found);
            }
        }
        let is_open = |mode: u32| matches!(mode, 0o750 | 0o640);
        let wrong: Vec<_> = found.iter().filter(|(_, mode)| !is_open(*mode)).collect();
        assert!(wrong.is_empty() && found.len() > 500, "{major}: {} {wrong:?}", found.len());
        let restored = Cluster::of_directory(major, &folder);
        restored.launch();
        restored.wait_until_writable();
        assert_eq!(restored.value("SHOW data_directory_mode"), "0750");
        assert_eq!(restored.value("SELECT count(*) FROM t"), "1000");
    }
}

#[test]
fn a_server_with_wal_segments_of_a_gigabyte_is_backed_up_and_comes_back() {
    let cluster = Cluster::builder(17)
        .segment_mib(1024)
        .setting("min_wal_size", "2GB")
        .setting("max_wal_size", "4GB")
        .start();
    let tapster = Tapster::of(&cluster);
    let load = Load::start(&cluster, 100);
    load.wait_for(20);
    let before = load.committed();
    // The server closes its segment and sends a gigabyte of zeros: they are not waited for.
    let backup = tapster.run(&["backup", "--wait-timeout", "1", "main"]);
    assert!(backup.stderr.contains("has not been received in 1 seconds"), "{backup}");
    load.stop();
    tapster.ok(&["verify-backup", "main", "latest"]);
    let restored = tapster.restore(17, "restored", &["main", "latest"]);
    restored.wait_until_writable();
    let rows: u64 = restored.value("SELECT count(*) FROM ledger").parse().expect("a number");
    assert!(rows >= before, "{rows} of {before}");
}
