//! A session with a walsender, as the walsender sees it: what it hears, and what it can do in the
//! middle of a session. What it can do before one is in `connecting`.

use std::error::Error;

use tapster::conninfo::Purpose;
use tapster::net::{self, NetError, Walsender};
use tapster::wire::Retry;

use super::{FakeServer, Heard, IDENTIFIER, POSITION, Step};
use crate::wire::{backend, hex};

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

async fn connect(server: &FakeServer, more: &str) -> Result<Walsender, NetError> {
    let conninfo = format!("{} {more}", server.conninfo());
    let options = net::resolve(&conninfo, Purpose::Replication).expect("a connection string");
    Walsender::connect(&options, "fake_server_test").await
}

/// The whole chain, as the program prints it.
fn chain(error: &NetError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn refused(server: &FakeServer, more: &str) -> NetError {
    run(connect(server, more)).expect_err("a session with a server that is none")
}

/// The error of a command on a session that began well.
fn failed(server: &FakeServer) -> NetError {
    run(async {
        let mut session = connect(server, "").await.expect("a login");
        session.identify_system().await.expect_err("an answer that is none")
    })
}

#[test]
fn a_server_that_answers_is_understood_and_hears_what_the_manual_says() {
    let server = FakeServer::alone().start();
    run(async {
        let mut session = connect(&server, "").await.expect("a login");
        let system = session.identify_system().await.expect("an answer");
        assert_eq!((system.system_identifier.0, system.xlogpos), (IDENTIFIER, POSITION));
        session.close().await;
    });
    server.wait_to_hear("a goodbye", |heard| *heard == Heard::Goodbye);
    let heard = server.heard();
    let Some(Heard::Startup(parameters)) = heard.first() else { panic!("{heard:?}") };
    let get = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(get("user"), Some("streaming_barman"));
    assert_eq!(get("replication"), Some("true"));
    assert_eq!(get("application_name"), Some("fake_server_test"));
    // A standby of 16 and later wakes a walsender with a database only after replay.
    assert_eq!(get("database"), None);
    assert_eq!(server.commands(), ["IDENTIFY_SYSTEM"]);
}

#[test]
fn answers_in_the_smallest_packets_are_understood() {
    let answer = backend::identify_system(IDENTIFIER, 1, POSITION);
    let server = FakeServer::alone()
        .at_startup(vec![
            Step::Dribble(backend::trust("17.4")),
            Step::until(|heard| matches!(heard, Heard::Query(_))),
            Step::Dribble(answer),
            Step::Hold,
        ])
        .start();
    run(async {
        let mut session = connect(&server, "").await.expect("a login");
        session.identify_system().await.expect("an answer");
    });
}

#[test]
fn two_gigabytes_are_refused_before_they_come_at_every_stage() {
    for tag in ["52", "53", "45", "64"] {
        let head = hex(&format!("{tag} 7fffffff"));
        let server =
            FakeServer::alone().at_startup(vec![Step::Send(head.clone()), Step::Hold]).start();
        // An error without a sensible length may be one of an old server; it is one either way.
        let text = chain(&refused(&server, "sslmode=disable"));
        assert!(text.contains("2147483647 bytes") || tag == "45", "{text}");
    }
    for tag in ["44", "54", "43", "45", "5a", "64"] {
        let head = hex(&format!("{tag} 7fffffff"));
        let server =
            FakeServer::alone().on("IDENTIFY_SYSTEM", vec![Step::Send(head), Step::Hold]).start();
        let text = chain(&failed(&server));
        assert!(text.contains("2147483647 bytes"), "{text}");
    }
}

#[test]
fn a_server_that_hangs_up_in_the_middle_is_worth_another_attempt() {
    let login = backend::trust("17.4");
    let answer = backend::identify_system(IDENTIFIER, 1, POSITION);
    for cut in [0, 3, 9, login.len() - 1] {
        let server = FakeServer::alone()
            .at_startup(vec![Step::Send(login[..cut].to_vec()), Step::Close])
            .start();
        let error = refused(&server, "sslmode=disable");
        assert_eq!(error.retry(), Retry::AfterBackoff, "{}", chain(&error));
    }
    for cut in [0, 3, 60, answer.len() - 1] {
        let server = FakeServer::alone()
            .on("IDENTIFY_SYSTEM", vec![Step::Send(answer[..cut].to_vec()), Step::Close])
            .start();
        let error = failed(&server);
        assert_eq!(error.retry(), Retry::AfterBackoff, "{}", chain(&error));
    }
}

#[test]
fn a_session_that_is_ended_by_the_administrator_says_so() {
    let end = backend::error("FATAL", "57P01", "terminating connection");
    let server =
        FakeServer::alone().on("IDENTIFY_SYSTEM", vec![Step::Send(end), Step::Close]).start();
    let error = failed(&server);
    assert_eq!(error.retry(), Retry::AfterBackoff);
    assert!(chain(&error).contains("terminating connection (57P01)"), "{}", chain(&error));
}
