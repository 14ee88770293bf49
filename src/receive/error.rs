//! Why reception ended, and whether another try can help.

use std::path::PathBuf;

use super::start::Refusal;
use crate::disk::{DiskError, LockError};
use crate::net::NetError;
use crate::repository::RepositoryError;
use crate::wal::{HistoryError, Lsn, Timeline};
use crate::wire::{Retry, SlotName, SqlState};

/// What ended a stream, or kept it from beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The connection, or the server's answer.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The repository's disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The repository's files.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A lock of the repository.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// What is stored and what the server has do not belong together.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The slot is not there, and nobody asked for it to be made.
    #[error("replication slot {slot} does not exist")]
    SlotMissing {
        /// The slot.
        slot: SlotName,
        /// The server's section, for the hint.
        server: String,
        /// It was there before: the server may have been replaced by one without it.
        known: bool,
    },
    /// The slot is there, but the server has given it up.
    #[error("server has invalidated replication slot {slot}: it kept more WAL than it may")]
    SlotInvalid {
        /// The slot.
        slot: SlotName,
        /// The server's section, for the hint.
        server: String,
        /// What the server said.
        source: Box<NetError>,
    },
    /// A history file of the server that cannot be read.
    #[error("server's history file cannot be used")]
    History(#[from] HistoryError),
    /// Two promotions gave the same number to two timelines.
    #[error(
        "history of timeline {timeline} on the server differs from the stored file {}",
        path.display()
    )]
    OtherHistory {
        /// The timeline.
        timeline: Timeline,
        /// The stored file.
        path: PathBuf,
    },
    /// The WAL that comes next no longer exists on the server.
    #[error("server has removed the WAL at {needed}")]
    Removed {
        /// The first missing byte.
        needed: Lsn,
        /// What the server said.
        source: NetError,
    },
    /// A setting of the server that cannot be understood.
    #[error("server's setting {name} is {value:?}, which cannot be understood")]
    Setting {
        /// The setting.
        name: &'static str,
        /// As the server prints it.
        value: String,
    },
    /// The server says less than it had said before, or is older than what is stored.
    #[error("server's WAL ends at {server}, before the stored WAL, which ends at {local}")]
    Behind {
        /// Where the server stands.
        server: Lsn,
        /// Where the stored WAL ends.
        local: Lsn,
        /// By more than a segment.
        alarming: bool,
    },
    /// The machine has no thread left.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl ReceiveError {
    /// Whether and how soon another try can help.
    pub fn retry(&self) -> Retry {
        match self {
            ReceiveError::Net(error) => self.retry_of(error),
            // Room may be made, a mount may come back. Whatever it is: a receiver that ends
            // lets the server's disk fill instead.
            ReceiveError::Disk(_) | ReceiveError::Lock(_) | ReceiveError::Thread(_) => {
                Retry::AfterBackoff
            }
            ReceiveError::Repository(RepositoryError::Disk(_) | RepositoryError::Lock(_)) => {
                Retry::AfterBackoff
            }
            ReceiveError::Behind { alarming: false, .. } => Retry::AfterBackoff,
            ReceiveError::Behind { .. } => Retry::Slowly,
            ReceiveError::SlotMissing { known: true, .. } | ReceiveError::SlotInvalid { .. } => {
                Retry::Slowly
            }
            // The receiver knows what to do about it: go on behind the gap.
            ReceiveError::Removed { .. } => Retry::Now,
            ReceiveError::SlotMissing { .. }
            | ReceiveError::Repository(_)
            | ReceiveError::Refused(_)
            | ReceiveError::History(_)
            | ReceiveError::OtherHistory { .. }
            | ReceiveError::Setting { .. } => Retry::Never,
        }
    }

    /// XX000 to START_REPLICATION means that positions and history moved between our question
    /// and our request: they are compared anew, not asked for again blindly.
    fn retry_of(&self, error: &NetError) -> Retry {
        match error.server_error().map(|error| error.code) {
            Some(SqlState::INTERNAL) => Retry::Slowly,
            _ => error.retry(),
        }
    }

    /// Whether it is this server that does not match what is stored, where another one may.
    pub(super) fn is_of_this_server(&self) -> bool {
        matches!(
            self,
            ReceiveError::Refused(_)
                | ReceiveError::Behind { .. }
                | ReceiveError::OtherHistory { .. }
        )
    }

    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            ReceiveError::Net(error) => error.hint(),
            ReceiveError::Disk(error) => error.hint(),
            ReceiveError::Repository(error) => error.hint(),
            ReceiveError::Lock(error) => error.hint(),
            ReceiveError::Refused(refusal) => Some(refusal.hint()),
            ReceiveError::SlotMissing { server, .. } => {
                Some(format!("tapster receive-wal --create-slot {server}"))
            }
            ReceiveError::SlotInvalid { server, .. } => Some(format!(
                "tapster receive-wal --drop-slot {server}, then --create-slot, and take a new base \
                 backup: WAL is missing"
            )),
            ReceiveError::History(error) => error.hint(),
            ReceiveError::OtherHistory { path, .. } => Some(format!(
                "two servers were promoted to the same timeline: point streaming_conninfo to the \
                 right one, or move {} and the WAL of its timeline away",
                path.display()
            )),
            ReceiveError::Behind { alarming: true, .. } => {
                Some("check that streaming_conninfo leads to the present primary".to_owned())
            }
            ReceiveError::Removed { .. } => {
                Some("take a new base backup: none can be restored across the gap".to_owned())
            }
            ReceiveError::Setting { .. }
            | ReceiveError::Behind { .. }
            | ReceiveError::Thread(_) => None,
        }
    }
}
