//! The backup that an incremental one continues: chosen, judged, and tied to it.

use std::path::PathBuf;

use super::Plan;
use super::error::BackupError;
use super::session::Session;
use crate::catalog::{Catalog, FindError};
use crate::disk::Disk;
use crate::manifest::{Manifest, ManifestError};
use crate::net::Walsender;
use crate::pages::PageSize;
use crate::repository::{
    BackupId, BackupInfo, BackupMode, BackupStatus, RepositoryError, ServerLayout, StoredManifest,
    label,
};
use crate::wal::{SystemIdentifier, Timeline, TimelineHistory};
use crate::wire::ServerVersion;

/// A backup to be continued.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) info: BackupInfo,
    /// Of the server's timeline.
    pub(super) history: TimelineHistory,
    /// To be sent to the server.
    manifest: PathBuf,
}

/// Why a backup cannot be continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParentError {
    /// Of servers before 17.
    #[error("server version {0} takes no incremental backups, which came with 17")]
    Version(ServerVersion),
    /// Nobody knows what has changed.
    #[error("summarize_wal is off on the server")]
    NoSummaries,
    /// A server that was built in another way.
    #[error("the server has pages of {0} bytes; only chains with 8192 can be restored")]
    PageSize(u32),
    /// The same: the length of a relation's files.
    #[error(
        "the server's relation segments have {0} blocks; only chains with 131072 can be restored"
    )]
    SegmentBlocks(u32),
    /// There is no such backup.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A backup that is not complete.
    #[error("backup {id} is {status}, not DONE")]
    NotDone {
        /// Which.
        id: BackupId,
        /// How far it got.
        status: BackupStatus,
    },
    /// Taken in another way, or packed so that it cannot be restored.
    #[error("backup {id} was taken with {what}")]
    Kind {
        /// Which.
        id: BackupId,
        /// How.
        what: String,
    },
    /// No summary reaches back to its start.
    #[error("summarize_wal was off when backup {0} was taken")]
    NotSummarized(BackupId),
    /// It is of another cluster, or of another version.
    #[error("backup {id} is of system {}, the server is system {found}", known(.stored))]
    Foreign {
        /// Which.
        id: BackupId,
        /// As recorded.
        stored: Option<SystemIdentifier>,
        /// As the server says.
        found: SystemIdentifier,
    },
    /// The server has taken another way since.
    #[error(
        "backup {id} ended on timeline {timeline}, from which the server's {current} does not come"
    )]
    Timeline {
        /// Which.
        id: BackupId,
        /// Of its end.
        timeline: Timeline,
        /// Of the server.
        current: Timeline,
    },
    /// The server wants it to know what the backup holds.
    #[error("backup {id} has no manifest: {} is not there", path.display())]
    NoManifest {
        /// Which.
        id: BackupId,
        /// Where it should be.
        path: PathBuf,
    },
    /// It is damaged.
    #[error("the manifest of backup {id} cannot be used")]
    Manifest {
        /// Which.
        id: BackupId,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// Somebody has deleted what an incremental backup stands on while it was taken.
    #[error("backup {0} was deleted meanwhile, or its deletion has begun")]
    Deleted(BackupId),
    /// A backup that it stands on itself is gone.
    #[error("backup {id} stands on backup {missing}, which is not there or not DONE")]
    BrokenChain {
        /// Which.
        id: BackupId,
        /// What it lacks.
        missing: BackupId,
    },
}

fn known(system: &Option<SystemIdentifier>) -> String {
    system.map_or_else(|| "(unknown)".to_owned(), |system| system.to_string())
}

impl ParentError {
    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ParentError::NoSummaries => {
                "set summarize_wal = on on the server and reload it, then take a full backup, which \
                 incremental ones can continue"
                    .to_owned()
            }
            ParentError::Find(error) => return error.hint(),
            ParentError::NotDone { .. } => {
                "wait for its WAL, or continue another backup: tapster list-backups".to_owned()
            }
            _ => "take a full backup, without --incremental".to_owned(),
        })
    }
}

/// Finds the backup that `word` means, and makes sure that the server can continue it, as far as
/// can be told before it is asked.
pub(super) async fn find(
    plan: &Plan,
    session: &mut Session,
    word: &str,
) -> Result<Parent, BackupError> {
    let facts = &session.facts;
    if !facts.version.takes_incremental_backups() {
        return Err(ParentError::Version(facts.version).into());
    }
    if session.sql.summarize_wal != Some(true) {
        return Err(ParentError::NoSummaries.into());
    }
    if facts.block_size as usize != PageSize::DEFAULT.bytes() {
        return Err(ParentError::PageSize(facts.block_size).into());
    }
    let usual = PageSize::DEFAULT.usual_segment_blocks();
    if let Some(blocks) = session.sql.segment_blocks.filter(|blocks| *blocks != usual) {
        return Err(ParentError::SegmentBlocks(blocks).into());
    }
    let catalog = Catalog::load(plan.disk.as_ref(), &plan.layout)?;
    let info = catalog.find(word).map_err(ParentError::from)?.clone();
    let (system, current) = (facts.system_identifier, facts.timeline);
    let history = session.history(current).await?;
    judge(&info, &catalog, system, &history)?;
    let manifest = check_manifest(plan.disk.as_ref(), &plan.layout, info.id, system)?;
    Ok(Parent { info, history, manifest })
}

