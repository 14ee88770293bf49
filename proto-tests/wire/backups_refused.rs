//! A backup is good only when the server has vouched for all of it, and no name of the
//! server's choice leads anywhere but into the backup.

use tapster::wire::BaseBackupOptions;

use super::backups::{end, new, old, old_head, run, with_manifest};
use super::{backend::*, in_every_cut};

/// The last word about a stream of version 15 or later that goes wrong.
fn last_word(input: &[u8]) -> String {
    let told = in_every_cut(input, |chunks| run(17, &with_manifest(), chunks));
    told.last().expect("a word").clone()
}

/// The same, with the beginning of a good backup before it.
fn last_word_of_copy(rest: &[u8]) -> String {
    last_word(&[&old_head()[..], &copy_out(), rest].concat())
}

fn first_archive() -> Vec<u8> {
    archive("16384.tar", "/srv/ts one")
}

#[test]
fn an_archive_that_the_tablespace_list_does_not_have_is_refused() {
    for name in [
        "../evil.tar",
        "/etc/cron.d/evil",
        "",
        ".",
        ".base.tar",
        "base.tar/x",
        "a\\b",
        "base.tar.gz",
        "16384",
        "16385.tar",
        "016384.tar",
        "base.tar\n",
        "backup.info",
    ] {
        for location in ["", "/srv/ts one"] {
            let word = last_word_of_copy(&archive(name, location));
            assert!(word.ends_with("which is none of this backup"), "{name:?}: {word}");
        }
    }
    // The right name with another location, and the same archive twice.
    for rest in [
        archive("16384.tar", "/srv/other"),
        archive("16384.tar", ""),
        archive("base.tar", "/srv/ts one"),
        [first_archive(), first_archive()].concat(),
    ] {
        assert!(last_word_of_copy(&rest).ends_with("which is none of this backup"));
    }
}

#[test]
fn tablespaces_lie_where_a_server_can_have_them() {
    let start = backup_position(super::streams::START, 1);
    for location in
        ["relative", "", "/a/../../etc", "../x", "pg_tblspc/99", "pg_tblspc/16384/..", "/a\0b"]
    {
        let word = last_word(&[start.clone(), tablespaces(&[(16384, location)])].concat());
        assert!(word.ends_with("as location of a tablespace"), "{location:?}: {word}");
    }
    let twice = tablespaces(&[(16384, "/a"), (16384, "/b")]);
    let word = last_word(&[start.clone(), twice].concat());
    assert_eq!(word, "server sent \"16384\" as a second tablespace of one oid");
    for oid in ["-1", "4294967296", "x", "1/../2"] {
        let rows = one_row(&[("spcoid", oid), ("spclocation", "/a"), ("size", "1")], "SELECT");
        let word = last_word(&[start.clone(), rows].concat());
        assert!(word.ends_with("as spcoid"), "{word}");
    }
    let no_base = [
        columns(&["spcoid", "spclocation", "size"]),
        row(&[Some(b"1"), Some(b"/a"), None]),
        complete("SELECT"),
    ];
    let word = last_word(&[start, no_base.concat()].concat());
    assert_eq!(word, "result of BASE_BACKUP has no row for the data directory");
}

#[test]
fn sub_messages_of_the_wrong_form_or_at_the_wrong_place_are_refused() {
    let archives = [first_archive(), archive("base.tar", "")].concat();
    for (rest, what) in [
        (copy_data(b""), "backup message without a kind"),
        (archive_data(b"x"), "data before the first archive"),
        (copy_data(b"n"), "head of an archive is not two strings"),
        (copy_data(b"nbase.tar\0"), "head of an archive is not two strings"),
        (copy_data(b"nbase.tar\0/x"), "head of an archive is not two strings"),
        (copy_data(b"nbase.tar\0\0\0"), "head of an archive is not two strings"),
        (copy_data(&[b'n'; 4097]), "head of an archive is too long"),
        (copy_data(b"p1234567"), "progress is not 9 bytes long"),
        (copy_data(b"p123456789"), "progress is not 9 bytes long"),
        (copy_data(b"mx"), "bytes after the start of the manifest"),
        ([archives.clone(), manifest(), manifest()].concat(), "unasked manifest"),
        ([archives.clone(), manifest(), first_archive()].concat(), "archive after the manifest"),
    ] {
        assert_eq!(last_word_of_copy(&rest), format!("malformed CopyData: {what}"));
    }
    let word = last_word_of_copy(&copy_data(b"x"));
    assert_eq!(word, "server sent a stream message of the unknown kind 0x78");
}

