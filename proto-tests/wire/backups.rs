//! A base backup as 10 to 14 send it and as 15 to 18 do: the same events, byte for byte.

use bytes::BytesMut;
use proptest::prelude::*;
use tapster::wire::base_backup::{BackupEvent, BackupStream};
use tapster::wire::{
    BaseBackupOptions, Compression, CompressionAlgorithm, ManifestOption, ServerVersion,
};

use super::{backend, hex, in_every_cut, in_pieces};

pub fn with_manifest() -> BaseBackupOptions {
    BaseBackupOptions { manifest: ManifestOption::Yes, ..BaseBackupOptions::default() }
}

pub fn version(major: u32) -> ServerVersion {
    ServerVersion::from_number(major * 10_000)
}

/// The events of a stream in words; data is joined. The last word is the error, if there is
/// one.
pub fn run(major: u32, options: &BaseBackupOptions, chunks: &[&[u8]]) -> Vec<String> {
    let (mut stream, mut input) = (BackupStream::new(version(major), options), BytesMut::new());
    let mut told: Vec<String> = Vec::new();
    for chunk in chunks {
        input.extend_from_slice(chunk);
        loop {
            let word = match stream.next(&mut input) {
                Ok(None) => break,
                Ok(Some(BackupEvent::ArchiveData(bytes))) => {
                    join(&mut told, "data ", &bytes);
                    continue;
                }
                Ok(Some(BackupEvent::ManifestData(bytes))) => {
                    join(&mut told, "manifest data ", &bytes);
                    continue;
                }
                Ok(Some(event)) => word(event),
                Err(error) => {
                    told.push(error.to_string());
                    return told;
                }
            };
            told.push(word);
        }
    }
    told
}

fn join(told: &mut Vec<String>, kind: &str, bytes: &[u8]) {
    assert!(!bytes.is_empty(), "an empty piece");
    let text = String::from_utf8_lossy(bytes);
    match told.last_mut() {
        Some(last) if last.starts_with(kind) => last.push_str(&text),
        _ => told.push(format!("{kind}{text}")),
    }
}

fn word(event: BackupEvent) -> String {
    match event {
        BackupEvent::Start { lsn, timeline } => format!("start {lsn} on {timeline}"),
        BackupEvent::End { lsn, timeline } => format!("end {lsn} on {timeline}"),
        BackupEvent::Tablespaces(list) => {
            let show = |oid: Option<u32>| oid.map_or("base".to_owned(), |oid| oid.to_string());
            let list: Vec<String> = list
                .iter()
                .map(|t| match t.size_kib {
                    Some(size) => format!("{}:{size}", show(t.oid)),
                    None => show(t.oid),
                })
                .collect();
            format!("tablespaces {}", list.join(" "))
        }
        BackupEvent::ArchiveBegin { name, tablespace, location } => {
            let location = location.unwrap_or_default();
            format!("archive {name} {tablespace:?} {:?}", location)
        }
        BackupEvent::ArchiveEnd => "archive end".to_owned(),
        BackupEvent::ManifestBegin => "manifest".to_owned(),
        BackupEvent::ManifestEnd => "manifest end".to_owned(),
        BackupEvent::Progress(bytes) => format!("progress {bytes}"),
        BackupEvent::Notice(notice) => notice.to_string(),
        BackupEvent::Parameter(status) => status.name,
        BackupEvent::Damaged(error) => format!("damaged: {error}"),
        BackupEvent::Ready => "ready".to_owned(),
        BackupEvent::ArchiveData(_) | BackupEvent::ManifestData(_) => unreachable!("joined"),
    }
}

pub fn old_head() -> Vec<u8> {
    use backend::*;
    [backup_position(super::streams::START, 1), tablespaces(&[(16384, "/srv/ts one")])].concat()
}

pub fn end() -> Vec<u8> {
    use backend::*;
    let end = tapster::wal::Lsn(0x300_0100);
    [backup_position(end, 1), complete("BASE_BACKUP"), ready()].concat()
}

/// As 10 to 14 send it.
pub fn old(with_manifest: bool) -> Vec<u8> {
    use backend::*;
    let mut out = old_head();
    for archive in ["first", "second"] {
        out.extend(copy_out());
        out.extend(copy_data(&archive.as_bytes()[..2]));
        out.extend(copy_data(&archive.as_bytes()[2..]));
        out.extend(copy_done());
    }
    if with_manifest {
        out.extend([copy_out(), copy_data(b"{}\n"), copy_done()].concat());
    }
    out.extend(end());
    out
}

