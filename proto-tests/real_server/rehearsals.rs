//! What a backup would do is said without doing it, and how far it is while it does.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::scratch::wait_until;
use super::{Cluster, Stop, Tapster};

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let cluster = Cluster::start(17);
    cluster.create_tablespace("fast");
    let tapster = Tapster::of(&cluster);
    let seen = tapster.ok(&["backup", "--dry-run", "main"]);
    for line in [
        "  Role                   : primary",
        "  Tablespaces            : fast (oid: ",
        "  WAL                    : received beside the copy, kept by a temporary slot",
        "Nothing stands in the way.",
    ] {
        assert!(seen.stdout.contains(line), "{line}\nnot in\n{seen}");
    }
    let json = tapster.ok(&["-f", "json", "backup", "--dry-run", "main"]);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let bytes = json["main"]["estimated_bytes"].as_u64().expect("a number");
    let cluster_size = cluster.value("SELECT sum(pg_tablespace_size(oid)) FROM pg_tablespace");
    assert_eq!(bytes.to_string(), cluster_size);
    assert!(json["main"]["free_bytes"].as_u64().expect("a number") > bytes);
    let mut written = fs::read_dir(tapster.path().join("repository")).expect("it was made before");
    assert!(written.next().is_none(), "something was written");
    assert!(!cluster.log().contains("BASE_BACKUP"), "{}", cluster.log_tail());
    assert!(!cluster.log().contains("CREATE_REPLICATION_SLOT"), "{}", cluster.log_tail());
}

#[test]
fn a_dry_run_names_everything_that_stands_in_the_way_and_fails() {
    let cluster = Cluster::start(16);
    cluster.sql("CREATE TABLE t AS SELECT repeat('x', 900) FROM generate_series(1, 20000)");
    let tapster = Tapster::of(&cluster);
    let mut backup = tapster.spawn(&["backup", "--bwlimit", "1024", "main"]);
    // By then the repository says whose it is.
    backup.wait_for_log(&tapster, "Starting backup using postgres method");
    wait_until(
        "the lock of a backup",
        Duration::from_secs(60),
        || {
            let seen = tapster.run(&["backup", "--dry-run", "main"]);
            let pid = format!("locked by process {}", backup.pid());
            (seen.code == 1 && seen.stderr.contains(&pid)).then_some(())
        },
        || backup.output(),
    );
    assert_ne!(backup.interrupt(), 0, "{}", backup.output());
    tapster.ok(&["backup", "--dry-run", "main"]);
    // Another cluster, which has gone away too.
    let other = Cluster::builder(16).own_identifier().start();
    tapster.write_server("main", &Tapster::server_options(&other));
    let seen = tapster.run(&["backup", "--dry-run", "main"]);
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("ERROR: the repository is not this server's"), "{seen}");
    other.stop(Stop::Fast);
    let seen = tapster.run(&["backup", "--dry-run", "main"]);
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("ERROR: the server cannot be asked for a backup"), "{seen}");
    assert!(!seen.stdout.contains("Nothing stands in the way"), "{seen}");
}

