//! Every write of the repository.
//!
//! A write path names its calls through [`Disk`], so that a test can hand it a model disk that
//! loses power, tears writes and fails at any call. Knows nothing of PostgreSQL.

mod aligned;
pub mod durable;
mod error;
pub mod lock;
mod model;
mod real;
mod watch;

use std::ffi::OsString;
use std::fmt;
use std::io::IoSlice;
use std::path::Path;
use std::time::SystemTime;

pub use aligned::{AlignedBuffer, DIRECT_ALIGN};
pub use durable::{
    append, copy, copy_content, create_afresh, create_directories, move_file, read_file,
    read_to_end, remove_content, remove_file, rename, sync_files, write_file,
};
pub use error::DiskError;
pub use lock::{LockError, LockFile};
pub use model::ModelDisk;
pub use real::{RealDisk, may_write};
pub use watch::FileSystemWatch;

/// The calls that reach a file system, one to one: nothing here is durable unless it says so.
///
/// Paths are absolute. A new, renamed or removed name survives a power cut only after
/// [`Disk::sync_directory`] of the directory that holds it; bytes only after
/// [`DiskFile::sync_data`] or [`DiskFile::sync_all`]; and everything after
/// [`FileSystemWatch::sync`]. After a failed sync nothing that was
/// written since the last good one may be believed, and the file must not be synced again in
/// the hope of a better answer.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates a file that must not exist, open for reading and writing, with permission bits
    /// `mode` less the umask.
    fn create(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>, DiskError>;
    /// Opens an existing file for reading and writing. Never follows a symbolic link.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError>;
    /// Opens an existing file for writes that go past the page cache: their memory, offset and
    /// length are multiples of [`DIRECT_ALIGN`]. `None` where the file system has no such
    /// writes. They are no more durable than others until the file is synced.
    fn open_direct(&self, path: &Path) -> Result<Option<Box<dyn DiskFile>>, DiskError>;
    /// Gives a file a second name, which must not exist, on the same file system.
    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError>;
    /// Renames a file, replacing what stands at `to`.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;
    /// Removes a file or a symbolic link.
    fn remove_file(&self, path: &Path) -> Result<(), DiskError>;
    /// Creates one directory, which must not exist, with permission bits `mode` less the umask.
    fn create_directory(&self, path: &Path, mode: u32) -> Result<(), DiskError>;
    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> Result<(), DiskError>;
    /// Creates a symbolic link at `link` that points to `target`.
    fn symlink(&self, target: &Path, link: &Path) -> Result<(), DiskError>;
    /// Sets the permission bits exactly.
    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), DiskError>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> Result<(), DiskError>;
    /// Has the file system around a path write back everything that is dirty, and waits for it:
    /// what is then synced one by one costs little. Promises nothing by itself.
    fn flush_file_system(&self, path: &Path) -> Result<(), DiskError>;
    /// Watches the file system of a directory from now on, to make everything that is written to
    /// it durable with one call. `None` where such a call does not tell of every failure: there
    /// each file and each directory has to be synced by itself.
    fn watch_file_system(&self, path: &Path)
    -> Result<Option<Box<dyn FileSystemWatch>>, DiskError>;
    /// What stands in a directory, in no particular order, without `.` and `..`.
    fn list(&self, path: &Path) -> Result<Vec<DirectoryEntry>, DiskError>;
    /// What stands at a path; a symbolic link is not followed. `None` when nothing does.
    fn stat(&self, path: &Path) -> Result<Option<FileStat>, DiskError>;
    /// Bytes that an unprivileged process may still write on the file system of `path`.
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError>;
}

/// An open file. Dropping it closes it without making anything durable.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// The path it was opened by, for messages.
    fn path(&self) -> &Path;
    /// Writes all slices, one behind the other, from `offset` on.
    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError>;
    /// Reads up to `buffer.len()` bytes from `offset`; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError>;
    /// The length in bytes.
    fn length(&self) -> Result<u64, DiskError>;
    /// Cuts the file, or extends it with zeros that take no space.
    fn set_length(&self, length: u64) -> Result<(), DiskError>;
    /// Reserves space for `length` bytes from `offset` on, extending the file with zeros.
    fn allocate(&self, offset: u64, length: u64) -> Result<(), DiskError>;
    /// Asks the kernel to begin writing a range back, without waiting. A hint: promises nothing.
    fn start_writeback(&self, offset: u64, length: u64) -> Result<(), DiskError>;
    /// Makes bytes durable, and of the metadata what is needed to read them (fdatasync).
    fn sync_data(&self) -> Result<(), DiskError>;
    /// Makes bytes and all metadata durable (fsync).
    fn sync_all(&self) -> Result<(), DiskError>;
    /// Sets the time of the last change.
    fn set_modified(&self, time: SystemTime) -> Result<(), DiskError>;

    /// Writes all of `bytes` from `offset` on.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        self.write_all_vectored_at(&[IoSlice::new(bytes)], offset)
    }
}

/// What kind of thing a name leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirectoryEntry {
    /// The name, without its directory.
    pub name: OsString,
    /// What it leads to; links are not followed.
    pub kind: FileKind,
}

/// What the file system knows of a file without opening it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub length: u64,
    /// Permission bits.
    pub mode: u32,
    /// How many names it has.
    pub links: u64,
    /// Time of the last change.
    pub modified: SystemTime,
}
