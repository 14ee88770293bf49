//! Commands with rows, as servers of all versions answer them.
//!
//! Who counts CommandCompletes is one off on some version, and reads the answer to the last
//! command as that of the next.

use bytes::BytesMut;
use tapster::wal::{Lsn, SystemIdentifier, Timeline};
use tapster::wire::{
    CreatedSlot, Exchange, ExchangeEvent, HistoryFile, IdentifySystem, ResultSet, SlotState,
    SqlState, WireError,
};

use super::{backend, hex, in_every_cut};

/// Everything that an exchange came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    remarks: Vec<String>,
    end: Result<Vec<ResultSet>, String>,
}

fn run(chunks: &[&[u8]]) -> Outcome {
    let (mut exchange, mut input) = (Exchange::new(), BytesMut::new());
    let mut remarks = Vec::new();
    let mut end = None;
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            let done = match exchange.next(&mut input) {
                Ok(None) => break,
                Ok(Some(ExchangeEvent::Notice(notice))) => {
                    remarks.push(notice.to_string());
                    continue;
                }
                Ok(Some(ExchangeEvent::Parameter(status))) => {
                    remarks.push(format!("{}={}", status.name, status.value));
                    continue;
                }
                Ok(Some(ExchangeEvent::CopyIn)) => {
                    remarks.push("copy in".to_owned());
                    continue;
                }
                Ok(Some(ExchangeEvent::Done(results))) => Ok(results),
                Ok(Some(ExchangeEvent::Failed(error))) => Err(format!("failed: {error}")),
                Err(error) => Err(error.to_string()),
            };
            end = Some(done);
            break;
        }
        if end.is_some() {
            break;
        }
    }
    Outcome { remarks, end: end.unwrap_or_else(|| Err("no end".to_owned())) }
}

fn results(input: &[u8]) -> Vec<ResultSet> {
    in_every_cut(input, run).end.expect("results")
}

fn error(input: &[u8]) -> String {
    in_every_cut(input, run).end.expect_err("an error")
}

#[test]
fn identify_system_is_read_from_both_types_of_its_timeline() {
    // Version 10: int4, tag SELECT. A timeline above 2^31 arrives negative.
    let old = [
        backend::columns(&["systemid", "timeline", "xlogpos", "dbname"]),
        backend::row(&[Some(b"7711249317654332226"), Some(b"-1"), Some(b"0/33CFBD8"), None]),
        backend::complete("SELECT"),
        backend::ready(),
    ]
    .concat();
    let expected = IdentifySystem {
        system_identifier: SystemIdentifier(7_711_249_317_654_332_226),
        timeline: Timeline::new(u32::MAX).expect("not 0"),
        xlogpos: Lsn(0x33C_FBD8),
        dbname: None,
    };
    let read = |input: &[u8]| IdentifySystem::try_from(&results(input)[0]).expect("a system");
    assert_eq!(read(&old), expected);
    let new = backend::identify_system(7_711_249_317_654_332_226, u32::MAX, Lsn(0x33C_FBD8));
    assert_eq!(read(&new), expected);
}

#[test]
fn an_answer_ends_at_ready_for_query_however_many_completions_it_has() {
    for tags in [&["DROP_REPLICATION_SLOT", "SELECT"][..], &["DROP_REPLICATION_SLOT"], &[]] {
        let mut input: Vec<u8> = tags.iter().flat_map(|tag| backend::complete(tag)).collect();
        input.extend(backend::ready());
        assert_eq!(results(&input), []);
    }
}

#[test]
fn an_error_after_the_columns_leaves_the_session_usable() {
    // TIMELINE_HISTORY 1, up to version 15.
    let input = [
        backend::columns(&["filename", "content"]),
        backend::error("ERROR", "58P01", "could not open file \"pg_wal/00000001.history\""),
        backend::ready(),
    ]
    .concat();
    assert_eq!(error(&input), "failed: could not open file \"pg_wal/00000001.history\" (58P01)");
}

#[test]
fn a_fatal_error_ends_the_exchange_without_ready_for_query() {
    for severity in ["FATAL", "PANIC"] {
        let input = backend::error(severity, "57P01", "terminating connection");
        assert_eq!(error(&input), "server refused: terminating connection (57P01)");
    }
}

#[test]
fn remarks_and_changes_of_settings_may_come_anywhere() {
    let input = [
        backend::notice("NOTICE", "00000", "one"),
        backend::parameter("in_hot_standby", "off"),
        backend::show("in_hot_standby", "on"),
    ]
    .concat();
    let outcome = in_every_cut(&input, run);
    assert_eq!(outcome.remarks, ["one (00000)", "in_hot_standby=off"]);
    let setting = outcome.end.expect("results")[0].setting();
    assert_eq!(setting.expect("a value"), "on");
}

