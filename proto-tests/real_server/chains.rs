//! Chains of backups in which the cluster did something unusual in between.

use std::fs;

use super::incrementals::{ids, info, key};
use super::tables::assert_same_tables;
use super::{Cluster, Stop, Tapster};

const PAGE: usize = 8192;

/// A cluster of which incremental backups can be taken, and whose tables nobody else touches.
pub fn cluster(major: u32) -> Cluster {
    Cluster::builder(major)
        .setting("summarize_wal", "on")
        .setting("autovacuum", "off")
        .setting("wal_keep_size", "1GB")
        .start()
}

/// The next backup of a chain.
pub const INCREMENTAL: [&str; 4] = ["backup", "--incremental", "latest", "main"];

/// `COPY` extends a table by more pages than it fills, and WAL says nothing of those that it does
/// not fill. Where a link of the chain has seen the table end before them, the rows that an older
/// link has at that place were deleted.
#[test]
fn rows_that_were_cut_off_between_two_links_do_not_come_back_in_pages_that_nobody_wrote() {
    for major in [17, 18] {
        let cluster = cluster(major);
        cluster
            .sql("CREATE TABLE tail AS SELECT n, repeat('x', 480) FROM generate_series(1, 9000) n");
        cluster.sql("VACUUM FREEZE tail");
        cluster.sql("VACUUM FREEZE tail");
        let tapster = Tapster::of(&cluster);
        tapster.ok(&["backup", "main"]);
        cluster.sql("DELETE FROM tail WHERE n > 4500");
        cluster.sql("VACUUM tail");
        tapster.ok(&INCREMENTAL);
        let path = cluster.value("SELECT pg_relation_filepath('tail')");
        // As long as the others, so that they do not fit into what these have left of their pages.
        let row = format!("%.0f\t{}", "y".repeat(480));
        let copied = (1..20).find(|step| {
            let last = 10000 + 130 * step;
            cluster.sql(&format!("COPY tail FROM PROGRAM 'seq -f \"{row}\" 10001 {last}'"));
            cluster.sql("CHECKPOINT");
            let file = fs::read(cluster.data().join(&path)).expect("the table");
            file[file.len() - 5 * PAGE..].iter().all(|&byte| byte == 0)
        });
        assert!(copied.is_some(), "every page was written");
        tapster.ok(&INCREMENTAL);
        let expected = cluster.checksums();
        let restored = tapster.restore(major, "restored", &["main", "latest"]);
        restored.wait_until_writable();
        assert_same_tables(&expected, &restored.checksums());
    }
}

/// The files that `list-files` names for the latest backup.
fn listed(tapster: &Tapster, target: &str) -> Vec<String> {
    let said = tapster.ok(&["list-files", "--target", target, "main", "latest"]).stdout;
    said.lines().map(str::to_owned).collect()
}

#[test]
fn an_incremental_backup_is_verified_and_listed_by_itself() {
    for major in [17, 18] {
        let cluster = cluster(major);
        cluster.sql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n");
        // Or the first reader's hints would change every page.
        cluster.sql("VACUUM FREEZE t");
        let tapster = Tapster::new();
        let options = Tapster::server_options(&cluster) + "backup_compression = none\n";
        tapster.write_server("main", &options);
        tapster.ok(&["backup", "--wait", "main"]);
        cluster.sql("UPDATE t SET md5 = 'x' WHERE n = 7");
        tapster.ok(&[&["backup", "--wait"], &INCREMENTAL[1..]].concat());

        let id = ids(&tapster).pop().expect("a backup");
        let folder = tapster.server("main").join("base").join(&id);
        let copy = listed(&tapster, "data");
        assert!(
            copy.iter().all(|path| path.starts_with(&folder.display().to_string())),
            "{copy:?}"
        );
        assert!(copy.iter().any(|path| path.ends_with("/data/base.tar")), "{copy:?}");
        let wal = listed(&tapster, "wal");
        assert!(!wal.is_empty() && wal.iter().all(|path| path.contains("/wals/")), "{wal:?}");
        let standalone = listed(&tapster, "standalone");
        assert!(standalone.starts_with(&copy) && standalone.len() > copy.len(), "{standalone:?}");
        assert_eq!(listed(&tapster, "full"), [&copy[..], &wal].concat());

        tapster.ok(&["verify-backup", "main", "oldest"]);
        let verified = tapster.ok(&["verify-backup", "main", "latest"]);
        assert!(verified.stdout.ends_with("backup successfully verified\n"), "{verified}");
        let path = cluster.value("SELECT pg_relation_filepath('t')");
        let (above, name) = path.rsplit_once('/').expect("a path");
        let part = format!("{above}/INCREMENTAL.{name}");
        let archive = folder.join("data/base.tar");
        let mut bytes = fs::read(&archive).expect("an archive");
        let member = format!("{part}\0");
        let header = bytes.chunks(512).position(|block| block.starts_with(member.as_bytes()));
        let at = header.expect("the part is in it") * 512 + 512 + PAGE + 100;
        bytes[at] ^= 1;
        fs::write(&archive, &bytes).expect("written");
        let refused = tapster.refused(&["verify-backup", "main", "latest"]);
        let named = format!("checksum mismatch for file \"{part}\"");
        assert!(refused.stderr.contains(&named), "{refused}");
        tapster.ok(&["verify-backup", "main", "oldest"]);
    }
}