/// The same as 15 to 18 send it.
pub fn new(with_manifest: bool) -> Vec<u8> {
    use backend::*;
    let mut out = [old_head(), copy_out()].concat();
    for (name, location, data) in
        [("16384.tar", "/srv/ts one", "first"), ("base.tar", "", "second")]
    {
        out.extend(archive(name, location));
        out.extend(archive_data(&data.as_bytes()[..2]));
        out.extend(archive_data(&data.as_bytes()[2..]));
    }
    if with_manifest {
        out.extend([manifest(), archive_data(b"{}\n")].concat());
    }
    out.extend(copy_done());
    out.extend(end());
    out
}

fn expected(manifest: bool) -> Vec<&'static str> {
    let mut words = vec![
        "start 0/3000028 on 1",
        "tablespaces 16384 base",
        "archive 16384.tar Some(16384) \"/srv/ts one\"",
        "data first",
        "archive end",
        "archive base.tar None \"\"",
        "data second",
        "archive end",
    ];
    if manifest {
        words.extend(["manifest", "manifest data {}\n", "manifest end"]);
    }
    words.extend(["end 0/3000100 on 1", "ready"]);
    words
}

#[test]
fn both_forms_give_the_same_events_however_they_are_cut() {
    let plain = BaseBackupOptions::default();
    for major in [10, 14] {
        assert_eq!(in_every_cut(&old(false), |c| run(major, &plain, c)), expected(false));
    }
    for major in [15, 18] {
        assert_eq!(in_every_cut(&new(false), |c| run(major, &plain, c)), expected(false));
    }
    let options = with_manifest();
    assert_eq!(in_every_cut(&old(true), |c| run(14, &options, c)), expected(true));
    assert_eq!(in_every_cut(&new(true), |c| run(18, &options, c)), expected(true));
}

/// As `run`, but the data of archives is read around the buffer, up to `step` bytes at a time.
fn run_around(major: u32, options: &BaseBackupOptions, bytes: &[u8], step: usize) -> Vec<String> {
    let (mut stream, mut input) = (BackupStream::new(version(major), options), BytesMut::new());
    let mut told: Vec<String> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let due = stream.archive_data_due() as usize;
        if due > 0 {
            let (read, behind) = rest.split_at(due.min(step).min(rest.len()));
            stream.pass(read.len() as u32);
            join(&mut told, "data ", read);
            rest = behind;
            continue;
        }
        let (read, behind) = rest.split_at(stream.data_head().min(rest.len()));
        input.extend_from_slice(read);
        rest = behind;
        while let Some(event) = stream.next(&mut input).expect("a good stream") {
            match event {
                BackupEvent::ArchiveData(bytes) => join(&mut told, "data ", &bytes),
                BackupEvent::ManifestData(bytes) => join(&mut told, "manifest data ", &bytes),
                event => told.push(word(event)),
            }
        }
    }
    told
}

#[test]
fn the_data_of_archives_may_be_read_around_the_buffer() {
    let options = with_manifest();
    for step in 1..=7 {
        assert_eq!(run_around(14, &options, &old(true), step), expected(true), "{step}");
        assert_eq!(run_around(18, &options, &new(true), step), expected(true), "{step}");
    }
}

#[test]
fn the_sub_messages_of_15_have_the_layout_of_the_manual() {
    let input = [
        old_head(),
        hex("48 00000007 00 0000                                               \
             64 0000001c 6e 31363338342e746172 00 2f7372762f7473206f6e65 00 70     "),
    ]
    .concat();
    //       H; d, length, n, "16384.tar", "/srv/ts one", and a byte too many
    let told = run(15, &BaseBackupOptions::default(), &[&input]);
    assert!(told.last().expect("a word").contains("not two strings"), "{told:?}");
    let input = [
        old_head(),
        hex("48 00000007 00 0000                                               \
             64 0000001b 6e 31363338342e746172 00 2f7372762f7473206f6e65 00        \
             64 0000000d 70 0000000000000200                                       \
             64 00000007 64 6162                                                   \
             64 00000005 64                                                        \
             64 0000000f 6e 626173652e746172 00 00                                 "),
    ]
    .concat();
    //       H; n; p, 512 bytes; d, "ab"; d without data; n, "base.tar", no location
    let told = in_every_cut(&input, |chunks| run(15, &BaseBackupOptions::default(), chunks));
    assert_eq!(
        told[2..],
        [
            "archive 16384.tar Some(16384) \"/srv/ts one\"",
            "progress 512",
            "data ab",
            "archive end",
            "archive base.tar None \"\"",
        ]
    );
}

