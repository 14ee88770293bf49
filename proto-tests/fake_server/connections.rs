//! Who is not a server, who stops being one, and who says nothing: each ends in an error that
//! names the place and the fact, in bounded time and memory.

use std::error::Error;
use std::time::Duration;

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
            Step::Await(|heard| matches!(heard, Heard::Query(_))),
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
fn who_speaks_another_protocol_is_told_from_a_server() {
    let greetings: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example ESMTP\r\n",
        b"\x4a\x00\x00\x00\x0a8.0.36\0",
        b"\xff\xfe\xfd\xfc\xfb\xfa",
    ];
    for greeting in greetings {
        let server =
            FakeServer::alone().at_connect(vec![Step::Send(greeting.to_vec()), Step::Hold]).start();
        for more in ["sslmode=disable", "sslmode=prefer", "sslmode=require"] {
            let error = refused(&server, more);
            let text = chain(&error);
            assert!(text.contains("127.0.0.1"), "{text}");
            assert!(error.hint().is_some(), "{more} {text} leaves the operator alone");
        }
    }
}

#[test]
fn two_gigabytes_are_refused_before_they_come_at_every_stage() {
    for tag in ["52", "53", "45", "64"] {
        let head = hex(&format!("{tag} 7fffffff"));
        let server = FakeServer::alone()
            .at_startup(vec![Step::Send(head.clone()), Step::Hold])
            .start();
        // An error without a sensible length may be one of an old server; it is one either way.
        let text = chain(&refused(&server, "sslmode=disable"));
        assert!(text.contains("2147483647 bytes") || tag == "45", "{text}");
    }
    for tag in ["44", "54", "43", "45", "5a", "64"] {
        let head = hex(&format!("{tag} 7fffffff"));
        let server = FakeServer::alone()
            .on("IDENTIFY_SYSTEM", vec![Step::Send(head), Step::Hold])
            .start();
        let text = chain(&failed(&server));
        assert!(text.contains("2147483647 bytes"), "{text}");
    }
}

#[test]
fn garbage_in_an_answer_is_a_violation_with_the_name_of_the_command() {
    for answer in [
        b"garbage garbage garbage".to_vec(),
        vec![0; 64],
        vec![0xFF; 64],
        hex("44 00000006 7fff"),
        backend::copy_both(),
    ] {
        let server = FakeServer::alone()
            .on("IDENTIFY_SYSTEM", vec![Step::Send(answer), Step::Hold])
            .start();
        let text = chain(&failed(&server));
        assert!(text.contains("IDENTIFY_SYSTEM") && text.contains("127.0.0.1"), "{text}");
    }
}

#[test]
fn a_server_that_never_answers_ends_with_the_time_that_was_set() {
    let server = FakeServer::alone().at_connect(vec![Step::Hold]).start();
    let error = refused(&server, "sslmode=disable connect_timeout=2");
    assert!(matches!(error, NetError::ConnectTimeout { .. }), "{}", chain(&error));
    assert_eq!(error.retry(), Retry::AfterBackoff);
}

#[test]
fn a_server_that_falls_silent_in_a_command_is_not_waited_for_for_ever() {
    let half = backend::identify_system(IDENTIFIER, 1, POSITION)[..40].to_vec();
    let server =
        FakeServer::alone().on("IDENTIFY_SYSTEM", vec![Step::Send(half), Step::Hold]).start();
    run(async {
        let mut session = connect(&server, "").await.expect("a login");
        session.set_command_timeout(Duration::from_millis(300));
        let error = session.identify_system().await.expect_err("half an answer");
        assert!(matches!(error, NetError::Silent { .. }), "{}", chain(&error));
        assert_eq!(error.retry(), Retry::AfterBackoff);
    });
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

#[test]
fn an_impostor_gets_neither_the_password_nor_our_trust() {
    let in_clear = FakeServer::alone()
        .at_startup(vec![Step::Send(backend::authentication(3, &[])), Step::Hold])
        .start();
    let error = refused(&in_clear, "password=sekret require_auth=scram-sha-256");
    assert!(chain(&error).contains("require_auth is scram-sha-256"), "{}", chain(&error));
    assert!(!in_clear.heard().iter().any(|heard| *heard == Heard::Other(b'p')));

    let unproved = FakeServer::alone()
        .at_startup(vec![
            Step::Send(backend::sasl(&["SCRAM-SHA-256"])),
            Step::Await(|heard| *heard == Heard::Other(b'p')),
            Step::Send(backend::trust("17.4")),
            Step::Hold,
        ])
        .start();
    let error = refused(&unproved, "password=sekret");
    let text = chain(&error);
    assert!(text.contains("did not prove that it knows the password"), "{text}");
    assert!(!format!("{error:?}").contains("sekret"));
}
