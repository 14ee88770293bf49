//! Which files a backup consists of, for whoever copies it elsewhere.

use std::path::{Path, PathBuf};

use super::Catalog;
use crate::disk::{Disk, DiskError, FileKind};
use crate::repository::{BackupId, BackupInfo, ServerLayout};
use crate::wal::{SegmentName, SegmentNumber, WalFileName};

/// Deeper than any data directory.
const DEPTH_MAX: usize = 32;

/// The files of `base/<id>/`, those of a directory before those below it, by name; with empty
/// directories where they are wanted. Links are files.
pub fn base_files(
    disk: &dyn Disk,
    layout: &ServerLayout,
    id: BackupId,
    empty_directories: bool,
) -> Result<Vec<PathBuf>, DiskError> {
    let mut files = Vec::new();
    let root = layout.backup(id);
    match disk.stat(&root)? {
        Some(_) => collect(disk, &root, empty_directories, 0, &mut files)?,
        None => return Ok(files),
    }
    // The data directory stands first, as Barman has it.
    let data = layout.existing_data(disk, id).unwrap_or_else(|_| layout.data(id));
    files.sort_by_key(|path| !path.starts_with(&data));
    Ok(files)
}

fn collect(
    disk: &dyn Disk,
    directory: &Path,
    empty_directories: bool,
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), DiskError> {
    let mut entries = disk.list(directory)?;
    if entries.is_empty() && empty_directories {
        files.push(directory.to_owned());
    }
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    let (below, here): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.kind == FileKind::Directory);
    files.extend(here.into_iter().map(|entry| directory.join(entry.name)));
    for entry in below.into_iter().filter(|_| depth < DEPTH_MAX) {
        collect(disk, &directory.join(entry.name), empty_directories, depth + 1, files)?;
    }
    Ok(())
}

/// The segments from begin to end: what the backup needs to be consistent, whether or not it is
/// archived.
pub fn required_wal(backup: &BackupInfo) -> Vec<WalFileName> {
    let size = backup.xlog_segment_size;
    let number = |name: Option<SegmentName>| name.and_then(|name| name.number(size));
    let (Some(begin), Some(first), Some(last)) =
        (backup.begin_wal, number(backup.begin_wal), number(backup.end_wal))
    else {
        return Vec::new();
    };
    let name = |number| SegmentName::new(begin.timeline(), SegmentNumber(number), size);
    (first.0..=last.0).map(|number| WalFileName::Segment(name(number))).collect()
}

impl Catalog {
    /// Archived WAL from the begin of a backup to the end of the next one, or of the archive, on
    /// its own and older timelines, and every history file. In the order of names.
    pub fn wal_until_next(&self, backup: &BackupInfo) -> Vec<WalFileName> {
        let Some(begin) = backup.begin_wal else { return Vec::new() };
        let last = self.next(backup.id).and_then(|next| next.end_wal);
        let belongs = |name: &SegmentName| {
            name.timeline() == begin.timeline() && last.is_none_or(|last| *name <= last)
        };
        let segments = self.wal().segments_from(begin).map(|(name, _)| name).filter(belongs);
        let histories = self.wal().history_files().map(WalFileName::History);
        segments.map(WalFileName::Segment).chain(histories).collect()
    }
}
