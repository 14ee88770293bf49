//! The disaster: years of backups on a disk that rots, and the first who reads one of them is
//! the restore after the fire.

mod mutations;
mod sample;

use self::sample::{SHAPES, SPACE, Shape, Stored, rows};
use super::{Finding, Verified, VerifyError, generate, verify};
use crate::codec::Codec;
use crate::disk::Disk;
use crate::output::NoProgress;
use crate::repository::BackupStatus;

fn verified(stored: &Stored) -> Verified {
    verify(&stored.disk, &stored.layout, &stored.info, 3, &NoProgress).expect("it can be read")
}

fn findings(stored: &Stored) -> Vec<String> {
    verified(stored).findings.iter().map(ToString::to_string).collect()
}

/// The only finding.
#[track_caller]
fn only(stored: &Stored) -> String {
    let found = findings(stored);
    assert_eq!(found.len(), 1, "{:?}: {found:?}", stored.shape);
    found[0].clone()
}

#[test]
fn a_whole_backup_of_every_form_is_found_whole_and_all_of_it_was_read() {
    for shape in SHAPES {
        let stored = Stored::new(shape);
        let verified = verified(&stored);
        assert_eq!(verified.findings, [], "{shape:?}");
        let listed = stored.manifest().files.len() as u64;
        let wal = u64::from(shape == Shape::Directories);
        assert_eq!(verified.files, listed + wal, "{shape:?}");
        let lengths = sample::plain_length(shape);
        assert_eq!(verified.bytes, lengths + wal * 100, "{shape:?}");
    }
}

#[test]
fn a_file_that_is_damaged_missing_or_added_is_named_in_a_directory() {
    let stored = Stored::new(Shape::Directories);
    let path = stored.path("base/1/1259");
    let mut bytes = stored.disk.bytes(&path).expect("a file");
    bytes[40_000] ^= 4;
    stored.disk.put(&path, &bytes);
    let found = only(&stored);
    assert!(found.starts_with("checksum mismatch for file \"base/1/1259\""), "{found}");
    bytes.push(0);
    stored.disk.put(&path, &bytes);
    assert_eq!(
        only(&stored),
        "\"base/1/1259\" has size 70001 in the backup but size 70000 in the manifest"
    );
    Disk::remove_file(&stored.disk, &path).expect("removed");
    assert_eq!(only(&stored), "\"base/1/1259\" is present in the manifest but not in the backup");
    stored.disk.put(&stored.path("base/1/4711"), b"who put it there?");
    assert_eq!(
        findings(&stored)[1],
        "\"base/1/4711\" is present in the backup but not in the manifest"
    );
}

#[test]
fn what_is_wrong_in_an_archive_is_named_by_member_and_what_lies_behind_it_is_not_vouched_for() {
    let stored = Stored::new(Shape::Archives(Codec::Plain));
    let path = stored.path("base.tar");
    let whole = stored.disk.bytes(&path).expect("an archive");
    let at = |needle: &[u8]| whole.windows(needle.len()).position(|w| w == needle).expect("there");
    let mut bytes = whole.clone();
    bytes[at(b"base/1/1259\0") + 512 + 30_000] ^= 1;
    stored.disk.put(&path, &bytes);
    let found = only(&stored);
    assert!(found.starts_with("checksum mismatch for file \"base/1/1259\""), "{found}");
    // A header: the archive is out of step from there on.
    let mut bytes = whole.clone();
    bytes[at(b"global/1262\0")] = b'G';
    stored.disk.put(&path, &bytes);
    let found = findings(&stored);
    assert!(found[0].contains("base.tar is damaged: tar header at byte"), "{found:?}");
    assert!(found[0].ends_with("(behind the beginning of \"pg_wal\")"), "{found:?}");
    assert_eq!(found.len(), 3, "{found:?}");
    for (line, name) in found[1..].iter().zip(["global/1262", "global/pg_control"]) {
        assert!(line.starts_with(&format!("{name:?} cannot be checked: ")), "{line}");
    }
    stored.disk.put(&path, &whole[..whole.len() - 1024]);
    assert!(only(&stored).ends_with("the zeros that end an archive are missing"));
}

