//! A receiver in service: what the service manager hears, what the status file says, what a
//! SIGHUP changes, and when the slot is given up so that the server lives.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::round_trip::assert_same_segments;
use super::scratch::{Mount, wait_until};
use super::tapster::Running;
use super::{Cluster, Tapster};

const LIMIT: Duration = Duration::from_secs(60);

/// The socket of a service manager, and what came through it.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn listen(tapster: &Tapster) -> (Manager, PathBuf) {
        let path = tapster.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(LIMIT)).expect("a time-out");
        (Manager { socket, heard: Vec::new() }, path)
    }

    /// Waits for a message that holds a line that begins like this.
    #[track_caller]
    fn waits_for(&mut self, line: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("waited for {line}: {error}; heard {:#?}", self.heard)
            });
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            self.heard.push(message.clone());
            if message.lines().any(|heard| heard.starts_with(line)) {
                return message;
            }
        }
    }

    /// What has come by now and was not heard yet.
    fn catches_up(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("a mode");
        let mut buffer = [0; 4096];
        let mut heard = Vec::new();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        self.socket.set_nonblocking(false).expect("a mode");
        heard
    }

    fn has_heard(&self, line: &str) -> bool {
        self.heard.iter().any(|message| message.lines().any(|heard| heard.starts_with(line)))
    }
}

fn status(tapster: &Tapster) -> Value {
    let text = fs::read_to_string(tapster.path().join("status.json")).unwrap_or_default();
    // The file is replaced as a whole: a half one is a defect.
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("whole JSON") }
}

/// Waits until the status file says something.
#[track_caller]
fn wait_for_status(tapster: &Tapster, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let look = || Some(status(tapster)).filter(|status| holds(status));
    wait_until(what, LIMIT, look, || status(tapster).to_string())
}

fn receive_with_status(tapster: &Tapster, cluster: &Cluster) -> Running {
    tapster.ok(&["receive-wal", "--create-slot", "--if-not-exists", "main"]);
    let mut receiver = tapster.spawn(&["receive-wal", "--status-file", "status.json", "main"]);
    receiver.wait_until_streaming(cluster);
    receiver
}

#[test]
fn a_service_manager_hears_when_wal_comes_that_it_lives_when_it_reloads_and_when_it_stops() {
    let cluster = Cluster::start(16);
    let tapster = Tapster::of(&cluster);
    let (mut manager, socket) = Manager::listen(&tapster);
    let socket = socket.display().to_string();
    let variables = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "600000")];
    // The slot is missing at first: the process runs, and receives nothing.
    let options = Tapster::server_options(&cluster) + "create_slot = auto\n";
    cluster.stop(super::Stop::Fast);
    tapster.write_server("main", &options);
    let mut receiver = tapster.spawn_with(&["receive-wal", "main"], &variables);
    manager.waits_for("STATUS=connecting");
    manager.waits_for("WATCHDOG=1");
    assert!(!manager.has_heard("READY=1"), "ready before WAL could come: {:?}", manager.heard);
    cluster.launch();
    manager.waits_for("READY=1");
    assert_eq!(cluster.value("SELECT count(*) FROM pg_stat_replication"), "1");
    let said = manager.waits_for("STATUS=streaming timeline 1; durable up to ");
    assert!(said.contains("behind"), "{said}");
    receiver.signal(Signal::HUP);
    let reloading = manager.waits_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "systemd needs the time: {reloading}");
    manager.waits_for("READY=1");
    // A stopped process is not taken for a living one.
    receiver.signal(Signal::TERM);
    manager.waits_for("STOPPING=1");
    assert_eq!(receiver.wait(), 0, "{}", receiver.output());
}

