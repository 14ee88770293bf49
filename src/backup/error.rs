//! What can go wrong with a backup.

use std::io;

use super::parent::ParentError;
use super::verdict::Differences;
use crate::archive::ArchiveError;
use crate::codec::{Codec, FramingError};
use crate::conninfo::ConninfoError;
use crate::disk::{DiskError, LockError};
use crate::manifest::ManifestError;
use crate::net::NetError;
use crate::pages::{DamagedPages, LostBlocks};
use crate::receive::ReceiveError;
use crate::repository::{BackupId, RepositoryError};
use crate::tar::TarError;
use crate::wal::{ControlFileError, Lsn, SystemIdentifier, Timeline};
use crate::wire::SqlState;

/// Why there is no backup, or none that may be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The configuration asks for what this release does not do.
    #[error("{option} = {value} is not supported yet")]
    Unsupported {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What works instead.
        instead: &'static str,
    },
    /// What the server was to compress with is not in its build.
    #[error("the server was built without {0}")]
    NotBuilt(Codec),
    /// Archives cannot be packed like that.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The value of an option that cannot be understood.
    #[error("{option} = {value} cannot be used: expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An option without which there is nobody to talk to.
    #[error("{0} is not configured")]
    NotConfigured(&'static str),
    /// A connection string that cannot be used.
    #[error("{option} cannot be used")]
    Conninfo {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        source: ConninfoError,
    },
    /// Another backup, or a deletion, is under way.
    #[error("another backup or deletion of this server is under way")]
    Busy(#[source] LockError),
    /// A lock that cannot be used.
    #[error(transparent)]
    Lock(LockError),
    /// The connection, or the server's answer.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The repository's disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The repository's files.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// WAL that could not be received.
    #[error("cannot receive the WAL of the backup")]
    Receive(#[from] ReceiveError),
    /// WAL that could not be archived.
    #[error("cannot archive the WAL of the backup")]
    Archive(#[from] ArchiveError),
    /// Nothing would keep the WAL of the backup on the server until it is received.
    #[error("no replication slot keeps the WAL of the backup on the server")]
    NotKept(#[source] NetError),
    /// The two connection strings lead to two clusters.
    #[error("conninfo leads to system {sql}, but streaming_conninfo to system {streaming}")]
    TwoClusters {
        /// Behind `conninfo`.
        sql: SystemIdentifier,
        /// Behind `streaming_conninfo`.
        streaming: SystemIdentifier,
    },
    /// The repository holds WAL of another cluster.
    #[error("the repository holds WAL of system {stored}, but the server is system {found}")]
    OtherWal {
        /// In the newest stored segment.
        stored: SystemIdentifier,
        /// As the server says.
        found: SystemIdentifier,
    },
    /// An archive that cannot be one.
    #[error("the server sent a broken {archive}")]
    Tar {
        /// Its name.
        archive: String,
        /// What is wrong with it.
        source: TarError,
    },
    /// An archive that the server compressed, and that cannot be unpacked.
    #[error("the server sent {archive} so that it cannot be unpacked")]
    Unpack {
        /// Its name.
        archive: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A member that belongs nowhere.
    #[error(
        "the server sent {member} in {archive}, which is neither a file nor a link of a tablespace"
    )]
    Forbidden {
        /// The archive.
        archive: String,
        /// The member.
        member: String,
    },
    /// A manifest that cannot be one.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// What came is not what the manifest lists.
    #[error("the server sent something else than its manifest lists: {0}")]
    Differs(Differences),
    /// Pages of the cluster are damaged, and nobody has said that this is to be put up with.
    #[error("{}", said(.pages))]
    Damaged {
        /// As found in what was sent; none where only the server has found some.
        pages: DamagedPages,
        /// What the server says itself.
        source: Option<Box<NetError>>,
    },
    /// No server is built with such pages.
    #[error("the server says that its pages have {0} bytes")]
    PageSize(u32),
    /// There is nothing that an incremental backup could continue.
    #[error("cannot continue a backup")]
    Parent(#[from] ParentError),
    /// The server knows better.
    #[error("the server cannot continue backup {id}")]
    NotContinued {
        /// Which.
        id: BackupId,
        /// What it says.
        source: Box<NetError>,
    },
    /// It has read its WAL summaries out of order, see [`LostBlocks`].
    #[error(
        "the server has left out {} page(s) that were written since backup {id}: the first is block \
         {} of {:?}", lost.count, lost.block, lost.path
    )]
    LeftOut {
        /// The parent.
        id: BackupId,
        /// What is missing.
        lost: LostBlocks,
    },
    /// What came builds on something else.
    #[error("the server was to continue backup {id}, but its label says {}", continued(.found))]
    OtherParent {
        /// The parent.
        id: BackupId,
        /// As the label says.
        found: Option<(Timeline, Lsn)>,
    },
    /// The manifest speaks of another backup.
    #[error(
        "the manifest is about WAL from {listed_start} to {listed_end}, the backup about {start} to {end}"
    )]
    ManifestRange {
        /// As listed.
        listed_start: Lsn,
        /// As listed.
        listed_end: Lsn,
        /// Of the backup.
        start: Lsn,
        /// Of the backup.
        end: Lsn,
    },
    /// The manifest speaks of another cluster.
    #[error("the manifest is of system {listed}, the server is system {expected}")]
    ManifestSystem {
        /// As listed.
        listed: SystemIdentifier,
        /// As the server says.
        expected: SystemIdentifier,
    },
    /// Tablespaces that the server would leave out of the copy, and say nothing.
    #[error(
        "servers before 16 leave in-place tablespaces out of base backups, and this one has: {}",
        .0.join(", ")
    )]
    InPlaceTablespaces(Vec<String>),
    /// A file without which the copy cannot start.
    #[error("the server did not send {0}")]
    Lacks(&'static str),
    /// The copy of `pg_control` is torn or damaged.
    #[error(transparent)]
    Control(#[from] ControlFileError),
    /// The copy of `pg_control` is of another cluster.
    #[error("pg_control is of system {found}, the server is system {expected}")]
    ControlSystem {
        /// In the file.
        found: SystemIdentifier,
        /// As the server says.
        expected: SystemIdentifier,
    },
    /// The manifest is longer than any that a server can need.
    #[error("the manifest is longer than {0} bytes")]
    ManifestTooLong(u64),
    /// Every WAL segment came, and yet one is not there.
    #[error("WAL segment {0} was archived, and is not in the archive")]
    SegmentGone(String),
    /// No thread for the writer.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// We were told to end.
    #[error("interrupted")]
    Interrupted,
}

fn said(pages: &DamagedPages) -> String {
    match pages.is_empty() {
        true => "pages of the cluster are damaged".to_owned(),
        false => format!("{} damaged page(s) in the cluster: {pages}", pages.count()),
    }
}

fn continued(from: &Option<(Timeline, Lsn)>) -> String {
    match from {
        Some((timeline, lsn)) => format!("{lsn} on timeline {timeline}"),
        None => "nothing of it".to_owned(),
    }
}

/// What to do where a backup gets no slot of its own.
pub(super) const SLOT_REMEDY: &str = "raise max_replication_slots on the server or drop a slot that nobody needs, \
     or run receive-wal with a slot (slot_name), which then keeps the WAL";

impl BackupError {
    /// Whether all has come, and what came is worth being looked at.
    pub(super) fn keeps_files(&self) -> bool {
        matches!(self, BackupError::Differs(_) | BackupError::Damaged { .. })
    }

    /// One sentence for the operator, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            BackupError::Unsupported { instead, .. } => Some((*instead).to_owned()),
            BackupError::NotBuilt(_) => Some(
                "set backup_compression_location = client, or backup_compression = gzip".to_owned(),
            ),
            BackupError::Framing(error) => Some(error.hint()),
            BackupError::NotConfigured(option) => {
                Some(format!("set {option} in the server's section of the configuration"))
            }
            BackupError::Conninfo { source, .. } => source.hint(),
            BackupError::Busy(error) | BackupError::Lock(error) => error.hint(),
            BackupError::Net(error) => error.hint(),
            BackupError::Disk(error) => error.hint(),
            BackupError::Repository(error) => error.hint(),
            BackupError::Receive(error) => error.hint(),
            BackupError::Archive(error) => error.hint(),
            BackupError::NotKept(error)
                if error.has_code(SqlState::LIMIT_EXCEEDED)
                    || error.has_code(SqlState::PREREQUISITE) =>
            {
                Some(SLOT_REMEDY.to_owned())
            }
            BackupError::NotKept(error) => error.hint(),
            BackupError::TwoClusters { .. } => {
                Some("make conninfo and streaming_conninfo lead to the same server".to_owned())
            }
            BackupError::OtherWal { .. } => Some(
                "give the other cluster a server entry of its own, with its own directories"
                    .to_owned(),
            ),
            BackupError::InPlaceTablespaces(_) => Some(
                "move what is in them to a tablespace with a location, or to pg_default, and drop \
                 them"
                    .to_owned(),
            ),
            BackupError::Tar { source, .. } => source.hint(),
            BackupError::Parent(error) => error.hint(),
            BackupError::NotContinued { .. } => Some(
                "take a full backup; keep summarize_wal on, and wal_summary_keep_time longer than \
                 the time between two backups"
                    .to_owned(),
            ),
            BackupError::LeftOut { .. } => Some(
                "take a full backup: when a table has shrunk and grown again, a server may mistake \
                 the order of that, and its incremental backup lacks rows"
                    .to_owned(),
            ),
            BackupError::Damaged { pages, .. } if pages.has_broken_files() => {
                Some("take the backup again, or a full one".to_owned())
            }
            BackupError::Damaged { .. } => Some(
                "repair the relations from a backup that has them whole, and look at the disk of \
                 the server; with --allow-damaged-pages the backup is taken with the damage in it"
                    .to_owned(),
            ),
            BackupError::Forbidden { .. } => {
                Some("make sure that the server is the one that you trust".to_owned())
            }
            BackupError::Manifest(error) => error.hint(),
            BackupError::Control(error) => error.hint(),
            BackupError::ManifestSystem { .. } | BackupError::ControlSystem { .. } => Some(
                "see that streaming_conninfo leads to one server only, and take the backup again"
                    .to_owned(),
            ),
            BackupError::Differs(_)
            | BackupError::Unpack { .. }
            | BackupError::ManifestTooLong(_)
            | BackupError::ManifestRange { .. }
            | BackupError::Lacks(_) => Some(
                "take the backup again; if it fails in the same way, look at the network and the \
                 memory between the two machines"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
