//! What cannot be done is refused with a reason, and leaves nothing half-done behind.
//!
//! A file under a final name is believed: by restore, by retention, by the next backup. So a
//! command that failed may leave scratch files, but no name that promises anything.

use std::fs;
use std::path::Path;

use super::scratch::Mount;
use super::tapster::Outcome;
use super::{Cluster, Stop, Tapster};

/// A refusal says what and why in words of the matter, and how to go on.
#[track_caller]
pub fn says(outcome: &Outcome, words: &[&str]) {
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} is not said: {outcome}");
    }
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
}

/// No file that promises a backup or WAL.
#[track_caller]
fn nothing_promised(tapster: &Tapster) {
    assert_eq!(tapster.archived("main").len(), 0, "{:?}", tapster.archived("main"));
    let done = tapster.run(&["list-backups", "main"]);
    assert!(!done.stdout.contains("DONE") && !done.stdout.contains("Size:"), "{done}");
    let streaming = tapster.server("main").join("streaming");
    for entry in fs::read_dir(streaming).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name.len() != 24, "{name} promises a whole segment");
    }
}

#[test]
fn no_server_is_refused() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::of(&cluster);
    cluster.stop(Stop::Fast);
    let outcome = tapster.refused(&["backup", "main"]);
    says(&outcome, &["main", &cluster.socket().display().to_string()]);
    // `check` prints its findings on standard output, as Barman does.
    let check = tapster.run(&["check", "main"]);
    assert!(check.code != 0 && check.stdout.contains("PostgreSQL: FAILED"), "{check}");
    nothing_promised(&tapster);
}

#[test]
fn a_wrong_password_is_refused_and_not_repeated() {
    let cluster = Cluster::builder(16)
        .hba(&[
            "host all all 127.0.0.1/32 scram-sha-256",
            "host replication all 127.0.0.1/32 scram-sha-256",
        ])
        .start();
    cluster.sql("ALTER ROLE barman PASSWORD 'right'; ALTER ROLE streaming_barman PASSWORD 'right'");
    let tapster = Tapster::new();
    tapster.write_server(
        "main",
        &format!(
            "conninfo = {0} password=wr0ng\nstreaming_conninfo = {1} password=wr0ng\n\
             backup_method = postgres\nstreaming_archiver = on\nslot_name = tapster\n",
            cluster.tcp_conninfo(),
            cluster.tcp_streaming_conninfo()
        ),
    );
    let outcome = tapster.refused(&["backup", "main"]);
    says(&outcome, &["password authentication failed"]);
    assert!(!outcome.stderr.contains("wr0ng"), "the password is said: {outcome}");
    let outcome = tapster.refused(&["receive-wal", "main"]);
    says(&outcome, &["password authentication failed"]);
    nothing_promised(&tapster);
}

#[test]
fn no_pg_hba_entry_for_replication_is_refused() {
    for major in [10, 18] {
        let cluster = Cluster::builder(major).hba(&["local all all trust"]).start();
        let tapster = Tapster::of(&cluster);
        for command in ["backup", "receive-wal"] {
            says(&tapster.refused(&[command, "main"]), &["pg_hba.conf", "replication"]);
        }
        nothing_promised(&tapster);
    }
}

#[test]
fn a_role_without_replication_is_refused() {
    let cluster = Cluster::start(15);
    cluster.sql("ALTER ROLE streaming_barman NOREPLICATION");
    let tapster = Tapster::of(&cluster);
    for command in ["backup", "receive-wal"] {
        let outcome = tapster.refused(&[command, "main"]);
        says(&outcome, &["REPLICATION", "streaming_barman"]);
    }
    nothing_promised(&tapster);
}

#[test]
fn no_free_walsender_is_refused() {
    let cluster = Cluster::builder(14).setting("max_wal_senders", "1").start();
    let tapster = Tapster::of(&cluster);
    let mut receiver = tapster.receive(&cluster);
    let outcome = tapster.refused(&["backup", "main"]);
    says(&outcome, &["max_wal_senders"]);
    assert!(receiver.is_running(), "the running receiver is none the worse: {}", receiver.output());
}

#[test]
fn a_backup_whose_wal_no_slot_would_keep_is_refused_before_it_begins() {
    for major in [10, 17] {
        let cluster = Cluster::builder(major).setting("max_replication_slots", "1").start();
        let tapster = Tapster::of(&cluster);
        tapster.ok(&["receive-wal", "--create-slot", "main"]);
        let why = ["slot", "max_replication_slots", "receive-wal with a slot"];
        says(&tapster.refused(&["backup", "--dry-run", "main"]), &why);
        says(&tapster.refused(&["backup", "main"]), &why);
        assert!(!cluster.log().contains("BASE_BACKUP"), "{}", cluster.log_tail());
        assert_eq!(tapster.ok(&["list-backups", "--minimal", "main"]).stdout, "");
        // The only slot is the receiver's, and enough while it is in use.
        let mut receiver = tapster.receive(&cluster);
        tapster.ok(&["backup", "--dry-run", "main"]);
        tapster.ok(&["backup", "--wait", "main"]);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    }
    // One for the copy, one for its WAL, and none for the slot.
    let cluster = Cluster::builder(17).setting("max_wal_senders", "2").start();
    let tapster = Tapster::of(&cluster);
    for options in [&["--dry-run"][..], &[]] {
        let arguments = [&["backup"][..], options, &["main"]].concat();
        says(&tapster.refused(&arguments), &["slot", "max_wal_senders"]);
    }
    assert!(!cluster.log().contains("BASE_BACKUP"), "{}", cluster.log_tail());
}

