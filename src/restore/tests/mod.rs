//! A half-restored directory that starts is worse than none: the server would recover what is
//! there, report success, and the missing half would be noticed when it is needed.
//!
//! So whatever goes wrong at whatever call, the destination is either complete and durable, or
//! lacks the one file without which no server starts.

mod chain;
mod fixture;
mod get_wal;
mod leftovers;
mod open_segment;
mod packed;

use std::io::Write;
use std::path::Path;

use rustix::io::Errno;

use super::error::RestoreError;
use super::refusal::Refusal;
use super::target::{Goal, RecoveryTarget};
use super::tree::{CONTROL_FILE, MARKER};
use crate::codec::Packing;
use crate::disk::{Disk, FileKind, ModelDisk};
use crate::tar::{MemberKind, MemberPath};
use crate::wal::{SystemIdentifier, WalFileName};
use fixture::{
    DESTINATION, Fixture, SEGMENT, SYSTEM, TABLESPACE, Witness, archive, control_file, header,
    restored, segment, segment_name,
};

fn text(disk: &ModelDisk, name: &str) -> String {
    let bytes = disk.bytes(&restored(name)).unwrap_or_else(|| panic!("{name} is missing"));
    String::from_utf8(bytes).expect("text")
}

/// What has to be there before a server may start.
fn assert_complete(disk: &ModelDisk, context: &str) {
    let expect = |name: &str, content: &[u8]| {
        let found = disk.bytes(&restored(name));
        assert!(found.as_deref() == Some(content), "{name} is not whole: {context}");
    };
    expect("base/1/1259", &[7; 20_000]);
    expect("global/pg_control", &control_file());
    expect("backup_label", b"START WAL LOCATION: 0/300028\n");
    for number in [3, 4] {
        let name = format!("pg_wal/{}", segment_name(number));
        expect(&name, &segment(number, SYSTEM));
    }
    let tablespace = Path::new(TABLESPACE).join("PG_15_202209061/5/16400");
    assert!(disk.bytes(&tablespace).as_deref() == Some(&[9; 9_000]), "{context}");
    let link = disk.stat(&restored("pg_tblspc/16390")).expect("readable");
    assert_eq!(link.map(|stat| stat.kind), Some(FileKind::Symlink), "{context}");
    assert!(text(disk, "postgresql.conf").contains("archive_command = false"), "{context}");
}

fn is_startable(disk: &ModelDisk) -> bool {
    disk.bytes(&restored(CONTROL_FILE)).is_some()
}

#[test]
fn a_backup_comes_back_whole_without_what_belonged_to_the_old_server() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let mut witness = Witness::default();
    fixture.restore_to(&disk, Goal::default(), &mut witness).expect("restored");
    assert_complete(&disk, "restored");
    for gone in ["postmaster.pid", "tablespace_map", "log/old.log", "backup_manifest", MARKER] {
        assert_eq!(disk.bytes(&restored(gone)), None, "{gone}");
    }
    assert_eq!(disk.bytes(&restored("backup_manifest.20261123T062541")), Some(fixture.manifest()));
    assert_eq!(disk.bytes(&restored(".barman-recover.info")), Some(fixture.info.render()));
    assert_eq!(
        text(&disk, "postgresql.conf"),
        "port = 5432\n#BARMAN#archive_command = 'cp %p /archive'\narchive_command = false\n"
    );
    assert!(
        text(&disk, "postgresql.conf.origin").ends_with("archive_command = 'cp %p /archive'\n")
    );
    let done = format!("pg_wal/archive_status/{}.done", segment_name(3));
    assert_eq!(text(&disk, &done), "");
    let before = format!("pg_wal/{}", segment_name(2));
    assert_eq!(disk.bytes(&restored(&before)), None, "WAL before the backup is not needed");
    assert_eq!(
        witness.steps,
        [
            "Starting",
            "Planned",
            "CopyingBase",
            "CopyingTablespace",
            "CopyingWal",
            "MarkingArchived",
            "Reviewing"
        ]
    );
    assert_eq!(witness.warnings, Vec::<String>::new());
}

#[test]
fn a_plain_directory_comes_back_the_same_and_its_links_are_not_followed() {
    let fixture = Fixture::new();
    let disk = fixture.plain();
    disk.put(Path::new("/etc/secret"), b"secret");
    let tblspc = fixture.data().join("pg_tblspc");
    disk.create_directory(&tblspc, 0o700).expect("made");
    disk.symlink(Path::new("/etc"), &tblspc.join("16390")).expect("made");
    fixture.restore(&disk).expect("restored");
    assert_complete(&disk, "restored");
}

