//! A backup may be killed at any moment, and costs nothing but itself.
//!
//! What a killed program leaves behind is met by the next one: a slot that keeps WAL until the
//! server's disk is full, a walsender that goes on reading, a lock, a record that says STARTED
//! for ever. Each alone is enough for a night without a backup.

use std::time::{Duration, Instant};

use super::dice::Dice;
use super::scratch::wait_until;
use super::{Cluster, Load, Tapster};

const KILLS: u32 = 50;

/// Nobody of ours is connected, and nothing keeps WAL.
fn wait_until_forgotten(cluster: &Cluster, number: u32) {
    let question = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'barman%'";
    wait_until(
        &format!("the end of every session of backup {number}"),
        Duration::from_secs(30),
        || (cluster.value(question) == "0").then_some(()),
        || cluster.log_tail(),
    );
    cluster.wait_for_no_slot();
}

#[test]
fn a_backup_killed_at_fifty_random_moments_leaves_no_slot_no_process_and_no_obstacle() {
    let cluster = Cluster::start(17);
    cluster.sql("CREATE TABLE t AS SELECT n, md5(n::text) a FROM generate_series(1, 50000) n");
    let tapster = Tapster::of(&cluster);
    let began = Instant::now();
    tapster.ok(&["backup", "main"]);
    let whole = began.elapsed();
    let load = Load::start(&cluster, 2000);
    let mut dice = Dice::roll("killed backups");
    let mut done = 1;
    for number in 0..KILLS {
        let mut backup = tapster.spawn(&["backup", "--wait", "main"]);
        // From the first instruction to beyond the end.
        let moment = whole.mul_f64(dice.below(1200) as f64 / 1000.0);
        std::thread::sleep(moment);
        let ended = !backup.is_running();
        backup.kill();
        wait_until_forgotten(&cluster, number);
        let listed = tapster.ok(&["list-backups", "main"]);
        let now = listed.stdout.matches("- Size:").count();
        assert!(now == done || now == done + 1, "{number}: {done} were there\n{listed}");
        assert!(!ended || now == done + 1, "{number}: it ended by itself\n{listed}");
        done = now;
    }
    load.stop();
    tapster.ok(&["backup", "--wait", "main"]);
    // The record of a killed backup says so, and nothing of its data stays.
    let listed = tapster.ok(&["list-backups", "main"]);
    assert!(!listed.stdout.contains("STARTED") && !listed.stdout.contains("EMPTY"), "{listed}");
    assert!(listed.stdout.contains("FAILED"), "no backup was killed in time\n{listed}");
    for line in listed.stdout.lines().filter(|line| line.ends_with("FAILED")) {
        let id = line.split(' ').nth(1).expect("an id");
        let backup = tapster.server("main").join("base").join(id);
        for directory in ["data", "data.part"] {
            let left = std::fs::read_dir(backup.join(directory));
            assert_eq!(left.map_or(0, Iterator::count), 0, "{id} has left something");
        }
    }
    tapster.ok(&["verify-backup", "main", "latest"]);
    let expected = cluster.value("SELECT count(*), max(n) FROM t");
    let restored = tapster.restore(17, "restored", &["main", "latest"]);
    restored.wait_until_writable();
    assert_eq!(restored.value("SELECT count(*), max(n) FROM t"), expected);
}
