//! One message at a time: the layout is the manual's, and nothing shorter or longer passes.

use bytes::Bytes;
use tapster::wire::{
    Authentication, BackendMessage, DataRow, ServerMessage, Severity, SqlState, Tag,
    TransactionStatus, WireError,
};

use super::{backend, hex};

/// Splits a whole message into type and body.
fn parse(message: &[u8]) -> Result<BackendMessage, WireError> {
    BackendMessage::parse(Tag(message[0]), Bytes::copy_from_slice(&message[5..]))
}

fn malformed(tag: u8, body: &[u8]) -> &'static str {
    match BackendMessage::parse(Tag(tag), Bytes::copy_from_slice(body)) {
        Err(WireError::Malformed { what, .. }) => what,
        other => panic!("{} {body:02x?} gave {other:?}", Tag(tag)),
    }
}

#[test]
fn every_message_of_a_walsender_is_read() {
    let read = |text: &str| parse(&hex(text)).expect(text);
    //     R  length   ok
    assert_eq!(read("52 00000008 00000000"), BackendMessage::Authentication(Authentication::Ok));
    //     R  length   md5      salt
    assert_eq!(
        read("52 0000000c 00000005 996efc85"),
        BackendMessage::Authentication(Authentication::Md5 { salt: [0x99, 0x6E, 0xFC, 0x85] })
    );
    //     Z  length   idle
    assert_eq!(read("5a 00000005 49"), BackendMessage::ReadyForQuery(TransactionStatus::Idle));
    //     C  length   COPY 0, zero
    assert_eq!(
        read("43 0000000b 434f5059203000"),
        BackendMessage::CommandComplete("COPY 0".to_owned())
    );
    //     D  length   columns  3 bytes   NULL     empty
    assert_eq!(
        read("44 00000015 0003 00000003 302f30 ffffffff 00000000"),
        BackendMessage::DataRow(DataRow(vec![
            Some(Bytes::from_static(b"0/0")),
            None,
            Some(Bytes::new())
        ]))
    );
    //     W  length   text  no columns; G, H and c alike
    assert_eq!(read("57 00000007 00 0000"), BackendMessage::CopyBoth);
    assert_eq!(read("47 00000007 00 0000"), BackendMessage::CopyIn);
    assert_eq!(read("48 00000007 00 0000"), BackendMessage::CopyOut);
    assert_eq!(read("63 00000004"), BackendMessage::CopyDone);
    //     v  length   3.0      no options
    assert_eq!(
        read("76 0000000c 00030000 00000000"),
        BackendMessage::NegotiateProtocolVersion { newest: 0x0003_0000, unknown_options: vec![] }
    );
    //     A  length   pid      channel  payload
    assert_eq!(read("41 0000000c 00000001 6100 6200"), BackendMessage::Notification);
    assert_eq!(
        parse(&backend::sasl(&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])).expect("mechanisms"),
        BackendMessage::Authentication(Authentication::Sasl {
            mechanisms: vec!["SCRAM-SHA-256-PLUS".to_owned(), "SCRAM-SHA-256".to_owned()]
        })
    );
}

#[test]
fn keys_of_both_protocol_versions_are_read_and_never_shown() {
    for length in [4, 32, 256] {
        let body = [&hex("00003039")[..], &vec![0xEE; length]].concat();
        let message = BackendMessage::parse(Tag(b'K'), body.into()).expect("a key");
        assert_eq!(
            format!("{message:?}"),
            "BackendKeyData(CancelKey { process_id: 12345, key: *** })"
        );
    }
    for length in [0, 3, 257] {
        malformed(b'K', &[&hex("00003039")[..], &vec![0xEE; length]].concat());
    }
}

