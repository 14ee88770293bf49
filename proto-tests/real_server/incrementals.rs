//! An incremental backup that cannot be restored is no backup: chains come back whole.
//!
//! What a chain gets wrong is a block of an older moment in a file of a newer one. The server
//! that comes up on it knows nothing of that until a query reads the block.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tapster::manifest::{Hasher, Manifest};

use super::scratch::{give_to_server, wait_until};
use super::stock_tools::{assert_as_stock_tools, keeps_visibility_maps};
use super::tables::assert_same_tables;
use super::{Cluster, Stop, Tapster};

const PAGE: usize = 8192;

/// A cluster that summarizes its WAL, with tables for every fate.
fn cluster(major: u32) -> Cluster {
    let cluster = Cluster::builder(major)
        .data_checksums(true)
        .setting("summarize_wal", "on")
        .setting("wal_keep_size", "1GB")
        .start();
    cluster.create_tablespace("old space");
    cluster.sql(
        "CREATE TABLE still AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
         CREATE TABLE grows AS SELECT n, md5(n::text) FROM generate_series(1, 3000) n;
         CREATE TABLE cut AS SELECT n, md5(n::text) FROM generate_series(1, 30000) n;
         CREATE TABLE again AS SELECT n, md5(n::text) FROM generate_series(1, 3000) n;
         CREATE TABLE full_vac AS SELECT n, md5(n::text) FROM generate_series(1, 9000) n;
         CREATE TABLE far TABLESPACE \"old space\" AS
             SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
         CREATE UNLOGGED TABLE lost AS SELECT n FROM generate_series(1, 1000) n;
         CREATE INDEX ON still (n); CREATE INDEX ON grows (n)",
    );
    cluster.sql("VACUUM FREEZE");
    cluster
}

/// The steps between the backups of a chain.
const STEPS: [&str; 6] = [
    "UPDATE still SET md5 = 'first' WHERE n % 5000 = 7;
     INSERT INTO grows SELECT n, md5(n::text) FROM generate_series(3001, 9000) n",
    "DELETE FROM cut WHERE n > 2000; VACUUM cut; UPDATE far SET md5 = 'second' WHERE n = 5",
    "DROP TABLE again; CREATE TABLE again AS SELECT n, 'anew' FROM generate_series(1, 500) n;
     CREATE TABLE near TABLESPACE \"new space\" AS
         SELECT n, md5(n::text) FROM generate_series(1, 9000) n",
    "VACUUM FULL full_vac; UPDATE near SET md5 = 'fourth' WHERE n % 3000 = 1;
     INSERT INTO lost VALUES (1)",
    "INSERT INTO cut SELECT n, 'after the cut' FROM generate_series(1, 9000) n;
     CREATE DATABASE later; UPDATE still SET md5 = 'fifth' WHERE n % 7000 = 7",
    "UPDATE far SET md5 = 'sixth' WHERE n % 9000 = 3; TRUNCATE grows;
     INSERT INTO grows VALUES (1, 'alone')",
];

fn configure(tapster: &Tapster, cluster: &Cluster, compression: &str) {
    let options = Tapster::server_options(cluster);
    let line = match compression {
        "" => String::new(),
        codec => format!("backup_compression = {codec}\n"),
    };
    tapster.write_server("main", &(options + &line));
}

/// Takes a full backup and six incremental ones, of which each continues the one before it, in
/// several forms.
fn take_chain(cluster: &Cluster, tapster: &Tapster) {
    // Without a word: a plain directory.
    let codecs = ["none", "zstd", "", "gzip", "lz4", "", "zstd"];
    configure(tapster, cluster, codecs[0]);
    tapster.ok(&["backup", "main"]);
    for (step, codec) in STEPS.iter().zip(&codecs[1..]) {
        if step.contains("new space") {
            cluster.create_tablespace("new space");
        }
        for statement in step.split(';') {
            cluster.sql(statement);
        }
        configure(tapster, cluster, codec);
        tapster.ok(&["backup", "--incremental", "latest", "main"]);
    }
}

