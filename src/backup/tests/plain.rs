//! Plain directories. The disaster is the same: DONE, and a file that is empty after the power
//! came back, or a tree that looks whole and is not.

use rustix::io::Errno;

use super::*;
use crate::disk::FileKind;
use crate::tar::{MemberKind, MemberPath};

fn base() -> std::path::PathBuf {
    layout().backup(id())
}

type MakeDisk = fn(u64) -> ModelDisk;

/// A disk that is synced as a whole, and one that is synced file by file.
const DISKS: [(&str, MakeDisk); 2] =
    [("at once", ModelDisk::new), ("one by one", |seed| ModelDisk::new(seed).unwatchable())];

/// If the backup is said to be copied, every file of it is there; if not, no directory has its
/// name but empty ones.
fn check_plain(survived: &ModelDisk, sample: &Sample, what: &str) {
    let info = BackupInfo::read(survived, &layout(), id());
    if !info.is_ok_and(|info| info.is_copied()) {
        return;
    }
    for (name, bytes) in sample.contents() {
        assert!(survived.bytes(&base().join(&name)) == Some(bytes), "{what}: {name}");
    }
    for (path, kind) in [
        ("data/pg_tblspc/16390", FileKind::Symlink),
        ("data/pg_wal/archive_status", FileKind::Directory),
    ] {
        let found = survived.stat(&base().join(path)).expect("readable");
        assert_eq!(found.map(|found| found.kind), Some(kind), "{what}: {path}");
    }
}

#[test]
fn a_plain_backup_that_is_said_to_be_copied_survives_a_power_cut_at_any_call() {
    let sample = Sample::plain();
    let disk = ModelDisk::new(0);
    back_up_as(&disk, &sample, Form::Directory(None)).expect("nothing fails");
    check_plain(&disk, &sample, "without a power cut");
    let info = BackupInfo::read(&disk, &layout(), id()).expect("a record");
    assert!(info.is_copied());
    for (how, made) in DISKS {
        let disk = made(0);
        back_up_as(&disk, &sample, Form::Directory(None)).expect("nothing fails");
        for seed in 0..16 {
            check_plain(&disk.after_power_loss(seed), &sample, how);
        }
        for call in 0..disk.calls() {
            for seed in 0..4 {
                let disk = made(seed);
                disk.power_loss_at_call(call);
                let _ = back_up_as(&disk, &sample, Form::Directory(None));
                let what = format!("{how}: call={call} seed={seed}");
                check_plain(&disk.after_power_loss(seed), &sample, &what);
                check_plain(&disk.after_kill(seed), &sample, &what);
            }
        }
    }
}

/// What the kernel writes back by itself may fail, too, and then no later sync knows of it.
#[test]
fn a_plain_backup_of_which_the_kernel_lost_something_meanwhile_is_failed() {
    let (disk, sample) = (ModelDisk::new(0), Sample::plain());
    // The last call before everything is synced.
    disk.hold("create link");
    let error = std::thread::scope(|scope| {
        let backup = scope.spawn(|| back_up_as(&disk, &sample, Form::Directory(None)));
        disk.wait_until_held();
        disk.fail_write_back();
        disk.release();
        backup.join().expect("no panic").expect_err("bytes are lost")
    });
    assert!(matches!(&error, BackupError::Disk(error) if error.is_of_sync()), "{error}");
    let info = BackupInfo::read(&disk, &layout(), id()).expect("a record");
    assert_eq!(info.status, BackupStatus::Failed);
    let left = disk.files().into_iter().find(|path| path.starts_with(layout().base()));
    assert_eq!(left, None);
}

