//! Many small files made durable: the data directory and the tablespaces of a plain backup.

use std::path::{Path, PathBuf};

use super::tree::path_of;
use crate::disk::{Disk, DiskError};
use crate::manifest::FileTable;

/// Syncs that wait together: a file system writes one journal entry for all of them.
const THREADS: usize = 8;

/// A tablespace.
#[derive(Debug)]
pub(super) struct Space {
    /// As its archive and the link to it are named.
    pub(super) oid: u32,
    /// What the manifest puts before the names in it.
    pub(super) prefix: Vec<u8>,
    /// The directory that holds it.
    pub(super) root: PathBuf,
}

/// The directories of a plain backup, while they have temporary names.
#[derive(Debug)]
pub(super) struct Roots<'a> {
    /// Of the data directory.
    pub(super) main: &'a Path,
    /// Of each tablespace.
    pub(super) tablespaces: &'a [Space],
}

impl Roots<'_> {
    /// Where a file is that the manifest calls `name`.
    fn path(&self, name: &[u8]) -> PathBuf {
        for space in self.tablespaces {
            if let Some(inner) = name.strip_prefix(&space.prefix[..]) {
                return path_of(&space.root, inner);
            }
        }
        path_of(self.main, name)
    }

    /// Makes the content of every file durable. Each is synced on its own, although the file
    /// system was asked to write everything back: that it has done so is only hoped for, and
    /// makes these syncs short.
    pub(super) fn sync(&self, disk: &dyn Disk, files: &FileTable) -> Result<(), DiskError> {
        let count = files.len();
        let part = count.div_ceil(THREADS).max(1);
        let sync = |from: usize| -> Result<(), DiskError> {
            for file in (from..count.min(from + part)).filter_map(|index| files.get(index)) {
                disk.open_read(&self.path(file.path))?.sync_all()?;
            }
            Ok(())
        };
        let parts: Vec<usize> = (0..count).step_by(part).collect();
        std::thread::scope(|scope| {
            let start = |&from: &usize| {
                let thread = std::thread::Builder::new().name("backup-sync".to_owned());
                (from, thread.spawn_scoped(scope, move || sync(from)))
            };
            let threads: Vec<_> = parts.iter().map(start).collect();
            let mut outcome = Ok(());
            for (from, thread) in threads {
                let synced = match thread.map(std::thread::ScopedJoinHandle::join) {
                    Ok(Ok(synced)) => synced,
                    // No thread to be had, or it panicked: the work is done here.
                    Ok(Err(_)) | Err(_) => sync(from),
                };
                outcome = outcome.and(synced);
            }
            outcome
        })
    }
}
