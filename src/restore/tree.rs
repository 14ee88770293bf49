//! The sink: one directory tree that is being filled.
//!
//! Every name lies below the root, every file is new, no symbolic link is followed because
//! none exists while members are written, and what makes a data directory startable
//! (`global/pg_control`) gets its name last of all.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::disk::{Disk, DiskError, DiskFile, durable};

use super::error::RestoreError;
use super::path::InnerPath;
use super::written::Written;

/// Written first and removed last: a restore that was killed can be told from a cluster.
pub const MARKER: &str = ".tapster-restore-incomplete";
/// The server refuses to start without this file.
pub const CONTROL_FILE: &str = "global/pg_control";
/// Its name until everything else is durable.
const CONTROL_FILE_HELD: &str = "global/pg_control.tapster-restore";
/// Write-back begins after this many bytes of a file, so that the final sync finds little.
const WRITEBACK_BYTES: u64 = 8 << 20;
/// Files below this are left to the final sync.
pub(super) const SMALL_BYTES: u64 = 1 << 20;
/// Files between two looks at whether to stop.
const SYNC_BATCH: usize = 1024;

/// A directory tree below `root`.
#[derive(Debug)]
pub struct Tree<'a> {
    disk: &'a dyn Disk,
    root: PathBuf,
    directories: HashSet<PathBuf>,
    files: Written,
}

impl<'a> Tree<'a> {
    /// Creates the root, or takes an empty directory. Its mode becomes 0700, which every
    /// server accepts.
    pub fn create(disk: &'a dyn Disk, root: &Path) -> Result<Tree<'a>, DiskError> {
        if disk.stat(root)?.is_none() {
            if let Some(above) = root.parent() {
                durable::create_directories(disk, above, 0o755)?;
            }
            disk.create_directory(root, 0o700)?;
        }
        disk.set_mode(root, 0o700)?;
        Ok(Tree {
            disk,
            root: root.to_owned(),
            directories: HashSet::from([root.to_owned()]),
            files: Written::default(),
        })
    }

    /// The directory that is being filled.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The disk that it lies on.
    pub fn disk(&self) -> &'a dyn Disk {
        self.disk
    }

    /// Lets the group read the root, as it may read what stands in it: a server takes the mode of
    /// its data directory for what it is to give to new files.
    pub fn open_to_group(&self) -> Result<(), DiskError> {
        self.disk.set_mode(&self.root, 0o750)
    }

    /// Writes the marker, durably, before anything else.
    pub fn mark(&self, text: &str) -> Result<(), DiskError> {
        durable::write_file(self.disk, &self.root.join(MARKER), 0o600, text.as_bytes())
    }

    /// Creates a directory; one that was made on the way to an earlier member gets its mode.
    pub fn directory(&mut self, name: &InnerPath, mode: u32) -> Result<(), DiskError> {
        let path = name.in_directory(&self.root);
        self.make(&path)?;
        match mode & 0o777 {
            // What `make` gave it.
            0o700 => Ok(()),
            mode => self.disk.set_mode(&path, mode | 0o700),
        }
    }

    /// Begins a file, which must be new. Set-user-ID and its like are dropped.
    pub fn file(&mut self, name: &InnerPath, mode: u32) -> Result<TreeFile, DiskError> {
        let path = if name.is(CONTROL_FILE) {
            self.root.join(CONTROL_FILE_HELD)
        } else {
            name.in_directory(&self.root)
        };
        if let Some(above) = path.parent() {
            self.make(above)?;
        }
        let file = self.begin(&path, mode)?;
        self.files.push(&path);
        Ok(file)
    }

    fn begin(&self, path: &Path, mode: u32) -> Result<TreeFile, DiskError> {
        let mode = (mode & 0o777) | 0o600;
        let file = self.disk.create(path, mode)?;
        if mode & 0o077 != 0 {
            // The umask may have taken some of these.
            self.disk.set_mode(path, mode)?;
        }
        Ok(TreeFile { file, length: 0, written_back: 0 })
    }

    /// Opens a file that was written before, to write or read anywhere in it.
    pub fn open(&self, name: &InnerPath) -> Result<Box<dyn DiskFile>, DiskError> {
        self.disk.open(&name.in_directory(&self.root))
    }

