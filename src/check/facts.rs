//! What the checks judge. Plain values: a test writes them down.

use std::path::PathBuf;
use std::time::Duration;

use crate::repository::Hole;
use crate::wal::{Lsn, SystemIdentifier};
use crate::wire::ServerVersion;

/// Everything that is known about a server at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The server's name.
    pub server: String,
    /// What the configuration asks for.
    pub wanted: Wanted,
    /// The ordinary connection; `None` when there is no reason to connect (an inactive server).
    pub sql: Option<Result<SqlFacts, Trouble>>,
    /// The replication connection; `None` when streaming is not in use.
    pub streaming: Option<Result<StreamingFacts, Trouble>>,
    /// The repository.
    pub stored: StoredFacts,
}

/// A connection that did not come about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// Why, without a secret.
    pub cause: String,
    /// What to do.
    pub remedy: Option<String>,
}

impl Trouble {
    /// Both in one line.
    pub fn line(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.cause),
            None => self.cause.clone(),
        }
    }
}

/// Options that checks depend on.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Neither inactive, disabled nor passive.
    pub active: bool,
    /// `streaming_archiver`.
    pub streaming_archiver: bool,
    /// `archiver`.
    pub archiver: bool,
    /// Whether backups go over the replication protocol.
    pub postgres_method: bool,
    /// `slot_name`.
    pub slot_name: Option<String>,
    /// `retention_policy`.
    pub retention_policy: Option<String>,
    /// `minimum_redundancy`.
    pub minimum_redundancy: u64,
    /// `last_backup_maximum_age`.
    pub backup_maximum_age: Option<Duration>,
    /// `last_backup_minimum_size` in bytes.
    pub backup_minimum_size: Option<u64>,
    /// `last_wal_maximum_age`.
    pub wal_maximum_age: Option<Duration>,
    /// `max_incoming_wals_queue`.
    pub maximum_queue: Option<u64>,
    /// Compression options that this version does not carry out, each a sentence.
    pub unsupported_compression: Vec<String>,
    /// Contradictions in the configuration, each a sentence.
    pub contradictions: Vec<String>,
}

/// Asked over SQL.
#[derive(Clone, Debug)]
pub struct SqlFacts {
    /// The server's version.
    pub version: ServerVersion,
    /// A superuser, or a role that may call the backup functions and read the statistics.
    pub may_back_up: bool,
    /// `wal_level`.
    pub wal_level: String,
    /// The slot of the configuration; `None` when it does not exist.
    pub slot: Option<SlotFacts>,
}

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug)]
pub struct SlotFacts {
    /// Whether somebody streams from it.
    pub active: bool,
    /// Whether it is a physical one.
    pub physical: bool,
    /// The oldest WAL that it keeps.
    pub restart: Option<Lsn>,
    /// `wal_status` (13 and later): `lost` means that it keeps nothing any more.
    pub lost: bool,
}

/// Asked over the replication protocol.
#[derive(Clone, Debug)]
pub struct StreamingFacts {
    /// IDENTIFY_SYSTEM.
    pub system: SystemIdentifier,
    /// The server's version.
    pub version: ServerVersion,
}

/// Found in the repository.
#[derive(Clone, Debug, Default)]
pub struct StoredFacts {
    /// Directories that are missing or cannot be written, each with the reason.
    pub bad_directories: Vec<(PathBuf, String)>,
    /// In `identity.json`.
    pub system: Option<SystemIdentifier>,
    /// The major version in `identity.json`.
    pub major: Option<String>,
    /// Backups with status FAILED.
    pub failed_backups: usize,
    /// Backups that are DONE and no increments.
    pub full_backups: usize,
    /// Size and age of the newest usable backup.
    pub newest_backup: Option<(u64, Duration)>,
    /// Archived segments, all of them.
    pub archived_segments: usize,
    /// Bytes of WAL archived since the newest backup.
    pub wal_since_backup: u64,
    /// Age of the newest archived segment since the newest backup began.
    pub newest_wal_age: Option<Duration>,
    /// Whether a receiver holds its lock.
    pub receiver_running: bool,
    /// Lost WAL behind the beginning of the newest backup.
    pub lost_wal: Vec<Hole>,
    /// Files in `errors/` that end in `.duplicate`.
    pub duplicates: usize,
    /// Files in `errors/` that end in `.unknown`.
    pub unknown: usize,
    /// Complete segments that wait in `streaming/`.
    pub waiting_streaming: usize,
    /// Files that wait in `incoming/`.
    pub waiting_incoming: usize,
    /// A repository that cannot be read.
    pub unreadable: Option<String>,
}
