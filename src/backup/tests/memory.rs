//! A million files are no reason to take more memory than a small machine has.
//!
//! A list that is held twice, or a text that is held beside what it says, is not noticed with a
//! thousand files; with a million the backup is killed at its very end.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::{Algorithm, BackupError};
use crate::backup::form::Form;
use crate::backup::member::Members;
use crate::backup::queue::{Job, QueueSender, queue};
use crate::backup::writer::Writer;
use crate::disk::{
    DirectoryEntry, Disk, DiskError, DiskFile, FileStat, FileSystemWatch, ModelDisk,
};
use crate::manifest::{Hasher, ManifestFile, ManifestWriter, Modified, compare};
use crate::pages::{PageChecker, PageLayout, PageSize};
use crate::tar::{Member, MemberKind, MemberPath, TRAILER};

const FILES: u32 = 1_000_000;
/// For the whole process: the program, its buffers, and what is known of each file.
const LIMIT_KIB: u64 = 256 << 10;
/// Tells the process that it is the one to be measured.
const MEASURED: &str = "TAPSTER_TEST_MEASURED";

/// A disk that takes everything and keeps nothing.
#[derive(Debug)]
struct Drain(ModelDisk);

#[derive(Debug)]
struct DrainFile(PathBuf);

impl Disk for Drain {
    fn create(&self, path: &Path, _mode: u32) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(Box::new(DrainFile(path.to_owned())))
    }
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.0.open(path)
    }
    fn open_read(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.0.open_read(path)
    }
    fn open_direct(&self, _path: &Path) -> Result<Option<Box<dyn DiskFile>>, DiskError> {
        Ok(None)
    }
    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.0.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.0.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> Result<(), DiskError> {
        self.0.remove_file(path)
    }
    fn create_directory(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        self.0.create_directory(path, mode)
    }
    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        self.0.remove_directory(path)
    }
    fn symlink(&self, target: &Path, link: &Path) -> Result<(), DiskError> {
        self.0.symlink(target, link)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        self.0.set_mode(path, mode)
    }
    fn sync_directory(&self, _path: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn flush_file_system(&self, _path: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn watch_file_system(
        &self,
        path: &Path,
    ) -> Result<Option<Box<dyn FileSystemWatch>>, DiskError> {
        self.0.watch_file_system(path)
    }
    fn list(&self, path: &Path) -> Result<Vec<DirectoryEntry>, DiskError> {
        self.0.list(path)
    }
    fn stat(&self, path: &Path) -> Result<Option<FileStat>, DiskError> {
        self.0.stat(path)
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.0.free_bytes(path)
    }
}

impl DiskFile for DrainFile {
    fn path(&self) -> &Path {
        &self.0
    }
    fn write_all_vectored_at(&self, _slices: &[IoSlice<'_>], _at: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn read_at(&self, _buffer: &mut [u8], _offset: u64) -> Result<usize, DiskError> {
        Ok(0)
    }
    fn length(&self) -> Result<u64, DiskError> {
        Ok(0)
    }
    fn set_length(&self, _length: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn allocate(&self, _offset: u64, _length: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn start_writeback(&self, _offset: u64, _length: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_data(&self) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_all(&self) -> Result<(), DiskError> {
        Ok(())
    }
    fn set_modified(&self, _time: SystemTime) -> Result<(), DiskError> {
        Ok(())
    }
}

fn name(number: u32) -> String {
    format!("base/16384/{}", 16_385 + number)
}

/// An archive of empty files, and the manifest that lists them, as the reader would queue them.
async fn send(mut sender: QueueSender) {
    let mut push = async |job| sender.push(job).await.expect("the writer takes it");
    push(Job::Archive { name: "base.tar".to_owned(), tablespace: None }).await;
    let mut piece = BytesMut::new();
    for number in 0..FILES {
        let member = Member {
            path: MemberPath::new(name(number).as_bytes()).expect("a name"),
            kind: MemberKind::File,
            size: 0,
            mode: 0o600,
            uid: 26,
            gid: 26,
            modified: 1_790_000_000,
        };
        piece.extend_from_slice(&member.encode().expect("it fits"));
        if piece.len() >= 256 << 10 {
            push(Job::Data(piece.split().freeze())).await;
        }
    }
    piece.extend_from_slice(&TRAILER);
    push(Job::Data(piece.freeze())).await;
    push(Job::ArchiveEnd).await;
    let mut writer = ManifestWriter::new(None);
    for number in 0..FILES {
        writer.file(&ManifestFile {
            path: name(number).as_bytes(),
            encoded: false,
            size: 0,
            modified: Modified::Seconds(1_790_000_000),
            algorithm: Algorithm::Crc32c,
            checksum: Hasher::new(Algorithm::Crc32c).finish().as_bytes(),
        });
        if writer.pending() >= 8 << 10 {
            push(Job::Manifest(Bytes::from(writer.take()))).await;
        }
    }
    push(Job::Manifest(Bytes::from(writer.finish(&[])))).await;
}

fn back_up_a_million_files() -> Result<(), BackupError> {
    let (sender, mut receiver, _) = queue();
    let reader = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(send(sender));
    });
    let disk = Arc::new(Drain(ModelDisk::new(0)));
    let pages = PageChecker::new(PageLayout::usual(PageSize::DEFAULT), false);
    let members = Members::new(Algorithm::Crc32c, pages);
    let writer = Writer::new(disk, "/data".into(), Form::Archives(None), members);
    let stored = writer.run(&mut receiver)?;
    reader.join().expect("it sent everything");
    let manifest = stored.manifest.expect("a manifest")?;
    assert_eq!(manifest.files.len(), FILES as usize);
    assert_eq!(compare(&manifest.files, &stored.members.files), []);
    Ok(())
}

/// The most that this process ever had in memory, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_backup_of_a_million_files_takes_less_than_256_mib() {
    if std::env::var_os(MEASURED).is_some() {
        back_up_a_million_files().expect("a good backup");
        let peak = peak_kib();
        assert!(peak < LIMIT_KIB, "{peak} KiB were in memory");
        return;
    }
    // A process of its own: the other tests have their memory.
    let program = std::env::current_exe().expect("this program");
    let this = "backup::tests::memory::a_backup_of_a_million_files_takes_less_than_256_mib";
    let output = std::process::Command::new(program)
        .args(["--exact", this, "--nocapture"])
        .env(MEASURED, "1")
        .output()
        .expect("it runs again");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
