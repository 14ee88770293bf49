//! Many small files made durable: the data directory and the tablespaces of a plain backup.

use std::path::{Path, PathBuf};

use super::tree::path_of;
use crate::disk::{Disk, DiskError, sync_files};
use crate::manifest::FileTable;

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
        let path = |index| files.get(index).map_or_else(PathBuf::new, |file| self.path(file.path));
        sync_files(disk, files.len(), &path)
    }
}
