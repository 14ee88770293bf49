//! What is in the repository, derived and never stored. Knows no connections.
//!
//! [`Catalog`] reads it once; what follows from it is computed by pure functions.

pub mod instants;
mod files;
mod find;
mod usage;
mod wal;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use files::{base_files, required_wal};
pub use find::{FindError, SHORTCUTS, parse_backup_name};
pub use usage::WalUsage;
pub use wal::{ArchivedWal, Gap, StoredWal, WalState, wal_state};
pub use walk::{filled, walk};

use crate::disk::{self, Disk};
use crate::repository::{
    BackupId, BackupInfo, BackupStatus, BackupTime, Hole, Holes, RepositoryError, ServerLayout,
    ServerName, XlogDb, backup_info, rebuild,
};
pub use crate::retention::Keep;
use crate::retention::{Candidate, RetentionPolicy, Standing};
use crate::wal::{Lsn, SegmentName, SegmentSize, Timeline, TimelineHistory, WalFileName};

/// One server's part of the repository, as it stood when it was read.
#[derive(Debug)]
pub struct Catalog {
    server: ServerName,
    backups: Vec<BackupInfo>,
    damaged: Vec<(BackupId, RepositoryError)>,
    keeps: BTreeMap<BackupId, Keep>,
    wal: ArchivedWal,
    histories: Vec<TimelineHistory>,
    holes: Holes,
}

impl Catalog {
    /// Reads what there is. A backup whose metadata cannot be understood is set aside, see
    /// [`Catalog::damaged`], and does not hide the others.
    pub fn load(disk: &dyn Disk, layout: &ServerLayout) -> Result<Catalog, RepositoryError> {
        let (mut backups, mut damaged, mut keeps) = (Vec::new(), Vec::new(), BTreeMap::new());
        for id in backup_info::list_ids(disk, layout)? {
            match BackupInfo::read(disk, layout, id) {
                Ok(info) => backups.push(info),
                // Deleted between the listing and the reading.
                Err(RepositoryError::Disk(error)) if error.is_absent() => continue,
                Err(error) => damaged.push((id, error)),
            }
            if let Some(keep) = read_keep(disk, layout, id)? {
                keeps.insert(id, keep);
            }
        }
        let wal = ArchivedWal::from_lines(XlogDb::read(disk, layout)?.lines);
        let histories = wal.history_files().filter_map(|tl| read_history(disk, layout, tl));
        let histories = histories.collect();
        let holes = Holes::read(disk, layout)?;
        let server = layout.server().clone();
        Ok(Catalog { server, backups, damaged, keeps, wal, histories, holes })
    }

    /// The same, with WAL as it stands in the tree rather than in the xlog database: slower,
    /// and the truth, for decisions about what is complete.
    pub fn load_from_tree(
        disk: &dyn Disk,
        layout: &ServerLayout,
    ) -> Result<Catalog, RepositoryError> {
        let mut catalog = Catalog::load(disk, layout)?;
        let names = rebuild::files(disk, layout)?.into_iter().map(|(name, _)| name);
        catalog.wal.retain_names(&names.collect());
        Ok(catalog)
    }

    /// The server.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// Every backup that can be understood, whatever its status, oldest first.
    pub fn backups(&self) -> &[BackupInfo] {
        &self.backups
    }

    /// Backups whose metadata cannot be understood, and why.
    pub fn damaged(&self) -> &[(BackupId, RepositoryError)] {
        &self.damaged
    }

    /// Archived WAL.
    pub fn wal(&self) -> &ArchivedWal {
        &self.wal
    }

    /// The history files that could be read, in the order of timelines.
    pub fn histories(&self) -> &[TimelineHistory] {
        &self.histories
    }

    /// WAL that is lost, as it is recorded.
    pub fn holes(&self) -> &Holes {
        &self.holes
    }

    /// Whether and how the user keeps a backup.
    pub fn keep(&self, id: BackupId) -> Option<Keep> {
        self.keeps.get(&id).copied()
    }

    /// The backup of this id.
    pub fn get(&self, id: BackupId) -> Option<&BackupInfo> {
        self.backups.iter().find(|backup| backup.id == id)
    }

    /// Backups that were copied completely, oldest first.
    pub fn copied(&self) -> impl DoubleEndedIterator<Item = &BackupInfo> {
        self.backups.iter().filter(|backup| backup.is_copied())
    }

    /// The last copied backup before this one.
    pub fn previous(&self, id: BackupId) -> Option<&BackupInfo> {
        self.copied().rev().find(|backup| backup.id < id)
    }

    /// The first copied backup behind this one.
    pub fn next(&self, id: BackupId) -> Option<&BackupInfo> {
        self.copied().find(|backup| backup.id > id)
    }

