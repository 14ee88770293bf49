//! Why a file is not in the archive.

use std::path::PathBuf;

use crate::disk::{DiskError, LockError};
use crate::repository::RepositoryError;
use crate::wal::SystemIdentifier;

/// A file that could not be archived. It is still where it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file or directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The xlog database.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The name promises a complete segment, but no segment has this size.
    #[error("{} has {length} bytes, which no complete segment has", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// A file in `incoming/` whose end is not there.
    #[error("{} is not whole: {length} bytes are there so far", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// A file in `incoming/` that holds something else.
    #[error("{} is not what its name says", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// A segment in `incoming/` that another cluster has written.
    #[error("{} is of system {found}; the repository is that of system {expected}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The cluster that wrote it.
        found: SystemIdentifier,
        /// The cluster of the repository.
        expected: SystemIdentifier,
    },
    /// What was written is not what was read: a fault of the machine, or of the disk.
    #[error("{} was packed, and unpacked it is something else", path.display())]
    Verification {
        /// The file that was to be packed.
        path: PathBuf,
    },
}

impl ArchiveError {
    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            ArchiveError::Disk(error) => error.hint(),
            ArchiveError::Lock(error) => error.hint(),
            ArchiveError::Repository(error) => error.hint(),
            ArchiveError::Verification { .. } => {
                Some("check the memory and the disk of this machine".to_owned())
            }
            ArchiveError::Unfinished { path, .. } => Some(format!(
                "if nobody writes it any more, remove {}: the server delivers it again",
                path.display()
            )),
            ArchiveError::Foreign { path, .. } => Some(format!(
                "find out whose archive_command delivers to the directory of {}, and move the \
                 file away",
                path.display()
            )),
            ArchiveError::Size { path, .. } | ArchiveError::Content { path } => {
                Some(format!("find out who wrote {}, and move it away", path.display()))
            }
        }
    }

    /// It is one file that is wrong, not the disk: others can be archived.
    pub(super) fn is_of_content(&self) -> bool {
        use ArchiveError::{Content, Foreign, Size, Unfinished};
        matches!(self, Content { .. } | Foreign { .. } | Size { .. } | Unfinished { .. })
    }

    /// Another process is archiving.
    pub fn is_busy(&self) -> bool {
        matches!(self, ArchiveError::Lock(LockError::Held { .. }))
    }
}
