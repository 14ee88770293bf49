//! What is asked of a backup is what is done: options that were accepted and forgotten are found
//! out on the day when they were meant for.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::scratch::{self, wait_until};
use super::tapster::Running;
use super::{Cluster, Tapster};

/// A server whose backups come slowly enough to be met on the way.
fn slow(cluster: &Cluster, options: &str) -> Tapster {
    cluster.sql(
        "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 50000) n",
    );
    let tapster = Tapster::new();
    tapster.write_server("main", &(Tapster::server_options(cluster) + options));
    tapster
}

fn ids(tapster: &Tapster) -> Vec<String> {
    let listed = tapster.ok(&["list-backups", "--minimal", "main"]).stdout;
    listed.lines().map(str::to_owned).collect()
}

fn data(tapster: &Tapster, id: &str) -> PathBuf {
    tapster.server("main").join("base").join(id).join("data")
}

/// Waits until a walsender sends a backup, and ends it as an administrator would.
fn terminate_walsender(cluster: &Cluster, backup: &mut Running) {
    let sends = "FROM pg_stat_replication WHERE state = 'backup'";
    wait_until(
        "a walsender that sends data",
        Duration::from_secs(60),
        || {
            assert!(backup.is_running(), "it ended: {}", backup.output());
            (cluster.value(&format!("SELECT count(*) {sends}")) != "0").then_some(())
        },
        || cluster.log_tail(),
    );
    cluster.sql(&format!("SELECT pg_terminate_backend(pid) {sends}"));
}

#[test]
fn a_copy_whose_connection_breaks_is_tried_again_under_its_id_as_often_as_was_asked() {
    let cluster = Cluster::start(16);
    let tapster = slow(&cluster, "bandwidth_limit = 8192\nbasebackup_retry_sleep = 1\n");
    let mut backup = tapster.spawn(&["backup", "--retry-times", "2", "main"]);
    for _ in 0..2 {
        terminate_walsender(&cluster, &mut backup);
    }
    assert_eq!(backup.wait(), 0, "{}", backup.output());
    for number in 1..=2 {
        let said = format!("trying again in 1 seconds ({number} of 2)");
        assert!(backup.output().contains(&said), "{}", backup.output());
    }
    let [id] = &ids(&tapster)[..] else { panic!("every try left a backup of its own") };
    let shown = tapster.ok(&["show-backup", "main", id]);
    assert!(shown.stdout.contains(": DONE"), "{shown}");
    tapster.ok(&["verify-backup", "main", id]);
    cluster.wait_for_no_slot();

    let mut backup = tapster.spawn(&["backup", "--no-retry", "main"]);
    terminate_walsender(&cluster, &mut backup);
    assert_eq!(backup.wait(), 1, "{}", backup.output());
    let shown = tapster.ok(&["show-backup", "main", "last-failed"]);
    // Whether the server still says why depends on where in a message it was.
    let reasons = ["57P01", "closed the connection", "lost the connection"];
    assert!(
        reasons.iter().any(|why| shown.stdout.contains(why)),
        "the reason is on record\n{shown}"
    );
    let failed = ids(&tapster).remove(0);
    assert_eq!(fs::read_dir(data(&tapster, &failed)).expect("a folder").count(), 0);
}

#[test]
fn what_trying_again_cannot_cure_is_tried_once() {
    let cluster = Cluster::start(15);
    let tapster = Tapster::of(&cluster);
    tapster.ok(&["backup", "main"]);
    // The repository belongs to that cluster; the next one stays a stranger.
    let other = Cluster::builder(15).own_identifier().start();
    tapster.write_server("main", &Tapster::server_options(&other));
    let refused = tapster.refused(&["backup", "--retry-times", "5", "--retry-sleep", "60", "main"]);
    assert!(!refused.stderr.contains("trying again"), "{refused}");
}

