//! WAL that was reported flushed is never missing, whatever happens to either side.
//!
//! The server deletes what the slot says is safe. A receiver that reports a byte too early,
//! or that starts a segment too late after it was killed, leaves a hole that nobody notices
//! until a restore needs it.

use std::fs;
use std::time::Duration;

use super::round_trip::assert_same_segments;
use super::scratch::{Mount, wait_until};
use super::{Cluster, Load, Stop, Tapster};

/// Positions of the slot, in bytes: what the receiver has reported as flushed.
fn reported(cluster: &Cluster) -> u64 {
    cluster
        .value("SELECT coalesce(restart_lsn - '0/0', 0)::bigint FROM pg_replication_slots WHERE slot_name = 'tapster'")
        .parse()
        .expect("a position")
}

/// The end of what is on disk, `.partial` included: no byte below it may be missing.
fn stored_names(tapster: &Tapster) -> Vec<String> {
    let mut names: Vec<String> = tapster.archived("main").into_keys().collect();
    let streaming = fs::read_dir(tapster.server("main").join("streaming"));
    for entry in streaming.into_iter().flatten().flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    names
}

fn keep_wal(major: u32) -> Cluster {
    let builder = Cluster::builder(major);
    match major {
        ..13 => builder.setting("wal_keep_segments", "200").start(),
        _ => builder.setting("wal_keep_size", "4GB").start(),
    }
}

/// The segment that holds a position, and the offset in it, for segments of 16 MiB.
fn place_of(position: u64) -> (String, usize) {
    let segment = position >> 24;
    (
        format!("{:08X}{:08X}{:08X}", 1, segment >> 8, segment & 0xFF),
        (position & 0xFF_FFFF) as usize,
    )
}

#[test]
fn a_receiver_killed_twenty_times_under_load_loses_nothing_it_reported() {
    let cluster = keep_wal(17);
    let tapster = Tapster::of(&cluster);
    tapster.ok(&["receive-wal", "--create-slot", "main"]);
    let load = Load::start(&cluster, 30_000);
    // Primes, so that the kills fall at ever other points of a segment.
    for round in 0..20u64 {
        let mut receiver = tapster.spawn(&["receive-wal", "main"]);
        receiver.wait_until_streaming(&cluster);
        load.wait_for(7 + round * 13 % 41);
        let promised = reported(&cluster);
        receiver.kill();
        check_promise(&cluster, &tapster, promised);
        wait_for_free_slot(&cluster);
    }
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    receiver.wait_until_streaming(&cluster);
    load.stop();
    let last = cluster.switch_wal();
    tapster.wait_for_archived("main", &[last]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    no_hole(&tapster);
    assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 3);
}

/// Every byte below the reported position that the server still has is in the repository.
fn check_promise(cluster: &Cluster, tapster: &Tapster, promised: u64) {
    let (name, offset) = place_of(promised);
    if offset == 0 {
        return;
    }
    let partial = tapster.server("main").join("streaming").join(format!("{name}.partial"));
    let whole = tapster.server("main").join("streaming").join(&name);
    let archived = tapster.archived("main").get(&name).cloned();
    let stored = [Some(partial), Some(whole), archived]
        .into_iter()
        .flatten()
        .find_map(|path| fs::read(path).ok())
        .unwrap_or_else(|| {
            panic!("{name} was reported, but is not stored: {:?}", stored_names(tapster))
        });
    let server = fs::read(cluster.pg_wal().join(&name)).expect("the server keeps its WAL");
    assert!(
        stored.len() >= offset && stored[..offset] == server[..offset],
        "{name}: {offset} bytes were reported, and differ"
    );
}

/// The server notices a killed client when it next writes to it.
pub fn wait_for_free_slot(cluster: &Cluster) {
    wait_until(
        "the slot to be free",
        Duration::from_secs(60),
        || {
            (cluster.value("SELECT count(*) FROM pg_replication_slots WHERE active") == "0")
                .then_some(())
        },
        || cluster.log_tail(),
    );
}

/// The archived segments follow each other.
#[track_caller]
fn no_hole(tapster: &Tapster) {
    let names: Vec<String> =
        tapster.archived("main").into_keys().filter(|name| name.len() == 24).collect();
    let number = |name: &String| {
        let log = u64::from_str_radix(&name[8..16], 16).expect("a name");
        (log << 8) + u64::from_str_radix(&name[16..], 16).expect("a name")
    };
    for pair in names.windows(2) {
        assert_eq!(number(&pair[0]) + 1, number(&pair[1]), "a hole in {names:?}");
    }
}