fn judge(
    info: &BackupInfo,
    catalog: &Catalog,
    found: SystemIdentifier,
    history: &TimelineHistory,
) -> Result<(), ParentError> {
    let id = info.id;
    if info.status != BackupStatus::Done {
        return Err(ParentError::NotDone { id, status: info.status.clone() });
    }
    if info.mode != Some(BackupMode::Postgres) {
        let what =
            info.mode.as_ref().map_or_else(|| "an unknown method".to_owned(), ToString::to_string);
        return Err(ParentError::Kind { id, what });
    }
    if let Some(what) = info.encryption.clone() {
        return Err(ParentError::Kind { id, what });
    }
    if info.systemid != Some(found) {
        return Err(ParentError::Foreign { id, stored: info.systemid, found });
    }
    if info.summarize_wal != Some(true) {
        return Err(ParentError::NotSummarized(id));
    }
    let timeline = info.end_wal.map(|segment| segment.timeline()).or(info.timeline);
    let current = history.timeline();
    if let Some(timeline) = timeline.filter(|timeline| *timeline != current) {
        let left = history.switchpoint_of(timeline);
        if left.is_none_or(|left| info.end_xlog.is_none_or(|end| end > left)) {
            return Err(ParentError::Timeline { id, timeline, current });
        }
    }
    let mut below = info;
    while let Some(missing) = below.parent_backup_id {
        let parent = catalog.get(missing).filter(|parent| parent.id < below.id);
        below = parent
            .filter(|parent| parent.status == BackupStatus::Done)
            .ok_or(ParentError::BrokenChain { id, missing })?;
    }
    Ok(())
}

/// Makes sure that the server will take it; returns its path.
fn check_manifest(
    disk: &dyn Disk,
    layout: &ServerLayout,
    id: BackupId,
    found: SystemIdentifier,
) -> Result<PathBuf, BackupError> {
    let path = layout.existing_data(disk, id)?.join(Manifest::FILE_NAME);
    let said = match StoredManifest::read(disk, &path) {
        Err(error) if error.is_absent() => return Err(ParentError::NoManifest { id, path }.into()),
        result => result?,
    };
    let manifest = said.map_err(|source| ParentError::Manifest { id, source })?;
    match manifest.system == Some(found) {
        true => Ok(path),
        false => Err(ParentError::Foreign { id, stored: manifest.system, found }.into()),
    }
}

impl Parent {
    /// Hands the manifest over to the server. It may be large, and is never held.
    pub(super) async fn upload(
        &self,
        disk: &dyn Disk,
        walsender: &mut Walsender,
    ) -> Result<(), BackupError> {
        let mut manifest = StoredManifest::open(disk, &self.manifest)?;
        let length = manifest.length();
        let sent = walsender.upload_manifest(&mut manifest, length).await;
        manifest.end()?;
        Ok(sent?)
    }

    /// Whether a copy continues this backup, as its own label says.
    pub(super) fn check_label(&self, text: &str) -> Result<(), BackupError> {
        let expected = self.info.timeline.zip(self.info.begin_xlog);
        match label::incremental_from(text) {
            found if found.is_some() && found == expected => Ok(()),
            found => Err(BackupError::OtherParent { id: self.info.id, found }),
        }
    }

    /// Enters a backup as this one's child, durably. To be done before the child counts: who
    /// deletes the parent must know of it. It may be gone already, which is looked at before, so
    /// that its record is not made anew, and behind, when a deletion that begins knows.
    pub(super) fn adopt(
        &self,
        disk: &dyn Disk,
        layout: &ServerLayout,
        child: BackupId,
    ) -> Result<(), BackupError> {
        check_standing(disk, layout, self.info.id)?;
        let mut info = BackupInfo::read(disk, layout, self.info.id)?;
        if !info.children_backup_ids.contains(&child) {
            info.children_backup_ids.push(child);
            info.write(disk, layout)?;
        }
        check_standing(disk, layout, self.info.id)
    }
}

/// Makes sure that a backup and all below it are there still, and nobody has begun to delete
/// one.
///
/// Barman's `delete` waits for the server's backup lock, but its retention (`barman cron`) takes
/// the lock of the obsolete backup alone. A backup that held that one would keep every restore
/// of its ancestors waiting, which takes it as well: so there is no lock here, but a look.
pub(super) fn check_standing(
    disk: &dyn Disk,
    layout: &ServerLayout,
    parent: BackupId,
) -> Result<(), BackupError> {
    let mut id = parent;
    loop {
        let info = match BackupInfo::read(disk, layout, id) {
            Err(RepositoryError::Disk(error)) if error.is_absent() => None,
            result => Some(result?),
        };
        let info = info.filter(|info| info.status == BackupStatus::Done);
        let info = info.ok_or(ParentError::Deleted(id))?;
        let data = layout.existing_data(disk, id)?;
        if disk.stat(&layout.delete_marker(id))?.is_some() || disk.stat(&data)?.is_none() {
            return Err(ParentError::Deleted(id).into());
        }
        match info.parent_backup_id {
            Some(below) if below < id => id = below,
            Some(missing) => return Err(ParentError::BrokenChain { id, missing }.into()),
            None => return Ok(()),
        }
    }
}

/// Takes a child that came to nothing out of its parent's list, where it stands there. A parent
/// that is gone needs none.
pub(super) fn disown(
    disk: &dyn Disk,
    layout: &ServerLayout,
    child: &BackupInfo,
) -> Result<(), RepositoryError> {
    let Some(parent) = child.parent_backup_id else { return Ok(()) };
    let Ok(mut info) = BackupInfo::read(disk, layout, parent) else { return Ok(()) };
    let before = info.children_backup_ids.len();
    info.children_backup_ids.retain(|id| *id != child.id);
    if info.children_backup_ids.len() != before {
        info.write(disk, layout)?;
    }
    Ok(())
}
