//! A backup is what the server meant to send, or it is none.
//!
//! Names in an archive become paths at restore, as root perhaps; a file that is not what the
//! manifest lists is found when the database reads it, a year later. Each forgery must fail the
//! backup at once, and must not spoil the next one.

use std::fs;

use super::middle::Middle;
use super::tampering::{data, is, sealed, tar_header, with_line, with_manifest, with_members};
use super::{Forged, Message};
use crate::wire::backend;

#[test]
fn a_member_that_leads_out_of_the_directory_ends_the_backup() {
    let middle = Middle::new(17);
    let cases = [
        (tar_header("../x", b'0', "", 0), "\"../x\", which leads out of the directory"),
        (tar_header("/x", b'0', "", 0), "\"/x\", which is absolute"),
        (tar_header("a/../../x", b'0', "", 0), "\"a/../../x\", which leads out"),
        (tar_header("../x", b'5', "", 0), "\"../x\", which leads out"),
        (tar_header("x/", b'0', "", 0), "\"x/\", which is that of a directory"),
        (tar_header("", b'0', "", 0), "which has an empty part"),
        (tar_header("link", b'2', "/etc", 0), "links to \"/etc\", which is absolute"),
        (tar_header("link", b'2', "../../x", 0), "links to \"../../x\", which leads out"),
        (tar_header("x", b'1', "base.tar", 0), "unknown type '1'"),
        (tar_header("x", b'3', "", 0), "unknown type '3'"),
    ];
    for (number, (header, words)) in cases.into_iter().enumerate() {
        let forger = with_members(header);
        middle.refuses(&format!("s{number}"), forger, &["base.tar", words]);
    }
    middle.then_succeeds("s0");
}

#[test]
fn a_tar_archive_that_is_none_ends_the_backup() {
    let middle = Middle::new(17);
    let cut = |keep: u32| {
        let mut seen = 0;
        move |_, message: Message| {
            seen += u32::from(is(&message, b'd'));
            // What comes behind the archive is the manifest, which stays.
            let dropped = is(&message, b'd') && seen > keep && seen < 600;
            if dropped { Vec::new() } else { vec![Forged::Message(message)] }
        }
    };
    middle.refuses("cut", cut(20), &["base.tar"]);
    let mut ended = false;
    let short = move |_, message: Message| {
        ended |= is(&message, b'm');
        let archive = is(&message, b'd') && !ended;
        match archive && message.1.len() < 30_000 {
            // All but the full messages: the last one, with the trailer, among them.
            true => Vec::new(),
            false => vec![Forged::Message(message)],
        }
    };
    middle.refuses("short", short, &["base.tar"]);
    middle.refuses("noise", with_members(vec![0xA5; 512]), &["base.tar", "checksum"]);
    middle.refuses("half", with_members(vec![0; 512]), &["base.tar", "half a trailer"]);
    middle.refuses("end", with_members(vec![0; 1024]), &["base.tar", "behind its end"]);
    middle.then_succeeds("cut");
}

#[test]
fn an_archive_that_is_none_of_this_backup_ends_it() {
    let middle = Middle::new(17);
    let renamed = |name: &'static str| {
        move |_, message: Message| match is(&message, b'n') {
            true => vec![data(b'n', format!("{name}\0\0").as_bytes())],
            false => vec![Forged::Message(message)],
        }
    };
    let names = ["../base.tar", "/base.tar", "x", "base.tar/../../x", "16999.tar", "pg_wal.tar"];
    for (number, name) in names.into_iter().enumerate() {
        middle.refuses(&format!("s{number}"), renamed(name), &[&format!("{name:?}"), "127.0.0.1"]);
    }
    let twice = |_, message: Message| {
        let again = is(&message, b'm').then(|| data(b'n', b"base.tar\0\0"));
        again.into_iter().chain([Forged::Message(message)]).collect()
    };
    middle.refuses("twice", twice, &["base.tar"]);
    middle.then_succeeds("s0");
}

