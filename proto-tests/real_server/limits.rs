//! Tables that shrink and grow again between two neighbouring backups of a chain.
//!
//! `COPY` extends a table by more pages than it fills, and WAL says nothing of those that it does
//! not fill: no increment brings them, and an older backup has deleted rows in their place.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::chains::{INCREMENTAL, cluster};
use super::incrementals::{ids, info, key};
use super::scratch::give_to_server;
use super::stock_tools::combine_by_stock_tools;
use super::tables::assert_same_tables;
use super::{Cluster, Tapster};

const PAGE: usize = 8192;
/// What is said where the limits are not known.
const UNKNOWN: &str = "is not known where tables were cut off";

/// A row of a table of these tests, about 15 of which fill a page.
fn rows(first: u32, last: u32, letter: char) -> String {
    format!("SELECT n, repeat('{letter}', 480) FROM generate_series({first}, {last}) n")
}

fn create(cluster: &Cluster, table: &str, place: &str) {
    cluster.sql(&format!("CREATE TABLE {table} (n int, filling text) {place}"));
    cluster.sql(&format!("INSERT INTO {table} {}", rows(1, 30_000, 'x')));
    cluster.sql(&format!("VACUUM FREEZE {table}"));
    cluster.sql(&format!("VACUUM FREEZE {table}"));
}

/// Cuts the second half of a table off. VACUUM leaves the end of a table where it cannot clean a
/// page up, because the background writer is just writing it.
fn shrink(cluster: &Cluster, table: &str) {
    cluster.sql(&format!("DELETE FROM {table} WHERE n > 4500"));
    let is_cut_off = (0..100).any(|_| {
        cluster.sql(&format!("VACUUM {table}"));
        empty_pages_behind(cluster, table, "true") == 0
    });
    assert!(is_cut_off, "{table} was not cut off");
}

/// How many pages of a table are behind the last of these rows.
fn empty_pages_behind(cluster: &Cluster, table: &str, rows: &str) -> u32 {
    let pages = format!(
        "SELECT pg_relation_size('{table}') / {PAGE} - 1 - (max(ctid)::text::point)[0]::int
         FROM {table} WHERE {rows}"
    );
    cluster.value(&pages).parse().expect("a number of pages")
}

/// Lets a table grow until it ends in pages that were never written. There is no checkpoint, so that
/// it is in the same summary as what was before.
fn grow(cluster: &Cluster, table: &str) {
    // As long as the others, so that they do not fit into what these have left of their pages.
    let row = format!("%.0f\t{}", "y".repeat(480));
    let grown = (1..40).find(|step| {
        let last = 40_000 + 130 * step;
        cluster.sql(&format!("COPY {table} FROM PROGRAM 'seq -f \"{row}\" 40001 {last}'"));
        empty_pages_behind(cluster, table, "n > 40000") >= 5
    });
    assert!(grown.is_some(), "every page was written");
}

fn warned(stderr: &str) -> bool {
    stderr.contains(UNKNOWN)
}

#[test]
fn rows_that_were_cut_off_do_not_come_back_when_the_table_grows_before_the_same_backup() {
    for major in [17, 18] {
        let cluster = cluster(major);
        cluster.create_tablespace("elsewhere");
        create(&cluster, "tail", "");
        cluster.sql("CREATE INDEX ON tail (n)");
        create(&cluster, "far", "TABLESPACE elsewhere");
        // It shrinks before the parent, grows before it, and is written behind it.
        create(&cluster, "earlier", "");
        create(&cluster, "still", "");
        let tapster = Tapster::of(&cluster);
        tapster.ok(&["backup", "main"]);
        shrink(&cluster, "earlier");
        cluster.sql(&format!("INSERT INTO earlier {}", rows(40_001, 43_000, 'z')));
        tapster.ok(&INCREMENTAL);
        for table in ["tail", "far"] {
            shrink(&cluster, table);
            grow(&cluster, table);
        }
        cluster.sql("UPDATE earlier SET n = -n WHERE n = 40001");
        let said = tapster.ok(&INCREMENTAL);
        assert!(!warned(&said.stderr), "{said}");
        let id = ids(&tapster).pop().expect("a backup");
        let record = tapster.server("main").join("meta").join(format!("{id}-tapster.json"));
        let record = fs::read_to_string(record).expect("a record");
        let filepath = |table| cluster.value(&format!("SELECT pg_relation_filepath('{table}')"));
        assert!(record.contains(&format!("\"{}\":", filepath("tail"))), "{record}");
        assert!(record.contains(&format!("\"{}\":", filepath("far"))), "{record}");
        assert!(!record.contains(&filepath("earlier")), "{record}");
        // The next one continues it, and brings none of these blocks.
        cluster.sql("UPDATE still SET n = -n WHERE n = 7");
        tapster.ok(&INCREMENTAL);
        let expected = cluster.checksums();
        let place = format!("elsewhere:{}/elsewhere", tapster.path().display());
        let data = tapster.path().join("restored");
        let text = data.display().to_string();
        let said = tapster.ok(&["restore", "--tablespace", &place, "main", "latest", &text]);
        assert!(!warned(&said.stderr), "{said}");
        give_to_server(&tapster.path().join("elsewhere"));
        let restored = Cluster::of_directory(major, &data);
        restored.launch();
        restored.wait_until_writable();
        assert_same_tables(&expected, &restored.checksums());
        let by_index = "SET enable_seqscan = off; SELECT count(*) FROM tail WHERE n > 0";
        assert_eq!(restored.value(by_index), cluster.value(by_index));
    }
}