/// Restores the latest backup with its tablespaces beside it.
fn restore(tapster: &Tapster, folder: &str) -> PathBuf {
    let data = tapster.path().join(folder);
    let place = |name: &str| format!("{name} space:{}/{folder} {name}", tapster.path().display());
    let (old, new) = (place("old"), place("new"));
    let text = data.display().to_string();
    let spaces = ["--tablespace", &old, "--tablespace", &new];
    tapster.ok(&[&["restore", "main", "latest", &text][..], &spaces].concat());
    for name in ["old", "new"] {
        give_to_server(&tapster.path().join(format!("{folder} {name}")));
    }
    data
}

/// Files of relations below a data directory, relative to it. Links of tablespaces are followed.
fn relations(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![data.join("base"), data.join("global"), data.join("pg_tblspc")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit())
            {
                found.push(path.strip_prefix(data).expect("below").to_owned());
            }
        }
    }
    found
}

fn lsn(page: &[u8]) -> u64 {
    let word = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().expect("four bytes"));
    u64::from(word(0)) << 32 | u64::from(word(4))
}

/// Every page of the restored files that was not changed since is that of the cluster.
fn assert_same_pages(cluster: &Path, restored: &Path, begin: u64) {
    let mut compared = 0;
    for name in relations(restored) {
        let got = fs::read(restored.join(&name)).expect("a restored file");
        let expected = fs::read(cluster.join(&name)).unwrap_or_default();
        for (block, pages) in got.chunks(PAGE).zip(expected.chunks(PAGE)).enumerate() {
            let is_free_space = name.to_string_lossy().contains("_fsm");
            if lsn(pages.1) < begin && !is_free_space {
                assert!(pages.0 == pages.1, "block {block} of {}", name.display());
                compared += 1;
            }
        }
        // Maps that cannot be believed are empty; those of free space may lag behind.
        let is_map = name.to_string_lossy().contains('_');
        assert!(is_map || got.len() == expected.len(), "{}: {}", name.display(), got.len());
    }
    assert!(compared > 3000, "only {compared} pages compared");
}

