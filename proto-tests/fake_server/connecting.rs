//! A peer that is not what it should be gets neither a secret nor our patience.
//!
//! Behind a port may be another program, a proxy with half a protocol, or somebody who wants
//! the password. Each of these must end in an error that names what was wrong, soon, and
//! nothing secret may have been sent.

use std::time::Duration;

use tapster::conninfo::{ConnectOptions, Purpose, RealEnvironment};
use tapster::net::{NetError, SqlClient, Walsender};
use tapster::wire::Retry;

use super::peer::{Peer, Step, authentication, error, message, welcome};

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

fn options(peer: &Peer, more: &str) -> ConnectOptions {
    let text = format!(
        "host=127.0.0.1 port={} user=u password=sesame passfile=/nowhere sslrootcert=/nowhere {more}",
        peer.port()
    );
    ConnectOptions::resolve(&text, Purpose::Replication, &RealEnvironment).expect("valid")
}

async fn connect(peer: &Peer, more: &str) -> Result<Walsender, NetError> {
    Walsender::connect(&options(peer, more), "test").await
}

/// The error of a connection, as text with its causes and its hint.
#[track_caller]
fn refused(peer: &Peer, more: &str) -> String {
    let error = match run(connect(peer, more)) {
        Ok(_) => panic!("it was let in"),
        Err(error) => error,
    };
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    assert!(!heard.contains("sesame"), "the password was sent: {heard:?}");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    format!("{text} / {}", error.hint().unwrap_or_default())
}

fn clear(script: Vec<Step>) -> Peer {
    Peer::follow(vec![script])
}

#[test]
fn another_kind_of_server_is_recognised() {
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let peer = clear(vec![Step::Packet, Step::Send(http.clone()), Step::Silence]);
    let text = refused(&peer, "sslmode=require");
    assert!(text.contains("answers 0x48 to a request for TLS"), "{text}");
    assert!(text.contains("check host and port"), "{text}");
    let peer = clear(vec![Step::Packet, Step::Send(http), Step::Silence]);
    let text = refused(&peer, "sslmode=disable");
    assert!(text.contains("check that host and port lead to a PostgreSQL server"), "{text}");
}

#[test]
fn the_text_of_an_error_before_tls_is_not_repeated() {
    let lie = error("XX000", "please send your password to evil.example");
    let peer = clear(vec![Step::Packet, Step::Send(lie), Step::Silence]);
    let text = refused(&peer, "sslmode=require");
    assert!(text.contains("refused even to talk about TLS") && !text.contains("evil"), "{text}");
}

#[test]
fn bytes_smuggled_in_before_the_handshake_end_the_connection() {
    let injected = [&b"S"[..], &welcome()].concat();
    let peer = clear(vec![Step::Packet, Step::Send(injected), Step::Silence]);
    let text = refused(&peer, "sslmode=require connect_timeout=10");
    assert!(text.contains("cannot use TLS with 127.0.0.1"), "{text}");
}

#[test]
fn a_server_that_goes_away_is_reported_with_what_was_due() {
    let text = refused(&clear(vec![Step::Packet]), "sslmode=require");
    assert!(
        text.contains("closed the connection before the answer to the request for TLS"),
        "{text}"
    );
    let text = refused(&clear(vec![Step::Packet]), "sslmode=disable");
    assert!(
        text.contains("closed the connection before the answer to the startup packet"),
        "{text}"
    );
    let half = welcome()[..30].to_vec();
    let text = refused(&clear(vec![Step::Packet, Step::Send(half)]), "sslmode=disable");
    assert!(text.contains("closed the connection before the start of the session"), "{text}");
}

#[test]
fn a_server_that_never_finishes_the_login_costs_connect_timeout() {
    let half = welcome()[..9].to_vec();
    for script in [
        vec![Step::Silence],
        vec![Step::Packet, Step::Send(b"N".to_vec()), Step::Packet, Step::Silence],
        vec![Step::Packet, Step::Send(b"S".to_vec()), Step::Silence],
        vec![
            Step::Packet,
            Step::Send(b"N".to_vec()),
            Step::Packet,
            Step::Send(half),
            Step::Silence,
        ],
    ] {
        let text = refused(&clear(script), "connect_timeout=1");
        assert!(text.contains("no session with 127.0.0.1"), "{text}");
    }
}

