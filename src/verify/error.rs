//! What keeps a stored backup from being verified at all.

use std::io;
use std::path::PathBuf;

use crate::codec::Codec;
use crate::disk::{DiskError, LockError};
use crate::repository::{BackupId, BackupStatus, RepositoryError, ServerName};

/// Why nothing can be said of a backup. What is wrong with its files is a
/// [`Finding`](super::Finding).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The repository cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The repository's files.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A lock that is held, or cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The backup was not copied to its end.
    #[error("backup {id} has status {status}: it is not complete")]
    NotCopied {
        /// Which.
        id: BackupId,
        /// How far it got.
        status: BackupStatus,
    },
    /// There is neither an archive nor a directory.
    #[error("the backup has no data: neither base.tar nor a data directory is in {}", .0.display())]
    NoData(PathBuf),
    /// There is nothing to compare with.
    #[error("the backup has no backup_manifest, so that nothing can be compared")]
    NoManifest {
        /// The server.
        server: ServerName,
        /// The backup.
        id: BackupId,
    },
    /// What is there is not replaced.
    #[error("{} is there already", .0.display())]
    HasManifest(PathBuf),
    /// A file is packed in a way that cannot be undone.
    #[error("{} is packed with {codec}, which this program cannot read", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// How.
        codec: Codec,
    },
    /// A manifest would vouch for files that are damaged already.
    #[error("no manifest is made of a damaged backup: {}", .0.join("; "))]
    Damaged(Vec<String>),
    /// No thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl VerifyError {
    /// One sentence for the operator, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            VerifyError::Disk(error) => error.hint(),
            VerifyError::Repository(error) => error.hint(),
            VerifyError::Lock(error) => error.hint(),
            VerifyError::NoManifest { server, id } => Some(format!(
                "tapster generate-manifest {server} {id}: it lists what is there now, so that \
                 later changes are found"
            )),
            VerifyError::HasManifest(_) => Some("verify-backup holds the backup against it".into()),
            VerifyError::Packed { path, .. } => {
                Some(format!("decrypt or unpack {} in place first", path.display()))
            }
            VerifyError::Damaged(_) => Some("take another backup, and check the disk".to_owned()),
            _ => None,
        }
    }
}
