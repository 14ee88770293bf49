//! What the other tests rely on: a cluster that is theirs, and that leaves nothing behind.

use std::time::Duration;

use super::scratch::{self, Scratch, server_command, wait_until};
use super::tables::assert_same_tables;
use super::{Cluster, Load, Stop};

crate::on_every_version! {
    fn a_cluster_runs_as_asked(major) {
        let cluster = Cluster::start(major);
        assert!(cluster.value("SHOW server_version").starts_with(&format!("{major}.")));
        assert_eq!(cluster.value("SHOW fsync"), "off");
        let segment = cluster.switch_wal();
        assert!(cluster.pg_wal().join(&segment).exists(), "{segment}");
    }
}

#[test]
fn a_load_survives_restart_and_crash_and_loses_no_promised_row() {
    let cluster = Cluster::start(17);
    let load = Load::start(&cluster, 100);
    for stop in [Stop::Fast, Stop::Immediate, Stop::Crash] {
        load.wait_for(50);
        cluster.restart(stop);
    }
    load.wait_for(50);
    let committed = load.stop();
    let there: u64 = cluster.value("SELECT count(*) FROM ledger").parse().expect("a number");
    assert!(there >= committed && there <= committed + 1, "{there} rows, {committed} promised");
}

#[test]
fn a_standby_has_the_same_tables_and_can_be_promoted() {
    for major in [10, 18] {
        let cluster = Cluster::start(major);
        cluster.sql("CREATE DATABASE empty");
        cluster.sql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 1000) n");
        let standby = cluster.standby();
        cluster.sql("INSERT INTO t VALUES (0, 'after the copy')");
        cluster.wait_for_standby(&standby);
        assert_same_tables(&cluster.checksums(), &standby.checksums());
        cluster.stop(Stop::Fast);
        standby.promote();
        standby.sql("DELETE FROM t");
    }
}

#[test]
#[should_panic(expected = "postgres.public.t: Some(\"[Some(\\\"1\\\")")]
fn a_changed_row_shows_in_the_checksums() {
    let cluster = Cluster::start(16);
    cluster.sql("CREATE TABLE t AS SELECT 1 AS n");
    let before = cluster.checksums();
    cluster.sql("UPDATE t SET n = 2");
    assert_same_tables(&before, &cluster.checksums());
}

#[test]
fn clusters_differ_in_identifier_only_when_asked() {
    let identifier =
        |cluster: &Cluster| cluster.value("SELECT system_identifier FROM pg_control_system()");
    let one = Cluster::start(14);
    let same = Cluster::start(14);
    let other = Cluster::builder(14).own_identifier().start();
    assert_eq!(identifier(&one), identifier(&same));
    assert_ne!(identifier(&one), identifier(&other));
    assert_ne!(one.port(), other.port());
}

#[test]
fn segment_size_checksums_settings_and_tablespaces_are_as_asked() {
    let cluster =
        Cluster::builder(13).segment_mib(1).data_checksums(true).setting("work_mem", "5MB").start();
    assert_eq!(cluster.value("SHOW wal_segment_size"), "1MB");
    assert_eq!(cluster.value("SHOW data_checksums"), "on");
    assert_eq!(cluster.value("SHOW work_mem"), "5MB");
    let folder = cluster.create_tablespace("cold storage");
    cluster.sql("CREATE TABLE t (n int) TABLESPACE \"cold storage\"");
    assert!(folder.read_dir().expect("it is there").next().is_some());
}

/// The janitor's work, seen from outside: a process that dies without a word leaves neither a
/// server nor a folder.
#[test]
fn nothing_is_left_when_the_test_binary_is_killed() {
    const VARIABLE: &str = "TAPSTER_INNER_TEST";
    if std::env::var_os(VARIABLE).is_some() {
        // The inner one: says where it is, and waits for its death.
        let cluster = Cluster::start(15);
        std::fs::write(std::env::var_os(VARIABLE).expect("it is set"), {
            let pid = std::fs::read_to_string(cluster.data().join("postmaster.pid"));
            let pid = pid.expect("the server runs");
            let root = cluster.socket().parent().expect("the root").display().to_string();
            format!("{root}\n{}\n.", pid.lines().next().expect("a process id"))
        })
        .expect("the note");
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let scratch = Scratch::new("k");
    let note = scratch.path().join("note");
    let mut inner = scratch::command(std::env::current_exe().expect("our own name"))
        .args(["--exact", "real_server::promises::nothing_is_left_when_the_test_binary_is_killed"])
        .env(VARIABLE, &note)
        .envs(std::env::var_os("TAPSTER_SERVERS").map(|folder| ("TAPSTER_SERVERS", folder)))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("ourselves");
    let limit = Duration::from_secs(60);
    let text = wait_until(
        "the inner test's server",
        limit,
        || std::fs::read_to_string(&note).ok().filter(|text| text.ends_with('.')),
        || format!("{:?}", inner.try_wait()),
    );
    inner.kill().expect("it is our child");
    inner.wait().expect("it is our child");
    let mut lines = text.lines();
    let root = lines.next().expect("the root").to_owned();
    let pid = lines.next().expect("a process id").to_owned();
    let gone = || {
        let server = std::path::Path::new("/proc").join(&pid).join("cwd").read_link();
        let server_lives = server.is_ok_and(|folder| folder.starts_with(&root));
        (!server_lives && !std::path::Path::new(&root).exists()).then_some(())
    };
    wait_until("server and folder to be gone", limit, gone, || {
        let found = server_command("find").arg(&root).output().expect("find");
        String::from_utf8_lossy(&found.stdout).into_owned()
    });
}