#[test]
fn while_a_write_does_not_return_the_watchdog_is_not_fed_and_the_server_is_still_answered() {
    let tapster = Tapster::new();
    let (place, image) = (tapster.path().join("repository"), tapster.path().join("image"));
    let Some(disk) = Mount::ext4(&place, &image) else { return };
    let cluster = Cluster::builder(17).setting("wal_sender_timeout", "3s").start();
    tapster.write_server("main", &(Tapster::server_options(&cluster) + "create_slot = auto\n"));
    let (mut manager, socket) = Manager::listen(&tapster);
    let socket = socket.display().to_string();
    let variables = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", "600000")];
    let arguments = ["receive-wal", "--status-file", "status.json", "main"];
    let mut receiver = tapster.spawn_with(&arguments, &variables);
    manager.waits_for("READY=1");
    manager.waits_for("WATCHDOG=1");
    let walsender = cluster.value("SELECT pid FROM pg_stat_replication");

    let frozen = disk.freeze();
    cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n");
    let busy = |status: &Value| status["disk_busy_seconds"].as_u64().unwrap_or(0);
    wait_for_status(&tapster, "a disk that hangs", |status| busy(status) >= 1);
    // From here on a manager would count. Longer than it waits, longer than the server does.
    manager.catches_up();
    wait_for_status(&tapster, "a disk that still hangs", |status| busy(status) >= 6);
    let heard = manager.catches_up();
    assert!(!heard.iter().any(|message| message.contains("WATCHDOG=1")), "{heard:?}");
    let told = |message: &String| message.contains("the disk has not answered for");
    assert!(heard.iter().any(told), "whoever looks is not told: {heard:?}");
    // It is the disk alone: the connection lives.
    assert_eq!(cluster.value("SELECT pid FROM pg_stat_replication"), walsender);
    drop(frozen);
    manager.waits_for("WATCHDOG=1");
    let last = cluster.switch_wal();
    tapster.wait_for_archived("main", &[last]);
    assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 1);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}

#[test]
fn sigterm_leaves_a_state_that_the_next_start_goes_on_from_in_mid_segment() {
    let cluster = Cluster::start(18);
    let tapster = Tapster::of(&cluster);
    let mut receiver = receive_with_status(&tapster, &cluster);
    cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n");
    let end = cluster.flushed_lsn();
    // Everything that has come is flushed at the end, not only when the server asks.
    wait_for_status(&tapster, "the last WAL to come", |status| {
        status["positions"]["received"].as_str().is_some_and(|at| lsn(at) >= lsn(&end))
    });
    receiver.signal(Signal::TERM);
    assert_eq!(receiver.wait(), 0, "{}", receiver.output());
    let stopped = status(&tapster);
    assert_eq!(stopped["state"], "stopped");
    let flushed = stopped["positions"]["flushed"].as_str().expect("a position").to_owned();
    assert!(lsn(&flushed) >= lsn(&end), "{flushed} is flushed, {end} had come");
    assert_ne!(lsn(&flushed) % (1 << 24), 0, "the test is to stop in mid-segment");
    let reported = cluster.value("SELECT restart_lsn FROM pg_replication_slots");
    assert_eq!(reported, flushed, "the slot was not told");
    let mut receiver = receive_with_status(&tapster, &cluster);
    receiver.wait_for_log(
        &tapster,
        &format!("streaming WAL server=main timeline=1 position={flushed}"),
    );
    let last = cluster.switch_wal();
    tapster.wait_for_archived("main", &[last]);
    assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 1);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}

fn lsn(text: &str) -> u64 {
    text.parse::<tapster::wal::Lsn>().expect("a position").0
}