    /// The full backup that a chain begins with, and how many links lead to `backup`, itself
    /// included. A link that is missing ends the walk.
    pub fn chain<'a>(&'a self, backup: &'a BackupInfo) -> (&'a BackupInfo, usize) {
        let (mut root, mut length) = (backup, 1);
        while let Some(parent) = root.parent_backup_id.and_then(|id| self.get(id)) {
            if length > self.backups.len() {
                break;
            }
            (root, length) = (parent, length + 1);
        }
        (root, length)
    }

    /// WAL that belongs to a backup: what its consistency needs, and what follows it up to the
    /// end of the next one. `None` for a backup that was not copied.
    pub fn usage(&self, backup: &BackupInfo) -> Option<WalUsage> {
        let next_end = self.next(backup.id).and_then(|next| next.end_wal);
        WalUsage::of(backup, next_end, &self.wal)
    }

    /// What a policy says of each complete backup at `now`; incremental ones share the fate of
    /// the full one below them. Others are not in the answer.
    pub fn standings(
        &self,
        policy: RetentionPolicy,
        minimum_redundancy: u64,
        now: Timestamp,
    ) -> BTreeMap<BackupId, Standing> {
        let done = |backup: &&BackupInfo| backup.status == BackupStatus::Done;
        let roots: Vec<&BackupInfo> = self
            .backups
            .iter()
            .rev()
            .filter(done)
            .filter(|backup| !backup.is_incremental())
            .collect();
        let candidate = |backup: &&BackupInfo| Candidate {
            ended: backup.end_time.map_or(Timestamp::MIN, BackupTime::moment),
            keep: self.keep(backup.id),
        };
        let candidates: Vec<Candidate> = roots.iter().map(candidate).collect();
        let judged = policy.judge(&candidates, minimum_redundancy, now);
        let of_root: BTreeMap<BackupId, (Standing, Standing)> =
            roots.iter().map(|backup| backup.id).zip(judged).collect();
        let standing = |backup: &BackupInfo| {
            let (standing, alone) = *of_root.get(&self.chain(backup).0.id)?;
            let own = if backup.is_incremental() { standing.of_child(alone) } else { standing };
            Some((backup.id, own))
        };
        self.backups.iter().filter(done).filter_map(standing).collect()
    }

    /// The first hole behind the beginning of a backup: it cannot be restored past that.
    pub fn hole_behind(&self, backup: &BackupInfo) -> Option<&Hole> {
        let (own, begin) = (backup.timeline?, backup.begin_xlog?);
        let reachable = self.reachable_timelines(backup);
        let reaches = |hole: &&Hole| {
            // Where a newer timeline has left the one of the hole before it, that one counts.
            let left_before = reachable.iter().any(|timeline| {
                let mut histories = self.histories.iter();
                let history = histories.find(|history| history.timeline() == *timeline);
                history.is_some_and(|history| self.avoids(history, hole, backup.xlog_segment_size))
            });
            let follows = hole.timeline == own || reachable.contains(&hole.timeline);
            hole.to > begin && follows && !left_before
        };
        self.holes.iter().filter(reaches).min_by_key(|hole| hole.from)
    }

    /// Whether recovery along a branch does not come by a hole: it has left the timeline of the
    /// hole before, or has a file of its own of the segment in which it leaves it, which it reads
    /// instead.
    fn avoids(&self, history: &TimelineHistory, hole: &Hole, size: SegmentSize) -> bool {
        let Some(left) = history.switchpoint_of(hole.timeline) else { return false };
        let number = left.segment(size);
        let older = history.entries().iter().map(|entry| entry.timeline);
        let mut timelines = older.chain([history.timeline()]);
        left <= hole.from
            || number == hole.from.segment(size)
                && timelines.any(|timeline| {
                    let name = SegmentName::new(timeline, number, size);
                    timeline > hole.timeline && self.wal.contains(name)
                })
    }

    /// Timelines that forked from the backup's own behind its end, and so can be reached from
    /// it.
    pub fn reachable_timelines(&self, backup: &BackupInfo) -> Vec<Timeline> {
        let (Some(timeline), end) = (backup.timeline, backup.end_xlog.unwrap_or(Lsn::INVALID))
        else {
            return Vec::new();
        };
        let forked_later = |history: &&TimelineHistory| {
            history.switchpoint_of(timeline).is_some_and(|at| at >= end)
        };
        self.histories.iter().filter(forked_later).map(TimelineHistory::timeline).collect()
    }
}

/// Far above any real file: a line takes some sixty bytes.
const HISTORY_BYTES_MAX: u64 = 1 << 20;

/// A history file that can be read as it stands. One that is compressed or damaged is left to
/// restore, which needs it and says why it cannot have it.
fn read_history(
    disk: &dyn Disk,
    layout: &ServerLayout,
    timeline: Timeline,
) -> Option<TimelineHistory> {
    let path = layout.wal(WalFileName::History(timeline));
    let bytes = disk::read_file(disk, &path, HISTORY_BYTES_MAX).ok()?;
    TimelineHistory::parse(timeline, &bytes).ok()
}

fn read_keep(
    disk: &dyn Disk,
    layout: &ServerLayout,
    id: BackupId,
) -> Result<Option<Keep>, RepositoryError> {
    for path in [layout.keep(id), layout.old_keep(id)] {
        match disk::read_file(disk, &path, 1024) {
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error.into()),
            // What is not understood still means that someone wants it kept.
            Ok(text) if text.trim_ascii() == b"standalone" => return Ok(Some(Keep::Standalone)),
            Ok(_) => return Ok(Some(Keep::Full)),
        }
    }
    Ok(None)
}
