//! Who gets our password, and who does not.
//!
//! An impostor asks for the password in clear, leaves channel binding out, or says "you are in"
//! without having proved anything. Each of these must end the login before a secret is sent,
//! or before the session is believed.

use bytes::BytesMut;
use tapster::wire::{
    AuthMethod, ChannelBinding, Login, LoginError, LoginEvent, LoginOptions, LoginWarning,
    RequireAuth, Retry, Session, SqlState, Transport, WireError,
};

use super::scram::ScramServer;
use super::{backend, hex, in_every_cut};

fn options() -> LoginOptions {
    LoginOptions {
        user: "rmd5".to_owned(),
        password: Some(b"sekret".to_vec().into()),
        parameters: vec![("replication".to_owned(), "true".to_owned())],
        transport: Transport::Local,
        channel_binding: ChannelBinding::Prefer,
        require_auth: RequireAuth::ANY,
    }
}

fn tls() -> Transport {
    Transport::Tls { end_point: Some(vec![0xEE; 32]) }
}

/// Everything that a login came to, in a form that can be compared.
#[derive(Debug, PartialEq)]
struct Outcome {
    sent: Vec<u8>,
    remarks: Vec<String>,
    /// Version, method, process of the server; or the error.
    end: Result<Option<(String, AuthMethod, i32)>, String>,
}

fn login(options: LoginOptions, chunks: &[&[u8]]) -> Outcome {
    let mut login = Login::new(options);
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let mut remarks = Vec::new();
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            let end = match login.next(&mut input, &mut out) {
                Ok(None) => break,
                Ok(Some(LoginEvent::Notice(notice))) => {
                    remarks.push(notice.to_string());
                    continue;
                }
                Ok(Some(LoginEvent::Warning(warning))) => {
                    remarks.push(warning.to_string());
                    continue;
                }
                Ok(Some(LoginEvent::Ready(session))) => Ok(Some(told(&session))),
                Err(error) => Err(error.to_string()),
            };
            return Outcome { sent: out.to_vec(), remarks, end };
        }
    }
    Outcome { sent: out.to_vec(), remarks, end: Ok(None) }
}

fn told(session: &Session) -> (String, AuthMethod, i32) {
    let process = session.cancel_key.as_ref().map_or(0, |key| key.process_id());
    (session.version.to_string(), session.method, process)
}

/// The error of a login that the server conducts with `input`, and what was sent before it.
fn refused(options: LoginOptions, input: &[u8]) -> (LoginError, Vec<u8>) {
    let mut out = BytesMut::new();
    let mut buffer = BytesMut::from(input);
    let mut login = Login::new(options);
    loop {
        match login.next(&mut buffer, &mut out) {
            Err(WireError::Login(error)) => return (error, out.to_vec()),
            Err(other) => panic!("another error: {other}"),
            Ok(Some(LoginEvent::Ready(_))) => panic!("the login succeeded"),
            Ok(Some(_)) => {}
            Ok(None) => panic!("the login goes on, having sent {out:02x?}"),
        }
    }
}

#[test]
fn the_startup_packet_is_the_manuals() {
    let mut out = BytesMut::new();
    Login::new(options()).start(&mut out).expect("a packet");
    let expected = hex("00000024 00030000                          \
         75736572 00 726d6435 00                                   \
         7265706c69636174696f6e 00 74727565 00                     \
         00");
    //  length, 3.0; "user" "rmd5"; "replication" "true"; end
    assert_eq!(out, expected);

    let mut long = options();
    long.parameters.push(("application_name".to_owned(), "x".repeat(10_000)));
    let error = Login::new(long).start(&mut out).expect_err("too long for a server");
    assert!(matches!(error, WireError::StartupTooLong { max: 10_000, .. }));
    let mut zero = options();
    zero.parameters.push(("options".to_owned(), "-c a=b\0user".to_owned()));
    assert!(Login::new(zero).start(&mut out).is_err(), "a zero byte would smuggle a parameter in");
}

