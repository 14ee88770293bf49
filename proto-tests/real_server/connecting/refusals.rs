//! Each refusal by its right name, with its remedy, and whether to try again.

use std::time::Duration;

use tapster::wire::{Retry, SqlState};

use super::super::Stop;
use super::*;

#[track_caller]
fn refused_with(error: &NetError, code: &str, retry: Retry) {
    let refused = error.server_error().unwrap_or_else(|| panic!("{}", said(error)));
    assert_eq!(refused.code, SqlState::new(code).expect("a code"), "{}", said(error));
    assert_eq!(error.retry(), retry, "{}", said(error));
}

#[test]
fn a_wrong_password_is_named_with_its_source_and_not_shown() {
    for major in [10, 15, 18] {
        let cluster = cluster_of_methods(major);
        for role in ["plain", "hashed", "salted"] {
            let text = format!("host=127.0.0.1 port={} user={role} password=wr0ng", cluster.port());
            for error in neither(&text, &Surroundings::default()) {
                refused_with(&error, "28P01", Retry::Slowly);
                says(&error, &["cannot log in to 127.0.0.1", role, "the connection string"]);
                assert!(!said(&error).contains("wr0ng") && !format!("{error:?}").contains("wr0ng"));
            }
        }
    }
}

#[test]
fn a_missing_entry_of_pg_hba_is_written_out() {
    let cluster = Cluster::builder(15)
        .setting("listen_addresses", "127.0.0.1,::1")
        .hba(&["host all all 127.0.0.1/32 trust", "host all all ::1/128 trust"])
        .start();
    for (host, line) in [
        ("127.0.0.1", "host replication streaming_barman 127.0.0.1/32 scram-sha-256"),
        ("::1", "host replication streaming_barman ::1/128 scram-sha-256"),
        (&cluster.socket().display().to_string(), "local replication streaming_barman peer"),
    ] {
        let text = format!("host={host} port={} user=streaming_barman", cluster.port());
        let error = run(walsender(&text, &Surroundings::default())).expect_err("no entry");
        refused_with(&error, "28000", Retry::Slowly);
        says(&error, &[line, "pg_hba.conf"]);
    }
}

#[test]
fn a_role_that_lacks_something_is_told_what() {
    for major in [10, 15, 18] {
        let cluster = Cluster::start(major);
        cluster.sql("CREATE ROLE tame LOGIN");
        let text = format!("host=127.0.0.1 port={} user=tame", cluster.port());
        let error = run(walsender(&text, &Surroundings::default())).expect_err("no right");
        refused_with(&error, "42501", Retry::Slowly);
        says(&error, &["ALTER ROLE tame REPLICATION"]);
        let text = format!("host=127.0.0.1 port={} user=missing", cluster.port());
        let [replication, sql] = neither(&text, &Surroundings::default());
        refused_with(&replication, "28000", Retry::Slowly);
        says(&replication, &["CREATE ROLE missing LOGIN REPLICATION"]);
        says(&sql, &["CREATE ROLE missing LOGIN"]);
        let text = format!("host=127.0.0.1 port={} user=tame dbname=none", cluster.port());
        let error = run(sql_in(&text)).expect_err("no database");
        refused_with(&error, "3D000", Retry::Slowly);
    }
}

async fn sql_in(text: &str) -> Result<SqlClient, NetError> {
    SqlClient::connect(&options(text, Purpose::Sql, &Surroundings::default()), "test").await
}

#[test]
fn too_few_walsenders_is_worth_another_try_and_names_the_setting() {
    let cluster = Cluster::builder(15).setting("max_wal_senders", "1").start();
    run(async {
        let around = Surroundings::default();
        let first = walsender(&cluster.streaming_conninfo(), &around).await.expect("one is free");
        let error = walsender(&cluster.streaming_conninfo(), &around).await.expect_err("taken");
        refused_with(&error, "53300", Retry::AfterBackoff);
        says(&error, &["max_wal_senders"]);
        first.close().await;
    });
}

#[test]
fn no_server_is_told_apart_from_no_host_and_no_socket() {
    let cluster = Cluster::start(15);
    let (tcp, socket) = (cluster.tcp_streaming_conninfo(), cluster.streaming_conninfo());
    cluster.stop(Stop::Fast);
    for error in neither(&tcp, &Surroundings::default()) {
        says(&error, &["cannot connect to 127.0.0.1", "refused", "listen_addresses"]);
        assert_eq!(error.retry(), Retry::AfterBackoff);
    }
    for error in neither(&socket, &Surroundings::default()) {
        says(&error, &["cannot connect to socket", ".s.PGSQL.", "start the server"]);
    }
    let lost = "host=nowhere.invalid connect_timeout=20 user=x";
    for error in neither(lost, &Surroundings::default()) {
        says(&error, &["cannot look up host nowhere.invalid"]);
        assert_eq!(error.retry(), Retry::AfterBackoff);
    }
}

#[test]
fn require_auth_decides_before_anything_secret_is_sent() {
    let cluster = cluster_of_methods(15);
    let at = format!("host=127.0.0.1 port={} password=sesame", cluster.port());
    let around = Surroundings::default();
    for (role, method) in
        [("trusted", "none"), ("plain", "password"), ("hashed", "md5"), ("salted", "scram-sha-256")]
    {
        both(&format!("{at} user={role} require_auth={method}"), &around);
        both(&format!("{at} user={role} require_auth=!gss,!sspi"), &around);
        for error in neither(&format!("{at} user={role} require_auth=!{method}"), &around) {
            says(&error, &[method, "require_auth"]);
            assert!(error.server_error().is_none(), "the server was told: {}", said(&error));
        }
    }
    for error in neither(&format!("{at} user=salted channel_binding=require"), &around) {
        says(&error, &["channel binding is required"]);
    }
}

#[test]
fn a_server_that_stops_talking_is_noticed() {
    let cluster = Cluster::start(15);
    run(async {
        let around = Surroundings::default();
        let mut server = walsender(&cluster.streaming_conninfo(), &around).await.expect("in");
        let process = server.process_id().expect("a real server has one");
        server.set_command_timeout(Duration::from_millis(300));
        let frozen = Frozen::new(process);
        let error = server.identify_system().await.expect_err("nobody answers");
        says(&error, &["has not answered IDENTIFY_SYSTEM for 0.3 s"]);
        assert_eq!(error.retry(), Retry::AfterBackoff);
        drop(frozen);
    });
}

/// A process that is stopped until this is dropped.
struct Frozen(i32);

impl Frozen {
    fn new(process: i32) -> Frozen {
        signal(process, "-STOP");
        Frozen(process)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.0, "-CONT");
    }
}

fn signal(process: i32, name: &str) {
    super::super::scratch::must(
        super::super::scratch::command("kill").args([name, &process.to_string()]),
    );
}