#[test]
fn a_backup_with_a_part_missing_is_not_a_backup() {
    // The manifest comes before an archive has; or the copy ends without one, or without it.
    let word = last_word_of_copy(&[first_archive(), manifest()].concat());
    assert_eq!(word, "backup ended without the archive base.tar");
    let word = last_word_of_copy(&[first_archive(), copy_done(), end()].concat());
    assert_eq!(word, "backup ended without the archive base.tar");
    assert_eq!(last_word(&new(false)), "backup ended without its manifest");
    let told = run(14, &with_manifest(), &[&old(false)]);
    assert_eq!(told.last().map(String::as_str), Some("backup ended without its manifest"));
    let one_of_two = [old_head(), copy_out(), copy_done(), end()].concat();
    let told = run(14, &BaseBackupOptions::default(), &[&one_of_two]);
    let word = "backup ended without the archive base.tar";
    assert_eq!(told.last().map(String::as_str), Some(word));
}

#[test]
fn a_manifest_that_nobody_asked_for_is_refused() {
    let told = run(17, &BaseBackupOptions::default(), &[&new(true)]);
    assert_eq!(told.last().map(String::as_str), Some("malformed CopyData: unasked manifest"));
    let told = run(14, &BaseBackupOptions::default(), &[&old(true)]);
    let word = "server sent CopyOutResponse while an archive or the end position was due";
    assert_eq!(told.last().map(String::as_str), Some(word));
}

#[test]
fn an_error_is_an_error_wherever_it_comes_also_after_the_end_position() {
    let whole = new(true);
    // The boundaries of all messages.
    let mut at = 0;
    while at < whole.len() {
        let refusal = error("ERROR", "XX001", "checksum verification failure");
        let input = [&whole[..at], &refusal].concat();
        let told = run(17, &with_manifest(), &[&input]);
        let last = told.last().map(String::as_str);
        // Behind the end position it is the server's word on its own pages, and nothing else.
        let is_verdict = told.iter().any(|event| event.starts_with("end "));
        let word = match is_verdict {
            true => "damaged: checksum verification failure (XX001)",
            false => "server refused: checksum verification failure (XX001)",
        };
        assert_eq!(last, Some(word));
        let other = [&whole[..at], &error("ERROR", "XX000", "anything else")].concat();
        let told_other = run(17, &with_manifest(), &[&other]);
        let last = told_other.last().map(String::as_str);
        assert_eq!(last, Some("server refused: anything else (XX000)"));
        assert!(!told.contains(&"ready".to_owned()));
        let length = [whole[at + 1], whole[at + 2], whole[at + 3], whole[at + 4]];
        at += 1 + u32::from_be_bytes(length) as usize;
    }
}

#[test]
fn messages_out_of_order_are_refused() {
    let start = backup_position(super::streams::START, 1);
    for input in [
        copy_out(),
        ready(),
        complete("SELECT"),
        text_row(&["0/0", "1"]),
        copy_both(),
        copy_data(b"x"),
        [start.clone(), copy_out()].concat(),
        [start.clone(), ready()].concat(),
        [old_head(), copy_data(b"x")].concat(),
        [old_head(), copy_done()].concat(),
        [old_head(), copy_out(), copy_out()].concat(),
        [old_head(), copy_out(), ready()].concat(),
        [old_head(), copy_out(), columns(&["recptr"])].concat(),
        [new(true), ready()].concat(),
        [new(true), copy_data(b"x")].concat(),
        [columns(&["recptr", "tli"]), columns(&["recptr", "tli"])].concat(),
    ] {
        let word = last_word(&input);
        assert!(word.starts_with("server sent ") && word.ends_with(" was due"), "{word}");
    }
    let no_row = [columns(&["recptr", "tli"]), complete("SELECT")].concat();
    assert_eq!(last_word(&no_row), "result of BASE_BACKUP has no row");
}

#[test]
fn an_endless_list_of_tablespaces_is_cut_off() {
    let start = backup_position(super::streams::START, 1);
    let list =
        [columns(&["spcoid", "spclocation", "size"]), row(&[None, None, None]).repeat(100_001)];
    let input = [start, list.concat()].concat();
    let told = run(17, &with_manifest(), &[&input]);
    let word = "malformed DataRow: too many tablespaces";
    assert_eq!(told.last().map(String::as_str), Some(word));
}
