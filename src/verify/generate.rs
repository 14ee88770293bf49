//! A manifest for a backup that came without one: of what is stored now.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::damage::Damage;
use super::error::VerifyError;
use super::finding::Finding;
use super::inspector::{Inspector, Summed};
use super::parts::{Form, Parts};
use super::{archive, tree};
use crate::disk::{self, Disk, DiskError, LockFile};
use crate::manifest::{Algorithm, FileTable, ManifestFile, ManifestWriter, Modified, WalRange};
use crate::output::Progress;
use crate::repository::{BackupInfo, Lock, ServerLayout};
use crate::wal::{Lsn, TimelineHistory};
use crate::wire::ServerVersion;

/// What Barman sums its manifests up with.
const ALGORITHM: Algorithm = Algorithm::Sha256;
const FILE_MODE: u32 = 0o600;
/// Text that is held before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// A manifest that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Generated {
    /// Where it stands.
    pub path: PathBuf,
    /// How many files it lists.
    pub files: usize,
}

/// Writes `backup_manifest` for a backup that has none, durably and at once.
///
/// It is as a server's would be: files of tablespaces stand behind `pg_tblspc/<oid>/`, members of
/// archives under their own names, and it has version 2 where the server wrote that. `histories`
/// tell which WAL a backup needs that ended on another timeline.
///
/// # Errors
/// There is one already, or the backup is not complete, damaged already, or not readable.
pub fn generate(
    disk: &dyn Disk,
    layout: &ServerLayout,
    info: &BackupInfo,
    histories: &[TimelineHistory],
    jobs: usize,
    progress: &dyn Progress,
) -> Result<Generated, VerifyError> {
    let _lock = LockFile::acquire(&layout.lock(Lock::OneBackup(info.id)))?;
    let mut parts = Parts::find(disk, layout, info)?;
    let path = parts.manifest();
    if disk.stat(&path)?.is_some() {
        return Err(VerifyError::HasManifest(path));
    }
    let damage = Damage::new(std::mem::take(&mut parts.findings), progress);
    let inventory = Inventory { files: Mutex::default(), damage: &damage };
    progress.phase("reading the backup");
    match &parts.form {
        Form::Archives(archives) => {
            progress.total(archives.iter().map(|archive| archive.length).sum());
            for archive in archives {
                archive::inspect(disk, archive, &inventory)?;
            }
        }
        Form::Directories(roots) => tree::inspect(disk, roots, jobs.max(1), &inventory)?,
    }
    let files = inventory.files.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (_, _, findings) = damage.finish();
    if !findings.is_empty() {
        return Err(VerifyError::Damaged(findings.iter().map(Finding::to_string).collect()));
    }
    let ranges = wal_ranges(info, histories);
    let writes_system = info.version.map(ServerVersion::from_number);
    let writes_system = writes_system.and_then(ServerVersion::backup_manifest_version) == Some(2);
    let writer = ManifestWriter::new(info.systemid.filter(|_| writes_system));
    write(disk, &path, writer, &files, &ranges)?;
    Ok(Generated { path, files: files.len() })
}

/// The WAL from begin to end, newest timeline first; nothing where that cannot be told.
fn wal_ranges(info: &BackupInfo, histories: &[TimelineHistory]) -> Vec<WalRange> {
    let timeline = info.timeline.or_else(|| info.begin_wal.map(|name| name.timeline()));
    let (Some(first), Some(begin), Some(end)) = (timeline, info.begin_xlog, info.end_xlog) else {
        return Vec::new();
    };
    let last = info.end_wal.map_or(first, |name| name.timeline());
    if first == last {
        return vec![WalRange { timeline: first, start: begin, end }];
    }
    let of_last = histories.iter().find(|history| history.timeline() == last);
    let Some(history) = of_last.filter(|history| history.contains(first)) else {
        return Vec::new();
    };
    let timelines = history.entries().iter().map(|entry| entry.timeline).chain([last]);
    let mut ranges = Vec::new();
    for timeline in timelines.filter(|timeline| *timeline >= first) {
        let start = history.beginning_of(timeline).unwrap_or(Lsn::INVALID).max(begin);
        let end = history.switchpoint_of(timeline).unwrap_or(end).min(end);
        if start < end {
            ranges.insert(0, WalRange { timeline, start, end });
        }
    }
    ranges
}

/// Writes the text beside its place, makes it durable, and gives it the name only if that is
/// still free.
fn write(
    disk: &dyn Disk,
    path: &Path,
    mut writer: ManifestWriter,
    files: &FileTable,
    ranges: &[WalRange],
) -> Result<(), DiskError> {
    let temporary = path.with_extension("part");
    let file = disk::create_afresh(disk, &temporary, FILE_MODE)?;
    let mut written = 0;
    let mut put = |bytes: &[u8]| {
        file.write_all_at(bytes, written)?;
        written += bytes.len() as u64;
        Ok::<(), DiskError>(())
    };
    let mut text = || -> Result<(), DiskError> {
        for index in files.by_path() {
            let Some(entry) = files.get(index) else { continue };
            writer.file(&entry);
            if writer.pending() >= WRITE_BYTES {
                put(&writer.take())?;
            }
        }
        Ok(())
    };
    let result = text().and_then(|()| put(&writer.finish(ranges)));
    let result = result.and_then(|()| file.sync_all());
    let result = result.and_then(|()| match disk.link(&temporary, path) {
        // A file system without second names: nobody else makes one, we hold the lock.
        Err(error) if error.is_link_refused() => disk.rename(&temporary, path),
        result => result,
    });
    // Beside a name that was given it is one too many, otherwise it is rubbish.
    let _ = disk.remove_file(&temporary);
    result?;
    disk.sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Lists what comes.
struct Inventory<'a> {
    files: Mutex<FileTable>,
    damage: &'a Damage<'a>,
}

impl Inspector for Inventory<'_> {
    fn algorithm(&self, _path: &[u8]) -> Algorithm {
        ALGORITHM
    }

    fn file(&self, file: &Summed<'_>) {
        // As servers do: WAL is listed by its ranges alone.
        if file.path.starts_with(b"pg_wal/") || file.path.starts_with(b"pg_xlog/") {
            return;
        }
        self.files.lock().unwrap_or_else(PoisonError::into_inner).push(&ManifestFile {
            path: file.path,
            encoded: false,
            size: file.size,
            modified: Modified::Seconds(file.modified),
            algorithm: file.algorithm,
            checksum: file.checksum.as_bytes(),
        });
    }

    fn directory(&self, path: &[u8]) {
        self.damage.directory(path);
    }

    fn finding(&self, finding: Finding) {
        self.damage.add(finding);
    }

    fn read(&self, bytes: u64) {
        self.damage.read(bytes);
    }
}
