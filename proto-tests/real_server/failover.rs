//! Reception across promotions, lost slots and commits that wait for it.
//!
//! The stock receiver asks for ever for a timeline that ended exactly on a segment boundary,
//! gives up when its tail is on a branch that died, and lets a commit wait for its next status
//! when a segment's end came at the wrong moment.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::round_trip::assert_same_segments;
use super::scratch::wait_until;
use super::{Cluster, Stop, Tapster};

const LIMIT: Duration = Duration::from_secs(60);

fn keep_wal(major: u32) -> Cluster {
    let builder = Cluster::builder(major);
    match major {
        ..13 => builder.setting("wal_keep_segments", "200").start(),
        _ => builder.setting("wal_keep_size", "4GB").start(),
    }
}

/// Points server `main` to another cluster, with a slot that is made when it is missing.
fn point_to(tapster: &Tapster, cluster: &Cluster) {
    let options = Tapster::server_options(cluster) + "create_slot = auto\n";
    tapster.write_server("main", &options);
}

#[track_caller]
fn wait_for(what: &str, cluster: &Cluster, question: &str) {
    let state = || format!("{}\n{}", cluster.value(question), cluster.log_tail());
    wait_until(what, LIMIT, || (cluster.value(question) == "t").then_some(()), state);
}

#[test]
fn a_commit_that_waits_for_the_receiver_returns_as_soon_as_it_is_flushed() {
    for major in [10, 18] {
        let cluster = keep_wal(major);
        let tapster = Tapster::of(&cluster);
        cluster.sql("CREATE TABLE t (n int, filling text)");
        cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'barman_receive_wal'");
        cluster.reload();
        let mut receiver = tapster.receive(&cluster);
        wait_for(
            "the receiver to count",
            &cluster,
            "SELECT coalesce(bool_or(sync_state = 'sync'), false) FROM pg_stat_replication",
        );
        // Enough to pass a few segment ends: there the stock receiver forgets to report.
        let session = cluster.session("postgres");
        let mut slowest = Duration::ZERO;
        for n in 0..100 {
            let begun = Instant::now();
            session.sql(&format!(
                "INSERT INTO t SELECT {n}, string_agg(md5(random()::text), '') \
                 FROM generate_series(1, 12000)"
            ));
            slowest = slowest.max(begun.elapsed());
        }
        // The next status would come after ten seconds.
        assert!(slowest < Duration::from_secs(8), "a commit took {slowest:?}");
        cluster.sql("ALTER SYSTEM RESET synchronous_standby_names");
        cluster.reload();
        let last = cluster.switch_wal();
        tapster.wait_for_archived("main", &[last]);
        assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 3);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    }
}

#[test]
fn a_timeline_that_ends_exactly_on_a_segment_boundary_is_followed() {
    for major in [11, 16] {
        let cluster = keep_wal(major);
        let standby = cluster.standby();
        standby.sql("SELECT pg_create_physical_replication_slot('tapster', true)");
        // One receiver streams from the standby through its promotion; the other one streams
        // from the primary and is pointed to the new one afterwards.
        let through = Tapster::new();
        point_to(&through, &standby);
        let mut streaming = through.spawn(&["receive-wal", "main"]);
        streaming.wait_until_streaming(&standby);
        let after = Tapster::of(&cluster);
        let mut first = after.receive(&cluster);
        // The server writes a record of its own accord now and then: then once more.
        let at_boundary = (0..5).any(|_| {
            let last = [cluster.switch_wal()];
            cluster.wait_for_standby(&standby);
            through.wait_for_archived("main", &last);
            after.wait_for_archived("main", &last);
            cluster.flushed_lsn().ends_with("000000")
        });
        assert!(at_boundary, "the server never stood on a boundary: {}", cluster.flushed_lsn());
        cluster.stop(Stop::Crash);
        assert_eq!(first.interrupt(), 0, "{}", first.output());
        standby.promote();
        let switchpoint = standby.value(
            "SELECT split_part(convert_from(pg_read_binary_file('pg_wal/00000002.history'), \
             'UTF8'), E'\\t', 2)",
        );
        standby.sql("CREATE TABLE t AS SELECT 1 AS n");
        let new = standby.switch_wal();
        let expected = [new, "00000002.history".to_owned()];
        through.wait_for_archived("main", &expected);
        assert_eq!(streaming.interrupt(), 0, "{}", streaming.output());
        point_to(&after, &standby);
        let mut second = after.spawn(&["receive-wal", "main"]);
        after.wait_for_archived("main", &expected);
        assert_eq!(second.interrupt(), 0, "{}", second.output());
        // The test is worth something only if nothing was written behind the switch.
        assert!(switchpoint.ends_with("000000"), "the timeline ended at {switchpoint}");
    }
}

