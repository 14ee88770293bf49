//! The life of a `backup.info`: EMPTY, STARTED, WAITING_FOR_WALS, DONE; or FAILED.

use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;

use super::BackupError;
use super::reader::{Position, Span};
use super::verdict::Verdict;
use crate::disk::Disk;
use crate::output::one_line;
use crate::repository::backup_info::{self, BackupMode, BackupStatus, CopyStats, Tablespace};
use crate::repository::{BackupId, BackupInfo, BackupTime, RepositoryError, ServerLayout};
use crate::wire;

/// The metadata of the backup that is being taken. What is written is durable.
#[derive(Debug)]
pub(super) struct Record {
    disk: Arc<dyn Disk>,
    layout: ServerLayout,
    /// As it will be written next.
    pub(super) info: BackupInfo,
}

impl Record {
    /// A backup that is about to begin. The caller holds the server's backup lock.
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        layout: ServerLayout,
        id: BackupId,
        name: Option<String>,
    ) -> Result<Record, RepositoryError> {
        let mut info = BackupInfo::new(id, layout.server().as_str());
        info.backup_name = name;
        info.mode = Some(BackupMode::Postgres);
        let record = Record { disk, layout, info };
        record.write()?;
        Ok(record)
    }

    fn write(&self) -> Result<(), RepositoryError> {
        self.info.write(self.disk.as_ref(), &self.layout)
    }

    /// The server has said where the backup begins.
    pub(super) fn started(&mut self, start: Position) -> Result<(), RepositoryError> {
        let size = self.info.xlog_segment_size;
        let segment = crate::wal::SegmentName::containing(start.timeline, start.lsn, size);
        self.info.timeline = Some(start.timeline);
        self.info.begin_xlog = Some(start.lsn);
        self.info.begin_wal = Some(segment);
        self.info.begin_offset = Some(start.lsn.segment_offset(size));
        self.info.status = BackupStatus::Started;
        self.write()
    }

    /// The server has said which tablespaces it sends. What SQL told before may be older: one
    /// that was made meanwhile would have its archive here and no place at a restore, and one
    /// that was dropped would be waited for in vain.
    pub(super) fn holds(&mut self, listed: &[wire::Tablespace]) {
        let known = self.info.tablespaces.take().unwrap_or_default();
        let mut held = Vec::new();
        for tablespace in listed {
            let (Some(oid), Some(location)) = (tablespace.oid, &tablespace.location) else {
                continue;
            };
            let known = known.iter().find(|known| known.oid == oid).cloned();
            held.push(known.unwrap_or_else(|| {
                let (name, location) = (oid.to_string(), location.to_string_lossy().into_owned());
                tracing::warn!(
                    oid,
                    %location,
                    "a tablespace was created as the backup began; its number stands for its name"
                );
                Tablespace { name, oid, location }
            }));
        }
        self.info.tablespaces = (!held.is_empty()).then_some(held);
    }

    /// The copy is complete, durable, and what the server meant to send.
    pub(super) fn copied(
        &mut self,
        span: Span,
        verdict: Verdict,
        took: Duration,
        ended: BackupTime,
    ) -> Result<(), RepositoryError> {
        let info = &mut self.info;
        let size = info.xlog_segment_size;
        // An end on a boundary belongs to the segment before it, as offset 0.
        let last = span.end.lsn.segment_before(size);
        info.end_wal = Some(crate::wal::SegmentName::new(span.end.timeline, last, size));
        info.end_xlog = Some(span.end.lsn);
        info.end_offset = Some(span.end.lsn.segment_offset(size));
        info.end_time = Some(ended);
        info.backup_label = Some(verdict.label);
        info.data_checksums = Some(verdict.data_checksums);
        let seconds = took.as_micros() as f64 / 1e6;
        info.copy_stats = Some(CopyStats::new(seconds, seconds));
        info.status = BackupStatus::WaitingForWals;
        self.write()
    }

    /// Every segment from begin to end is archived.
    pub(super) fn done(&mut self) -> Result<(), RepositoryError> {
        self.info.status = BackupStatus::Done;
        self.write()
    }

    /// It did not come to an end. What cannot be written is logged: the failure that is being
    /// reported matters more. Whether it is on record.
    pub(super) fn failed(&mut self, error: &BackupError) -> bool {
        self.info.status = BackupStatus::Failed;
        self.info.error = Some(format!("failure copying files ({})", one_line(error)));
        let written = self.write();
        if let Err(error) = &written {
            let error = one_line(error);
            tracing::error!(backup = %self.info.id, %error, "cannot record that the backup failed");
        }
        written.is_ok()
    }
}

/// An id that no backup has: that of the present second, or none when it is taken.
pub(super) fn free_id(
    disk: &dyn Disk,
    layout: &ServerLayout,
    now: &Zoned,
) -> Result<Option<BackupId>, RepositoryError> {
    let id = BackupId::at(now);
    let taken =
        disk.stat(&layout.backup_info(id))?.is_some() || disk.stat(&layout.backup(id))?.is_some();
    Ok((!taken).then_some(id))
}

/// Marks backups as failed whose process has died. The caller holds the server's backup lock,
/// so nobody works on them. Says whether there is any backup that was copied.
pub(super) fn bury_the_dead(
    disk: &dyn Disk,
    layout: &ServerLayout,
) -> Result<bool, RepositoryError> {
    let mut any_copied = false;
    for id in backup_info::list_ids(disk, layout)? {
        // One that cannot be read is not ours to judge, and does not stand in the way.
        let Ok(mut info) = BackupInfo::read(disk, layout, id) else { continue };
        any_copied |= info.is_copied();
        if matches!(info.status, BackupStatus::Empty | BackupStatus::Started) {
            // What rsync has left may serve the next backup; a copy over the protocol serves
            // nobody. The record comes last: whoever is killed meanwhile has not buried it.
            if info.mode == Some(BackupMode::Postgres) {
                super::places::clear(disk, &layout.data(id));
            }
            super::parent::disown(disk, layout, &info)?;
            info.status = BackupStatus::Failed;
            info.error = Some("the process that took the backup was killed".to_owned());
            info.write(disk, layout)?;
        }
    }
    Ok(any_copied)
}