#[test]
fn a_dry_run_says_form_and_parent_and_what_keeps_the_server_from_giving_them() {
    let cluster = Cluster::builder(17).setting("summarize_wal", "on").start();
    let tapster = Tapster::new();
    let options = Tapster::server_options(&cluster);
    let packed = "backup_compression = gzip\nbackup_compression_location = server\n";
    tapster.write_server("main", &(options.clone() + packed));
    let dry = ["backup", "--dry-run", "--incremental", "latest", "main"];
    let seen = tapster.refused(&dry);
    assert!(seen.stderr.contains("there can be no incremental backup"), "{seen}");
    assert!(seen.stdout.contains("  Type                   : incremental\n"), "{seen}");
    tapster.ok(&["backup", "main"]);
    let id = tapster.ok(&["list-backups", "--minimal", "main"]).stdout.trim().to_owned();
    let seen = tapster.ok(&dry).stdout;
    let parent = format!("  Type                   : incremental, continues backup {id}\n");
    let form = "  Format                 : tar, compressed with gzip by the server\n";
    assert!(seen.contains(&parent) && seen.contains(form), "{seen}");
    let seen = tapster.ok(&[&["-f", "json"][..], &dry].concat()).stdout;
    let seen: Value = serde_json::from_str(&seen).expect("JSON");
    for (key, value) in [
        ("type", "incremental"),
        ("parent", &id),
        ("format", "tar"),
        ("compression", "gzip"),
        ("compression_location", "server"),
    ] {
        assert_eq!(seen["main"][key], value, "{key}: {seen}");
    }
    let meta = tapster.server("main").join("meta").join(format!("{id}-backup.info"));
    let record = fs::read_to_string(&meta).expect("a record");
    let orphan = record.replace("parent_backup_id=None", "parent_backup_id=20200101T000000");
    fs::write(&meta, orphan).expect("written");
    let seen = tapster.refused(&dry).stderr;
    assert!(seen.contains("stands on backup 20200101T000000"), "{seen}");
    fs::write(&meta, record).expect("written");
    cluster.sql("ALTER SYSTEM SET summarize_wal = off");
    cluster.reload();
    let seen = tapster.refused(&dry).stderr;
    assert!(seen.contains("summarize_wal is off") && seen.contains("\n  try: "), "{seen}");
    let full = tapster.ok(&["backup", "--dry-run", "main"]).stdout;
    assert!(full.contains("  Type                   : full\n"), "{full}");

    // This one was built without.
    let zstd = packed.replace("gzip", "zstd");
    tapster.write_server("main", &(options + &zstd));
    for options in [&["--dry-run"][..], &[]] {
        let seen = tapster.refused(&[&["backup"][..], options, &["main"]].concat()).stderr;
        assert!(seen.contains("the server was built without zstd"), "{seen}");
        assert!(seen.contains("try: set backup_compression_location = client"), "{seen}");
    }

    let old = Cluster::start(14);
    tapster.write_server("old", &(Tapster::server_options(&old) + packed));
    let seen = tapster.refused(&["backup", "--dry-run", "--incremental", "latest", "old"]).stderr;
    assert!(seen.contains("the server cannot compress the backup"), "{seen}");
    assert!(seen.contains("takes no incremental backups, which came with 17"), "{seen}");
}

/// The objects that a backup says while it runs.
fn progress(tapster: &Tapster, options: &[&str]) -> Vec<Value> {
    let arguments = [&["backup", "--progress", "json"][..], options, &["main"]].concat();
    let said = tapster.ok(&arguments);
    let lines = said.stderr.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).expect("an object")).collect()
}

#[test]
fn progress_as_json_goes_from_the_first_phase_to_the_last_and_asks_for_the_size_once() {
    let cluster = Cluster::builder(15).setting("log_statement", "all").start();
    cluster.create_tablespace("fast");
    cluster.sql(
        "CREATE TABLE f TABLESPACE fast AS SELECT repeat('x', 900) FROM generate_series(1, 9000)",
    );
    let tapster = Tapster::of(&cluster);
    let asked =
        || cluster.log().matches("statement: SELECT sum(pg_catalog.pg_tablespace_size").count();
    let quiet = tapster.ok(&["-q", "backup", "main"]);
    assert_eq!((quiet.stderr.as_str(), asked()), ("", 0), "nobody is shown it");
    // The backup before tells: about so many bytes passed.
    let seen = progress(&tapster, &["--bwlimit", "8192"]);
    assert_eq!(asked(), 0);
    let total = seen.last().and_then(|last| last["total"].as_u64()).expect("a total");
    let done = seen.last().and_then(|last| last["bytes"].as_u64()).expect("bytes");
    assert!(total >= done && total < done + done / 10, "{done} of {total}");
    let mut before = 0;
    for object in &seen {
        let bytes = object["bytes"].as_u64().expect("a number");
        assert!(bytes >= before, "{seen:?}");
        before = bytes;
        assert_eq!(object["what"], "backup of main");
    }
    let moving: Vec<&Value> = seen.iter().filter(|object| object["tablespace"] == "fast").collect();
    assert!(!moving.is_empty(), "{seen:?}");
    assert!(moving[0]["phase"] == "copying tablespace fast", "{seen:?}");
    assert!(seen.iter().any(|object| object["seconds_left"].is_u64()), "{seen:?}");
    assert_eq!(seen.last().map(|last| &last["phase"]), Some(&Value::from("ended")));
    // What the first one found out is what the server would have said, within what it writes.
    let stored = tapster.ok(&["show-backup", "main", "oldest"]);
    assert!(stored.stdout.contains("Estimated Cluster Size"), "{stored}");
    // Without one before, the server is asked.
    fs::remove_dir_all(tapster.server("main").join("meta")).expect("forgotten");
    progress(&tapster, &[]);
    assert_eq!(asked(), 1);
}
