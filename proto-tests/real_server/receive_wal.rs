//! What `receive-wal` says: to the letter what Barman says, because scripts read it.

use super::{Cluster, Tapster};

/// Server `main` with the slot name of Barman's samples.
fn site() -> (Cluster, Tapster) {
    let cluster = Cluster::start(15);
    let tapster = Tapster::new();
    let options = Tapster::server_options(&cluster).replace("= tapster\n", "= barman\n");
    tapster.write_server("main", &options);
    (cluster, tapster)
}

#[track_caller]
fn says(tapster: &Tapster, arguments: &[&str], code: i32, stdout: &str, stderr: &str) {
    let outcome = tapster.run(&[&["receive-wal"], arguments].concat());
    let said = (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str());
    assert_eq!(said, (code, stdout, stderr), "{arguments:?}");
}

#[test]
fn slots_are_made_and_dropped_in_barmans_words() {
    let (cluster, tapster) = site();
    let creating = "Creating physical replication slot 'barman' on server 'main'\n";
    let dropping = "Dropping physical replication slot 'barman' on server 'main'\n";
    let create = &["--create-slot", "main"];
    says(&tapster, create, 0, &format!("{creating}Replication slot 'barman' created\n"), "");
    let reserved = "SELECT restart_lsn IS NOT NULL FROM pg_replication_slots";
    assert_eq!(cluster.value(reserved), "t", "a slot that keeps nothing");
    says(&tapster, create, 1, creating, "ERROR: Replication slot 'barman' already exists\n");
    let skipped = "Replication slot 'barman' already exists and --if-not-exists was specified. \
                   Skipping creation\n";
    let create = &["--create-slot", "--if-not-exists", "main"];
    says(&tapster, create, 0, &format!("{creating}{skipped}"), "");

    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    receiver.wait_until_streaming(&cluster);
    let in_use = "ERROR: Cannot drop replication slot 'barman' on server 'main' because it is in \
                  use.\n";
    says(&tapster, &["--drop-slot", "main"], 1, dropping, in_use);
    let running = "ERROR: Another receive-wal process is already running for server main.\n";
    says(&tapster, &["main"], 1, "Starting receive-wal for server main\n", running);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());

    let dropped = format!("{dropping}Replication slot 'barman' dropped\n");
    says(&tapster, &["--drop-slot", "main"], 0, &dropped, "");
    let none = "ERROR: Replication slot 'barman' does not exist\n";
    says(&tapster, &["--drop-slot", "main"], 1, dropping, none);
}

#[test]
fn what_is_not_configured_or_not_compatible_is_said_in_barmans_words() {
    let cluster = Cluster::start(15);
    let tapster = Tapster::new();
    tapster.write_server(
        "main",
        &format!(
            "conninfo = {}\nbackup_method = rsync\nssh_command = ssh x\narchiver = on\n",
            cluster.conninfo()
        ),
    );
    let streaming = "ERROR: Unable to create a physical replication slot: streaming connection \
                     not configured\n";
    says(&tapster, &["--create-slot", "main"], 1, "", streaming);
    let off = "ERROR: Unable to start receive-wal process: streaming_archiver option set to 'off' \
               in barman configuration file\n";
    says(&tapster, &["main"], 1, "", off);
    let both = "ERROR: --stop and --reset options are not compatible\n";
    says(&tapster, &["--stop", "--reset", "main"], 1, "", both);
}

#[test]
fn reset_begins_anew_at_the_slots_position_and_only_where_that_is_needed() {
    let (cluster, tapster) = site();
    tapster.ok(&["receive-wal", "--create-slot", "main"]);
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    receiver.wait_until_streaming(&cluster);
    let first = cluster.switch_wal();
    tapster.wait_for_archived("main", &[first]);
    tapster.ok(&["backup", "main"]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    let aligned = "Nothing to do. Position of receive-wal is aligned.\n";
    says(&tapster, &["--reset", "main"], 0, aligned, "");

    // The slot is lost, and a new one begins later: what lies between is given up.
    tapster.ok(&["receive-wal", "--drop-slot", "main"]);
    for _ in 0..3 {
        cluster.switch_wal();
    }
    cluster.sql("CHECKPOINT");
    tapster.ok(&["receive-wal", "--create-slot", "main"]);
    let outcome = tapster.ok(&["receive-wal", "--reset", "main"]);
    let mark = "Resetting receive-wal directory status\n";
    assert!(outcome.stdout.starts_with(mark), "{outcome}");
    assert!(outcome.stdout.contains(".partial\n"), "{outcome}");
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    receiver.wait_until_streaming(&cluster);
    let last = cluster.switch_wal();
    tapster.wait_for_archived("main", &[last]);

    // What was given up is known to whoever asks, until there is a backup from behind it.
    let listed = tapster.ok(&["list-backups", "main"]);
    assert!(listed.stderr.contains("main: no restore past "), "{listed}");
    let checked = || tapster.run(&["check", "main"]).stdout;
    let lost = checked();
    assert!(lost.contains("lost WAL: FAILED (WAL of timeline 1 from "), "{lost}");
    assert!(lost.contains("receive-wal was reset to begin behind it"), "{lost}");
    tapster.ok(&["backup", "main"]);
    assert!(!checked().contains("lost WAL"), "{}", checked());
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}