#[test]
fn a_server_that_asks_nothing_lets_in() {
    let outcome = in_every_cut(&backend::trust("18.4"), |chunks| login(options(), chunks));
    assert_eq!(outcome.end, Ok(Some(("18.4".to_owned(), AuthMethod::None, 12345))));
    assert!(outcome.sent.is_empty() && outcome.remarks.is_empty());
}

#[test]
fn the_md5_answer_is_that_of_a_real_server() {
    let input = [backend::authentication(5, &hex("996efc85")), backend::trust("10.23")].concat();
    let outcome = in_every_cut(&input, |chunks| login(options(), chunks));
    //  p, length, "md5" and 32 digits, zero
    let expected = [&hex("70 00000028")[..], b"md5c84ab902b196c5348b67b195665ddf22\0"].concat();
    assert_eq!(outcome.sent, expected);
    assert_eq!(outcome.end, Ok(Some(("10.23".to_owned(), AuthMethod::Md5, 12345))));
}

#[test]
fn a_password_in_clear_is_sent_with_a_warning_where_the_way_is_open() {
    let input = [backend::authentication(3, &[]), backend::trust("15.18")].concat();
    let warning = LoginWarning::CleartextPassword.to_string();
    for (transport, warnings) in
        [(Transport::Local, vec![]), (Transport::Clear, vec![warning]), (tls(), vec![])]
    {
        let options = LoginOptions { transport, ..options() };
        let outcome = login(options, &[&input]);
        assert_eq!(outcome.sent, hex("70 0000000b 73656b726574 00"));
        assert_eq!(outcome.remarks, warnings);
        assert!(matches!(outcome.end, Ok(Some((_, AuthMethod::Password, _)))));
    }
}

#[test]
fn a_missing_password_is_named_with_what_it_is_needed_for() {
    for password in [None, Some(Vec::new().into())] {
        for (input, method) in [
            (backend::authentication(3, &[]), AuthMethod::Password),
            (backend::authentication(5, &[1, 2, 3, 4]), AuthMethod::Md5),
            (backend::sasl(&["SCRAM-SHA-256"]), AuthMethod::ScramSha256),
        ] {
            let options = LoginOptions { password: password.clone(), ..options() };
            let (error, sent) = refused(options, &input);
            assert!(matches!(error, LoginError::NoPassword { method: m } if m == method));
            assert!(error.hint().is_some() && sent.is_empty());
        }
    }
}

#[test]
fn nothing_is_sent_to_a_server_that_wants_what_require_auth_excludes() {
    for (required, input) in [
        ("scram-sha-256", backend::authentication(3, &[])),
        ("scram-sha-256", backend::authentication(5, &[1, 2, 3, 4])),
        ("scram-sha-256", backend::trust("18.4")),
        ("!none", backend::trust("18.4")),
        ("!password,!md5", backend::authentication(3, &[])),
        ("md5", backend::sasl(&["SCRAM-SHA-256"])),
        ("none", backend::sasl(&["SCRAM-SHA-256"])),
    ] {
        let require_auth = RequireAuth::parse(required).expect(required);
        let (error, sent) = refused(LoginOptions { require_auth, ..options() }, &input);
        assert!(matches!(error, LoginError::NotAllowed { .. }), "{required}: {error}");
        assert!(sent.is_empty(), "{required}");
    }
}

