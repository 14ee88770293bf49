//! The layout on disk, byte for byte that of Barman. Knows no connections.
//!
//! Paths ([`ServerLayout`]), metadata of backups ([`BackupInfo`]), the list of archived WAL
//! ([`xlogdb`]) and the identity of the cluster ([`Identity`]); beside them, in files of our own,
//! lost WAL ([`Holes`]), what each segment holds ([`wal_facts`]), damage that a backup has brought
//! along ([`KnownDamage`]) and where relations were cut off before it ([`KnownLimits`]). What these
//! facts mean together is for `catalog` to say.

pub mod python;
pub mod rebuild;
pub mod xlogdb;
pub mod backup_info;
pub mod wal_facts;
pub mod label;
mod holes;
mod known_damage;
mod known_limits;
mod state_file;
mod stored_manifest;
mod backup_extra;
mod backup_id;
mod identity;
mod layout;
mod locks;
mod time;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use crate::config::ServerName;
use crate::disk::DiskError;
use crate::disk::LockError;
pub use backup_extra::BackupExtra;
pub use backup_id::{BackupId, ParseBackupIdError};
pub use backup_info::{
    BackupCompression, BackupInfo, BackupInfoFault, BackupMode, BackupStatus, CopyStats, Tablespace,
};
pub use holes::{Hole, HoleCause, Holes};
pub use identity::Identity;
pub use known_damage::{KnownDamage, KnownPage};
pub use known_limits::KnownLimits;
pub use layout::{DATA_MODE, DIRECTORY_MODE, FILE_MODE, Lock, ServerLayout};
pub use locks::clear_locks;
pub use stored_manifest::StoredManifest;
pub use time::BackupTime;
pub use wal_facts::{FactsLog, SegmentFacts, WalFacts};
pub use xlogdb::{XlogDb, XlogLine};

/// A repository that cannot be read, written or trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// A file or directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A `backup.info` that cannot be understood.
    #[error("{}:{line}: {fault}", path.display())]
    BackupInfo {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: BackupInfoFault,
    },
    /// An `identity.json` that cannot be understood.
    #[error("{} does not say which cluster the repository belongs to", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
    },
    /// A record of damage that cannot be understood.
    #[error("{} does not say what is damaged in its backup", path.display())]
    KnownDamage {
        /// The file.
        path: PathBuf,
    },
    /// A line in the list of holes that cannot be understood.
    #[error("{}:{line}: cannot be understood, and may say that WAL is lost", path.display())]
    Holes {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The repository holds another cluster.
    #[error(
        "the repository of server {server} belongs to system {} of version {}; this one is \
         system {} of version {}",
        stored.system_identifier, stored.version, found.system_identifier, found.version
    )]
    OtherCluster {
        /// The server.
        server: ServerName,
        /// What the repository was begun for.
        stored: Identity,
        /// What is there now.
        found: Identity,
    },
}

impl RepositoryError {
    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            RepositoryError::Disk(error) => error.hint(),
            RepositoryError::Lock(error) => error.hint(),
            RepositoryError::BackupInfo { .. } => {
                Some("mend the line, or move the file away to forget the backup".into())
            }
            RepositoryError::Identity { path } => {
                Some(format!("move {} away; the next backup writes it again", path.display()))
            }
            RepositoryError::KnownDamage { path } => {
                Some(format!("move {} away; it is about this backup only", path.display()))
            }
            RepositoryError::Holes { path, line } => Some(holes::hint(path, *line)),
            RepositoryError::OtherCluster { .. } => {
                Some("check conninfo, or give the new cluster a server section of its own".into())
            }
        }
    }
}