#[test]
fn an_error_is_read_by_its_untranslated_fields() {
    let bytes = hex("45 00000052                            \
         53 464548 4c4552 00                                \
         56 4552524f52 00                                   \
         43 3432373034 00                                   \
         4d 6e6f20736c6f7400                                \
         44 64657461696c00                                  \
         48 68696e7400                                      \
         57 776865726500                                    \
         7a 667574757265 00                                 \
         52 5265706c69636174696f6e536c6f7441637175697265 00 \
         00");
    //  E; S "FEHLER", V "ERROR", C "42704", M "no slot", D, H, W, an unknown field, R, end
    let Ok(BackendMessage::Error(error)) = parse(&bytes) else { panic!("not an error") };
    let expected = ServerMessage {
        severity: Severity::Error,
        code: SqlState::UNDEFINED_OBJECT,
        message: "no slot".to_owned(),
        detail: Some("detail".to_owned()),
        hint: Some("hint".to_owned()),
        context: Some("where".to_owned()),
        routine: Some("ReplicationSlotAcquire".to_owned()),
    };
    assert_eq!(*error.0, expected);
    assert_eq!(error.to_string(), "no slot (42704); detail");
    assert_eq!(WireError::Refused(error).to_string(), "server refused: no slot (42704); detail");
}

#[test]
fn what_a_stranger_writes_cannot_move_the_cursor_or_fill_the_log() {
    let text = format!("red\u{1b}[31m\nline\u{7}\r{}", "x".repeat(100_000));
    let Ok(BackendMessage::Error(error)) = parse(&backend::error("FATAL", "28000", &text)) else {
        panic!("not an error");
    };
    assert!(!error.message.contains(char::is_control), "{:?}", &error.message[..40]);
    assert!(error.message.starts_with("red\u{FFFD}[31m line\u{FFFD} xxx"));
    assert!(error.message.len() < 10_000);
    assert!(error.is_fatal());
    // Latin-1 of a server without conversion.
    let Ok(BackendMessage::Notice(notice)) = parse(&hex("4e 00000008 4d fc00 00")) else {
        panic!("not a notice");
    };
    assert_eq!(notice.message, "\u{FFFD}");
    assert_eq!((notice.severity, notice.code), (Severity::Notice, SqlState::UNKNOWN));
}

#[test]
fn a_body_that_ends_early_or_late_is_malformed_at_every_position() {
    let fixed = [
        hex("52 0000000c 00000005 996efc85"),
        hex("44 00000015 0003 00000003 302f30 ffffffff 00000000"),
        hex("57 00000009 00 0001 0000"),
        hex("5a 00000005 49"),
        backend::sasl(&["SCRAM-SHA-256"]),
        backend::parameter("server_version", "18.4"),
        backend::columns(&["systemid", "timeline"]),
        backend::complete("SELECT"),
        backend::error("ERROR", "42601", "syntax error"),
        hex("76 0000000f 00030000 00000001 6f7000"),
    ];
    for message in fixed {
        parse(&message).expect("the whole message");
        let body = &message[5..];
        for end in 0..body.len() {
            malformed(message[0], &body[..end]);
        }
        assert_eq!(malformed(message[0], &[body, &[0]].concat()), "bytes after its end");
    }
}

#[test]
fn counts_and_lengths_are_held_against_the_bytes_that_are_there() {
    // 32767 columns in no bytes; -1 columns.
    assert_eq!(malformed(b'D', &hex("7fff")), "more columns than bytes");
    assert_eq!(malformed(b'T', &hex("7fff 6100")), "more columns than bytes");
    assert_eq!(malformed(b'D', &hex("ffff")), "negative number of columns");
    assert_eq!(malformed(b'T', &hex("8000")), "negative number of columns");
    assert_eq!(malformed(b'H', &hex("00 7fff")), "more columns than bytes");
    // A value of 2 GB in four bytes, and one of -2.
    assert_eq!(malformed(b'D', &hex("0001 7fffffff")), "ends early");
    assert_eq!(malformed(b'D', &hex("0001 fffffffe")), "negative length of a value");
    // Two billion options in one byte.
    assert_eq!(malformed(b'v', &hex("00030000 7fffffff 00")), "more options than bytes");
    assert_eq!(malformed(b'v', &hex("00030000 ffffffff")), "more options than bytes");
    assert_eq!(malformed(b'Z', b"X"), "unknown transaction status");
}