/// The manifest of the result lists every file as it is.
fn assert_manifest(data: &Path, id: &str) {
    let text = fs::read(data.join(format!("backup_manifest.{id}"))).expect("a manifest");
    let manifest = Manifest::parse(&text).expect("its checksum is right");
    let mut compared = 0;
    for file in manifest.files.iter() {
        let path = std::str::from_utf8(file.path).expect("ASCII");
        assert!(!path.contains("INCREMENTAL"), "{path}");
        if !["base/", "global/", "pg_tblspc/", "backup_label"].iter().any(|of| path.starts_with(of))
        {
            continue;
        }
        let content = fs::read(data.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut hasher = Hasher::new(file.algorithm);
        hasher.update(&content);
        assert_eq!(content.len() as u64, file.size, "{path}");
        assert_eq!(hasher.finish().as_bytes(), file.checksum, "{path}");
        compared += 1;
    }
    assert!(compared > 500, "{compared} files");
}

/// The ids of the backups, oldest first.
pub fn ids(tapster: &Tapster) -> Vec<String> {
    let list = tapster.ok(&["list-backups", "--minimal", "main"]).stdout;
    let mut ids: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
    ids.sort();
    ids
}

pub fn info(tapster: &Tapster, id: &str) -> String {
    let path = tapster.server("main").join("meta").join(format!("{id}-backup.info"));
    fs::read_to_string(path).expect("a record")
}

pub fn key(info: &str, key: &str) -> String {
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
    line.unwrap_or_default().to_owned()
}

#[test]
fn a_chain_of_six_comes_back_page_for_page_and_row_for_row() {
    for major in [17, 18] {
        let cluster = cluster(major);
        let tapster = Tapster::new();
        take_chain(&cluster, &tapster);
        cluster.sql("INSERT INTO still VALUES (0, 'behind the last backup')");
        let expected = cluster.checksums();
        let maps = keeps_visibility_maps(&cluster);
        let segment = cluster.switch_wal();
        let mut receiver = tapster.receive(&cluster);
        tapster.wait_for_archived("main", &[segment]);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        cluster.stop(Stop::Fast);

        let ids = ids(&tapster);
        assert_eq!(ids.len(), 7);
        for (older, newer) in ids.iter().zip(&ids[1..]) {
            assert_eq!(&key(&info(&tapster, newer), "parent_backup_id"), older);
            assert_eq!(&key(&info(&tapster, older), "children_backup_ids"), newer);
        }
        assert!(info(&tapster, &ids[6]).contains("INCREMENTAL FROM LSN"));

        let data = restore(&tapster, "restored");
        let begin = key(&info(&tapster, &ids[6]), "begin_xlog").parse::<tapster::wal::Lsn>();
        assert_same_pages(cluster.data(), &data, begin.expect("a position").0);
        assert_manifest(&data, &ids[6]);
        let label = fs::read_to_string(data.join("backup_label")).expect("a label");
        assert!(!label.contains("INCREMENTAL"), "{label}");
        assert_as_stock_tools(&tapster, major, &ids, &data, maps);

        let restored = Cluster::of_directory(major, &data);
        restored.launch();
        restored.wait_until_writable();
        assert_same_tables(&expected, &restored.checksums());
        assert_eq!(restored.value("SELECT count(*) FROM lost"), "0");
        restored.sql("CREATE TABLE more TABLESPACE \"new space\" AS SELECT 1");
    }
}

#[test]
fn a_relation_of_several_files_comes_back_whole() {
    let cluster = cluster(17);
    cluster.sql("CREATE TABLE huge (n int); CREATE TABLE end_of (n int)");
    let file = cluster.data().join(cluster.value("SELECT pg_relation_filepath('huge')"));
    cluster.stop(Stop::Fast);
    // Pages that were added and never filled: a gigabyte of them takes no space.
    fs::File::create(&file).and_then(|file| file.set_len(1 << 30)).expect("a long file");
    let next = file.with_extension("1");
    fs::File::create(&next).and_then(|file| file.set_len(20 * PAGE as u64)).expect("another");
    give_to_server(&file);
    give_to_server(&next);
    cluster.launch();
    cluster.sql("INSERT INTO huge SELECT generate_series(1, 5000)");
    let tapster = Tapster::new();
    configure(&tapster, &cluster, "zstd");
    tapster.ok(&["backup", "main"]);
    cluster.sql("UPDATE huge SET n = -n WHERE n % 1000 = 0");
    tapster.ok(&["backup", "--incremental", "last-full", "main"]);
    cluster.sql("INSERT INTO huge SELECT generate_series(5001, 9000)");
    tapster.ok(&["backup", "--incremental", "latest", "main"]);
    let expected = cluster.checksums();
    let data = tapster.path().join("restored");
    let text = data.display().to_string();
    let spaces = format!("old space:{}/old", tapster.path().display());
    tapster.ok(&["restore", "main", "latest", &text, "--tablespace", &spaces]);
    give_to_server(&tapster.path().join("old"));
    let restored = Cluster::of_directory(17, &data);
    restored.launch();
    restored.wait_until_writable();
    assert_same_tables(&expected, &restored.checksums());
}

#[test]
fn what_cannot_be_continued_is_refused_with_the_reason_and_the_remedy() {
    let says = |outcome: super::tapster::Outcome, words: &[&str]| {
        for word in ["\n  because: ", "\n  try: "].iter().chain(words) {
            assert!(outcome.stderr.contains(word), "{word:?} is not said: {outcome}");
        }
    };
    let old = Cluster::start(16);
    let tapster = Tapster::of(&old);
    tapster.ok(&["backup", "main"]);
    let incremental = ["backup", "--incremental", "latest", "main"];
    says(tapster.refused(&incremental), &["takes no incremental backups, which came with 17"]);

    let cluster = Cluster::start(17);
    let tapster = Tapster::of(&cluster);
    tapster.ok(&["backup", "main"]);
    says(tapster.refused(&incremental), &["summarize_wal is off", "summarize_wal = on"]);
    cluster.sql("ALTER SYSTEM SET summarize_wal = on");
    cluster.reload();
    says(tapster.refused(&incremental), &["was off when backup", "take a full backup"]);
    let unknown = ["backup", "--incremental", "yesterday", "main"];
    says(tapster.refused(&unknown), &["Unknown backup 'yesterday'"]);
    tapster.ok(&["backup", "main"]);
    let id = ids(&tapster).pop().expect("a backup");
    let meta = tapster.server("main").join("meta").join(format!("{id}-backup.info"));
    let good = info(&tapster, &id);
    let system = key(&good, "systemid");
    for (from, to, words) in [
        ("status=DONE", "status=WAITING_FOR_WALS", "is WAITING_FOR_WALS, not DONE"),
        (&format!("systemid={system}")[..], "systemid=4711", "is of system 4711"),
        ("mode=postgres", "mode=rsync-concurrent", "was taken with rsync-concurrent"),
        ("parent_backup_id=None", "parent_backup_id=20200101T000000", "stands on backup 20200101"),
    ] {
        fs::write(&meta, good.replace(from, to)).expect("written");
        says(tapster.refused(&incremental), &[words]);
    }
    fs::write(&meta, &good).expect("written");
    let manifest = tapster.server("main").join("base").join(&id).join("data/backup_manifest");
    let text = fs::read(&manifest).expect("a manifest");
    fs::remove_file(&manifest).expect("removed");
    says(tapster.refused(&incremental), &["has no manifest"]);
    fs::write(&manifest, &text[..text.len() / 2]).expect("written");
    says(tapster.refused(&incremental), &["manifest of backup", "cannot be used"]);
    fs::write(&manifest, &text).expect("written");
    assert_eq!(ids(&tapster).len(), 2, "a refusal leaves no backup");
    tapster.ok(&incremental);
}

#[test]
fn summaries_that_are_gone_fail_the_backup_and_its_parent_has_no_child() {
    let cluster = cluster(18);
    let tapster = Tapster::of(&cluster);
    tapster.ok(&["backup", "main"]);
    // What is written at this level cannot be summarized.
    for setting in ["summarize_wal = off", "wal_level = minimal", "max_wal_senders = 0"] {
        cluster.sql(&format!("ALTER SYSTEM SET {setting}"));
    }
    cluster.restart(Stop::Fast);
    cluster.sql("UPDATE still SET n = n");
    cluster.sql("ALTER SYSTEM RESET ALL");
    cluster.restart(Stop::Fast);
    let parent = ids(&tapster).pop().expect("a backup");
    let outcome = tapster.refused(&["backup", "--incremental", "latest", "main"]);
    let sentence = format!("the server cannot continue backup {parent}");
    assert!(outcome.stderr.contains(&sentence), "{outcome}");
    assert!(outcome.stderr.contains("WAL summaries are required"), "{outcome}");
    assert!(outcome.stderr.contains("try: take a full backup"), "{outcome}");
    assert_eq!(key(&info(&tapster, &parent), "children_backup_ids"), "None");
    let failed = ids(&tapster).pop().expect("a record");
    assert_eq!(key(&info(&tapster, &failed), "status"), "FAILED");
}

#[test]
fn a_backup_fails_when_one_that_it_stands_on_is_deleted_while_it_is_taken() {
    let cluster = cluster(17);
    let tapster = Tapster::new();
    configure(&tapster, &cluster, "none");
    tapster.ok(&["backup", "main"]);
    tapster.ok(&["backup", "--incremental", "latest", "main"]);
    let [full, parent] = &ids(&tapster)[..] else { panic!("two backups") };
    let meta = tapster.server("main").join("meta");
    let record = meta.join(format!("{full}-backup.info"));
    // A deletion of Barman's begins with a mark, and ends with the removal of the record.
    for (deleted, is_gone) in [(parent, false), (full, false), (full, true)] {
        cluster.sql("UPDATE still SET n = n");
        let arguments = ["backup", "--bwlimit", "1024", "--incremental", parent, "main"];
        let mut backup = tapster.spawn(&arguments);
        let sends = "SELECT count(*) FROM pg_stat_replication WHERE state = 'backup'";
        wait_until(
            "the copy",
            Duration::from_secs(60),
            || (cluster.value(sends) == "1").then_some(()),
            || backup.output(),
        );
        let mark = meta.join(format!("{deleted}-delete_this"));
        match is_gone {
            true => fs::remove_file(&record).expect("removed"),
            false => fs::write(&mark, "").expect("marked"),
        }
        assert_eq!(backup.wait(), 1, "{}", backup.output());
        let sentence = format!("backup {deleted} was deleted meanwhile");
        assert!(backup.output().contains(&sentence), "{}", backup.output());
        let child = ids(&tapster).pop().expect("a record");
        assert_eq!(key(&info(&tapster, &child), "status"), "FAILED");
        assert_eq!(key(&info(&tapster, parent), "children_backup_ids"), "None");
        if !is_gone {
            fs::remove_file(&mark).expect("unmarked");
        }
    }
    assert!(!record.exists(), "what is deleted is not written anew");
}

#[test]
fn a_chain_that_lacks_a_link_or_has_a_damaged_one_is_not_restored() {
    let cluster = cluster(18);
    let tapster = Tapster::new();
    configure(&tapster, &cluster, "none");
    tapster.ok(&["backup", "main"]);
    cluster.sql("UPDATE still SET md5 = 'x' WHERE n = 7");
    tapster.ok(&["backup", "--incremental", "latest", "main"]);
    let full = ids(&tapster).remove(0);
    let folder = tapster.path().join("r").display().to_string();
    let space = format!("old space:{}/old", tapster.path().display());
    let restore = ["restore", "main", "latest", &folder, "--tablespace", &space];
    let archive = tapster.server("main").join("base").join(&full).join("data/base.tar");
    let mut bytes = fs::read(&archive).expect("an archive");
    // A page of a table that the incremental backup does not bring.
    let file = cluster.value("SELECT pg_relation_filepath('full_vac')");
    let name = format!("{file}\0");
    let header = bytes.chunks(512).position(|block| block.starts_with(name.as_bytes()));
    let at = header.expect("the table is in it") * 512 + 512 + 5000;
    bytes[at] ^= 1;
    fs::write(&archive, &bytes).expect("written");
    let outcome = tapster.refused(&restore);
    assert!(outcome.stderr.contains(&format!("\"{file}\" is not what")), "{outcome}");
    let control = tapster.path().join("r/global/pg_control");
    assert!(!control.exists(), "it could be started");
    bytes[at] ^= 1;
    fs::write(&archive, &bytes).expect("written");
    for used in ["r", "old"] {
        fs::remove_dir_all(tapster.path().join(used)).expect("removed");
    }
    let meta = tapster.server("main").join("meta").join(format!("{full}-backup.info"));
    fs::rename(&meta, tapster.path().join("away")).expect("moved");
    let outcome = tapster.refused(&restore);
    assert!(outcome.stderr.contains(&format!("continues backup '{full}'")), "{outcome}");
    fs::rename(tapster.path().join("away"), &meta).expect("moved back");
    tapster.ok(&restore);
}
