//! A server that leaves a hole, repeats itself, or speaks out of turn must not get far: what
//! passes here is archived under a name that promises WAL.

use bytes::BytesMut;
use tapster::wal::Lsn;
use tapster::wire::copy_both::{WalEvent, WalStream};
use tapster::wire::{Retry, SqlState, WireError};

use super::streams::{START, run, words};
use super::{backend, hex, in_every_cut};

/// The last word about a stream that goes wrong after its start.
fn last_word(rest: &[u8]) -> String {
    let input = [&backend::copy_both()[..], rest].concat();
    let outcome = in_every_cut(&input, run);
    assert_eq!(outcome.told[0].1, "started");
    outcome.told.last().expect("an error").1.clone()
}

#[test]
fn a_gap_and_an_overlap_are_fatal_and_nothing_of_them_is_handed_out() {
    for (wrong, got) in [(START + 5, "0/300002D"), (START + 3, "0/300002B"), (Lsn(0), "0/0")] {
        let input = [
            backend::copy_both(),
            backend::xlog_data(START, b"wal!"),
            backend::xlog_data(wrong, b"hole"),
        ]
        .concat();
        let outcome = in_every_cut(&input, run);
        assert_eq!(outcome.wal, b"wal!");
        let word = format!("server sent WAL from {got}, but 0/300002C comes next");
        assert_eq!(words(&outcome), ["started", &word]);
    }
    let mut stream = WalStream::new(START);
    let input = [backend::copy_both(), backend::xlog_data(START + 1, b"x")].concat();
    let mut input = BytesMut::from(&input[..]);
    assert!(matches!(stream.next(&mut input), Ok(Some(WalEvent::Started))));
    let error = stream.next(&mut input).expect_err("the first message must start where asked");
    assert_eq!(error.retry(), Retry::Never, "the same server would send the same hole");
}

#[test]
fn an_unknown_kind_ends_the_stream() {
    // To skip it could hide missing data.
    assert_eq!(
        last_word(&backend::copy_data(b"s0123456789")),
        "server sent a stream message of the unknown kind 0x73"
    );
}

#[test]
fn heads_of_the_wrong_length_are_malformed() {
    for (payload, what) in [
        (hex(""), "stream message without a kind"),
        (hex("77 0000000003000028 0000000003000028 000303ea751df5"), "XLogData ends early"),
        (hex("6b 00000000033cfbd8 000303ea751df56a"), "keepalive is not 18 bytes long"),
        (hex("6b 00000000033cfbd8 000303ea751df56a 00 00"), "keepalive is not 18 bytes long"),
    ] {
        assert_eq!(last_word(&backend::copy_data(&payload)), format!("malformed CopyData: {what}"));
    }
}

#[test]
fn an_xlogdata_of_two_gigabytes_is_refused_before_it_comes() {
    let word = last_word(&hex("64 7fffffff 77"));
    assert_eq!(word, "CopyData announces 2147483647 bytes; at most 67108864 are accepted");
}

#[test]
fn wal_beyond_the_last_position_is_refused() {
    let start = Lsn(u64::MAX - 2);
    let mut stream = WalStream::new(start);
    let bytes = [
        backend::copy_both(),
        hex("64 00000020 77 fffffffffffffffd fffffffffffffffd 0000000000000000 010203"),
    ]
    .concat();
    let mut input = BytesMut::from(&bytes[..]);
    assert!(matches!(stream.next(&mut input), Ok(Some(WalEvent::Started))));
    assert!(matches!(stream.next(&mut input), Err(WireError::Malformed { .. })));
}

#[test]
fn messages_that_do_not_belong_there_are_refused() {
    for rest in [
        backend::copy_both(),
        backend::columns(&["next_tli"]),
        backend::ready(),
        backend::text_row(&["x"]),
        // WAL after the server's own CopyDone.
        [backend::copy_done(), backend::xlog_data(START, b"x")].concat(),
        // Two ends, or two results.
        [backend::copy_done(), backend::copy_done()].concat(),
        [backend::copy_done(), backend::columns(&["a"]), backend::columns(&["a"])].concat(),
        [backend::copy_done(), backend::text_row(&["2"])].concat(),
        [backend::complete("COPY 0"), backend::xlog_data(START, b"x")].concat(),
    ] {
        let word = last_word(&rest);
        assert!(word.starts_with("server sent ") && word.contains(" was due"), "{word}");
    }
    for input in [backend::copy_out(), backend::copy_data(b"w"), backend::ready()] {
        let outcome = in_every_cut(&input, run);
        assert!(outcome.told[0].1.ends_with("while the start of the stream was due"));
    }
}

#[test]
fn the_server_may_not_be_ready_before_we_have_said_done() {
    let mut stream = WalStream::new(START);
    let input = [backend::copy_both(), backend::copy_done(), backend::next_timeline(2, START)];
    let mut input = BytesMut::from(&input.concat()[..]);
    assert!(matches!(stream.next(&mut input), Ok(Some(WalEvent::Started))));
    assert!(matches!(stream.next(&mut input), Ok(Some(WalEvent::EndOfTimeline))));
    assert!(stream.next(&mut input).is_err());
}

#[test]
fn a_result_that_names_no_timeline_is_refused() {
    for rows in [
        [("next_tli", "0"), ("next_tli_startpos", "0/3000028")],
        [("next_tli", "2"), ("next_tli_startpos", "here")],
        [("next_tli", "2"), ("other", "0/3000028")],
    ] {
        let input = [backend::one_row(&rows, "START_STREAMING"), backend::ready()].concat();
        let outcome = in_every_cut(&input, run);
        assert_eq!(outcome.told.len(), 1, "{:?}", outcome.told);
        assert!(!outcome.told[0].1.starts_with("finished"), "{}", outcome.told[0].1);
    }
}

#[test]
fn a_refusal_before_the_stream_and_one_after_its_start_are_told_apart() {
    let refuse = |code| [backend::error("ERROR", code, "nein"), backend::ready()].concat();
    for (input, started) in
        [(refuse("XX000"), false), ([backend::copy_both(), refuse("58P01")].concat(), true)]
    {
        let outcome = in_every_cut(&input, run);
        // The session lives on: the next command may be sent.
        let words = words(&outcome);
        assert_eq!(words.last(), Some(&"finished"));
        assert!(words[words.len() - 2].starts_with("server refused: nein ("));
        assert_eq!(words.first() == Some(&"started"), started);
    }
}

#[test]
fn an_error_in_mid_stream_keeps_what_came_before_it() {
    let input = [
        backend::copy_both(),
        backend::xlog_data(START, b"good"),
        backend::error("FATAL", "57P01", "ended by the administrator"),
    ]
    .concat();
    let outcome = in_every_cut(&input, run);
    assert_eq!(outcome.wal, b"good");
    let word = "server refused: ended by the administrator (57P01)";
    assert_eq!(words(&outcome), ["started", word]);

    let mut stream = WalStream::new(START);
    let mut input = BytesMut::from(&input[..]);
    let error = loop {
        if let Err(error) = stream.next(&mut input) {
            break error;
        }
    };
    let code = error.server_error().map(|error| error.code);
    assert_eq!(code, Some(SqlState::ADMIN_SHUTDOWN));
    assert_eq!((error.retry(), stream.started()), (Retry::AfterBackoff, true));
}