#[test]
fn the_status_file_tells_positions_lag_latency_and_slot_and_follows_what_happens() {
    let cluster = Cluster::start(15);
    let tapster = Tapster::of(&cluster);
    let limit = "slot_wal_limit = 10 Gi\nreceive_synchronous = on\n";
    tapster.write_server("main", &(Tapster::server_options(&cluster) + limit));
    let mut receiver = receive_with_status(&tapster, &cluster);
    cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 100000) AS n");
    let end = cluster.flushed_lsn();
    let status = wait_for_status(&tapster, "durable WAL", |status| {
        status["positions"]["flushed"].as_str().is_some_and(|at| lsn(at) >= lsn(&end))
    });
    assert_eq!(status["format"], 1);
    assert_eq!(status["server"], "main");
    assert_eq!(status["pid"], receiver.pid());
    assert_eq!(status["state"], "streaming");
    assert_eq!(status["timeline"], 1);
    assert_eq!(status["synchronous"], true);
    assert!(status["streaming_since"].is_string());
    let latency = &status["flush_latency"];
    assert!(latency["count"].as_u64() > Some(0), "{status}");
    assert!(latency["p50_us"].as_u64() <= latency["p99_us"].as_u64());
    assert_eq!(status["queue"]["limit_bytes"], 8 << 20);
    // At a SIGHUP the slot is looked at once.
    receiver.signal(Signal::HUP);
    let status = wait_for_status(&tapster, "the slot", |status| status["slot"].is_object());
    assert_eq!(status["slot"]["name"], "tapster");
    assert_eq!(status["slot"]["wal_status"], "reserved");
    assert!(status["slot"]["left_bytes"].as_u64() > Some(9 << 30), "{status}");
    cluster.stop(super::Stop::Immediate);
    let status = wait_for_status(&tapster, "the loss", |status| status["state"] == "connecting");
    assert_eq!(status["streaming_since"], Value::Null);
    wait_for_status(&tapster, "its reason", |status| status["last_error"]["text"].is_string());
    cluster.launch();
    wait_for_status(&tapster, "another stream", |status| status["state"] == "streaming");
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}

#[test]
fn the_commits_of_a_synchronous_stream_are_seen_after_each_quiet_time() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::of(&cluster);
    let options = Tapster::server_options(&cluster) + "receive_synchronous = on\n";
    tapster.write_server("main", &options);
    let mut receiver = receive_with_status(&tapster, &cluster);
    for round in 0..4 {
        let before = status(&tapster)["last_durable_commit"].clone();
        cluster.sql(&format!("CREATE TABLE round_{round} (number int)"));
        // Who sees no commit any more holds the memory of all WAL, and reception stands still.
        wait_for_status(&tapster, "the commit to be seen", |status| {
            status["last_durable_commit"] != before
        });
        // Long enough that the writer gives the conversation back.
        std::thread::sleep(Duration::from_millis(1500));
    }
    let spares = || {
        let entries = fs::read_dir(tapster.server("main").join("streaming")).expect("a directory");
        let names = entries.flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("spare")).count()
    };
    wait_until(
        "segments made in quiet times",
        Duration::from_secs(60),
        || (spares() >= 8).then_some(()),
        || receiver.output(),
    );
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    assert_eq!(spares(), 0, "a receiver that has ended leaves none behind");
}

#[test]
fn sighup_reads_settings_again_and_looks_at_those_of_the_server() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::of(&cluster);
    let mut receiver = receive_with_status(&tapster, &cluster);
    wait_for_status(&tapster, "asynchronous", |status| status["synchronous"] == false);
    // The server's: commits wait from now on, and some for ever.
    cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'barman_receive_wal'");
    cluster.sql("ALTER ROLE streaming_barman SET synchronous_commit = 'remote_apply'");
    cluster.reload();
    receiver.signal(Signal::HUP);
    wait_for_status(&tapster, "synchronous", |status| status["synchronous"] == true);
    receiver.wait_for_log(&tapster, "such commits wait for ever");
    cluster.sql("ALTER SYSTEM RESET synchronous_standby_names");
    cluster.reload();
    receiver.signal(Signal::HUP);
    wait_for_status(&tapster, "asynchronous again", |status| status["synchronous"] == false);
    // Ours, which need another connection, or none, or another process.
    let plain = Tapster::server_options(&cluster);
    let before = cluster.value("SELECT pid FROM pg_stat_replication");
    let options = plain.clone() + "receive_synchronous = on\ncompression = gzip\n";
    tapster.write_server("main", &options);
    receiver.signal(Signal::HUP);
    wait_for_status(&tapster, "synchronous by option", |status| status["synchronous"] == true);
    receiver.wait_for_log(&tapster, "compression has changed: that counts from the next start on");
    assert_eq!(cluster.value("SELECT pid FROM pg_stat_replication"), before);
    let options = plain + "streaming_archiver_name = another\n";
    tapster.write_server("main", &options);
    receiver.signal(Signal::HUP);
    // One question: between two of them the connection may be another.
    let question =
        "SELECT coalesce(string_agg(application_name, ','), '') FROM pg_stat_replication";
    let look = || (cluster.value(question) == "another").then_some(());
    wait_until("another connection", LIMIT, look, || receiver.output());
    // Nonsense changes nothing.
    tapster.write_server("main", "conninfo = host=x\nstreaming_conninfo = nonsense\n");
    receiver.signal(Signal::HUP);
    receiver.wait_for_log(&tapster, "configuration stays as it was");
    let last = cluster.switch_wal();
    tapster.wait_for_archived("main", &[last]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}