#[test]
fn a_tablespace_comes_no_faster_than_its_own_limit() {
    let cluster = Cluster::start(15);
    cluster.create_tablespace("slow");
    cluster.sql(
        "CREATE TABLE s TABLESPACE slow AS SELECT repeat('x', 900) FROM generate_series(1, 280)",
    );
    cluster.sql("CHECKPOINT");
    let tapster = Tapster::new();
    let limit = "tablespace_bandwidth_limit = slow:64\n";
    tapster.write_server("main", &(Tapster::server_options(&cluster) + limit));
    let began = Instant::now();
    let mut backup = tapster.spawn(&["backup", "main"]);
    // The data directory, which is more than a hundred times as large, is not limited: otherwise
    // the wait for its end would fail.
    assert_eq!(backup.wait(), 0, "{}", backup.output());
    // 256 KiB at 64 KiB a second cannot come faster.
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn the_manifest_has_the_checksums_that_were_asked_for_and_they_are_compared() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::new();
    let options = Tapster::server_options(&cluster) + "backup_compression = none\n";
    for (configured, typed, wanted) in [
        ("", None, Some("CRC32C")),
        ("sha256", None, Some("SHA256")),
        ("sha256", Some("SHA512"), Some("SHA512")),
        ("", Some("sha224"), Some("SHA224")),
        ("", Some("sha384"), Some("SHA384")),
        ("none", None, None),
    ] {
        let line = format!("manifest_checksums = {configured}\n");
        tapster.write_server("main", &format!("{options}{line}"));
        let typed = typed.map(|word| format!("--manifest-checksums={word}"));
        let arguments: Vec<&str> = ["backup", "main"].into_iter().chain(typed.as_deref()).collect();
        tapster.ok(&arguments);
        let id = ids(&tapster).remove(0);
        let text = fs::read_to_string(data(&tapster, &id).join("backup_manifest")).expect("text");
        match wanted {
            Some(word) => {
                let files = text.matches("\"Path\"").count();
                let summed = text.matches(&format!("\"Checksum-Algorithm\": \"{word}\"")).count();
                assert!(files > 500 && summed == files, "{word}: {summed} of {files}");
            }
            None => assert!(!text.contains("Checksum-Algorithm")),
        }
        tapster.ok(&["verify-backup", "main", "latest"]);
    }
}

#[test]
fn the_label_is_what_was_given_and_barmans_words_are_accepted() {
    let cluster = Cluster::start(14);
    let tapster = Tapster::of(&cluster);
    tapster.ok(&[
        "backup",
        "--label",
        "before 'the' upgrade",
        "--keepalive-interval",
        "10",
        "--manifest",
        "--jobs",
        "4",
        "--jobs-start-batch-size=2",
        "--jobs-start-batch-period=1",
        "--check-timeout=3",
        "--reuse-backup=off",
        "--method=postgres",
        "main",
    ]);
    let id = ids(&tapster).remove(0);
    let path = tapster.server("main").join("meta").join(format!("{id}-backup.info"));
    let info = fs::read_to_string(path).expect("backup.info");
    assert!(info.contains("LABEL: before 'the' upgrade\\n"), "{info}");
}

/// Holds the receiver's lock and does nothing for it, as a receiver that hangs.
pub fn hung_receiver(tapster: &Tapster) -> std::process::Child {
    hold_lock(tapster, "receive-wal")
}

/// Holds a lock of the server until its standard input is closed.
pub fn hold_lock(tapster: &Tapster, name: &str) -> std::process::Child {
    let lock = tapster.server("main").with_file_name(format!(".main-{name}.lock"));
    let mut holder = scratch::command("flock");
    holder.arg("-x").arg(&lock).args(["sh", "-c", "echo held; read -r _"]);
    let mut child =
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("flock is there");
    let mut said = String::new();
    let stdout = child.stdout.take().expect("it is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut said).expect("a word");
    assert_eq!(said, "held\n");
    child
}

#[test]
fn wal_is_kept_by_a_slot_before_the_copy_begins_unless_the_receivers_slot_is_in_use() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::of(&cluster);
    tapster.ok(&["receive-wal", "--create-slot", "main"]);
    let slots_made = || cluster.log().matches("CREATE_REPLICATION_SLOT \"tapster_2").count();
    // A receiver that holds its lock and receives nothing keeps nothing either.
    let mut hung = hung_receiver(&tapster);
    let backup = tapster.run(&["backup", "--wait-timeout", "1", "main"]);
    assert_eq!(backup.code, 1, "its WAL does not come\n{backup}");
    assert_eq!(slots_made(), 1);
    let log = cluster.log();
    let at = |what: &str| log.find(what).unwrap_or_else(|| panic!("no {what}\n{log}"));
    assert!(at("TEMPORARY PHYSICAL") < at("BASE_BACKUP"), "{log}");
    hung.kill().expect("it is ours");
    let _ = hung.wait();
    // One that streams from its slot is enough.
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    receiver.wait_until_streaming(&cluster);
    tapster.ok(&["backup", "--wait", "main"]);
    assert_eq!(slots_made(), 1);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    // Without any the backup receives its WAL itself.
    tapster.ok(&["backup", "--wait", "main"]);
    assert_eq!(slots_made(), 2);
    let left = cluster.value("SELECT string_agg(slot_name, ' ') FROM pg_replication_slots");
    assert_eq!(left, "tapster");
}

#[test]
fn flock_is_there_for_these_tests() {
    let output = Command::new("flock").arg("--version").output().expect("util-linux");
    assert!(output.status.success());
}