#[test]
fn a_full_disk_at_any_call_leaves_nothing_that_can_be_started() {
    let fixture = Fixture::new();
    let whole = fixture.packed();
    fixture.restore(&whole).expect("restored");
    for call in (0..whole.calls()).step_by(2) {
        let disk = fixture.packed();
        disk.fail_call(call, Errno::NOSPC);
        let outcome = fixture.restore(&disk);
        let context = format!("call {call}: {}", whole.history()[call as usize]);
        if is_startable(&disk) {
            assert_complete(&disk, &context);
        } else {
            assert!(outcome.is_err(), "success without a cluster: {context}");
        }
    }
}

#[test]
fn a_power_cut_at_any_call_leaves_a_complete_cluster_or_none() {
    let fixture = Fixture::new();
    let whole = fixture.packed();
    fixture.restore(&whole).expect("restored");
    // The copies at the beginning are many and alike; the end decides.
    let end = whole.calls().saturating_sub(40);
    for call in (0..end).step_by(9).chain(end..whole.calls()) {
        let disk = fixture.packed();
        disk.power_loss_at_call(call);
        let done = fixture.restore(&disk).is_ok();
        let survived = disk.after_power_loss(call);
        let context = format!("call {call}: {}", whole.history()[call as usize]);
        assert!(!done, "{context}");
        if is_startable(&survived) {
            assert_complete(&survived, &context);
        }
    }
    assert_complete(&whole.after_power_loss(7), "a restore that reported success");
}

#[test]
fn an_interrupted_restore_is_recognised_and_not_overwritten() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let mut witness = Witness { stop: true, ..Witness::default() };
    let stopped = fixture.restore_to(&disk, Goal::default(), &mut witness);
    assert!(matches!(stopped, Err(RestoreError::Interrupted)), "{stopped:?}");
    assert!(!is_startable(&disk));
    let again = fixture.restore(&disk);
    assert!(matches!(again, Err(RestoreError::Refused(Refusal::Interrupted(_)))), "{again:?}");
}

#[test]
fn nothing_is_written_where_anything_stands() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    disk.put(&restored("precious"), b"data");
    let refused = fixture.restore(&disk).expect_err("not empty");
    assert_eq!(
        refused.to_string(),
        "The restore operation cannot proceed because the destination folder '/srv/restored' is \
         not empty. To prevent accidental data loss, the destination must be empty. Please \
         choose a different location or manually empty the folder."
    );
    let disk = fixture.packed();
    disk.put(&Path::new(TABLESPACE).join("precious"), b"data");
    let refused = fixture.restore(&disk);
    let expected =
        matches!(refused, Err(RestoreError::Refused(Refusal::TablespaceNotEmpty { .. })));
    assert!(expected, "{refused:?}");
    assert_eq!(disk.stat(Path::new(DESTINATION)).expect("readable"), None);
}