#[test]
fn a_history_file_is_bytes_and_must_be_the_one_that_was_asked_for() {
    let content = b"1\t0/3000000\tb\xfc\n";
    let two = Timeline::new(2).expect("not 0");
    let answer = |name: &[u8]| {
        let input = [
            backend::columns(&["filename", "content"]),
            backend::row(&[Some(name), Some(content)]),
            backend::complete("TIMELINE_HISTORY"),
            backend::ready(),
        ]
        .concat();
        HistoryFile::from_result(&results(&input)[0], two)
    };
    let file = answer(b"00000002.history").expect("a file");
    assert_eq!((file.name().as_str(), &file.content[..]), ("00000002.history", &content[..]));
    for name in [&b"00000003.history"[..], b"../../etc/passwd", b""] {
        assert!(matches!(answer(name), Err(WireError::OtherHistory { .. })), "{name:?}");
    }
}

#[test]
fn a_slot_that_is_not_there_is_three_nulls_and_one_without_wal_has_no_position() {
    let read = |values: &[Option<&[u8]>]| {
        let input = [
            backend::columns(&["slot_type", "restart_lsn", "restart_tli"]),
            backend::row(values),
            backend::complete("READ_REPLICATION_SLOT"),
            backend::ready(),
        ]
        .concat();
        SlotState::from_result(&results(&input)[0]).expect("a state")
    };
    assert_eq!(read(&[None, None, None]), None);
    let empty = SlotState { restart_lsn: None, restart_timeline: None };
    assert_eq!(read(&[Some(b"physical"), None, None]), Some(empty));
    let held =
        SlotState { restart_lsn: Some(Lsn(0x200_0028)), restart_timeline: Some(Timeline::FIRST) };
    assert_eq!(read(&[Some(b"physical"), Some(b"0/2000028"), Some(b"1")]), Some(held));
}

#[test]
fn a_created_slot_is_known_by_its_name_alone() {
    let values = [("slot_name", "tapster"), ("consistent_point", "0/0")];
    let input = [backend::one_row(&values, "CREATE_REPLICATION_SLOT"), backend::ready()].concat();
    let slot = CreatedSlot::try_from(&results(&input)[0]).expect("a slot");
    assert_eq!(slot.name, "tapster");
}

#[test]
fn a_result_of_another_form_is_refused_with_the_missing_part() {
    let system = |names: &[&str], values: &[&str]| {
        let input = [backend::columns(names), backend::text_row(values), backend::ready()].concat();
        IdentifySystem::try_from(&results(&input)[0]).expect_err("refused").to_string()
    };
    let names = ["systemid", "timeline", "xlogpos", "dbname"];
    assert_eq!(system(&names[..2], &["1", "1"]), "result of IDENTIFY_SYSTEM has no xlogpos");
    assert_eq!(system(&names, &["1", "0", "0/0", ""]), "server sent \"0\" as timeline");
    assert_eq!(system(&names, &["-1", "1", "0/0", ""]), "server sent \"-1\" as systemid");
    assert_eq!(system(&names, &["1", "1", "0-0", ""]), "server sent \"0-0\" as xlogpos");
    let none = [backend::columns(&names), backend::ready()].concat();
    let missing = IdentifySystem::try_from(&results(&none)[0]).expect_err("no row");
    assert_eq!(missing.to_string(), "result of IDENTIFY_SYSTEM has no row");
}

#[test]
fn what_does_not_belong_into_an_answer_is_refused() {
    for input in [
        backend::text_row(&["no columns before"]),
        [backend::one_row(&[("a", "1")], "SHOW"), backend::text_row(&["after its end"])].concat(),
        backend::copy_out(),
        backend::copy_both(),
        backend::copy_data(b"x"),
        backend::authentication(0, &[]),
        [backend::error("ERROR", "42601", "x"), backend::columns(&["a"])].concat(),
    ] {
        assert!(error(&input).contains("while the result of a command was due"));
    }
    let two_for_one = [backend::columns(&["a"]), backend::text_row(&["1", "2"])].concat();
    assert_eq!(error(&two_for_one), "malformed DataRow: other columns than were described");
}

#[test]
fn an_endless_result_is_cut_off() {
    let mut exchange = Exchange::new();
    let mut input = BytesMut::from(&backend::columns(&["a"])[..]);
    let row = backend::row(&[Some(&[b'x'; 1 << 16])]);
    let many = row.repeat(16);
    for _ in 0..Exchange::RESULT_BYTES_MAX / (1 << 20) + 2 {
        input.extend_from_slice(&many);
        if let Err(error) = exchange.next(&mut input) {
            assert!(matches!(error, WireError::ResultTooLong { .. }), "{error}");
            return;
        }
    }
    panic!("96 MiB of rows were taken");
}

#[test]
fn a_manifest_is_uploaded_between_copy_in_and_the_verdict() {
    //           G  length   text no columns
    let start = hex("47 00000007 00 0000");
    let good = [start.clone(), backend::complete("UPLOAD_MANIFEST"), backend::ready()].concat();
    let outcome = in_every_cut(&good, run);
    assert_eq!((outcome.remarks, outcome.end), (vec!["copy in".to_owned()], Ok(vec![])));
    let bad = [start, backend::error("ERROR", "XX000", "bad manifest"), backend::ready()].concat();
    let outcome = in_every_cut(&bad, run);
    assert_eq!(outcome.end, Err(format!("failed: bad manifest ({})", SqlState::INTERNAL)));
}
