//! Damage on the server's disk is found when it is copied, not when the last good copy is gone.
//!
//! A disk that loses a page is mostly noticed by nobody: the page is read a month later, and by
//! then every backup has the damage in it.

use std::fs;
use std::path::{Path, PathBuf};

use super::backup_options::hung_receiver;
use super::scratch::give_to_server;
use super::{Cluster, Load, Stop, Tapster};

/// A cluster whose table `t` has a bit flipped on disk, in the third page; its file.
fn damaged_cluster(major: u32, checksums: bool) -> (Cluster, String) {
    let cluster = Cluster::builder(major).data_checksums(checksums).start();
    cluster.sql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 5000) n");
    cluster.sql("VACUUM FREEZE t");
    let file = cluster.value("SELECT pg_relation_filepath('t')");
    cluster.stop(Stop::Fast);
    flip(&cluster.data().join(&file), 3 * 8192 + 5000);
    cluster.launch();
    (cluster, file)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("the table's file");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("it can be written");
    give_to_server(path);
}

/// What is kept of failed backups.
fn kept(tapster: &Tapster) -> Vec<PathBuf> {
    let backups = fs::read_dir(tapster.server("main").join("base")).expect("backups").flatten();
    backups.map(|backup| backup.path().join("damaged")).filter(|path| path.exists()).collect()
}

#[test]
fn a_page_that_the_disk_has_damaged_is_named_and_is_in_no_backup_unless_it_is_allowed() {
    for major in [11, 13, 15, 18] {
        let (cluster, file) = damaged_cluster(major, true);
        let tapster = Tapster::of(&cluster);
        let outcome = tapster.refused(&["backup", "main"]);
        let place = format!("block 3 in \"{file}\" has the checksum ");
        assert!(outcome.stderr.contains(&place), "{place}: {outcome}");
        assert!(outcome.stderr.contains("1 damaged page(s) in the cluster"), "{outcome}");
        assert!(outcome.stderr.contains("(XX001)"), "the server says so too: {outcome}");
        assert!(outcome.stderr.contains("--allow-damaged-pages"), "{outcome}");
        assert_eq!(kept(&tapster).len(), 1, "{outcome}");
        assert!(kept(&tapster)[0].join("PG_VERSION").exists(), "{outcome}");
        assert!(!kept(&tapster)[0].with_file_name("data").exists(), "{outcome}");
        let listed = tapster.ok(&["list-backups", "main"]).stdout;
        assert!(listed.contains("FAILED") && !listed.contains("Size:"), "{listed}");
        let folder = tapster.path().join("r").display().to_string();
        tapster.refused(&["restore", "main", "last-failed", &folder]);
        let shown = tapster.ok(&["show-backup", "main", "last-failed"]).stdout;
        assert!(shown.contains(&place), "{shown}");

        // A second failure takes the place of the first.
        tapster.refused(&["backup", "main"]);
        assert_eq!(kept(&tapster).len(), 1);

        let outcome = tapster.ok(&["backup", "--allow-damaged-pages", "main"]);
        let noted =
            format!("holds damage of its cluster: 1 damaged page(s): block 3 in \"{file}\"");
        assert!(outcome.stderr.contains(&noted), "{outcome}");
        assert_eq!(kept(&tapster), Vec::<PathBuf>::new(), "a backup is there");
        let shown = tapster.ok(&["show-backup", "main", "latest"]);
        assert!(shown.stdout.contains("DONE") && shown.stderr.contains(&noted), "{shown}");
        let outcome = tapster.ok(&["restore", "main", "latest", &folder]);
        assert!(outcome.stderr.contains(&noted), "{outcome}");
        let restored = Cluster::of_directory(major, Path::new(&folder));
        restored.launch();
        restored.wait_until_writable();
        assert_eq!(restored.value("SELECT count(*) FROM pg_class WHERE relname = 't'"), "1");
    }
}

#[test]
fn the_wal_of_a_backup_is_kept_until_it_is_archived_also_when_the_server_finds_damage() {
    // The damage ends BASE_BACKUP with an error, and an error takes the session's slots along.
    let (cluster, _) = damaged_cluster(17, true);
    let tapster = Tapster::of(&cluster);
    let mut hung = hung_receiver(&tapster);
    let mut backup = tapster.spawn(&["backup", "--allow-damaged-pages", "--wait", "main"]);
    backup.wait_for_log(&tapster, "Waiting for the WAL file");
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE temporary AND active \
        AND restart_lsn <= pg_current_wal_lsn()";
    assert_eq!(cluster.value(slots), "1", "{}", backup.output());
    assert!(cluster.log().contains("checksum verification failure"), "{}", cluster.log_tail());
    assert_ne!(backup.interrupt(), 0, "{}", backup.output());
    cluster.wait_for_no_slot();
    hung.kill().expect("it is ours");
    let _ = hung.wait();
}

#[test]
fn a_server_of_10_reads_no_page_twice_and_its_damage_is_put_on_record() {
    let (cluster, file) = damaged_cluster(10, true);
    let tapster = Tapster::of(&cluster);
    let outcome = tapster.ok(&["backup", "main"]);
    assert!(outcome.stderr.contains(&format!("block 3 in \"{file}\"")), "{outcome}");
    let shown = tapster.ok(&["show-backup", "main", "latest"]);
    assert!(shown.stderr.contains(&format!("block 3 in \"{file}\"")), "{shown}");
}

#[test]
fn a_cluster_without_checksums_raises_no_alarm() {
    for major in [10, 16, 18] {
        let (cluster, _) = damaged_cluster(major, false);
        let tapster = Tapster::of(&cluster);
        let outcome = tapster.ok(&["backup", "main"]);
        assert!(!outcome.stderr.contains("damage"), "{outcome}");
    }
}

#[test]
fn pages_that_change_while_they_are_copied_raise_no_alarm() {
    for major in [11, 14, 17] {
        let cluster = Cluster::builder(major)
            .data_checksums(true)
            .setting("bgwriter_delay", "10ms")
            .setting("bgwriter_lru_maxpages", "1000")
            .start();
        cluster.create_tablespace("space");
        cluster.sql(
            "CREATE UNLOGGED TABLE u AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
             CREATE TABLE s TABLESPACE space AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n",
        );
        let tapster = Tapster::of(&cluster);
        let load = Load::start(&cluster, 500);
        load.wait_for(50);
        for _ in 0..2 {
            let outcome = tapster.ok(&["backup", "main"]);
            assert!(!outcome.stderr.contains("damage"), "{outcome}");
            cluster.sql("UPDATE s SET n = n + 1; UPDATE u SET n = n + 1");
        }
        load.stop();
    }
}