#[test]
fn rows_that_were_cut_off_the_second_file_of_a_table_do_not_come_back() {
    let cluster = Cluster::builder(17).data_checksums(false).setting("summarize_wal", "on").start();
    cluster.sql("CREATE TABLE huge (n int, filling text STORAGE PLAIN)");
    cluster.sql("INSERT INTO huge SELECT 0, repeat('w', 8000)");
    cluster.sql("VACUUM FREEZE huge");
    let path = cluster.value("SELECT pg_relation_filepath('huge')");
    cluster.stop(super::Stop::Fast);
    let first = cluster.data().join(path);
    let page = fs::read(&first).expect("a page");
    assert_eq!(page.len(), PAGE);
    let mut file = fs::File::create(&first).expect("the table's file");
    let many = page.repeat(128);
    for _ in 0..1024 {
        file.write_all(&many).expect("a gigabyte of full pages");
    }
    // What is known of the page is not true of all of them.
    let name = first.file_name().expect("a name").to_string_lossy().into_owned();
    let _ = fs::remove_file(first.with_file_name(format!("{name}_vm")));
    let _ = fs::remove_file(first.with_file_name(format!("{name}_fsm")));
    cluster.launch();
    cluster.sql(&format!("INSERT INTO huge {}", rows(1, 30_000, 'x')));
    cluster.sql("VACUUM FREEZE huge");
    let tapster = Tapster::of(&cluster);
    tapster.ok(&["backup", "main"]);
    shrink(&cluster, "huge");
    grow(&cluster, "huge");
    tapster.ok(&INCREMENTAL);
    let expected = cluster.checksums();
    let restored = tapster.restore(17, "restored", &["main", "latest"]);
    restored.wait_until_writable();
    assert_same_tables(&expected, &restored.checksums());
}

#[test]
fn a_backup_for_which_the_limits_are_unknown_is_taken_and_warned_of_whenever_it_is_used() {
    for major in [17, 18] {
        let cluster = cluster(major);
        create(&cluster, "tail", "");
        cluster.sql("CREATE ROLE plain LOGIN; GRANT pg_monitor TO plain");
        cluster.sql("REVOKE EXECUTE ON FUNCTION pg_wal_summary_contents FROM PUBLIC");
        let tapster = Tapster::new();
        let options = Tapster::server_options(&cluster).replace("user=barman", "user=plain");
        tapster.write_server("main", &options);
        tapster.ok(&["backup", "main"]);
        let full = ids(&tapster).pop().expect("a backup");
        shrink(&cluster, "tail");
        let said = tapster.ok(&INCREMENTAL);
        let id = ids(&tapster).pop().expect("a backup");
        let grant = "GRANT EXECUTE ON FUNCTION pg_control_system(), pg_available_wal_summaries(), \
                     pg_wal_summary_contents(bigint, pg_lsn, pg_lsn) TO \"plain\"";
        assert!(warned(&said.stderr) && said.stderr.contains(grant), "{said}");
        assert_eq!(key(&info(&tapster, &id), "status"), "DONE");
        assert!(warned(&tapster.ok(&["show-backup", "main", &id]).stderr));
        assert!(!warned(&tapster.ok(&["show-backup", "main", &full]).stderr));
        let restore = |backup: &str| {
            let folder = tapster.path().join("restored");
            let _ = fs::remove_dir_all(&folder);
            tapster.ok(&["restore", "main", backup, &folder.display().to_string()])
        };
        let said = restore(&id);
        assert_eq!(said.stderr.matches(UNKNOWN).count(), 1, "{said}");
        assert!(said.stderr.contains(&id), "{said}");
        assert!(!warned(&restore(&full).stderr));
        // As the warning says.
        cluster.sql(grant);
        let said = tapster.ok(&INCREMENTAL);
        assert!(!warned(&said.stderr), "{said}");
        let newest = ids(&tapster).pop().expect("a backup");
        let said = restore(&newest);
        assert!(warned(&said.stderr) && said.stderr.contains(&id), "{said}");
        assert!(!said.stderr.contains(&format!("{newest} (")), "{said}");
    }
}