#[test]
fn a_missing_slot_is_refused_with_the_command_that_makes_it() {
    let cluster = Cluster::start(13);
    let tapster = Tapster::of(&cluster);
    let outcome = tapster.refused(&["receive-wal", "main"]);
    says(&outcome, &["tapster", "does not exist", "receive-wal --create-slot"]);
    nothing_promised(&tapster);
}

#[test]
fn a_second_receiver_is_refused_and_the_first_goes_on() {
    let cluster = Cluster::start(12);
    let tapster = Tapster::of(&cluster);
    let mut receiver = tapster.receive(&cluster);
    let outcome = tapster.run(&["receive-wal", "main"]);
    assert_ne!(outcome.code, 0, "{outcome}");
    let segment = cluster.switch_wal();
    tapster.wait_for_archived("main", &[segment]);
    assert!(receiver.is_running(), "{}", receiver.output());
}

#[test]
fn a_slot_in_use_by_another_is_waited_for_or_refused_and_never_taken() {
    let cluster = Cluster::start(17);
    let owner = Tapster::of(&cluster);
    let mut receiver = owner.receive(&cluster);
    let other = Tapster::of(&cluster);
    // Another program holds the slot: it may go soon, so this one says so and tries again.
    let mut second = other.spawn(&["receive-wal", "main"]);
    second.wait_for_log(&other, "is active");
    nothing_promised(&other);
    assert!(receiver.is_running(), "{}", receiver.output());
    receiver.kill();
    second.wait_until_streaming(&cluster);
    assert_eq!(second.interrupt(), 0, "{}", second.output());
}

#[test]
fn another_clusters_wal_is_refused() {
    let cluster = Cluster::start(16);
    let tapster = Tapster::of(&cluster);
    let mut receiver = tapster.receive(&cluster);
    let segment = cluster.switch_wal();
    tapster.wait_for_archived("main", std::slice::from_ref(&segment));
    assert_eq!(receiver.interrupt(), 0);
    let other = Cluster::builder(16).own_identifier().start();
    other.sql("SELECT pg_create_physical_replication_slot('tapster', true)");
    tapster.write_server("main", &Tapster::server_options(&other));
    let ours = cluster.value("SELECT system_identifier FROM pg_control_system()");
    let theirs = other.value("SELECT system_identifier FROM pg_control_system()");
    for command in ["receive-wal", "backup"] {
        says(&tapster.refused(&[command, "main"]), &[&ours, &theirs]);
    }
    assert_eq!(tapster.archived("main").keys().collect::<Vec<_>>(), [&segment]);
}

#[test]
fn a_repository_that_cannot_be_written_is_refused() {
    if rustix::process::getuid().is_root() {
        // Root may write anywhere; a read-only mount is the same to everybody.
        let tapster = Tapster::new();
        let Some(_mount) = Mount::tmpfs(&tapster.path().join("repository"), "size=1m,ro") else {
            return;
        };
        let cluster = Cluster::start(15);
        tapster.write_server("main", &Tapster::server_options(&cluster));
        let place = tapster.path().join("repository").display().to_string();
        for command in ["backup", "receive-wal"] {
            says(&tapster.refused(&[command, "main"]), &[&place]);
        }
        nothing_promised(&tapster);
    } else {
        let cluster = Cluster::start(15);
        let tapster = Tapster::of(&cluster);
        let place = tapster.path().join("repository");
        set_mode(&place, 0o555);
        for command in ["backup", "receive-wal"] {
            says(&tapster.refused(&[command, "main"]), &[&place.display().to_string()]);
        }
        set_mode(&place, 0o755);
    }
}

#[test]
fn a_full_repository_fails_the_backup_and_promises_nothing() {
    let tapster = Tapster::new();
    let Some(_mount) = Mount::tmpfs(&tapster.path().join("repository"), "size=40m") else { return };
    let cluster = Cluster::start(17);
    cluster.sql(
        "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 100000) n",
    );
    tapster.write_server("main", &Tapster::server_options(&cluster));
    let outcome = tapster.refused(&["backup", "main"]);
    says(&outcome, &["No space left on device"]);
    let listed = tapster.run(&["list-backups", "main"]);
    assert!(!listed.stdout.contains("Size:"), "{listed}");
    cluster.wait_for_no_slot();
}

#[test]
fn a_restore_into_a_folder_that_is_not_empty_is_refused() {
    let cluster = Cluster::start(18);
    let tapster = Tapster::of(&cluster);
    tapster.ok(&["backup", "main"]);
    let folder = tapster.path().join("in-use");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("mine"), "precious").expect("a file");
    let outcome = tapster.refused(&["restore", "main", "latest", &folder.display().to_string()]);
    says(&outcome, &["in-use"]);
    assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 1);
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}