#[test]
fn remarks_come_between_any_two_messages_without_disturbing_the_data() {
    use backend::*;
    let remark = notice("WARNING", "01000", "checksum verification failed");
    let input = [
        remark.clone(),
        old_head(),
        remark.clone(),
        copy_out(),
        archive("16384.tar", "/srv/ts one"),
        archive_data(b"a"),
        remark.clone(),
        parameter("in_hot_standby", "off"),
        archive_data(b"b"),
        archive("base.tar", ""),
        copy_done(),
        remark.clone(),
        end(),
    ]
    .concat();
    let told = in_every_cut(&input, |chunks| run(16, &BaseBackupOptions::default(), chunks));
    let word = "checksum verification failed (01000)";
    let expected = [
        word,
        "start 0/3000028 on 1",
        "tablespaces 16384 base",
        word,
        "archive 16384.tar Some(16384) \"/srv/ts one\"",
        "data a",
        word,
        "in_hot_standby",
        "data b",
        "archive end",
        "archive base.tar None \"\"",
        "archive end",
        word,
        "end 0/3000100 on 1",
        "ready",
    ];
    assert_eq!(told, expected);
}

#[test]
fn compressed_archives_carry_the_suffix_of_what_was_asked_for() {
    use backend::*;
    for (algorithm, suffix) in [
        (CompressionAlgorithm::Gzip, ".gz"),
        (CompressionAlgorithm::Lz4, ".lz4"),
        (CompressionAlgorithm::Zstd, ".zst"),
    ] {
        let compression = Some(Compression { algorithm, level: None, workers: None, long: false });
        let options = BaseBackupOptions { compression, ..BaseBackupOptions::default() };
        let input = |suffix: &str| {
            [
                old_head(),
                copy_out(),
                archive(&format!("16384.tar{suffix}"), "/srv/ts one"),
                archive(&format!("base.tar{suffix}"), ""),
                copy_done(),
                end(),
            ]
            .concat()
        };
        let told = run(17, &options, &[&input(suffix)]);
        assert_eq!(told.last().map(String::as_str), Some("ready"), "{told:?}");
        let told = run(17, &options, &[&input("")]);
        let refusal = "server announces an archive \"16384.tar\", which is none of this backup";
        assert_eq!(told.last().map(String::as_str), Some(refusal));
    }
}

#[test]
fn sizes_and_tablespaces_inside_the_data_directory_are_understood() {
    use backend::*;
    let list = [
        columns(&["spcoid", "spclocation", "size"]),
        row(&[Some(b"16385"), Some(b"pg_tblspc/16385"), Some(b"17")]),
        row(&[None, None, Some(b"31337")]),
        complete("SELECT"),
    ]
    .concat();
    let input = [backup_position(super::streams::START, 1), list].concat();
    let told = in_every_cut(&input, |chunks| run(15, &BaseBackupOptions::default(), chunks));
    assert_eq!(told[1], "tablespaces 16385:17 base:31337");
}

#[test]
fn what_is_waited_for_has_a_name() {
    let mut stream = BackupStream::new(version(18), &BaseBackupOptions::default());
    assert_eq!(stream.waits_for(), "checkpoint");
    let mut input = BytesMut::from(&new(false)[..]);
    stream.next(&mut input).expect("good").expect("the start");
    assert_eq!(stream.waits_for(), "list of tablespaces");
    stream.next(&mut input).expect("good").expect("the list");
    assert_eq!(stream.waits_for(), "data");
    while stream.next(&mut input).expect("good").is_some() {}
    assert_eq!(stream.waits_for(), "end of the backup");
}

proptest! {
    #[test]
    fn any_pieces_give_the_same_backup(cuts in prop::collection::vec(1usize..60, 1..20)) {
        for (major, input) in [(14, old(true)), (18, new(true))] {
            let chunks = in_pieces(&input, &cuts);
            prop_assert_eq!(run(major, &with_manifest(), &chunks), expected(true));
        }
    }
}
