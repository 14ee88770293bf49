//! Why a file is not in the archive.

use std::path::PathBuf;

use crate::disk::{DiskError, LockError};
use crate::repository::RepositoryError;

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
}

impl ArchiveError {
    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            ArchiveError::Disk(error) => error.hint(),
            ArchiveError::Lock(error) => error.hint(),
            ArchiveError::Repository(error) => error.hint(),
            ArchiveError::Size { path, .. } => {
                Some(format!("move {} away: archiving goes on behind it", path.display()))
            }
        }
    }

    /// Another process is archiving.
    pub fn is_busy(&self) -> bool {
        matches!(self, ArchiveError::Lock(LockError::Held { .. }))
    }
}