/// A standby of which there is a backup, and its options without `primary_conninfo`.
fn backed_up_standby(primary: &Cluster) -> (Cluster, Tapster, String) {
    let standby = primary.standby();
    primary.wait_for_standby(&standby);
    let tapster = Tapster::new();
    let source = Tapster::server_options(&standby);
    let options = format!("{source}primary_conninfo = {}\n", primary.conninfo());
    tapster.write_server("main", &options);
    tapster.ok(&["backup", "--wait", "main"]);
    (standby, tapster, source)
}

#[test]
fn a_chain_of_a_standby_goes_on_over_its_promotion() {
    for major in [17, 18] {
        let primary = cluster(major);
        primary.sql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n");
        let (standby, tapster, source) = backed_up_standby(&primary);
        for word in ["second", "third"] {
            primary.sql(&format!("UPDATE t SET md5 = '{word}' WHERE n % 5000 = length('{word}')"));
            primary.sql("CHECKPOINT");
            primary.wait_for_standby(&standby);
            let said = tapster.ok(&[&["backup", "--wait"], &INCREMENTAL[1..]].concat());
            assert!(!said.stderr.contains("is not known"), "{said}");
        }
        // At the end of a segment the server finds the summaries of the new timeline incomplete.
        primary.sql("INSERT INTO t VALUES (0, 'in the middle of a segment')");
        primary.wait_for_standby(&standby);
        standby.promote();
        standby.wait_until_writable();
        tapster.write_server("main", &source);
        standby.sql("UPDATE t SET md5 = 'of its own' WHERE n % 7000 = 1");
        // Over both timelines the summaries are found.
        let said = tapster.ok(&[&["backup", "--wait"], &INCREMENTAL[1..]].concat());
        assert!(!said.stderr.contains("is not known"), "{said}");
        let expected = standby.checksums();
        let restored = tapster.restore(major, "restored", &["main", "latest"]);
        restored.wait_until_writable();
        assert_same_tables(&expected, &restored.checksums());
    }
}

/// Hours may lie between the copy and the last of its WAL.
#[test]
fn a_backup_fails_when_its_parent_is_deleted_while_it_waits_for_its_wal() {
    let primary = cluster(17);
    let (standby, tapster, source) = backed_up_standby(&primary);
    let parent = ids(&tapster).pop().expect("a backup");
    // Nobody closes the last segment any more.
    tapster.write_server("main", &source);
    primary.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n");
    primary.sql("CHECKPOINT");
    primary.wait_for_standby(&standby);
    let mut backup = tapster.spawn(&[&["backup", "--wait"], &INCREMENTAL[1..]].concat());
    backup.wait_for_log(&tapster, "Waiting for the WAL file");
    let child = ids(&tapster).pop().expect("a record");
    assert_eq!(key(&info(&tapster, &child), "status"), "WAITING_FOR_WALS", "the test is broken");
    let mark = format!("{parent}-delete_this");
    fs::write(tapster.server("main").join("meta").join(mark), "").expect("marked");
    primary.switch_wal();
    assert_eq!(backup.wait(), 1, "{}", backup.output());
    let sentence = format!("backup {parent} was deleted meanwhile");
    assert!(backup.output().contains(&sentence), "{}", backup.output());
    assert_eq!(key(&info(&tapster, &child), "status"), "FAILED");
    let data = tapster.server("main").join("base").join(&child).join("data");
    assert_eq!(fs::read_dir(data).map_or(0, Iterator::count), 0, "nobody can restore it");
}

/// The server has no summary of a timeline that ended where a segment does, and so cannot say what
/// has changed since a backup on it.
#[test]
fn a_chain_that_a_promotion_at_the_end_of_a_segment_breaks_is_refused_with_reason_and_remedy() {
    for major in [17, 18] {
        let primary = cluster(major);
        primary.sql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n");
        let (standby, tapster, source) = backed_up_standby(&primary);
        let parent = ids(&tapster).pop().expect("a backup");
        primary.switch_wal();
        primary.wait_for_standby(&standby);
        // At its orderly end it would begin the next segment.
        primary.stop(Stop::Crash);
        standby.promote();
        standby.wait_until_writable();
        tapster.write_server("main", &source);
        let history = fs::read_to_string(standby.pg_wal().join("00000002.history"));
        let history = history.expect("it was promoted");
        let left = history.split('\t').nth(1).expect("a position");
        assert!(left.ends_with("000000"), "the test is broken: left at {left}");
        let refused = tapster.refused(&[&["backup", "--wait"], &INCREMENTAL[1..]].concat());
        let sentence = format!("the server cannot continue backup {parent}");
        for said in [&sentence[..], "WAL summaries are required", "try: take a full backup"] {
            assert!(refused.stderr.contains(said), "{major}: {said:?} is not said: {refused}");
        }
        // And that is all that has to be done.
        tapster.ok(&["backup", "--wait", "main"]);
        standby.sql("UPDATE t SET md5 = 'of its own' WHERE n % 7000 = 1");
        tapster.ok(&[&["backup", "--wait"], &INCREMENTAL[1..]].concat());
        let expected = standby.checksums();
        let restored = tapster.restore(major, "restored", &["main", "latest"]);
        restored.wait_until_writable();
        assert_same_tables(&expected, &restored.checksums());
    }
}
