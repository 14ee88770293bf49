//! WAL arrives in order, without gap, and every way in which a stream ends is known.
//!
//! What is archived is what comes out here: a byte lost between two messages is a hole that
//! recovery finds, months later.

use bytes::BytesMut;
use proptest::prelude::*;
use tapster::wal::{Lsn, PgTimestamp, Timeline};
use tapster::wire::copy_both::{Keepalive, StatusUpdate, WalEvent, WalStream};
use tapster::wire::{NextTimeline, WireError};

use super::{backend, hex, in_every_cut, in_pieces};

pub const START: Lsn = Lsn(0x300_0028);

/// What a stream came to. WAL is joined; the rest is told in words, with the position at which
/// it came.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub wal: Vec<u8>,
    pub told: Vec<(u64, String)>,
}

/// Reads a stream to its end or error; `finish_at_end` answers the server's CopyDone.
pub fn run(chunks: &[&[u8]]) -> Outcome {
    let (mut stream, mut input) = (WalStream::new(START), BytesMut::new());
    let mut outcome = Outcome { wal: Vec::new(), told: Vec::new() };
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            let word = match stream.next(&mut input) {
                Ok(None) => break,
                Ok(Some(WalEvent::Wal { start, bytes })) => {
                    assert_eq!(start.0, START.0 + outcome.wal.len() as u64, "a gap");
                    assert!(!bytes.is_empty());
                    outcome.wal.extend_from_slice(&bytes);
                    continue;
                }
                Ok(Some(WalEvent::Started)) => "started".to_owned(),
                Ok(Some(WalEvent::Keepalive(k))) => format!("keepalive {} {}", k.end, k.reply_now),
                Ok(Some(WalEvent::Notice(notice))) => notice.to_string(),
                Ok(Some(WalEvent::Parameter(status))) => status.name,
                Ok(Some(WalEvent::EndOfTimeline)) => {
                    assert!(stream.awaits_finish() && stream.accepts_status());
                    let mut out = BytesMut::new();
                    stream.finish(&mut out);
                    stream.finish(&mut out);
                    assert_eq!(out, hex("63 00000004"), "CopyDone, once");
                    "end of timeline".to_owned()
                }
                Ok(Some(WalEvent::Shutdown)) => "shutdown".to_owned(),
                Ok(Some(WalEvent::Finished { next })) => match next {
                    Some(NextTimeline { timeline, switchpoint }) => {
                        format!("finished, then {timeline} at {switchpoint}")
                    }
                    None => "finished".to_owned(),
                },
                Err(error) => {
                    let refused = matches!(error, WireError::Refused(_));
                    outcome.told.push((stream.received().0, error.to_string()));
                    if refused {
                        continue;
                    }
                    return outcome;
                }
            };
            outcome.told.push((stream.received().0, word));
        }
    }
    assert_eq!(stream.received().0, START.0 + outcome.wal.len() as u64);
    outcome
}

pub fn words(outcome: &Outcome) -> Vec<&str> {
    outcome.told.iter().map(|(_, word)| word.as_str()).collect()
}

#[test]
fn wal_and_keepalives_are_told_apart_however_they_are_cut() {
    let input = hex("57 00000007 00 0000                                                  \
        64 0000002d 77 0000000003000028 0000000003000038 000303ea751df56a                  \
                       101112131415161718191a1b1c1d1e1f                                    \
        64 00000016 6b 00000000033cfbd8 000303ea751df56a 00                                \
        64 0000001e 77 0000000003000038 0000000003000039 000303ea751df56a 20               \
        64 00000016 6b 0000000003000039 000303ea751df56a 01");
    //  W; d, length, w, start, end of the server's WAL, time, 16 bytes;
    //  d, length, k, end, time, no reply; w with one byte; k that wants a reply
    let outcome = in_every_cut(&input, run);
    assert_eq!(outcome.wal, (0x10..=0x20).collect::<Vec<u8>>());
    let expected = [
        (START.0, "started".to_owned()),
        (0x300_0038, "keepalive 0/33CFBD8 false".to_owned()),
        (0x300_0039, "keepalive 0/3000039 true".to_owned()),
    ];
    assert_eq!(outcome.told, expected);
}

#[test]
fn the_server_s_position_and_clock_are_the_newest_it_has_told() {
    let mut stream = WalStream::new(START);
    let mut input = BytesMut::from(&backend::copy_both()[..]);
    input.extend_from_slice(&backend::keepalive(Lsn(0x500_0000), false));
    input.extend_from_slice(&backend::xlog_data(START, b"wal"));
    while stream.next(&mut input).expect("a good stream").is_some() {}
    assert_eq!(stream.server_end(), Lsn(0x500_0000), "an older end must not turn it back");
    assert_eq!(stream.sent_at(), PgTimestamp(0x0003_03EA_751D_F56A));
}

#[test]
fn a_keepalive_has_the_layout_of_the_manual() {
    // The payload that a server 18 sent.
    let payload = hex("6b 00 00 00 00 03 3c fb d8 00 03 03 ea 75 1d f5 6a 00");
    assert_eq!(payload.len(), Keepalive::LEN);
    let mut stream = WalStream::new(START);
    let mut input = BytesMut::from(&backend::copy_both()[..]);
    input.extend_from_slice(&backend::copy_data(&payload));
    assert_eq!(stream.next(&mut input).expect("good"), Some(WalEvent::Started));
    let expected = Keepalive {
        end: Lsn(0x33C_FBD8),
        sent_at: PgTimestamp(0x0003_03EA_751D_F56A),
        reply_now: false,
    };
    assert_eq!(stream.next(&mut input).expect("good"), Some(WalEvent::Keepalive(expected)));
}

