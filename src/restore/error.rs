//! What stops a restore that has begun, or keeps it from beginning.

use std::path::PathBuf;

use crate::codec::Codec;
use crate::disk::DiskError;
use crate::wal::{ControlFileError, HistoryError, SegmentName, SystemIdentifier};

use super::path::UnsafeName;
use super::refusal::Refusal;
use super::shelf::WalIdentity;
use super::target::TargetError;

/// A restore that was not done. Whatever is left in the destination cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It cannot give what was asked for.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The target makes no sense.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The repository cannot be read, or the destination not written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A name in the backup would leave the destination.
    #[error(transparent)]
    UnsafeName(#[from] UnsafeName),
    /// A stored file is packed in a way that cannot be read here.
    #[error("{} is packed with {codec}, which this program cannot read", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// How it is packed.
        codec: Codec,
    },
    /// There is neither an archive nor a directory.
    #[error("the backup has no data: neither {} nor a data directory is there", .0.display())]
    NoData(PathBuf),
    /// An archive is damaged.
    #[error("{} is no tar archive of a server", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        source: crate::tar::TarError,
    },
    /// An archive holds something that no server sends.
    #[error("{name:?} in {} is {what}", path.display())]
    ForbiddenMember {
        /// The archive or directory.
        path: PathBuf,
        /// The member.
        name: String,
        /// Why it is refused.
        what: &'static str,
    },
    /// The manifest cannot be read.
    #[error("{} is no backup manifest", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: crate::manifest::ManifestError,
    },
    /// The stored backup is not what the server sent.
    #[error("{name:?} is not what the backup manifest says: {what}")]
    Mismatch {
        /// The file, relative to the data directory.
        name: String,
        /// Both values.
        what: String,
    },
    /// A part of a file is none, or cannot be used.
    #[error("{name:?} in {} is no incremental file: {source}", path.display())]
    Incremental {
        /// The file, relative to the data directory.
        name: String,
        /// The archive or directory.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::pages::IncrementalError,
    },
    /// Blocks of a file are nowhere in the chain.
    #[error("{name:?} has come in parts, and backup {backup} before it has none of them")]
    NotInChain {
        /// The file, relative to the data directory.
        name: String,
        /// The older backup that should have it.
        backup: String,
    },
    /// Parts of a file, and nothing that they are parts of.
    #[error("full backup {backup} has only a part of {name:?}")]
    PartInFull {
        /// The file, relative to the data directory.
        name: String,
        /// The backup.
        backup: String,
    },
    /// Chains of servers that were built in another way cannot be combined.
    #[error("the cluster has pages of {0} bytes; chains of backups are combined with 8192 only")]
    PageSize(u32),
    /// The same.
    #[error(
        "the cluster keeps {0} pages of a relation in one file; chains of backups are combined \
         with 131072 only"
    )]
    SegmentBlocks(u32),
    /// Without it nobody knows what belongs to the backup.
    #[error("backup {0} of the chain has no backup_manifest")]
    NoManifest(String),
    /// The file without which no server starts is not in the backup.
    #[error("{} has no global/pg_control", .0.display())]
    NoControlFile(PathBuf),
    /// It is damaged.
    #[error("global/pg_control in {} is damaged", path.display())]
    ControlFile {
        /// The archive or directory.
        path: PathBuf,
        /// What is wrong.
        source: ControlFileError,
    },
    /// The stored backup is that of another cluster.
    #[error("the backup is of the cluster {found}, but backup.info says {expected}")]
    ForeignBackup {
        /// In `pg_control`.
        found: SystemIdentifier,
        /// In `backup.info`.
        expected: SystemIdentifier,
    },
    /// A history file cannot be read.
    #[error("{} is no timeline history", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: HistoryError,
    },
    /// A segment is not what its name says.
    #[error("{} holds {what}", path.display())]
    ForeignSegment {
        /// The file.
        path: PathBuf,
        /// What its first page says.
        what: String,
    },
    /// A segment is cut or empty.
    #[error(
        "{} is no complete segment: {length} bytes of {}", path.display(),
        identity.segment_size.bytes()
    )]
    SegmentLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: u64,
        /// What it was compared with.
        identity: WalIdentity,
    },
    /// The same, where no backup says how long it should be.
    #[error("{} is no complete segment: {length} bytes", path.display())]
    CutSegment {
        /// The file.
        path: PathBuf,
        /// Its length, unpacked.
        length: u64,
    },
    /// What there is of a segment, and is wanted, cannot be had.
    #[error("WAL segment {name}, which was not received to its end, cannot be read")]
    UnreadWal {
        /// The segment.
        name: SegmentName,
        /// Why.
        source: Box<RestoreError>,
    },
    /// Whoever asked for a file does not take it.
    #[error("cannot send the WAL file")]
    Send(#[source] std::io::Error),
    /// Another process works on the backup.
    #[error(transparent)]
    Lock(#[from] crate::disk::lock::LockError),
    /// The repository holds something that cannot be understood.
    #[error(transparent)]
    Repository(#[from] crate::repository::RepositoryError),
    /// The user wants no more of it.
    #[error("the restore was interrupted")]
    Interrupted,
}

const DAMAGED: &str = "the stored backup is damaged: restore another one, and check the disk";

impl RestoreError {
    /// What is stored is at fault, and not the disk: it will be the same at the next try.
    pub(super) fn is_of_content(&self) -> bool {
        match self {
            RestoreError::UnreadWal { source, .. } => source.is_of_content(),
            RestoreError::Disk(error) => error.is_of_unpacking(),
            RestoreError::Packed { .. } => true,
            _ => false,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            RestoreError::Refused(refusal) => refusal.hint(),
            RestoreError::Disk(error) if error.is_full() => Some(
                "make room, empty the destination and restore again: what is there cannot be \
                 started"
                    .to_owned(),
            ),
            RestoreError::Disk(error) if error.is_of_unpacking() => Some(DAMAGED.to_owned()),
            RestoreError::Disk(error) => error.hint(),
            RestoreError::Lock(error) => error.hint(),
            RestoreError::Repository(error) => error.hint(),
            RestoreError::Packed { path, codec } => Some(format!(
                "unpack {} with {codec} in place; the name does not change",
                path.display()
            )),
            RestoreError::Mismatch { .. }
            | RestoreError::Incremental { .. }
            | RestoreError::NotInChain { .. }
            | RestoreError::PartInFull { .. }
            | RestoreError::NoManifest(_)
            | RestoreError::Archive { .. }
            | RestoreError::ControlFile { .. } => Some(DAMAGED.to_owned()),
            RestoreError::ForeignSegment { path, .. } => {
                Some(format!("find out who wrote {}", path.display()))
            }
            RestoreError::UnreadWal { source, .. } if source.is_of_content() => source.hint(),
            RestoreError::UnreadWal { .. } => Some(
                "try again; what lies before it is restored with a target, or when its .partial \
                 is moved out of the repository"
                    .to_owned(),
            ),
            RestoreError::Interrupted => Some("empty the destination and restore again".to_owned()),
            _ => None,
        }
    }
}