#[test]
fn a_slot_that_keeps_more_than_its_limit_is_given_up_and_what_is_still_there_is_received() {
    for major in [10, 18] {
        let cluster = Cluster::start(major);
        let tapster = Tapster::of(&cluster);
        let limit = "slot_wal_limit = 40 Mi\n";
        tapster.write_server("main", &(Tapster::server_options(&cluster) + limit));
        let mut receiver = receive_with_status(&tapster, &cluster);
        // A walsender that stands still stands for whatever keeps the receiver from its WAL.
        let walsender = cluster.value("SELECT pid FROM pg_stat_replication");
        let walsender = walsender.parse().ok().and_then(Pid::from_raw).expect("a process");
        kill_process(walsender, Signal::STOP).expect("stopped");
        let mut segments = cluster.advance_wal(4);
        cluster.sql("CHECKPOINT");
        receiver.signal(Signal::HUP);
        let held = "SELECT restart_lsn FROM pg_replication_slots";
        let before = cluster.value(held);
        // It is asked to go, and cannot. That is waited for.
        receiver.wait_for_log(&tapster, "giving the replication slot up");
        kill_process(walsender, Signal::CONT).expect("continued");
        receiver.wait_for_log(&tapster, "more than slot_wal_limit (40.0 MiB)");
        receiver.wait_for_log(&tapster, "a new base backup is needed");
        let holes = tapster.server("main").join(".tapster/holes");
        let recorded =
            || fs::read_to_string(&holes).ok().filter(|text| text.contains("slot-given-up"));
        wait_until("a recorded hole", LIMIT, recorded, || receiver.output());
        receiver.wait_until_streaming(&cluster);
        assert!(lsn(&cluster.value(held)) >= lsn(&before) + (40 << 20), "{major}");
        // The server has still got it this time: nothing may be missing then.
        segments.push(cluster.switch_wal());
        tapster.wait_for_archived("main", &segments);
        assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 3);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    }
}

#[test]
fn replication_status_shows_receivers_and_standbys_as_barman_does() {
    for major in [10, 18] {
        let cluster = Cluster::start(major);
        let tapster = Tapster::of(&cluster);
        let none = tapster.ok(&["replication-status", "main"]).stdout;
        assert!(none.ends_with("  No streaming clients attached\n"), "{none}");
        let mut receiver = tapster.receive(&cluster);
        let text = tapster.ok(&["replication-status", "--target", "wal-streamer", "main"]).stdout;
        for line in [
            "Status of WAL streamers for server 'main':",
            "  Number of WAL streamers: 1",
            "  1. Async WAL streamer",
            "     Application name: barman_receive_wal",
            "     Communication   : Unix domain socket",
            "     Replication slot: tapster",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        let json = tapster.ok(&["-f", "json", "replication-status", "main"]).stdout;
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let client = &json["main"]["streaming_clients"][0];
        assert_eq!(client["current_state"], "streaming", "{json}");
        let started = client["started_at"].as_str().expect("a time");
        assert!(started.ends_with("+00:00") && started.contains('.'), "{started}");
        let standbys =
            tapster.ok(&["replication-status", "--minimal", "--target", "hot-standby", "main"]);
        assert!(standbys.stdout.contains("No hot standby servers attached"), "{standbys}");
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    }
}
