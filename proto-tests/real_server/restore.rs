//! A restore is good when the server that comes up has the tables of the moment that was asked
//! for. Nothing else counts, and nobody but the server can say so.

use std::fs;
use std::path::{Path, PathBuf};

use super::scratch::{Mount, give_to_server};
use super::stored::{Shape, store_backup, store_wal, store_wal_before};
use super::tables::{Checksums, assert_same_tables};
use super::{Cluster, Stop, Tapster};

const ID: &str = "20261123T062541";

/// A path that a shell, a configuration file and `%p` all stumble over.
const AWKWARD: &str = "it's a \"50%\" $HOME\\ path";

/// A cluster with something in it, and a folder for what is restored.
fn cluster(major: u32) -> (Cluster, Tapster, PathBuf) {
    // WAL is copied when a test is done with it, not before.
    let keep = if major < 13 { ("wal_keep_segments", "50") } else { ("wal_keep_size", "800MB") };
    let cluster = Cluster::builder(major).setting(keep.0, keep.1).start();
    cluster.sql("CREATE TABLE t AS SELECT n, md5(n::text) AS v FROM generate_series(1, 5000) n");
    let tapster = Tapster::of(&cluster);
    let folder = cluster.folder("restored");
    (cluster, tapster, folder)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Starts what was restored, and waits until it is open.
fn launch(major: u32, data: &Path) -> Cluster {
    let restored = Cluster::of_directory(major, data);
    restored.launch();
    restored.wait_until_writable();
    restored
}

crate::on_every_version! {
    fn restore_to_the_end_has_every_commit_of_the_open_segment(major) {
        let (cluster, tapster, folder) = cluster(major);
        let cold = cluster.create_tablespace("cold storage");
        cluster.sql("CREATE TABLE far (v text) TABLESPACE \"cold storage\"");
        cluster.sql("CREATE DATABASE empty");
        let shape = if major.is_multiple_of(2) { Shape::Archives } else { Shape::Directories };
        store_backup(&cluster, &tapster, ID, shape);
        cluster.sql("INSERT INTO far SELECT md5(n::text) FROM generate_series(1, 5000) n");
        cluster.advance_wal(2);
        cluster.sql("INSERT INTO t VALUES (0, 'the last commit')");
        let expected = cluster.checksums();
        store_wal(&cluster, &tapster);
        cluster.stop(Stop::Crash);

        let (data, moved) = (folder.join(AWKWARD), folder.join("moved 'cold'"));
        let rule = format!("cold storage:{}", text(&moved));
        let outcome =
            tapster.ok(&["restore", "main", "latest", text(&data), "--tablespace", &rule]);
        assert!(outcome.stdout.contains("successfully prepared for recovery"), "{outcome}");
        assert!(!outcome.stderr.contains("damaged"), "{outcome}");
        fs::remove_dir_all(&cold).expect("the old tablespace is not needed");
        give_to_server(&moved);
        let restored = launch(major, &data);
        assert_same_tables(&expected, &restored.checksums());
        restored.sql("CREATE TABLE more TABLESPACE \"cold storage\" AS SELECT 1");
    }
}

/// What the cluster held at a moment, and the ways to name the moment.
struct Moment {
    tables: Checksums,
    time: String,
    lsn: String,
}

/// Backs up, writes, remembers a moment, writes again.
fn moment(cluster: &Cluster, tapster: &Tapster) -> Moment {
    store_backup(cluster, tapster, ID, Shape::Archives);
    cluster.sql("INSERT INTO t VALUES (0, 'before')");
    cluster.advance_wal(2);
    cluster.sql("UPDATE t SET v = 'before' WHERE n < 100");
    let moment = Moment {
        tables: cluster.checksums(),
        time: cluster.value("SELECT clock_timestamp()"),
        lsn: cluster.value("SELECT pg_current_wal_insert_lsn()"),
    };
    cluster.sql("SELECT pg_create_restore_point('before the mistake')");
    cluster.sql("DROP TABLE t");
    cluster.advance_wal(1);
    cluster.sql("CREATE TABLE later AS SELECT 1 AS n");
    store_wal(cluster, tapster);
    moment
}

crate::on_every_version! {
    fn restore_to_a_moment_has_the_tables_of_that_moment(major) {
        let (cluster, tapster, folder) = cluster(major);
        let moment = moment(&cluster, &tapster);
        for (number, target) in [
            ["--target-time", &moment.time],
            ["--target-lsn", &moment.lsn],
            ["--target-name", "before the mistake"],
        ].into_iter().enumerate() {
            let data = folder.join(format!("{AWKWARD} {number}"));
            let mut arguments = vec!["restore", "main", ID, text(&data)];
            arguments.extend(target);
            arguments.extend(["--target-action", "promote"]);
            tapster.ok(&arguments);
            let restored = launch(major, &data);
            assert_same_tables(&moment.tables, &restored.checksums());
            assert!(!data.join("barman_wal").exists(), "the copies of WAL have served");
        }
    }
}

#[test]
fn restore_to_consistency_needs_no_more_than_the_backups_own_wal() {
    for major in [10, 15] {
        let (cluster, tapster, folder) = cluster(major);
        let expected = cluster.checksums();
        store_backup(&cluster, &tapster, ID, Shape::Archives);
        cluster.switch_wal();
        cluster.sql("DROP TABLE t");
        cluster.advance_wal(3);
        store_wal(&cluster, &tapster);
        let data = folder.join("data");
        tapster.ok(&[
            "recover",
            "main",
            "auto",
            text(&data),
            "--target-tli",
            "1",
            "--target-action",
            "promote",
        ]);
        let count = fs::read_dir(data.join("barman_wal")).expect("WAL").count();
        assert!(count > 3, "--target-tli alone is the end of that timeline");
        let data = folder.join("immediate");
        let immediate = ["--target-immediate", "--target-action", "promote"];
        let mut arguments = vec!["restore", "main", "latest", text(&data)];
        arguments.extend(immediate);
        tapster.ok(&arguments);
        let count = fs::read_dir(data.join("barman_wal")).expect("WAL").count();
        assert!((1..=2).contains(&count), "{count} segments");
        assert_same_tables(&expected, &launch(major, &data).checksums());
    }
}

#[test]
fn restore_follows_a_promotion_to_a_moment_behind_it() {
    for major in [12, 15, 18] {
        let (primary, tapster, folder) = cluster(major);
        store_backup(&primary, &tapster, ID, Shape::Archives);
        // Its open segment stays behind in streaming/, which must not get in the way of whoever
        // follows the other timeline.
        store_wal(&primary, &tapster);
        let standby = primary.standby();
        primary.advance_wal(1);
        primary.sql("INSERT INTO t VALUES (0, 'on timeline 1')");
        primary.wait_for_standby(&standby);
        let first = primary.checksums();
        store_wal(&primary, &tapster);
        primary.stop(Stop::Crash);
        standby.promote();
        standby.sql("INSERT INTO t VALUES (-1, 'on timeline 2')");
        standby.advance_wal(2);
        let second = standby.checksums();
        let time = standby.value("SELECT clock_timestamp()");
        standby.sql("DROP TABLE t");
        store_wal(&standby, &tapster);

        let data = folder.join("second");
        tapster.ok(&[
            "restore",
            "main",
            ID,
            text(&data),
            "--target-time",
            &time,
            "--target-action",
            "promote",
        ]);
        let restored = launch(major, &data);
        assert_same_tables(&second, &restored.checksums());
        assert_eq!(restored.value("SELECT timeline_id FROM pg_control_checkpoint()"), "3");

        // Without a target the backup's own timeline counts, and the other is mentioned. It comes
        // back to its end, which lies in the segment that was open at the promotion.
        let data = folder.join("first");
        let outcome = tapster.ok(&["restore", "main", ID, text(&data)]);
        assert!(outcome.stderr.contains("newer timelines (2)"), "{outcome}");
        let restored = launch(major, &data);
        restored.wait_until_writable();
        assert_same_tables(&first, &restored.checksums());
    }
}

/// Barman's text to the letter, but for line numbers, which here count from 1.
#[test]
fn restore_says_what_barman_says() {
    let (cluster, tapster, folder) = cluster(15);
    cluster.create_tablespace("tbs1");
    let oid = cluster.value("SELECT oid FROM pg_tablespace WHERE spcname = 'tbs1'");
    let conf = cluster.data().join("postgresql.conf");
    let old = fs::read_to_string(&conf).expect("the configuration");
    let line = old.lines().count() + 1;
    let more = "archive_command = 'cp %p /archive/%f' # ours\nexternal_pid_file = '/run/pid'\n";
    fs::write(&conf, old + more).expect("it can be extended");
    store_backup(&cluster, &tapster, ID, Shape::Archives);
    cluster.advance_wal(1);
    let lsn = cluster.value("SELECT pg_current_wal_insert_lsn()");
    cluster.advance_wal(1);
    store_wal(&cluster, &tapster);
    let (data, moved) = (folder.join("f"), folder.join("f_tbs1"));
    let rule = format!("tbs1:{}", text(&moved));
    let outcome = tapster.ok(&[
        "restore",
        "--target-lsn",
        &lsn,
        "--target-tli",
        "latest",
        "main",
        "latest",
        text(&data),
        "--tablespace",
        &rule,
    ]);
    let expected = format!(
        "Starting local restore for server main using backup {ID}
Destination directory: {data}
Doing PITR. Recovery target lsn: '{lsn}', timeline: '1'
Copying the base backup.
\t{oid}, tbs1, {moved}
Copying required WAL segments.
Generating recovery configuration
Identify dangerous settings in destination directory.

IMPORTANT
These settings have been modified to prevent data losses

postgresql.conf line {changed}: archive_command = false

WARNING
You are required to review the following options as potentially dangerous

postgresql.conf line {reviewed}: external_pid_file = '/run/pid'

Restore operation completed (start time: [TIME], elapsed time: [ELAPSED])
Your PostgreSQL server has been successfully prepared for recovery!
",
        data = text(&data),
        moved = text(&moved),
        changed = line + 1,
        reviewed = line + 2,
    );
    let (before, rest) = outcome.stdout.split_once("(start time: ").expect("the time");
    let (time, after) = rest.split_once(")\n").expect("the end of the line");
    assert!(time.contains(", elapsed time: ") && time.starts_with("20"), "{time}");
    let stdout = format!("{before}(start time: [TIME], elapsed time: [ELAPSED])\n{after}");
    assert_eq!(stdout, expected);
    let auto = fs::read_to_string(data.join("postgresql.auto.conf")).expect("settings");
    let barman_wal = data.join("barman_wal");
    let settings = format!(
        "\nrestore_command = 'cp {wal}/%f %p'\nrecovery_end_command = 'rm -fr {wal}'\n\
         recovery_target_lsn = '{lsn}'\nrecovery_target_timeline = latest\n",
        wal = text(&barman_wal)
    );
    assert!(auto.ends_with(&settings), "{auto}");
    assert!(data.join("recovery.signal").exists());
}

#[test]
fn restore_refuses_what_cannot_come_up_before_it_writes() {
    let (cluster, tapster, folder) = cluster(15);
    store_backup(&cluster, &tapster, ID, Shape::Archives);
    cluster.advance_wal(3);
    let open = cluster.value("SELECT pg_walfile_name(pg_current_wal_flush_lsn())");
    store_wal_before(&cluster, &tapster, &open);
    cluster.stop(Stop::Fast);
    let data = folder.join("data");
    let refuse = |arguments: &[&str], text_of_error: &str| {
        let line = [&["restore", "main", ID, text(&data)][..], arguments].concat();
        let outcome = tapster.refused(&line);
        assert!(outcome.stderr.contains(text_of_error), "{outcome}");
        assert!(!data.exists(), "{outcome}");
    };
    refuse(&["--target-time", "2020-01-01 00:00:00+00"], "is before the backup end time 2");
    refuse(&["--target-time", "garbage"], "Unable to parse the target time parameter 'garbage'");
    refuse(&["--target-lsn", "0/1"], "is before the backup end lsn");
    refuse(&["--target-lsn", "FF/0"], "is not in the WAL that is there");
    refuse(&["--target-tli", "7"], "timeline 7 does not exist");
    refuse(&["--target-xid", "1", "--target-name", "a"], "You cannot specify multiple targets");
    refuse(&["--target-action", "promote"], "when PITR is not required");
    refuse(&["--target-action", "foo"], "'foo' is not a valid recovery target action");
    let outcome = tapster.run(&[
        "restore",
        "main",
        ID,
        text(&folder.join("later")),
        "--target-time",
        "2099-01-01 00:00:00+00",
    ]);
    assert!(outcome.stderr.contains("the last commit in the WAL is of 20"), "{outcome}");
    refuse(&["--tablespace", "nosuch:/x"], "Invalid tablespace name 'nosuch'");
    refuse(&["--get-wal"], "--get-wal");
    let auto = ["restore", "main", "auto", text(&data), "--target-time", "2020-01-01"];
    let outcome = tapster.refused(&auto);
    assert!(outcome.stderr.contains("Cannot find any candidate backup"), "{outcome}");
    let outcome = tapster.refused(&["restore", "main", "nosuch", text(&data)]);
    assert!(outcome.stderr.contains("Unknown backup 'nosuch' for server 'main'"), "{outcome}");

    let archived = tapster.archived("main");
    let last_but_one = archived.values().rev().nth(1).expect("some WAL");
    fs::remove_file(last_but_one).expect("it was there");
    refuse(&["--target-time", "2099-01-01 00:00:00+00"], "a hole in the WAL");
    for segment in archived.values() {
        let _ = fs::remove_file(segment);
    }
    let outcome = tapster.refused(&["restore", "main", ID, text(&data)]);
    assert!(outcome.stderr.contains("is missing"), "{outcome}");
    assert!(!data.exists(), "{outcome}");

    fs::create_dir_all(data.join("precious")).expect("a folder");
    let outcome = tapster.refused(&["restore", "main", ID, text(&data)]);
    assert!(outcome.stderr.contains("is not empty"), "{outcome}");
    assert_eq!(fs::read_dir(&data).expect("it stays").count(), 1);
}

/// A file system that is too small is found out before; one that only looks large enough (it
/// runs out of names, not of bytes) ends the restore in the middle.
#[test]
fn restore_onto_a_full_disk_leaves_nothing_that_starts() {
    let (cluster, tapster, _) = cluster(15);
    store_backup(&cluster, &tapster, ID, Shape::Archives);
    cluster.switch_wal();
    store_wal(&cluster, &tapster);
    cluster.stop(Stop::Fast);

    let small = tapster.path().join("small");
    fs::create_dir(&small).expect("a folder");
    let Some(mount) = Mount::tmpfs(&small, "size=20m") else { return };
    let data = small.join("data");
    let outcome = tapster.refused(&["restore", "main", ID, text(&data)]);
    assert!(outcome.stderr.contains("bytes free, and the restore needs"), "{outcome}");
    assert!(!data.exists(), "{outcome}");
    drop(mount);

    let Some(_mount) = Mount::tmpfs(&small, "size=400m,nr_inodes=300,mode=755") else { return };
    let outcome = tapster.refused(&["restore", "main", ID, text(&data)]);
    assert!(outcome.stderr.contains("No space left on device"), "{outcome}");
    assert!(outcome.stderr.contains("cannot be started"), "{outcome}");
    assert!(data.join("base").exists(), "it was in the middle");
    let again = tapster.refused(&["restore", "main", ID, text(&data)]);
    assert!(again.stderr.contains("the remains of an interrupted restore"), "{again}");
    let log = Cluster::of_directory(15, &data).launch_refused();
    assert!(log.contains("global/pg_control") || log.contains("postgresql.conf"), "{log}");
}

/// The last copy is mounted so that nobody can spoil it.
#[test]
fn restore_reads_a_repository_that_nobody_can_write_to() {
    let (cluster, tapster, folder) = cluster(15);
    store_backup(&cluster, &tapster, ID, Shape::Archives);
    cluster.switch_wal();
    store_wal(&cluster, &tapster);
    let before = cluster.checksums();
    let Some(_mount) = Mount::read_only(&tapster.path().join("repository")) else { return };
    let data = folder.join("data");
    let outcome = tapster.ok(&["restore", "main", ID, text(&data)]);
    assert!(!outcome.stderr.contains("damaged"), "{outcome}");
    give_to_server(&data);
    assert_same_tables(&launch(15, &data).checksums(), &before);
}
