//! What a disk refuses, with the name of what it was asked about.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A call on a file or a directory that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct DiskError {
    /// A verb: `create`, `write`, `sync`, `rename to`, …
    pub operation: &'static str,
    /// The file or directory. For a rename, where it was to go.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    /// The failure of `operation`, a verb that reads well after "cannot", on `path`.
    pub fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> DiskError {
        DiskError { operation, path: path.to_owned(), source: source.into() }
    }

    /// Nothing stands at the path.
    pub fn is_absent(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Something stands at the path already.
    pub fn is_present(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }

    /// The file system is mounted read-only.
    pub fn is_read_only(&self) -> bool {
        self.errno() == Some(Errno::ROFS)
    }

    /// No room is left: the file system is full, or the owner's quota is.
    pub fn is_full(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOSPC | Errno::DQUOT))
    }

    /// The file system does not know such a call, or not with these arguments.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno(), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS))
    }

    /// It was a sync that failed: what it was to make durable must be written again.
    pub fn is_of_sync(&self) -> bool {
        self.operation.starts_with("sync")
    }

    /// The file could be read, and what is packed in it cannot be unpacked: the content is at
    /// fault, not the disk.
    pub fn is_of_unpacking(&self) -> bool {
        self.operation == "unpack"
    }

    /// The two paths of a rename lie on different file systems.
    pub fn is_cross_device(&self) -> bool {
        self.errno() == Some(Errno::XDEV)
    }

    /// The file system has no second names for files (or not for this user).
    pub fn is_link_refused(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK)
        )
    }

    /// One sentence for the operator, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let path = self.path.display();
        match self.errno()? {
            Errno::NOSPC => Some(format!("make room on the file system of {path}")),
            Errno::DQUOT => Some(format!("raise the disk quota of the owner of {path}")),
            Errno::ACCESS | Errno::PERM => {
                Some(format!("give the user that runs this command access to {path}"))
            }
            Errno::ROFS => Some(format!("mount the file system of {path} for writing")),
            Errno::IO => {
                Some(format!("look for faults of the disk under {path} in the kernel log"))
            }
            Errno::MFILE | Errno::NFILE => Some("raise the limit of open files".to_owned()),
            _ => None,
        }
    }

    fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.source)
    }
}