#[test]
fn hostile_members_are_refused_and_nothing_leaves_the_destination() {
    let link = MemberKind::Symlink(MemberPath::new(b"elsewhere").expect("a name"));
    let inside = |name: &str| vec![(name.to_owned(), b"x".to_vec())];
    let mut cases = vec![
        ("a link", [&header("base", link.clone(), 0)[..], &archive(&inside("base/x"))].concat()),
        ("in pg_tblspc", archive(&inside("pg_tblspc/16390/x"))),
        ("twice", archive(&[inside("a"), inside("a")].concat())),
        ("a file that is a directory", archive(&[inside("a"), inside("a/b")].concat())),
    ];
    for name in ["../x", "/etc/x", "a/../../x", "./../x"] {
        let mut bytes = archive(&inside("name-to-be-given"));
        let at = bytes.windows(16).position(|part| part == b"name-to-be-given").expect("there");
        bytes[at..at + 16].fill(0);
        bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        let header_at = at;
        let sum: u64 = bytes[header_at..header_at + 512]
            .iter()
            .enumerate()
            .map(|(i, byte)| if (148..156).contains(&i) { 32 } else { u64::from(*byte) })
            .sum();
        bytes[header_at + 148..header_at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        cases.push((name, bytes));
    }
    let fixture = Fixture::new();
    for (what, bytes) in cases {
        let disk = fixture.packed();
        let before = disk.files();
        disk.put(&fixture.data().join("base.tar"), &bytes);
        // Without a manifest, so that nothing but the name is in the way.
        disk.remove_file(&fixture.data().join("backup_manifest")).expect("removed");
        let outcome = fixture.restore(&disk);
        assert!(outcome.is_err(), "{what} was accepted");
        assert!(!is_startable(&disk), "{what}");
        for path in disk.files() {
            let is_ours = path.starts_with(DESTINATION) || path.starts_with(TABLESPACE);
            assert!(is_ours || before.contains(&path), "{what}: {}", path.display());
        }
    }
}

#[test]
fn what_differs_from_the_manifest_is_named() {
    let mut damaged = Fixture::new();
    let manifest = damaged.manifest();
    damaged.set("base/1/1259", &[8; 20_000]);
    let disk = damaged.packed();
    disk.put(&damaged.data().join("backup_manifest"), &manifest);
    let error = damaged.restore(&disk).expect_err("damaged");
    assert!(error.to_string().starts_with("\"base/1/1259\" is not what the backup manifest says"));
    assert!(!is_startable(&disk));

    let mut missing = Fixture::new();
    missing.also_listed.push(("base/5/1".to_owned(), b"gone".to_vec()));
    let error = missing.restore(&missing.packed()).expect_err("missing");
    assert!(error.to_string().contains("\"base/5/1\"") && error.to_string().contains("missing"));

    let unlisted = Fixture::new();
    let disk = unlisted.packed();
    let mut files = unlisted.main.clone();
    files.push(("base/5/2".to_owned(), b"more".to_vec()));
    disk.put(&unlisted.data().join("base.tar"), &archive(&files));
    let error = unlisted.restore(&disk).expect_err("unlisted");
    assert!(error.to_string().contains("\"base/5/2\""), "{error}");
}

#[test]
fn a_cut_archive_is_not_a_shorter_backup() {
    let fixture = Fixture::new();
    let whole = archive(&fixture.main);
    for length in [0, 511, 512, 1024, 9_000, whole.len() - 1025 - 512] {
        let disk = fixture.packed();
        disk.put(&fixture.data().join("base.tar"), &whole[..length]);
        assert!(fixture.restore(&disk).is_err(), "{length} bytes were enough");
        assert!(!is_startable(&disk));
    }
    let disk = fixture.packed();
    disk.put(&fixture.data().join("base.tar"), &whole[..whole.len() - 1024]);
    fixture.restore(&disk).expect("servers before 15 send no trailer");
}

#[test]
fn packed_files_are_refused_by_name_before_anything_is_written() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    disk.rename(&fixture.data().join("base.tar"), Path::new("/repository/x")).expect("moved");
    disk.put(&fixture.data().join("base.tar.gz.gpg"), b"\x85\x01\x0c\0\0\0");
    let refused = fixture.restore(&disk).expect_err("gpg").to_string();
    assert!(refused.contains("base.tar.gz.gpg is packed with gpg"), "{refused}");
    assert_eq!(disk.stat(Path::new(DESTINATION)).expect("readable"), None);

    let disk = fixture.packed();
    fixture.put_segment(&disk, 3, b"\x85\x01\x0c\0\0\0");
    let refused = fixture.restore(&disk).expect_err("gpg").to_string();
    assert!(refused.contains("000000010000000000000003 is packed with gpg"), "{refused}");
    assert_eq!(disk.stat(Path::new(DESTINATION)).expect("readable"), None);
}

#[test]
fn an_archive_of_segments_packed_and_plain_is_restored_the_same() {
    let fixture = Fixture::new();
    for word in ["zstd", "gzip", "lz4"] {
        let disk = fixture.packed();
        let content = segment(3, SYSTEM);
        fixture.put_segment(&disk, 3, &pack(word, &content));
        fixture.restore(&disk).expect("restored");
        assert_complete(&disk, word);

        let disk = fixture.packed();
        let packed = pack(word, &content);
        fixture.put_segment(&disk, 3, &packed[..packed.len() - 3]);
        let refused = fixture.restore(&disk).expect_err("cut off");
        assert!(refused.to_string().contains("000000010000000000000003"), "{word}: {refused}");
        assert!(!is_startable(&disk), "{word}");

        let disk = fixture.packed();
        fixture.put_segment(&disk, 3, &pack(word, &content[..9000]));
        let refused = fixture.restore(&disk).expect_err("too short").to_string();
        assert!(refused.contains("is no complete segment: 9000 bytes"), "{word}: {refused}");
    }
}

fn pack(word: &str, bytes: &[u8]) -> Vec<u8> {
    let packing = Packing::choose(Some(word), None).expect("written");
    let packing = packing.expect("a codec");
    let mut encoder = packing.encoder(bytes.len() as u64, Vec::new()).expect("begun");
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("finished")
}

#[test]
fn wal_that_is_not_what_its_name_says_is_refused() {
    let fixture = Fixture::new();
    for (content, what) in [
        (segment(3, SystemIdentifier(1)), "WAL of the cluster 1"),
        (segment(2, SYSTEM), "WAL from 0/200000"),
        (segment(3, SYSTEM)[..4096].to_vec(), "no complete segment"),
        (vec![0; SEGMENT as usize], "no complete segment"),
    ] {
        let disk = fixture.packed();
        fixture.put_segment(&disk, 3, &content);
        let refused = fixture.restore(&disk).expect_err(what).to_string();
        assert!(refused.contains(what), "{refused}");
        assert!(!is_startable(&disk));
    }
}