#[test]
fn an_archive_or_a_directory_that_is_gone_is_named_as_well_as_its_files() {
    for shape in [Shape::Archives(Codec::Zstd), Shape::Directories] {
        let stored = Stored::new(shape);
        for path in stored.files().iter().filter(|path| path.to_string_lossy().contains("16390")) {
            Disk::remove_file(&stored.disk, path).expect("removed");
        }
        if shape == Shape::Directories {
            let root = stored.layout.tablespace(stored.info.id, SPACE);
            for below in ["PG_17_202406281/5", "PG_17_202406281", ""] {
                Disk::remove_directory(&stored.disk, &root.join(below)).expect("removed");
            }
        }
        let found = findings(&stored);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].ends_with(" is not there"), "{found:?}");
        assert!(found[1].starts_with("\"pg_tblspc/16390/PG_17_202406281/5/16400\" is present in"));
    }
}

#[test]
fn a_directory_that_the_server_needs_is_missed_although_no_manifest_lists_it() {
    let stored = Stored::new(Shape::Directories);
    Disk::remove_directory(&stored.disk, &stored.path("pg_twophase")).expect("removed");
    assert!(only(&stored).starts_with("the directory \"pg_twophase\" is missing"));
}

#[test]
fn a_file_beside_the_archives_is_named() {
    let stored = Stored::new(Shape::Archives(Codec::Gzip));
    let archive = stored.disk.bytes(&stored.path("base.tar.gz")).expect("an archive");
    stored.disk.put(&stored.path("base.tar.zst"), &archive);
    stored.disk.put(&stored.layout.tablespace(stored.info.id, SPACE).join("x"), b"x");
    let found = findings(&stored);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|line| line.ends_with(" is no part of the backup")), "{found:?}");
}

#[test]
fn a_manifest_of_another_backup_does_not_vouch_for_this_one() {
    let mut stored = Stored::new(Shape::Archives(Codec::Plain));
    stored.info.begin_xlog = Some(crate::wal::Lsn(0x500_0028));
    assert!(
        only(&stored).contains("its first WAL position is 0/4000028, backup.info has 0/5000028")
    );
}

#[test]
fn what_cannot_be_verified_is_refused_with_the_way_on() {
    let mut stored = Stored::new(Shape::Archives(Codec::Plain));
    let refused = |stored: &Stored| {
        verify(&stored.disk, &stored.layout, &stored.info, 1, &NoProgress).expect_err("refused")
    };
    Disk::remove_file(&stored.disk, &stored.path("backup_manifest")).expect("removed");
    let error = refused(&stored);
    let hint = error.hint().expect("a way on");
    assert!(hint.starts_with("tapster generate-manifest main 20261123T062541"), "{hint}");
    Disk::remove_file(&stored.disk, &stored.path("base.tar")).expect("removed");
    stored.disk.put(&stored.path("base.tar.gpg"), &[0x85; 600]);
    assert!(matches!(refused(&stored), VerifyError::Packed { codec: Codec::Gpg, .. }));
    stored.info.status = BackupStatus::Failed;
    assert!(matches!(refused(&stored), VerifyError::NotCopied { .. }));
}