#[test]
fn a_receiver_goes_on_when_its_server_stops_starts_and_crashes() {
    for major in [11, 18] {
        let cluster = keep_wal(major);
        let tapster = Tapster::of(&cluster);
        let mut receiver = tapster.receive(&cluster);
        let load = Load::start(&cluster, 100_000);
        for stop in [Stop::Fast, Stop::Immediate, Stop::Crash] {
            load.wait_for(20);
            cluster.stop(stop);
            assert!(receiver.is_running(), "{}", receiver.output());
            cluster.launch();
            receiver.wait_until_streaming(&cluster);
        }
        load.wait_for(20);
        load.stop();
        let last = cluster.switch_wal();
        tapster.wait_for_archived("main", &[last]);
        no_hole(&tapster);
        assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 2);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    }
}

#[test]
fn a_receiver_follows_a_promoted_standby_onto_its_timeline() {
    for major in [10, 13, 18] {
        let cluster = keep_wal(major);
        let standby = cluster.standby();
        standby.sql("SELECT pg_create_physical_replication_slot('tapster', true)");
        cluster.sql("CREATE TABLE t (n int)");
        cluster.wait_for_standby(&standby);
        let tapster = Tapster::new();
        tapster.write_server("main", &Tapster::server_options(&standby));
        let mut receiver = tapster.spawn(&["receive-wal", "main"]);
        receiver.wait_until_streaming(&standby);
        let last_of_one = cluster.switch_wal();
        tapster.wait_for_archived("main", &[last_of_one]);
        cluster.stop(Stop::Fast);
        standby.promote();
        standby.sql("INSERT INTO t VALUES (1)");
        let first_of_two = standby.switch_wal();
        assert!(first_of_two.starts_with("00000002"), "{first_of_two}");
        tapster.wait_for_archived("main", &[first_of_two, "00000002.history".to_owned()]);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    }
}

#[test]
fn small_and_large_segments_are_received_bit_for_bit() {
    for (major, mib) in [(11, 1), (16, 4), (18, 64)] {
        let cluster = Cluster::builder(major).segment_mib(mib);
        let cluster = match major {
            ..13 => cluster.setting("wal_keep_segments", "64").start(),
            _ => cluster.setting("wal_keep_size", "1GB").start(),
        };
        let tapster = Tapster::of(&cluster);
        let mut receiver = tapster.receive(&cluster);
        cluster.sql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 50000) n");
        let segments = cluster.advance_wal(3);
        tapster.wait_for_archived("main", &segments);
        assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 3);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    }
}

#[test]
fn a_full_disk_stalls_the_stream_on_a_living_connection_and_it_goes_on_when_there_is_room() {
    let tapster = Tapster::new();
    let place = tapster.path().join("repository");
    let Some(mount) = Mount::tmpfs(&place, "size=40m") else { return };
    let cluster = keep_wal(17);
    cluster.sql("ALTER SYSTEM SET wal_sender_timeout = '3s'");
    cluster.reload();
    tapster.write_server("main", &Tapster::server_options(&cluster));
    let mut receiver = tapster.receive(&cluster);
    let segments = cluster.advance_wal(1);
    tapster.wait_for_archived("main", &segments);
    let walsender = cluster.value("SELECT pid FROM pg_stat_replication");
    cluster.sql(
        "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 300000) n",
    );
    let segments = cluster.advance_wal(1);
    receiver.wait_for_log(&tapster, "no room for WAL");
    // Longer than the server would bear silence.
    let stalled_at = cluster.value("SELECT clock_timestamp()");
    let question = format!(
        "SELECT count(*) FROM pg_stat_replication WHERE pid = {walsender} AND reply_time > \
         timestamptz '{stalled_at}' + interval '5 seconds'"
    );
    wait_until(
        "heartbeats of a receiver without room",
        Duration::from_secs(60),
        || (cluster.value(&question) == "1").then_some(()),
        || cluster.log_tail(),
    );
    let promised = reported(&cluster);
    check_promise(&cluster, &tapster, promised);
    assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 1);
    mount.resize("size=400m");
    tapster.wait_for_archived("main", &segments);
    receiver.wait_for_log(&tapster, "there is room again");
    assert_eq!(cluster.value("SELECT pid FROM pg_stat_replication"), walsender);
    no_hole(&tapster);
    assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 4);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}

#[test]
fn a_receiver_without_room_ends_at_the_first_signal_and_keeps_its_promises() {
    let tapster = Tapster::new();
    let place = tapster.path().join("repository");
    let Some(mount) = Mount::tmpfs(&place, "size=40m") else { return };
    let cluster = keep_wal(15);
    tapster.write_server("main", &Tapster::server_options(&cluster));
    let mut receiver = tapster.receive(&cluster);
    cluster.sql(
        "CREATE TABLE t AS SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 300000) n",
    );
    let segments = cluster.advance_wal(1);
    receiver.wait_for_log(&tapster, "no room for WAL");
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    let promised = reported(&cluster);
    check_promise(&cluster, &tapster, promised);
    mount.resize("size=400m");
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    tapster.wait_for_archived("main", &segments);
    no_hole(&tapster);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}