#[test]
fn a_call_that_fails_leaves_a_failed_plain_backup_and_none_of_its_files() {
    let sample = Sample::plain();
    for (how, made) in DISKS {
        let disk = made(0);
        back_up_as(&disk, &sample, Form::Directory(None)).expect("nothing fails");
        for call in 0..disk.calls() {
            let disk = made(call);
            disk.fail_call(call, Errno::NOSPC);
            let Err(error) = back_up_as(&disk, &sample, Form::Directory(None)) else { continue };
            assert!(matches!(error, BackupError::Disk(_) | BackupError::Repository(_)), "{error}");
            let Ok(info) = BackupInfo::read(&disk, &layout(), id()) else { continue };
            assert_ne!(info.status, BackupStatus::Done, "{how}: {call}");
            if info.status == BackupStatus::Failed {
                let left = disk.files().into_iter().find(|path| path.starts_with(layout().base()));
                assert_eq!(left, None, "{how}: {call}: {:?}", disk.history());
            }
        }
    }
}

#[test]
fn nothing_stands_under_the_final_names_before_the_manifest_was_compared() {
    let disk = ModelDisk::new(0);
    let stored = stored_as(&disk, &Sample::plain(), Form::Directory(None)).expect("a good backup");
    for directory in ["data", "16390"] {
        let found = disk.list(&base().join(directory)).unwrap_or_default();
        assert_eq!(found, [], "{directory}");
    }
    let length: u64 = stored.parts.iter().map(|part| part.length).sum();
    let contents = Sample::plain().contents();
    assert_eq!(length, contents.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    places::publish(&disk, &layout().data(id()), &stored.parts).expect("a good disk");
    let mode =
        |name: &str| disk.stat(&base().join(name)).expect("readable").map(|found| found.mode);
    assert_eq!(mode("data"), Some(0o700), "whatever the server has");
    assert_eq!(mode("data/base"), Some(0o750), "as the server has it");
    assert_eq!(mode("data/base/1/1259"), Some(0o640), "as the server has it");
}

#[test]
fn members_that_belong_nowhere_end_a_plain_backup() {
    let target = MemberPath::new(b"base/1").expect("a safe name");
    for sample in [
        Sample::plain().with("pg_tblspc/16390/PG_15_202209061/1/9", b"through the link"),
        Sample::plain().with("pg_tblspc/16390", b"in place of the link"),
        Sample::plain().with_entry("base/5", MemberKind::Symlink(target)),
    ] {
        let disk = ModelDisk::new(0);
        let error = back_up_as(&disk, &sample, Form::Directory(None)).expect_err("it is refused");
        assert!(matches!(error, BackupError::Forbidden { .. }), "{error}");
    }
    let twice = Sample::plain().with("base", b"a file in place of a directory");
    let disk = ModelDisk::new(0);
    let error = back_up_as(&disk, &twice, Form::Directory(None)).expect_err("it is there");
    assert!(matches!(error, BackupError::Disk(_)), "{error}");
}

#[test]
fn what_a_killed_plain_backup_has_left_is_cleared() {
    for publish in [false, true] {
        let disk = ModelDisk::new(0);
        let layout = layout();
        layout.create_directories(&disk).expect("a good disk");
        let record = Record::create(Arc::new(disk.clone()), layout.clone(), id(), None);
        record.expect("a good disk").started(Sample::plain().span().start).expect("a good disk");
        let stored =
            stored_as(&disk, &Sample::plain(), Form::Directory(None)).expect("a good backup");
        if publish {
            places::publish(&disk, &layout.data(id()), &stored.parts).expect("a good disk");
        }
        bury_the_dead(&disk, &layout).expect("a good disk");
        let left = disk.files().into_iter().find(|path| path.starts_with(layout.base()));
        assert_eq!(left, None);
        let names = disk.list(&base()).expect("it is there");
        assert!(!names.iter().any(|entry| entry.name.to_string_lossy().ends_with(".part")));
    }
}

#[test]
fn a_plain_copy_that_is_kept_has_no_name_that_a_restore_picks() {
    let (disk, sample) = (ModelDisk::new(0), Sample::plain());
    stored_as(&disk, &sample, Form::Directory(None)).expect("a good copy");
    let folder = kept::keep(&disk, &layout(), id()).expect("kept");
    for (name, bytes) in sample.contents() {
        let kept = folder.join(name.strip_prefix("data/").unwrap_or(&name));
        assert!(disk.bytes(&kept) == Some(bytes), "{name}");
    }
    let names: Vec<_> = disk.list(&base()).expect("readable").into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["damaged"]);
}
