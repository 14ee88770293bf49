//! What can be done with a session once it is open.

use tapster::net::ServerFacts;
use tapster::wal::{Lsn, Timeline};
use tapster::wire::{Retry, SlotName};

use super::*;

crate::on_every_version! {
    fn a_walsender_answers_every_command_with_a_typed_result(major) {
        let cluster = Cluster::start(major);
        run(async {
            let around = Surroundings::default();
            let mut server = walsender(&cluster.streaming_conninfo(), &around).await.expect("in");
            let facts = ServerFacts::ask(&mut server).await.expect("facts");
            assert_eq!(facts.version.major(), major);
            assert_eq!(
                facts.system_identifier.to_string(),
                cluster.value("SELECT system_identifier FROM pg_control_system()")
            );
            assert_eq!(facts.timeline, Timeline::FIRST);
            assert_eq!(facts.segment_size.bytes(), 16 << 20);
            assert_eq!((facts.block_size, facts.wal_block_size), (8192, 8192));
            assert_eq!(facts.data_directory_mode, 0o700);
            assert!(!facts.in_recovery);
            assert_eq!(facts.synchronous_standby_names.as_deref(), Some(""));

            let name = SlotName::new("tapster_test").expect("a name");
            server.create_slot(&name, false, true).await.expect("created");
            let error = server.create_slot(&name, false, true).await.expect_err("it exists");
            assert_eq!(error.server_error().expect("refused").code.as_str(), "42710");
            let client = sql(&cluster.conninfo(), &around).await.expect("in");
            let row = client.slot(&name).await.expect("an answer").expect("it exists");
            assert_eq!((row.slot_type.as_str(), row.active), ("physical", false));
            assert!(row.restart_lsn.is_some_and(Lsn::is_valid));
            if server.version().knows_read_replication_slot() {
                let state = server.read_slot(&name).await.expect("an answer").expect("it exists");
                assert_eq!(state.restart_lsn, row.restart_lsn);
                assert_eq!(state.restart_timeline, Some(Timeline::FIRST));
            } else {
                let error = server.read_slot(&name).await.expect_err("unknown command");
                says(&error, &["does not know READ_REPLICATION_SLOT"]);
            }
            server.drop_slot(&name, false).await.expect("dropped");
            assert_eq!(client.slot(&name).await.expect("an answer"), None);
            let error = server.drop_slot(&name, false).await.expect_err("it is gone");
            assert_eq!(error.server_error().expect("refused").code.as_str(), "42704");

            let error = server.timeline_history(Timeline::FIRST).await.expect_err("none");
            assert_eq!(error.server_error().expect("refused").code.as_str(), "58P01");
            let error = server.show("no_such_setting").await.expect_err("unknown");
            assert_eq!(error.server_error().expect("refused").code.as_str(), "42704");
            server.identify_system().await.expect("the session lives on");
            server.close().await;
        });
    }
}

#[test]
fn a_slot_in_use_is_worth_another_try() {
    let cluster = Cluster::start(15);
    run(async {
        let around = Surroundings::default();
        let name = SlotName::new("busy").expect("a name");
        let mut one = walsender(&cluster.streaming_conninfo(), &around).await.expect("in");
        one.create_slot(&name, false, true).await.expect("created");
        let system = one.identify_system().await.expect("an answer");
        let start = Lsn(system.xlogpos.0 & !0xFF_FFFF);
        let mut stream =
            one.start_replication(Some(&name), start, system.timeline).await.expect("sent");
        let (socket, input) = one.parts();
        while !stream.started() {
            if stream.next(input).expect("a stream").is_none() {
                tokio::io::AsyncReadExt::read_buf(socket, input).await.expect("bytes");
            }
        }
        let mut two = walsender(&cluster.streaming_conninfo(), &around).await.expect("in");
        let error = two.drop_slot(&name, false).await.expect_err("busy");
        assert_eq!(error.server_error().expect("refused").code.as_str(), "55006");
        assert_eq!(error.retry(), Retry::AfterBackoff);
        says(&error, &["DROP_REPLICATION_SLOT did not succeed"]);
    });
}

#[test]
fn a_command_can_be_ended_from_outside() {
    let cluster = Cluster::start(15);
    run(async {
        let server = sql(&cluster.conninfo(), &Surroundings::default()).await.expect("in");
        let canceller = server.canceller();
        let sleep = server.rows("sleep", "SELECT pg_sleep(600)");
        let cancel = async {
            let watcher = sql(&cluster.conninfo(), &Surroundings::default()).await.expect("in");
            let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            while watcher.value("look", sleeping).await.expect("an answer") == "0" {
                tokio::task::yield_now().await;
            }
            canceller.cancel().await.expect("cancelled");
        };
        let (slept, ()) = tokio::join!(sleep, cancel);
        says(&slept.expect_err("it was ended"), &["57014"]);
        assert_eq!(server.value("question", "SELECT 1").await.expect("the session lives"), "1");
    });
}

#[test]
fn sql_comes_back_as_text_and_its_errors_in_the_servers_words() {
    let cluster = Cluster::start(15);
    run(async {
        let server = sql(&cluster.conninfo(), &Surroundings::default()).await.expect("in");
        let rows = server
            .rows("question", "SELECT n, NULL, 'größe' FROM generate_series(1, 2) n")
            .await
            .expect("two rows");
        let expected = |n: &str| vec![Some(n.to_owned()), None, Some("größe".to_owned())];
        assert_eq!(rows, [expected("1"), expected("2")]);
        let many =
            server.rows("question", "SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
        assert_eq!(many.await.expect("20 MB").len(), 20_000);
        let error = server.rows("question", "SELECT nothing").await.expect_err("no column");
        says(
            &error,
            &["question did not succeed on socket", "column \"nothing\" does not exist", "42703"],
        );
        assert_eq!(error.retry(), Retry::Never);
        let error = server.row("question", "SELECT 1 WHERE false").await.expect_err("no row");
        says(&error, &["gave no row"]);
    });
}

#[test]
fn a_lost_server_is_an_error_that_says_so() {
    let cluster = Cluster::start(15);
    run(async {
        let around = Surroundings::default();
        let mut server = walsender(&cluster.streaming_conninfo(), &around).await.expect("in");
        let client = sql(&cluster.conninfo(), &around).await.expect("in");
        cluster.stop(super::super::Stop::Crash);
        let error = server.identify_system().await.expect_err("nobody is there");
        assert!(error.retry() <= Retry::AfterBackoff, "{}", said(&error));
        let error = client.rows("question", "SELECT 1").await.expect_err("nobody is there");
        assert!(error.retry() <= Retry::AfterBackoff, "{}", said(&error));
    });
}