    /// Writes a whole small file.
    pub fn write(&mut self, name: &InnerPath, mode: u32, bytes: &[u8]) -> Result<(), DiskError> {
        let mut file = self.file(name, mode)?;
        file.write(bytes)?;
        file.finish(None)
    }

    /// Reads a small file back, as far as it exists.
    pub fn read(&self, name: &InnerPath, limit: u64) -> Result<Option<Vec<u8>>, DiskError> {
        match durable::read_file(self.disk, &name.in_directory(&self.root), limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the content of a file that this tree holds.
    pub fn replace(&self, name: &InnerPath, bytes: &[u8]) -> Result<(), DiskError> {
        let path = name.in_directory(&self.root);
        let mode = self.disk.stat(&path)?.map_or(0o600, |found| found.mode);
        self.disk.remove_file(&path)?;
        let mut file = self.begin(&path, mode)?;
        file.write(bytes)?;
        file.finish(None)
    }

    /// Makes a symbolic link. Only after the last member: nothing may be written through it.
    pub fn link(&mut self, name: &InnerPath, target: &Path) -> Result<(), DiskError> {
        let path = name.in_directory(&self.root);
        if let Some(above) = path.parent() {
            self.make(above)?;
        }
        self.disk.symlink(target, &path)
    }

    /// Makes everything durable: first every file, then every name. `each` is asked now and
    /// then, and may end it.
    pub fn sync(
        &self,
        each: &mut dyn FnMut() -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let mut files = self.files.iter();
        loop {
            let batch: Vec<PathBuf> = files.by_ref().take(SYNC_BATCH).collect();
            if batch.is_empty() {
                break;
            }
            durable::sync_files(self.disk, batch.len(), &|index| batch[index].clone())?;
            each()?;
        }
        for path in &self.directories {
            self.disk.sync_directory(path)?;
        }
        if let Some(above) = self.root.parent() {
            self.disk.sync_directory(above)?;
        }
        Ok(())
    }

    /// Whether a file of this name was written.
    pub fn holds(&self, name: &str) -> bool {
        self.files.holds(&self.root.join(name))
    }

    /// Creates a directory unless it is there.
    pub fn ensure_directory(&mut self, name: &InnerPath) -> Result<(), DiskError> {
        self.make(&name.in_directory(&self.root))
    }

    /// Makes the data directory startable. Everything else, also outside of this tree, has to
    /// be durable already.
    pub fn complete(&self) -> Result<(), DiskError> {
        let held = self.root.join(CONTROL_FILE_HELD);
        durable::rename(self.disk, &held, &self.root.join(CONTROL_FILE))?;
        durable::remove_file(self.disk, &self.root.join(MARKER))
    }

    /// Creates a directory and those above it, up to the root.
    fn make(&mut self, path: &Path) -> Result<(), DiskError> {
        if self.directories.contains(path) {
            return Ok(());
        }
        if let Some(above) = path.parent() {
            self.make(above)?;
        }
        self.disk.create_directory(path, 0o700)?;
        self.directories.insert(path.to_owned());
        Ok(())
    }
}

/// A file that is being written, from its first byte on.
#[derive(Debug)]
pub struct TreeFile {
    file: Box<dyn DiskFile>,
    length: u64,
    written_back: u64,
}

impl TreeFile {
    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        let pending = self.length - self.written_back;
        if pending >= WRITEBACK_BYTES {
            self.file.start_writeback(self.written_back, pending)?;
            self.written_back = self.length;
        }
        Ok(())
    }

    /// Writes somewhere within the length that the file has.
    pub fn write_within(&mut self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset)
    }

    /// What was written, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Extends the file with zeros.
    pub fn pad_to(&mut self, length: u64) -> Result<(), DiskError> {
        if length > self.length {
            self.file.set_length(length)?;
            self.length = length;
        }
        Ok(())
    }

    /// Ends the file. Durable only after [`Tree::sync`].
    pub fn finish(self, modified: Option<SystemTime>) -> Result<(), DiskError> {
        // A call for each small file would cost more than it saves.
        let pending = self.length - self.written_back;
        if pending >= SMALL_BYTES {
            self.file.start_writeback(self.written_back, pending)?;
        }
        match modified {
            Some(time) => self.file.set_modified(time),
            None => Ok(()),
        }
    }
}
