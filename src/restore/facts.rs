//! What `backup.info` says about a backup, as far as a restore needs it.
//!
//! Pure. Whatever a plan stands on is present here, or the backup is refused by the name of
//! what it lacks.

use std::path::PathBuf;

use crate::repository::{BackupId, BackupInfo, BackupTime};
use crate::wal::{SegmentName, SystemIdentifier};
use crate::wire::ServerVersion;

use super::refusal::Refusal;
use super::selection::BackupRange;

/// What a plan needs to know of a stored backup, all of it present.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupFacts {
    /// Which.
    pub id: BackupId,
    /// Whose.
    pub server: String,
    /// The version of the server when the backup was taken.
    pub version: ServerVersion,
    /// The cluster; old backups may not say.
    pub system: Option<SystemIdentifier>,
    /// The WAL that it needs.
    pub range: BackupRange,
    /// When it ended.
    pub end_time: Option<BackupTime>,
    /// The tablespaces that it holds.
    pub tablespaces: Vec<TablespaceFacts>,
}

impl BackupFacts {
    /// Takes the facts out of `backup.info`, or says why the backup cannot be restored.
    pub fn of(info: &BackupInfo) -> Result<BackupFacts, Refusal> {
        let id = info.id;
        let backup = || id.to_string();
        if !info.is_copied() {
            let (server, status) = (info.server_name.clone(), info.status.to_string());
            return Err(Refusal::NotDone { backup: backup(), server, status });
        }
        if let Some(method) = info.encryption.clone() {
            return Err(Refusal::Encrypted { backup: backup(), method });
        }
        let lacks = |field| Refusal::IncompleteInfo { backup: backup(), field };
        let version = ServerVersion::from_number(info.version.ok_or_else(|| lacks("version"))?);
        if !version.is_supported() {
            return Err(Refusal::Version { backup: backup(), version });
        }
        let named = |segment: Option<SegmentName>| segment.map(SegmentName::timeline);
        let timeline =
            info.timeline.or_else(|| named(info.begin_wal)).ok_or_else(|| lacks("timeline"))?;
        let range = BackupRange {
            timeline,
            begin: info.begin_xlog.ok_or_else(|| lacks("begin_xlog"))?,
            end_timeline: named(info.end_wal).unwrap_or(timeline),
            end: info.end_xlog.ok_or_else(|| lacks("end_xlog"))?,
            segment_size: info.xlog_segment_size,
        };
        let tablespaces = info.tablespaces.iter().flatten().map(|tablespace| TablespaceFacts {
            name: tablespace.name.clone(),
            oid: tablespace.oid,
            location: PathBuf::from(&tablespace.location),
        });
        Ok(BackupFacts {
            id,
            server: info.server_name.clone(),
            version,
            system: info.systemid,
            range,
            end_time: info.end_time,
            tablespaces: tablespaces.collect(),
        })
    }
}

/// One tablespace of a backup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TablespaceFacts {
    /// Its name.
    pub name: String,
    /// Its OID, by which the backup and `pg_tblspc` call it.
    pub oid: u32,
    /// Where it was.
    pub location: PathBuf,
}