#[test]
fn a_tail_that_the_new_primary_never_had_is_kept_and_the_new_branch_is_received() {
    for major in [12, 17] {
        let cluster = keep_wal(major);
        cluster.sql("CREATE TABLE t (n int)");
        let standby = cluster.standby();
        let tapster = Tapster::of(&cluster);
        let mut receiver = tapster.receive(&cluster);
        tapster.ok(&["backup", "main"]);
        // The timelines part in the middle of a segment.
        cluster.sql("CREATE TABLE both_have_it ()");
        cluster.wait_for_standby(&standby);
        standby.stop(Stop::Fast);
        // Only the receiver gets this.
        cluster.sql("INSERT INTO t SELECT generate_series(1, 1000)");
        let lost = cluster.switch_wal();
        tapster.wait_for_archived("main", std::slice::from_ref(&lost));
        cluster.sql("INSERT INTO t VALUES (-1)");
        cluster.stop(Stop::Fast);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        standby.launch();
        standby.promote();
        // No create_slot: the new primary does not have the slot, and WAL must not wait for a person.
        tapster.write_server("main", &Tapster::server_options(&standby));
        let mut receiver = tapster.spawn(&["receive-wal", "main"]);
        receiver.wait_for_log(&tapster, "replication slot created on the new primary");
        receiver.wait_for_log(&tapster, "the stored tail is kept");
        receiver.wait_until_streaming(&standby);
        standby.sql("INSERT INTO t VALUES (2)");
        let new = standby.switch_wal();
        assert!(new.starts_with("00000002"), "{new}");
        tapster.wait_for_archived("main", &[new, "00000002.history".to_owned()]);
        let archived = tapster.archived("main");
        assert!(archived.contains_key(&lost), "the dead branch is gone: {archived:?}");
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        // Whoever asks for it gets it, to the last row of its last segment.
        for (branch, expected) in [("1", "1001,-1,1000"), ("latest", "1,2,2")] {
            let restored =
                tapster.restore(major, branch, &["--target-tli", branch, "main", "latest"]);
            restored.wait_until_writable();
            let question = "SELECT concat_ws(',', count(*), min(n), max(n)) FROM t";
            assert_eq!(restored.value(question), expected, "{major}, timeline {branch}");
        }
        // While nothing of the new timeline is there but its history, the old one's file stands in
        // for its beginning, and goes on behind it with what never was on the new one.
        for path in archived_of(&tapster, "00000002") {
            std::fs::remove_file(path).expect("removed");
        }
        let restored = tapster.restore(major, "bare", &["--target-tli", "2", "main", "latest"]);
        restored.wait_until_writable();
        assert_eq!(
            restored.value("SELECT count(*) FROM t"),
            "0",
            "{major}: rows of the dead branch"
        );
    }
}

/// Segments of a timeline, whole or not, in the archive and on their way there.
fn archived_of(tapster: &Tapster, timeline: &str) -> Vec<PathBuf> {
    let archived = tapster.archived("main").into_values();
    let streaming = std::fs::read_dir(tapster.server("main").join("streaming")).expect("a folder");
    let all = archived.chain(streaming.flatten().map(|entry| entry.path()));
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    all.filter(|path| name(path).len() >= 24 && name(path).starts_with(timeline)).collect()
}