#[test]
fn nothing_is_sent_to_a_server_that_leaves_required_channel_binding_out() {
    for input in [
        backend::authentication(3, &[]),
        backend::authentication(5, &[1, 2, 3, 4]),
        backend::sasl(&["SCRAM-SHA-256"]),
        backend::trust("18.4"),
    ] {
        for transport in [tls(), Transport::Clear, Transport::Tls { end_point: None }] {
            let channel_binding = ChannelBinding::Require;
            let options = LoginOptions { channel_binding, transport, ..options() };
            let (error, sent) = refused(options, &input);
            let expected =
                matches!(error, LoginError::NotBound { .. } | LoginError::CannotBind { .. });
            assert!(expected && sent.is_empty(), "{error}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (code, name) in [(2, "Kerberos V5"), (7, "GSSAPI"), (9, "SSPI"), (8, "GSSAPI")] {
        let (error, _) = refused(options(), &backend::authentication(code, &[]));
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(error.retry(), Retry::Never);
    }
    let (error, _) = refused(options(), &backend::authentication(99, b"data"));
    assert!(matches!(error, LoginError::UnknownDemand { code: 99 }));
    let (error, _) = refused(options(), &backend::sasl(&["OAUTHBEARER", "X\u{1b}"]));
    assert!(error.to_string().contains("OAUTHBEARER"), "{error}");
}

#[test]
fn a_refusal_of_the_server_keeps_its_code() {
    for (code, retry) in [
        ("28P01", Retry::Slowly),
        ("28000", Retry::Slowly),
        ("53300", Retry::AfterBackoff),
        ("57P03", Retry::AfterBackoff),
        ("42501", Retry::Slowly),
        ("42704", Retry::Never),
    ] {
        let mut input = BytesMut::from(&backend::error("FATAL", code, "kein Zutritt")[..]);
        let error =
            Login::new(options()).next(&mut input, &mut BytesMut::new()).expect_err("a refusal");
        let refusal = error.server_error().expect("the server's words");
        assert_eq!(Some(refusal.code), SqlState::new(code));
        assert_eq!((error.retry(), refusal.is_fatal()), (retry, true), "{code}");
    }
}

#[test]
fn an_old_server_that_cannot_fork_is_understood_though_it_speaks_the_old_protocol() {
    let input = b"Ecould not fork new process for connection: Cannot allocate memory\n\0";
    let (error, _) = refused(options(), input);
    assert_eq!(
        error.to_string(),
        "server refused before the session began: could not fork new process for connection: \
         Cannot allocate memory"
    );
    assert_eq!(error.retry(), Retry::AfterBackoff);
}

#[test]
fn remarks_before_and_after_the_login_come_through() {
    let input = [
        backend::authentication(3, &[]),
        backend::authentication(0, &[]),
        backend::notice("WARNING", "01000", "md5 is on its way out"),
        backend::session("18.4"),
    ]
    .concat();
    let outcome = in_every_cut(&input, |chunks| login(options(), chunks));
    assert_eq!(outcome.remarks, ["md5 is on its way out (01000)"]);
    assert!(matches!(outcome.end, Ok(Some(_))));
}

#[test]
fn a_server_that_is_too_old_too_odd_or_nameless_is_refused() {
    let (error, _) = refused(options(), &backend::trust("9.6.24"));
    assert_eq!(error.to_string(), "server version is 9.6.24; tapster works with 10 and later");
    let nameless = [backend::authentication(0, &[]), backend::ready()].concat();
    assert!(matches!(refused(options(), &nameless).0, LoginError::NoVersion));
    let float = [
        backend::authentication(0, &[]),
        backend::parameter("server_version", "10.23"),
        backend::parameter("integer_datetimes", "off"),
        backend::ready(),
    ]
    .concat();
    assert!(matches!(refused(options(), &float).0, LoginError::FloatDatetimes));
    let two = backend::message(b'v', &hex("00020000 00000000"));
    assert_eq!(refused(options(), &two).0.to_string(), "server speaks protocol 2.0 at most");
}

#[test]
fn messages_out_of_order_are_violations() {
    for input in [
        backend::ready(),
        backend::key(),
        backend::copy_both(),
        backend::copy_data(b"x"),
        [backend::authentication(0, &[]), backend::authentication(0, &[])].concat(),
        [backend::authentication(0, &[]), backend::authentication(3, &[])].concat(),
        [backend::authentication(3, &[]), backend::authentication(3, &[])].concat(),
        [backend::authentication(0, &[]), backend::columns(&[])].concat(),
    ] {
        let outcome = login(options(), &[&input]);
        assert!(outcome.end.is_err_and(|error| error.contains(" was due")), "{input:02x?}");
    }
    let (error, _) = refused(options(), &backend::authentication(11, b"r=x"));
    assert!(matches!(error, LoginError::Unsupported { .. }));
}

#[test]
fn no_secret_is_in_the_debug_output() {
    let mut login = Login::new(options());
    let mut input = BytesMut::from(&backend::sasl(&["SCRAM-SHA-256"])[..]);
    login.next(&mut input, &mut BytesMut::new()).expect("a step");
    let text = format!("{login:?} {:?}", options());
    assert!(!text.contains("sekret") && text.contains("***"), "{text}");
    assert!(!text.contains("115, 101, 107"), "{text}");
}

/// Whether the client proved itself, and what it bound the exchange to.
type Learnt = Option<(bool, Vec<u8>)>;

/// Plays a SCRAM exchange; `forge` may change the server's messages. Gives what the server
/// learnt and what the login came to.
fn scram(
    options: LoginOptions,
    offered: &[&str],
    server: &ScramServer,
    forge: impl Fn(&str, String) -> String,
) -> (Learnt, Result<AuthMethod, WireError>) {
    let mut login = Login::new(options);
    let (mut input, mut out) = (BytesMut::from(&backend::sasl(offered)[..]), BytesMut::new());
    if let Err(error) = login.next(&mut input, &mut out) {
        return (None, Err(error));
    }
    // p, length, mechanism, zero, length, client-first
    let sent = String::from_utf8(out.split().to_vec()[5..].to_vec()).expect("text");
    let (mechanism, rest) = sent.split_once('\0').expect("a mechanism");
    assert!(offered.contains(&mechanism));
    let client_first = &rest[4..];
    let bare = &client_first[client_first.find("n=,r=").expect("an empty user name")..];
    let first = forge("first", server.first(&bare["n=,r=".len()..]));
    input.extend_from_slice(&backend::authentication(11, first.as_bytes()));
    if let Err(error) = login.next(&mut input, &mut out) {
        return (None, Err(error));
    }
    let client_final = String::from_utf8(out.split().to_vec()[5..].to_vec()).expect("text");
    let last = server.finish(bare, &first, &client_final);
    let learnt = Some((last.proved, last.binding));
    let answer = forge("final", last.answer);
    if !answer.is_empty() {
        input.extend_from_slice(&backend::authentication(12, answer.as_bytes()));
    }
    input.extend_from_slice(&backend::trust("18.4"));
    match login.next(&mut input, &mut out) {
        Ok(Some(LoginEvent::Ready(session))) => (learnt, Ok(session.method)),
        Ok(other) => panic!("no end: {other:?}"),
        Err(error) => (learnt, Err(error)),
    }
}

const BOTH: [&str; 2] = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"];
const PLAIN: [&str; 1] = ["SCRAM-SHA-256"];

#[test]
fn scram_proves_the_password_and_binds_where_both_sides_can() {
    let bound = [b"p=tls-server-end-point,,".to_vec(), vec![0xEE; 32]].concat();
    let no_hash = Transport::Tls { end_point: None };
    for (transport, mode, offered, header) in [
        (Transport::Local, ChannelBinding::Prefer, &PLAIN[..], b"n,,".to_vec()),
        (Transport::Clear, ChannelBinding::Prefer, &PLAIN, b"n,,".to_vec()),
        (tls(), ChannelBinding::Prefer, &BOTH, bound.clone()),
        (tls(), ChannelBinding::Require, &BOTH, bound),
        // "I could bind, and you did not offer it": a server that did will notice.
        (tls(), ChannelBinding::Prefer, &PLAIN, b"y,,".to_vec()),
        (tls(), ChannelBinding::Disable, &BOTH, b"n,,".to_vec()),
        (no_hash, ChannelBinding::Prefer, &BOTH, b"n,,".to_vec()),
    ] {
        let options = LoginOptions { transport, channel_binding: mode, ..options() };
        let (learnt, end) = scram(options, offered, &ScramServer::new("sekret"), |_, text| text);
        assert_eq!(learnt, Some((true, header)));
        assert_eq!(end.expect("a session"), AuthMethod::ScramSha256);
    }
}

#[test]
fn plus_on_a_connection_without_tls_is_a_downgrade() {
    for transport in [Transport::Local, Transport::Clear] {
        let options = LoginOptions { transport, ..options() };
        let (error, sent) = refused(options, &backend::sasl(&BOTH));
        assert!(matches!(error, LoginError::PlusWithoutTls) && sent.is_empty());
    }
}

#[test]
fn a_server_that_does_not_know_the_password_is_not_believed() {
    let server = ScramServer::new("sekret");
    let forgeries: [fn(&str) -> String; 4] = [
        |_| "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned(),
        |_| "v=".to_owned(),
        // Nothing at all: "you are in" without a proof.
        |_| String::new(),
        |right| right[..right.len() - 8].to_owned(),
    ];
    for forgery in forgeries {
        let (_, end) = scram(options(), &PLAIN, &server, |step, text| match step {
            "final" => forgery(&text),
            _ => text,
        });
        let error = end.expect_err("an impostor was believed");
        assert!(matches!(error, WireError::Login(LoginError::ServerNotVerified)), "{error}");
    }
    let (learnt, end) = scram(options(), &PLAIN, &ScramServer::new("other"), |_, text| text);
    assert_eq!(learnt.map(|(proved, _)| proved), Some(false));
    assert!(end.is_err());
}

#[test]
fn server_first_is_held_to_its_form_and_its_cost_to_a_bound() {
    let server = ScramServer::new("sekret");
    let forge = |change: fn(&str) -> String| {
        let (_, end) = scram(options(), &PLAIN, &server, |step, text| match step {
            "first" => change(&text),
            _ => text,
        });
        match end.expect_err("a forged server-first was accepted") {
            WireError::Login(error) => error,
            other => panic!("{other}"),
        }
    };
    let error = forge(|text| text.replace("i=4096", "i=4000000000"));
    assert_eq!(
        error.to_string(),
        "server wants 4000000000 iterations of SCRAM; at most 100000 are accepted"
    );
    assert!(error.hint().expect("a hint").contains("scram_iterations"));
    let huge = forge(|text| text.replace("i=4096", &format!("i={}", "9".repeat(40))));
    assert!(matches!(huge, LoginError::TooManyIterations { .. }));
    let changes: [fn(&str) -> String; 9] = [
        |text| text.replace("i=4096", "i=0"),
        |text| text.replace("i=4096", "i=-1"),
        |text| text.replace("i=4096", "i="),
        |text| text.replace(",i=4096", ""),
        |text| text.replace("server-part", ""),
        |text| text.replace("r=", "r=other"),
        |text| text.replace("s=", "s=***"),
        |_| String::new(),
        |_| "m=future,r=x,s=AAAA,i=1".to_owned(),
    ];
    for change in changes {
        let error = forge(change);
        assert!(matches!(error, LoginError::Scram { .. }), "{error}");
    }
}

#[test]
fn steps_of_scram_out_of_order_are_refused() {
    for steps in
        [vec![backend::authentication(12, b"v=AAAA")], vec![backend::authentication(0, &[])]]
    {
        let input = [vec![backend::sasl(&PLAIN)], steps].concat().concat();
        let (error, _) = refused(options(), &input);
        let expected = matches!(error, LoginError::Scram { .. } | LoginError::ServerNotVerified);
        assert!(expected, "{error}");
    }
}
