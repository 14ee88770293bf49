//! A receiver that was away for a day has a day of WAL to receive, as fast as the server sends it.
//!
//! Whatever it then holds for the disk, for the archive or for whoever looks at the records would
//! grow with that day, and the machine that keeps the only copy would end it in the middle.

use std::fs;
use std::time::Duration;

use super::scratch::wait_until;
use super::tapster::Running;
use super::{Cluster, Tapster};

/// Segments of 16 MB: a gigabyte and more.
const SEGMENTS: usize = 70;
const LIMIT_KIB: u64 = 64 << 10;

/// The most that it ever had in memory, in KiB.
fn peak_kib(running: &Running) -> u64 {
    let path = format!("/proc/{}/status", running.pid());
    let status = fs::read_to_string(path).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_gigabyte_of_backlog_takes_less_than_64_mib_with_and_without_compression() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::new();
    let options = Tapster::server_options(&cluster);
    let words = ["none", "zstd", "gzip"];
    for word in words {
        let own = options.replace("slot_name = tapster", &format!("slot_name = {word}"));
        tapster.write_server(word, &format!("{own}compression = {word}\n"));
        tapster.ok(&["receive-wal", "--create-slot", word]);
    }
    // Records for those who look at them, and something to do for those who pack.
    cluster.sql(
        "CREATE TABLE t AS SELECT n, md5(n::text) a, md5((-n)::text) b \
         FROM generate_series(1, 1200000) n",
    );
    let mut segments = cluster.advance_wal(1);
    while segments.len() < SEGMENTS {
        segments.extend(cluster.advance_wal(10));
    }
    let last = segments.pop().expect("some");
    for word in words {
        let mut receiver = tapster.spawn(&["receive-wal", word]);
        wait_until(
            &format!("the whole backlog in the archive, packed with {word}"),
            Duration::from_secs(240),
            || {
                assert!(receiver.is_running(), "it ended: {}", receiver.output());
                tapster.archived(word).contains_key(&last).then_some(())
            },
            || cluster.log_tail(),
        );
        let peak = peak_kib(&receiver);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        assert!(peak < LIMIT_KIB, "{word}: {peak} KiB were in memory");
        assert!(tapster.archived(word).len() > SEGMENTS, "the test is broken");
    }
}