#[test]
fn a_manifest_that_lists_something_else_ends_the_backup() {
    let middle = Middle::new(17);
    type Edit = fn(&str) -> String;
    let cases: [(Edit, &[&str]); 8] = [
        (
            |text| with_line(text, "PG_VERSION", |line| line.replace("m\": \"", "m\": \"0")),
            &["manifest"],
        ),
        (
            |text| {
                with_line(text, "PG_VERSION", |line| {
                    let at = line.find("\"Checksum\": \"").expect("one") + 13;
                    format!("{}deadbeef{}", &line[..at], &line[at + 8..])
                })
            },
            &["\"PG_VERSION\" has another checksum than the manifest lists"],
        ),
        (
            |text| with_line(text, "PG_VERSION", |line| line.replace("PG_VERSION", "PG_VERSION2")),
            &[
                "\"PG_VERSION2\" is listed in the manifest, but was not sent",
                "\"PG_VERSION\" was sent, but is not listed",
            ],
        ),
        (
            |text| with_line(text, "PG_VERSION", |_| String::new()),
            &["\"PG_VERSION\" was sent, but is not listed in the manifest"],
        ),
        (
            |text| {
                with_line(text, "PG_VERSION", |line| {
                    format!("{line}{}", line.replace("PG_VERSION", "base/1/9"))
                })
            },
            &["\"base/1/9\" is listed in the manifest, but was not sent"],
        ),
        (
            |text| with_line(text, "PG_VERSION", |line| line.replace("\"Size\": 3", "\"Size\": 4")),
            &["\"PG_VERSION\" has 3 bytes, but 4 are listed"],
        ),
        (
            |text| with_line(text, "PG_VERSION", |line| line.replace("PG_VERSION", "../x")),
            &["\"../x\", which leads out of the directory"],
        ),
        (
            |text| with_line(text, "PG_VERSION", |line| format!("{line}{line}")),
            &["\"PG_VERSION\" twice"],
        ),
    ];
    for (number, (edit, words)) in cases.into_iter().enumerate() {
        let forger = with_manifest(move |text| sealed(&edit(&text)));
        middle.refuses(&format!("s{number}"), forger, words);
    }
    middle.then_succeeds("s0");
}

#[test]
fn a_manifest_that_is_broken_or_of_another_backup_ends_this_one() {
    let middle = Middle::new(17);
    let identifier = middle.cluster.value("SELECT system_identifier FROM pg_control_system()");
    let other = move |text: String| sealed(&text.replace(&identifier, "4711"));
    let range = |text: String| {
        let at = text.find("\"Start-LSN\": \"").expect("a range") + 14;
        let end = at + text[at..].find('"').expect("a position");
        sealed(&format!("{}0/28{}", &text[..at], &text[end..]))
    };
    // Changed, but not sealed.
    let open = |text: String| text.replacen("\"Size\": 3", "\"Size\": 4", 1);
    middle.refuses("a", with_manifest(open), &["backup manifest has SHA-256"]);
    middle.refuses(
        "b",
        with_manifest(|text| text[..text.len() / 2].into()),
        &["does not end with"],
    );
    middle.refuses("c", with_manifest(|_| String::new()), &["did not send backup_manifest"]);
    middle.refuses("d", with_manifest(|_| sealed("{ }\"Manifest-Checksum\"")), &["manifest"]);
    middle.refuses("e", with_manifest(other), &["of system 4711"]);
    middle.refuses("f", with_manifest(range), &["0/28", "the manifest is about WAL from"]);
    let none = |_, message: Message| {
        if is(&message, b'm') { Vec::new() } else { vec![Forged::Message(message)] }
    };
    // Data behind the end of the archive, or an end without a manifest: whoever is first.
    middle.refuses("g", none, &[]);
    middle.then_succeeds("a");
}

#[test]
fn an_error_after_the_end_position_fails_the_backup() {
    let middle = Middle::new(17);
    let corrupt = |_, message: Message| match &message {
        // The command's own completion: data and end position have come.
        (b'C', body) if body.starts_with(b"BASE_BACKUP") => {
            let text = "checksum verification failure during base backup";
            vec![
                Forged::Bytes(backend::error("ERROR", "XX001", text)),
                Forged::Bytes(backend::ready()),
            ]
        }
        _ => vec![Forged::Message(message)],
    };
    let words = ["checksum verification failure", "XX001", "127.0.0.1"];
    middle.refuses("main", corrupt, &words);
    middle.then_succeeds("main");
}

#[test]
fn another_cluster_than_that_of_the_repository_or_of_the_sql_connection_is_refused() {
    let middle = Middle::new(17);
    let ours = middle.cluster.value("SELECT system_identifier FROM pg_control_system()");
    let theirs = "4711".to_owned();
    let mut asked = false;
    let (from, to) = (ours.clone(), theirs.clone());
    let posing = move |_, message: Message| {
        asked |= message.0 == b'T' && message.1.windows(8).any(|bytes| bytes == b"systemid");
        if !(asked && message.0 == b'D') {
            return vec![Forged::Message(message)];
        }
        asked = false;
        let mut row = 4u16.to_be_bytes().to_vec();
        row.extend((to.len() as u32).to_be_bytes());
        row.extend(to.as_bytes());
        row.extend(&message.1[2 + 4 + from.len()..]);
        vec![Forged::Message((b'D', row))]
    };
    middle.refuses("posing", posing, &[&ours, &theirs]);
    middle.then_succeeds("posing");
    let honest = |_, message| vec![Forged::Message(message)];
    let home = middle.tapster.server("other");
    fs::create_dir_all(&home).expect("the server's folder");
    let identity = format!("{{\"systemid\": \"{theirs}\", \"version\": \"17\"}}");
    fs::write(home.join("identity.json"), &identity).expect("an identity");
    middle.refuses("other", honest, &[&ours, &theirs]);
    let kept = fs::read_to_string(home.join("identity.json")).expect("it is there");
    assert_eq!(kept, identity, "the repository was given to another cluster");
}