#[test]
fn the_open_segment_comes_along_at_full_size_and_is_not_called_archived() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let name = segment_name(5);
    let partial = WalFileName::Partial(name).to_string();
    let received = &segment(5, SYSTEM)[..30_000];
    disk.put(&fixture.layout().streaming().join(partial), received);
    fixture.restore(&disk).expect("restored");
    let copied = disk.bytes(&restored(&format!("pg_wal/{name}"))).expect("copied");
    assert_eq!(copied.len(), SEGMENT as usize);
    assert!(copied.starts_with(received) && copied[30_000..].iter().all(|byte| *byte == 0));
    let done = restored(&format!("pg_wal/archive_status/{name}.done"));
    assert_eq!(disk.bytes(&done), None, "the server has to archive it once it is full");
}

#[test]
fn received_segments_that_are_not_archived_yet_are_found() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let streaming = fixture.layout().streaming().to_owned();
    disk.put(&streaming.join(segment_name(5).to_string()), &segment(5, SYSTEM));
    disk.put(&streaming.join(segment_name(6).to_string()), &segment(6, SYSTEM)[..100]);
    let restored = fixture.restore(&disk).expect("restored");
    assert_eq!(restored.plan.wal.segments.last(), Some(&segment_name(5)));
}

#[test]
fn a_target_leaves_the_servers_own_wal_directory_empty_and_writes_the_signal() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let goal = Goal { target: Some(RecoveryTarget::Immediate), ..Goal::default() };
    fixture.restore_to(&disk, goal, &mut Witness::default()).expect("restored");
    assert_eq!(text(&disk, "recovery.signal"), "");
    assert_eq!(
        text(&disk, "postgresql.auto.conf"),
        "# Do not edit this file manually!\n\n\
         restore_command = 'cp /srv/restored/barman_wal/%f %p'\n\
         recovery_end_command = 'rm -fr /srv/restored/barman_wal'\n\
         recovery_target = 'immediate'\n"
    );
    assert!(disk.bytes(&restored(&format!("barman_wal/{}", segment_name(3)))).is_some());
    assert_eq!(disk.bytes(&restored(&format!("pg_wal/{}", segment_name(3)))), None);
}

#[test]
fn version_11_reads_recovery_conf() {
    let mut fixture = Fixture::new();
    fixture.info.version = Some(110_022);
    let disk = fixture.packed();
    let goal = Goal { target: Some(RecoveryTarget::Immediate), ..Goal::default() };
    fixture.restore_to(&disk, goal, &mut Witness::default()).expect("restored");
    assert!(text(&disk, "recovery.conf").ends_with("recovery_target = 'immediate'\n"));
    assert_eq!(disk.bytes(&restored("recovery.signal")), None);
    assert_eq!(text(&disk, "postgresql.auto.conf"), "# Do not edit this file manually!\n");
}

#[test]
fn the_signal_of_a_standby_that_was_backed_up_does_not_come_back() {
    let mut fixture = Fixture::new();
    fixture.set("standby.signal", b"");
    let disk = fixture.packed();
    fixture.restore(&disk).expect("restored");
    assert_eq!(disk.bytes(&restored("standby.signal")), None);
}

#[test]
fn another_clusters_backup_is_not_restored_under_this_name() {
    let mut fixture = Fixture::new();
    fixture.info.systemid = Some(SystemIdentifier(5));
    let disk = fixture.packed();
    for number in [3, 4] {
        fixture.put_segment(&disk, number, &segment(number, SystemIdentifier(5)));
    }
    let refused = fixture.restore(&disk);
    assert!(matches!(refused, Err(RestoreError::ForeignBackup { .. })), "{refused:?}");
    assert!(!is_startable(&disk));
}

#[test]
fn a_stale_manifest_in_a_copy_by_rsync_is_not_believed() {
    let mut fixture = Fixture::new();
    fixture.info.mode = Some(crate::repository::BackupMode::RsyncConcurrent);
    let disk = fixture.plain();
    disk.put(&fixture.data().join("backup_manifest"), b"left by an earlier backup");
    let mut witness = Witness::default();
    fixture.restore_to(&disk, Goal::default(), &mut witness).expect("restored");
    assert_eq!(witness.warnings.len(), 1, "{:?}", witness.warnings);
}

#[test]
fn a_backup_without_its_label_gets_the_one_that_backup_info_keeps() {
    let mut fixture = Fixture::new();
    fixture.main.retain(|(name, _)| name != "backup_label");
    let refused = fixture.restore(&fixture.packed());
    let expected = matches!(refused, Err(RestoreError::Refused(Refusal::NoBackupLabel)));
    assert!(expected, "{refused:?}");
    fixture.info.backup_label = Some("START WAL LOCATION: 0/300028\n".to_owned());
    let disk = fixture.packed();
    fixture.restore(&disk).expect("restored");
    assert_complete(&disk, "with the label of backup.info");
}