#[test]
fn a_generated_manifest_lists_what_is_there_and_finds_later_damage() {
    for shape in SHAPES {
        let home = tempfile::tempdir().expect("a folder for locks");
        std::fs::create_dir(home.path().join("main")).expect("a folder");
        let stored = Stored::with_locks(shape, home.path());
        let (disk, layout, info) = (&stored.disk, &stored.layout, &stored.info);
        let make = || generate(disk, layout, info, &[], 2, &NoProgress);
        let servers = stored.manifest();
        assert!(matches!(make(), Err(VerifyError::HasManifest(_))), "it is never replaced");
        Disk::remove_file(disk, &stored.path("backup_manifest")).expect("removed");
        let made = make().expect("made");
        assert_eq!(made.files, servers.files.len());
        let manifest = stored.manifest();
        assert_eq!(rows(&manifest.files), rows(&servers.files), "{shape:?}");
        assert_eq!(manifest.system, servers.system);
        assert_eq!(manifest.wal_ranges, servers.wal_ranges);
        assert_eq!(verified(&stored).findings, [], "{shape:?}");
        assert!(disk.bytes(&stored.path("backup_manifest.part")).is_none());
        let path = stored
            .files()
            .into_iter()
            .find(|path| path.ends_with("1262") || path.to_string_lossy().contains("base.tar"))
            .expect("a file");
        let mut bytes = disk.bytes(&path).expect("its bytes");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        disk.put(&path, &bytes);
        assert_ne!(verified(&stored).findings, [], "{shape:?}");
    }
}

#[test]
fn no_manifest_vouches_for_a_backup_that_is_damaged_already() {
    let home = tempfile::tempdir().expect("a folder for locks");
    let stored = Stored::with_locks(Shape::Archives(Codec::Lz4), home.path());
    let path = stored.path("base.tar.lz4");
    let bytes = stored.disk.bytes(&path).expect("an archive");
    stored.disk.put(&path, &bytes[..bytes.len() - 100]);
    Disk::remove_file(&stored.disk, &stored.path("backup_manifest")).expect("removed");
    let made = generate(&stored.disk, &stored.layout, &stored.info, &[], 2, &NoProgress);
    assert!(matches!(made, Err(VerifyError::Damaged(_))), "{made:?}");
    assert!(stored.disk.bytes(&stored.path("backup_manifest")).is_none());
}

#[test]
fn barmans_own_manifest_is_read_and_tablespaces_that_it_forgets_are_said_not_to_be_verified() {
    let stored = Stored::new(Shape::Directories);
    let text = stored.disk.bytes(&stored.path("backup_manifest")).expect("a manifest");
    let text = String::from_utf8(text).expect("text");
    // Its lines, but for tablespaces and WAL, in its spelling.
    let entries: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("\"Path\"") && !line.contains("pg_tblspc"))
        .map(|line| line.trim_end_matches(','))
        .collect();
    let mut made = format!(
        "{{\"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{}],\n",
        entries.join(",\n")
    );
    let sum = <sha2::Sha256 as sha2::Digest>::digest(made.as_bytes());
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    made.push_str(&format!("\"Manifest-Checksum\": \"{sum}\"}}\n"));
    stored.disk.put(&stored.path("backup_manifest"), made.as_bytes());
    let verified = verified(&stored);
    assert_eq!(verified.findings, []);
    assert_eq!(verified.unlisted_tablespaces, ["pg_tblspc/16390/"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_are_verified() {
    let stored = Stored::new(Shape::Directories);
    let reads = |disk: &crate::disk::ModelDisk| disk.calls();
    let before = reads(&stored.disk);
    verified(&stored);
    let calls = reads(&stored.disk) - before;
    // Wherever the disk fails once: something is said, and nothing panics.
    for call in 0..calls {
        let stored = Stored::new(Shape::Directories);
        stored.disk.fail_call(stored.disk.calls() + call, rustix::io::Errno::IO);
        match verify(&stored.disk, &stored.layout, &stored.info, 1, &NoProgress) {
            Ok(verified) => assert!(
                verified.findings.iter().any(|finding| !matches!(finding, Finding::Extra { .. })),
                "call {call} failed and nothing is said"
            ),
            Err(VerifyError::Disk(_) | VerifyError::Repository(_)) => {}
            Err(error) => panic!("call {call}: {error}"),
        }
    }
}