#[test]
fn an_old_primary_that_comes_back_is_not_received_from() {
    let cluster = keep_wal(14);
    let standby = cluster.standby();
    let tapster = Tapster::new();
    point_to(&tapster, &standby);
    cluster.wait_for_standby(&standby);
    standby.promote();
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    receiver.wait_until_streaming(&standby);
    let new = standby.switch_wal();
    tapster.wait_for_archived("main", &[new]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    point_to(&tapster, &cluster);
    let outcome = tapster.refused(&["receive-wal", "main"]);
    assert!(outcome.stderr.contains("an old primary has come back"), "{outcome}");
}

#[test]
fn wal_that_the_server_has_removed_is_said_to_be_missing_and_reception_goes_on_behind_it() {
    let cluster = Cluster::builder(15)
        .setting("max_slot_wal_keep_size", "16MB")
        .setting("max_wal_size", "32MB")
        .setting("min_wal_size", "32MB")
        .start();
    let tapster = Tapster::of(&cluster);
    let mut receiver = tapster.receive(&cluster);
    tapster.ok(&["backup", "main"]);
    let first = cluster.switch_wal();
    tapster.wait_for_archived("main", &[first]);
    // In the middle of the segment whose rest is removed.
    cluster.sql("CREATE TABLE t AS SELECT -1 AS n");
    let written = cluster.flushed_lsn();
    let question = format!("SELECT bool_and(flush_lsn >= '{written}') FROM pg_stat_replication");
    wait_for("the receiver to have it", &cluster, &question);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    for _ in 0..6 {
        cluster.sql("INSERT INTO t VALUES (1)");
        cluster.switch_wal();
    }
    cluster.sql("CHECKPOINT");
    cluster.sql("CHECKPOINT");
    wait_for(
        "the slot to be lost",
        &cluster,
        "SELECT bool_and(wal_status = 'lost') FROM pg_replication_slots",
    );
    let mut receiver = tapster.spawn(&["receive-wal", "main"]);
    receiver.wait_for_log(&tapster, "WAL is missing in the archive");
    receiver.wait_until_streaming(&cluster);
    let last = cluster.switch_wal();
    tapster.wait_for_archived("main", &[last]);
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
    // Everything in front of the hole comes back.
    let restored = tapster.restore(15, "restored", &["main", "latest"]);
    restored.wait_until_writable();
    assert_eq!(restored.value("SELECT string_agg(n::text, ',') FROM t"), "-1");
}

#[test]
fn a_slot_never_goes_back_however_often_the_receiver_starts() {
    let cluster = keep_wal(13);
    let tapster = Tapster::of(&cluster);
    let restart = || -> u64 {
        let text = cluster.value(
            "SELECT coalesce(restart_lsn - '0/0', 0)::bigint FROM pg_replication_slots \
             WHERE slot_name = 'tapster'",
        );
        text.parse().expect("a position")
    };
    cluster.sql("CREATE TABLE t (n int, filling text)");
    let mut highest = 0;
    for round in 0..5 {
        let mut receiver = tapster.receive(&cluster);
        cluster.sql(&format!("INSERT INTO t SELECT {round}, repeat('x', 3000)"));
        let target = cluster.value("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint");
        let code = match round % 2 {
            0 => receiver.interrupt(),
            _ => {
                receiver.kill();
                0
            }
        };
        assert_eq!(code, 0, "{}", receiver.output());
        let now = restart();
        assert!(now >= highest, "round {round}: the slot went back from {highest} to {now}");
        if round % 2 == 0 {
            let target: u64 = target.parse().expect("a position");
            assert!(now >= target, "an orderly end reports what it has flushed");
        }
        highest = now;
        wait_for(
            "the slot to be free",
            &cluster,
            "SELECT bool_and(NOT active) FROM pg_replication_slots",
        );
    }
}

#[test]
fn stop_ends_the_receiver_of_this_server_and_says_which_process_that_was() {
    let cluster = Cluster::start(16);
    let tapster = Tapster::of(&cluster);
    let mut receiver = tapster.receive(&cluster);
    let outcome = tapster.ok(&["receive-wal", "--stop", "main"]);
    assert_eq!(outcome.stdout, format!("Stopped process receive-wal({})\n", receiver.pid()));
    assert_eq!(receiver.wait(), 0, "{}", receiver.output());
    let outcome = tapster.refused(&["receive-wal", "--stop", "main"]);
    let expected =
        "ERROR: Termination of receive-wal failed: no such process for server main\n".to_owned();
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn a_short_timeout_of_the_server_does_not_end_an_idle_stream() {
    let cluster = Cluster::builder(17).setting("wal_sender_timeout", "1500ms").start();
    let tapster = Tapster::of(&cluster);
    let mut receiver = tapster.receive(&cluster);
    let process = cluster.value("SELECT pid FROM pg_stat_replication");
    let begun = cluster.value("SELECT extract(epoch FROM now())::bigint");
    let past = format!("SELECT extract(epoch FROM now())::bigint > {begun} + 5");
    wait_for("five idle seconds", &cluster, &past);
    assert_eq!(cluster.value("SELECT pid FROM pg_stat_replication"), process, "a new session");
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}

#[test]
fn a_receiver_that_wants_the_primary_goes_to_the_new_one_and_another_stays_with_its_standby() {
    for (major, attributes) in [(13, "read-write"), (13, "primary"), (17, "primary")] {
        let primary = keep_wal(major);
        let nodes = [primary.standby(), primary.standby(), primary];
        let [left, new, primary] = &nodes;
        let tapster = Tapster::new();
        let attributes = format!("target_session_attrs={attributes}");
        for (name, attributes) in [("main", attributes.as_str()), ("any", "")] {
            let hosts = Tapster::hosts_options(&nodes, attributes, attributes);
            let options = format!("{hosts}slot_name = {name}\ncreate_slot = auto\n");
            tapster.write_server(name, &options);
        }
        let mut receivers = ["main", "any"].map(|name| tapster.spawn(&["receive-wal", name]));
        let listens = "SELECT count(*) = 1 FROM pg_stat_replication \
             WHERE state = 'streaming' AND application_name = 'barman_receive_wal'";
        wait_for("one on the primary", primary, listens);
        wait_for("the other on the standby", left, listens);
        primary.wait_for_standby(new);
        primary.stop(Stop::Crash);
        new.promote();
        new.sql("CREATE TABLE t (n int)");
        let first = [new.switch_wal()];
        assert!(first[0].starts_with("00000002"), "{first:?}");
        tapster.wait_for_archived("main", &first);
        // It has lost nothing and has no error to report: nothing comes.
        assert_eq!(left.value(listens), "t", "{}", receivers[1].output());
        assert_eq!(tapster.stored("any", &first[0]), None);
        left.follow(new);
        tapster.wait_for_archived("any", &first);
        for receiver in &mut receivers {
            assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        }
    }
}