/// Whether the server reads the summary of a table's truncation after one of what was written
/// behind it: it takes them as its directory has them. Which ones these are is asked of them: a
/// position on the bound of two, like the end of what was flushed, may be found in either.
fn is_out_of_order(cluster: &Cluster, table: &str) -> bool {
    let rows = cluster.sql(&format!(
        "SELECT w.start_lsn, bool_or(c.is_limit_block) FROM \
             pg_available_wal_summaries() WITH ORDINALITY AS w (tli, start_lsn, end_lsn, at), \
             LATERAL pg_wal_summary_contents(w.tli, w.start_lsn, w.end_lsn) AS c \
         WHERE c.relfilenode = pg_relation_filenode('{table}') AND c.relforknumber = 0 \
             AND NOT (c.is_limit_block AND c.relblocknumber = 0) \
         GROUP BY w.at, w.start_lsn ORDER BY w.at"
    ));
    let summaries: Vec<(tapster::wal::Lsn, bool)> = rows
        .iter()
        .map(|row| {
            let text = |at: usize| row[at].as_deref().expect("never null");
            (text(0).parse().expect("a position"), text(1) == "t")
        })
        .collect();
    let cut = summaries.iter().position(|(_, is_cut)| *is_cut).expect("it was cut off");
    let (cut_at, _) = summaries[cut];
    let behind = |(at, _): &(tapster::wal::Lsn, bool)| *at > cut_at;
    assert_eq!(summaries.iter().filter(|(_, is_cut)| *is_cut).count(), 1, "once");
    assert!(summaries.iter().any(behind), "written behind it");
    summaries[..cut].iter().any(behind)
}

/// A server reads its summaries in the order of their directory. A truncation that it reads after
/// what was written behind it makes it forget that, and the increment lacks rows.
#[test]
fn an_increment_that_lacks_what_was_written_behind_a_truncation_is_no_backup() {
    for major in [17, 18] {
        let cluster = cluster(major);
        let mut met = [false; 2];
        for round in 0..40 {
            let tapster = Tapster::of(&cluster);
            let table = format!("t{round}");
            create(&cluster, &table, "");
            tapster.ok(&["backup", "main"]);
            shrink(&cluster, &table);
            cluster.sql("CHECKPOINT");
            cluster.sql(&format!("INSERT INTO {table} {}", rows(40_001, 42_000, 'z')));
            cluster.sql("CHECKPOINT");
            let taken = tapster.run(&INCREMENTAL);
            let is_out_of_order = is_out_of_order(&cluster, &table);
            met[usize::from(is_out_of_order)] = true;
            if is_out_of_order {
                assert_eq!(taken.code, 1, "it lacks rows: {taken}");
                let path = cluster.value(&format!("SELECT pg_relation_filepath('{table}')"));
                for said in ["the server has left out", &path, "try: take a full backup"] {
                    assert!(taken.stderr.contains(said), "{said:?} is not said: {taken}");
                }
            } else {
                assert_eq!(taken.code, 0, "{taken}");
                let expected = cluster.checksums();
                let restored = tapster.restore(major, "restored", &["main", "latest"]);
                restored.wait_until_writable();
                assert_same_tables(&expected, &restored.checksums());
            }
            if met == [true; 2] {
                break;
            }
        }
        assert_eq!(met, [true; 2], "in order, out of order: {major}");
    }
}

/// What PostgreSQL's own program makes of the same backups: the deleted rows are in it. Where this
/// fails it has learnt better, and `docs/restore.md` has to say so.
#[test]
fn pg_combinebackup_still_brings_deleted_rows_back() {
    for major in [17, 18] {
        let cluster = cluster(major);
        create(&cluster, "tail", "");
        let tapster = Tapster::new();
        let options = Tapster::server_options(&cluster) + "backup_compression = none\n";
        tapster.write_server("main", &options);
        tapster.ok(&["backup", "--wait", "main"]);
        shrink(&cluster, "tail");
        grow(&cluster, "tail");
        tapster.ok(&[&["backup", "--wait"], &INCREMENTAL[1..]].concat());
        let path = cluster.value("SELECT pg_relation_filepath('tail')");
        let ids = ids(&tapster);
        let Some(stock) = combine_by_stock_tools(&tapster, major, &ids) else { return };
        let ours = tapster.path().join("ours");
        tapster.ok(&["restore", "main", "latest", &ours.display().to_string()]);
        let live = fs::read(cluster.data().join(&path)).expect("the table");
        let is_zero = |folder: &Path| {
            let file = fs::read(folder.join(&path)).expect("the table");
            assert_eq!(file.len(), live.len());
            file[file.len() - 5 * PAGE..].iter().all(|&byte| byte == 0)
        };
        assert!(is_zero(&ours));
        assert!(!is_zero(&stock), "pg_combinebackup of {major} leaves them away");
    }
}
