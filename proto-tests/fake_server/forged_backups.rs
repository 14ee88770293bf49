//! Base backups with one thing changed between the server and the repository.
//!
//! A network that drops a piece, memory that flips a bit, a server that somebody took over: what
//! is stored must not be believed, and nothing may be written outside of the backup.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{FakeServer, Message};
use crate::real_server::{Cluster, Tapster};

/// A message that carries archive or manifest, without its kind.
fn payload(message: &Message) -> Option<&[u8]> {
    match message {
        (b'd', body) => body.strip_prefix(b"d"),
        _ => None,
    }
}

/// Backs up through a forger; the backup must fail, and its error is returned.
fn refusal(
    cluster: &Cluster,
    forger: impl Fn(Message) -> Vec<Message> + Send + Sync + 'static,
) -> (Tapster, String) {
    let server = FakeServer::before(cluster).forge(forger).start();
    let tapster = Tapster::of(cluster);
    let options = Tapster::server_options(cluster)
        .replace(&cluster.streaming_conninfo(), &format!("{} sslmode=disable", server.conninfo()));
    tapster.write_server("main", &options);
    let outcome = tapster.refused(&["backup", "main"]);
    let listed = tapster.ok(&["list-backups", "main"]).stdout;
    assert!(listed.trim_end().ends_with("FAILED"), "{listed}");
    let mut left = files_below(&tapster.server("main").join("base"));
    // Kept to be looked at, where no restore looks.
    left.retain(|path| !path.contains("/damaged/"));
    assert_eq!(left, Vec::<String>::new());
    let text = outcome.to_string();
    (tapster, text)
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path.display().to_string()),
        }
    }
    files
}

/// A tar header for `name`, with everything else of `header`.
fn renamed(header: &[u8], name: &str) -> Vec<u8> {
    let mut header = header.to_vec();
    header[..100].fill(0);
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[test]
fn a_member_that_leads_out_of_the_backup_fails_it_and_is_written_nowhere() {
    let cluster = Cluster::start(17);
    for name in ["../tapster-was-here", "/tmp/tapster-was-here", "base/../../tapster-was-here"] {
        let (tapster, said) = refusal(&cluster, move |message| {
            let header = payload(&message)
                .filter(|bytes| bytes.len() == 512 && bytes.starts_with(b"PG_VERSION\0"));
            let forged = header.map(|header| [b"d", &renamed(header, name)[..]].concat());
            vec![(message.0, forged.unwrap_or(message.1))]
        });
        assert!(said.contains(name), "{said}");
        let found = files_below(tapster.path());
        assert!(!found.iter().any(|path| path.contains("tapster-was-here")), "{found:?}");
        assert!(!Path::new("/tmp/tapster-was-here").exists());
    }
}

#[test]
fn a_bit_that_flips_on_the_way_is_found_and_its_file_is_named() {
    let cluster = Cluster::start(17);
    let count = AtomicU32::new(0);
    let (tapster, said) = refusal(&cluster, move |(tag, mut body)| {
        // A page of some relation: archives are sent in pieces of 32 KiB.
        let is_page = tag == b'd' && body.first() == Some(&b'd') && body.len() > 8192;
        if is_page && count.fetch_add(1, Ordering::SeqCst) == 20 {
            body[5000] ^= 0x10;
        }
        vec![(tag, body)]
    });
    assert!(said.contains("has another checksum than the manifest lists"), "{said}");
    assert!(said.contains("base/") || said.contains("global/"), "{said}");
    let kept = files_below(&tapster.server("main").join("base"));
    assert!(kept.iter().any(|path| path.ends_with("/damaged/PG_VERSION")), "{kept:?}");
    assert!(said.contains("kept in "), "{said}");
}

#[test]
fn a_piece_that_is_lost_or_doubled_on_the_way_is_noticed() {
    let cluster = Cluster::start(17);
    for copies in [0, 2] {
        let count = AtomicU32::new(0);
        let (_, said) = refusal(&cluster, move |message| {
            let is_piece = payload(&message).is_some_and(|bytes| bytes.len() > 512);
            let hit = is_piece && count.fetch_add(1, Ordering::SeqCst) == 30;
            vec![message; if hit { copies } else { 1 }]
        });
        assert!(said.contains("because"), "{said}");
    }
}

#[test]
fn a_manifest_that_was_changed_is_not_believed() {
    let cluster = Cluster::start(17);
    let (_, said) = refusal(&cluster, |(tag, mut body)| {
        if tag == b'd' && body.starts_with(b"d{ \"PostgreSQL-Backup-Manifest") {
            let at = body.windows(9).position(|text| text == b"\"Size\": 3").expect("PG_VERSION");
            body[at + 8] = b'4';
        }
        vec![(tag, body)]
    });
    assert!(said.contains("backup manifest has SHA-256"), "{said}");
}

#[test]
fn a_server_that_takes_its_word_back_at_the_end_fails_the_backup() {
    let cluster = Cluster::start(17);
    let (_, said) = refusal(&cluster, |(tag, body)| {
        if tag == b'C' && body.starts_with(b"BASE_BACKUP") {
            let error = b"SERROR\0VERROR\0CXX001\0Mchecksum verification failure\0\0";
            return vec![(b'E', error.to_vec())];
        }
        vec![(tag, body)]
    });
    assert!(said.contains("checksum verification failure"), "{said}");
}