#[test]
fn a_status_has_the_layout_of_the_manual() {
    let mut out = BytesMut::new();
    StatusUpdate {
        written: Lsn(0x300_0038),
        flushed: Lsn(0x300_0028),
        applied: Lsn::INVALID,
        sent_at: PgTimestamp(0x0003_03EA_751D_F56A),
        reply_now: true,
    }
    .encode(&mut out);
    let expected = hex(
        "64 00000026 72 0000000003000038 0000000003000028 0000000000000000 000303ea751df56a 01",
    );
    //   d  length   r  written          flushed          applied          sent at          reply
    assert_eq!(out, expected);
}

#[test]
fn a_timeline_that_ends_gives_its_successor_after_both_have_said_done() {
    for second in ["START_REPLICATION", "SELECT", ""] {
        let completion = if second.is_empty() { vec![] } else { backend::complete(second) };
        let rows = [("next_tli", "2"), ("next_tli_startpos", "0/3000030")];
        let input = [
            backend::copy_both(),
            backend::xlog_data(START, &[9; 40]),
            backend::copy_done(),
            backend::one_row(&rows, "START_STREAMING"),
            completion,
            backend::parameter("in_hot_standby", "off"),
            backend::ready(),
        ]
        .concat();
        let outcome = in_every_cut(&input, run);
        // The switchpoint may lie before what was received: the last record was cut short.
        assert_eq!(outcome.wal.len(), 40);
        let expected =
            ["started", "end of timeline", "in_hot_standby", "finished, then 2 at 0/3000030"];
        assert_eq!(words(&outcome), expected);
    }
}

#[test]
fn a_start_at_the_very_end_of_a_timeline_gives_its_successor_without_a_stream() {
    let outcome = in_every_cut(&backend::next_timeline(2, START), run);
    assert_eq!(words(&outcome), ["finished, then 2 at 0/3000028"]);
}

#[test]
fn our_own_wish_to_stop_still_takes_the_wal_that_was_under_way() {
    let input = [
        backend::copy_both(),
        backend::xlog_data(START, b"before"),
        backend::xlog_data(START + 6, b"under way"),
        backend::keepalive(START + 15, false),
        backend::copy_done(),
        backend::complete("START_STREAMING"),
        backend::complete("START_REPLICATION"),
        backend::ready(),
    ]
    .concat();
    let read = |chunks: &[&[u8]]| {
        let (mut stream, mut input) = (WalStream::new(START), BytesMut::new());
        let (mut wal, mut out, mut told) = (Vec::new(), BytesMut::new(), Vec::new());
        for chunk in chunks {
            input.extend_from_slice(chunk);
            while let Some(event) = stream.next(&mut input).expect("a good stream") {
                match event {
                    WalEvent::Started => stream.finish(&mut out),
                    WalEvent::Wal { bytes, .. } => wal.extend_from_slice(&bytes),
                    other => told.push(other),
                }
            }
        }
        assert_eq!(out, hex("63 00000004"));
        assert!(!stream.accepts_status(), "after our CopyDone nothing may be sent");
        (wal, told)
    };
    let (wal, told) = in_every_cut(&input, read);
    assert_eq!(wal, b"beforeunder way");
    let finished = WalEvent::Finished { next: None };
    assert!(matches!(&told[..], [WalEvent::Keepalive(_), last] if *last == finished));
}

#[test]
fn an_orderly_shutdown_is_a_completion_without_copy_done() {
    let input = [
        backend::copy_both(),
        backend::xlog_data(START, b"shutdown checkpoint"),
        backend::keepalive(START + 19, true),
        backend::complete("COPY 0"),
    ]
    .concat();
    let outcome = in_every_cut(&input, run);
    assert_eq!(words(&outcome), ["started", "keepalive 0/300003B true", "shutdown"]);
    assert_eq!(outcome.wal, b"shutdown checkpoint");
}

#[test]
fn an_end_of_timeline_number_may_be_above_two_billion() {
    let input = backend::next_timeline(4_000_000_000, START);
    let mut stream = WalStream::new(START);
    let event = stream.next(&mut BytesMut::from(&input[..])).expect("good");
    let timeline = Timeline::new(4_000_000_000).expect("not 0");
    let next = Some(NextTimeline { timeline, switchpoint: START });
    assert_eq!(event, Some(WalEvent::Finished { next }));
}

proptest! {
    #[test]
    fn any_sizes_of_messages_in_any_pieces_give_the_same_wal(
        sizes in prop::collection::vec(0usize..300, 1..30),
        cuts in prop::collection::vec(1usize..200, 1..20),
        keepalives in prop::collection::vec(any::<bool>(), 30),
    ) {
        let mut input = backend::copy_both();
        let mut wal = Vec::new();
        for (size, keepalive) in sizes.iter().zip(&keepalives) {
            let start = START + wal.len() as u64;
            let bytes: Vec<u8> = (0..*size).map(|n| (wal.len() + n) as u8).collect();
            input.extend(backend::xlog_data(start, &bytes));
            wal.extend(bytes);
            if *keepalive {
                input.extend(backend::keepalive(START + wal.len() as u64, false));
            }
        }
        let chunks = in_pieces(&input, &cuts);
        let outcome = run(&chunks);
        prop_assert_eq!(outcome.wal, wal);
        let count = keepalives.iter().take(sizes.len()).filter(|keepalive| **keepalive).count();
        prop_assert_eq!(outcome.told.len(), 1 + count);
    }
}