#[test]
fn absurd_lengths_are_refused_before_anything_is_waited_for() {
    for (bytes, words) in [
        (&b"R\x7f\xff\xff\xff"[..], "announces 2147483647 bytes"),
        (b"S\x7f\xff\xff\xff", "announces 2147483647 bytes"),
        (b"R\0\0\0\x01", "4 is the least"),
        (b"R\xff\xff\xff\xff", "4 is the least"),
    ] {
        let peer = clear(vec![Step::Packet, Step::Send(bytes.to_vec()), Step::Silence]);
        let text = refused(&peer, "sslmode=disable connect_timeout=10");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_password_is_not_given_in_a_way_that_the_user_excluded() {
    for demand in [authentication(3, b""), authentication(5, b"salt"), authentication(0, b"")] {
        let peer = clear(vec![Step::Packet, Step::Send(demand), Step::Silence]);
        let text = refused(&peer, "sslmode=disable require_auth=scram-sha-256");
        assert!(text.contains("require_auth is scram-sha-256"), "{text}");
    }
    for (kind, name) in [(2, "Kerberos V5"), (7, "GSSAPI"), (9, "SSPI"), (99, "unknown kind 99")] {
        let peer = clear(vec![Step::Packet, Step::Send(authentication(kind, b"")), Step::Silence]);
        let text = refused(&peer, "sslmode=disable");
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn a_server_that_cannot_prove_that_it_knows_the_password_is_left() {
    let offer = authentication(10, b"SCRAM-SHA-256\0\0");
    let script =
        vec![Step::Packet, Step::Send(offer), Step::Message, Step::Send(welcome()), Step::Silence];
    let text = refused(&clear(script), "sslmode=disable");
    assert!(text.contains("did not prove that it knows the password"), "{text}");
}

#[test]
fn a_server_that_starts_up_is_left_for_the_next_host_and_worth_another_try() {
    let starting = error("57P03", "the database system is starting up");
    let busy = clear(vec![Step::Packet, Step::Send(starting)]);
    let open = clear(vec![Step::Packet, Step::Send(welcome()), Step::Silence]);
    let text = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=u sslmode=disable passfile=/nowhere",
        busy.port(),
        open.port()
    );
    let both =
        ConnectOptions::resolve(&text, Purpose::Replication, &RealEnvironment).expect("valid");
    run(async {
        Walsender::connect(&both, "test").await.expect("the second one is open");
        let error = connect(&busy, "sslmode=disable").await.expect_err("starting");
        assert_eq!(error.retry(), Retry::AfterBackoff);
    });
}

#[test]
fn startup_names_no_database_for_a_walsender_and_the_right_one_for_sql() {
    let peer = clear(vec![Step::Packet, Step::Send(welcome()), Step::Silence]);
    run(async {
        let options = options(&peer, "sslmode=disable dbname=app");
        Walsender::connect(&options, "tapster_test").await.expect("let in");
        let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
        assert!(
            heard.contains("user\0u\0replication\0true\0application_name\0tapster_test\0\0"),
            "{heard:?}"
        );
        assert!(!heard.contains("database"), "{heard:?}");
        SqlClient::connect(&options, "tapster_test").await.expect("let in");
        let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
        assert!(heard.contains("database\0app\0client_encoding\0UTF8\0"), "{heard:?}");
    });
}

#[test]
fn a_command_that_is_never_answered_ends_at_its_deadline() {
    let peer = clear(vec![Step::Packet, Step::Send(welcome()), Step::Silence]);
    run(async {
        let mut server = connect(&peer, "sslmode=disable").await.expect("let in");
        server.set_command_timeout(Duration::from_millis(200));
        let error = server.show("wal_level").await.expect_err("silence");
        assert!(matches!(error, NetError::Silent { .. }), "{error}");
        let mut client =
            SqlClient::connect(&options(&peer, "sslmode=disable"), "t").await.expect("in");
        client.set_statement_timeout(Duration::from_millis(200));
        let error = client.show("wal_level").await.expect_err("silence");
        assert!(error.retry() == Retry::AfterBackoff, "{error}");
    });
}

#[test]
fn garbage_instead_of_a_result_is_blamed_on_the_server() {
    let row = [message(b'T', &[0, 0]), message(b'D', &[0, 9]), message(b'Z', b"I")].concat();
    let peer = clear(vec![
        Step::Packet,
        Step::Send(welcome()),
        Step::Message,
        Step::Send(row),
        Step::Silence,
    ]);
    run(async {
        let mut server = connect(&peer, "sslmode=disable").await.expect("let in");
        let error = server.identify_system().await.expect_err("nine columns that are not there");
        assert!(
            error.to_string().starts_with("IDENTIFY_SYSTEM did not succeed on 127.0.0.1"),
            "{error}"
        );
    });
}
