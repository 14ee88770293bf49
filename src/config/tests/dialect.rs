//! The INI dialect: a file that Barman reads means here what it means there.

use std::path::Path;

use proptest::prelude::*;

use crate::config::ini::{IniFault, IniFile, InterpolationFault, interpolate, unquote};

fn parse(text: &str) -> IniFile {
    IniFile::parse(Path::new("x.conf"), text.as_bytes()).expect(text)
}

fn value(text: &str, key: &str) -> String {
    parse(text).section("s").expect("a section").entry(key).expect(key).value.clone()
}

#[test]
fn keys_lose_their_case_and_sections_keep_it() {
    let file = parse("[Main]\nConnInfo = Host=A\n[main]\nx: y = z\n");
    assert_eq!(file.section("Main").expect("Main").entries[0].key, "conninfo");
    assert_eq!(file.section("Main").expect("Main").entries[0].value, "Host=A");
    assert_eq!(file.section("main").expect("main").entries[0].value, "y = z");
}

#[test]
fn comments_are_whole_lines_only() {
    let text = "# one\n  ; two\n[s]\na = gzip ; fast\nb = x # y\n   # inside\n";
    assert_eq!(value(text, "a"), "gzip ; fast");
    assert_eq!(value(text, "b"), "x # y");
}

#[test]
fn a_deeper_line_continues_a_value_and_comments_in_it_vanish() {
    let text = "[s]\na = one\n  two\n  # not me\n\n  three\nb = x\n\n\n[t]\n";
    assert_eq!(value(text, "a"), "one\ntwo\n\nthree");
    assert_eq!(value(text, "b"), "x");
    // Indented as deep as the key above it, a line is a key of its own.
    assert_eq!(value("[s]\n  a = 1\n  b = 2\n", "b"), "2");
    assert_eq!(value("[s]\n  a = 1\n    b = 2\n", "a"), "1\nb = 2");
}

#[test]
fn of_duplicates_the_last_value_stays_and_sections_merge() {
    let text = "[s]\na = 1\nb = 1\n[t]\nx = 1\n[s]\na = 2\n";
    assert_eq!((value(text, "a"), value(text, "b")), ("2".into(), "1".into()));
    assert_eq!(parse(text).sections.len(), 2);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_not_matter() {
    assert_eq!(value("\u{FEFF}[s]\r\na = 1\r\n  2\r\n", "a"), "1\n2");
}

#[test]
fn faults_are_told_with_their_line() {
    let fault = |bytes: &[u8]| IniFile::parse(Path::new("x"), bytes).expect_err("a fault");
    assert_eq!(fault(b"\na = 1\n"), (2, IniFault::NoSection));
    assert_eq!(fault(b"[s]\nnothing\n"), (2, IniFault::NoDelimiter));
    assert_eq!(fault(b"[s]\n= 1\n"), (2, IniFault::NoKey));
    assert_eq!(fault(b"[]\n"), (1, IniFault::BadHeader));
    assert_eq!(fault(b"[s\n"), (1, IniFault::BadHeader));
    assert_eq!(fault(b"[s]\na = \xff\n"), (2, IniFault::NotUtf8));
}

#[test]
fn one_pair_of_equal_quotes_around_a_whole_value_is_removed() {
    for (text, plain) in [
        ("\"a b\"", "a b"),
        ("'a'", "a"),
        ("''a''", "'a'"),
        ("'a\"", "'a\""),
        ("host='x'", "host='x'"),
        ("'", "'"),
        ("", ""),
    ] {
        assert_eq!(unquote(text), plain);
    }
}

#[test]
fn references_are_resolved_and_percent_signs_survive() {
    let lookup = |name: &str| match name {
        "a" => Some("<%(b)s>".to_owned()),
        "b" => Some("B".to_owned()),
        "self" => Some("%(self)s".to_owned()),
        _ => None,
    };
    let text = |value: &str| {
        let done = interpolate(value, &lookup).expect(value);
        (done.text, done.foreign)
    };
    assert_eq!(text("x%(a)sy"), ("x<B>y".into(), false));
    assert_eq!(text("%(B)s"), ("B".into(), false));
    assert_eq!(text("100%%%%"), ("100%".into(), false));
    assert_eq!(text("100%%"), ("100%".into(), true));
    assert_eq!(text("postgres://u@h/%2Fx"), ("postgres://u@h/%2Fx".into(), true));
    assert_eq!(text("%"), ("%".into(), true));
    assert_eq!(text("%(a"), ("%(a".into(), true));
    assert_eq!(interpolate("%(c)s", &lookup), Err(InterpolationFault::Unknown("c".into())));
    assert_eq!(interpolate("%(self)s", &lookup), Err(InterpolationFault::Circle("self".into())));
}

#[test]
fn references_that_multiply_end_before_they_fill_memory_or_time() {
    // Ten levels of ten references each would be 10^10 values.
    let lookup = |name: &str| {
        let next = name.len() + 1;
        Some(format!("%({})s", "x".repeat(next)).repeat(10))
    };
    let refused = interpolate("%(x)s", &lookup);
    let empty = |name: &str| {
        Some(if name.len() > 8 { String::new() } else { format!("%({name}x)s").repeat(10) })
    };
    assert_eq!(interpolate("%(x)s", &empty), Err(InterpolationFault::TooMany));
    assert!(matches!(refused, Err(InterpolationFault::Circle(_) | InterpolationFault::TooMany)));
}

#[test]
fn a_file_cut_anywhere_is_refused_or_understood_but_never_a_panic() {
    let text = "\u{FEFF}# x\n[barman]\nbarman_home: /x\n  y\n\n[s]\na = 'é' %(b)s\n".as_bytes();
    for cut in 0..text.len() {
        let _ = IniFile::parse(Path::new("x"), &text[..cut]);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_understood_but_never_a_panic(bytes: Vec<u8>) {
        let _ = IniFile::parse(Path::new("x"), &bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = interpolate(&text, &|_| Some("x".to_owned()));
        let _ = unquote(&text);
    }

    #[test]
    fn a_value_on_one_line_comes_back(value in "[!-~]([ -~]{0,40}[!-~])?") {
        let file = parse(&format!("[s]\nkey = {value}\n"));
        let entry = file.section("s").and_then(|section| section.entry("key"));
        prop_assert_eq!(&entry.expect("a key").value, &value);
        let doubled = value.replace('%', "%%%%");
        let done = interpolate(&doubled, &|_| None).expect("no reference");
        prop_assert_eq!((done.text, done.foreign), (value, false));
    }
}
