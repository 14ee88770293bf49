//! Numbers of one backup, as both forms show them.

use super::super::list_backups::kind;
use super::RetentionWord;
use crate::catalog::{Catalog, WalUsage};
use crate::repository::{BackupId, BackupInfo, CopyStats, Hole};
use crate::wal::Timeline;

/// One backup and what follows from the catalogue about it.
pub(super) struct Facts<'a> {
    pub backup: &'a BackupInfo,
    pub server: &'a str,
    /// `full`, `incremental`, `rsync`, `snapshot`.
    pub kind: &'static str,
    /// `None` unless it was copied.
    pub copy: Option<Copy>,
    pub timelines: Vec<Timeline>,
    pub retention: RetentionWord,
    pub previous: Option<BackupId>,
    pub next: Option<BackupId>,
    /// Of an incremental backup: the full one it stands on, and the length of the chain.
    pub chain: Option<(BackupId, usize)>,
    /// Lost WAL behind its beginning.
    pub hole: Option<&'a Hole>,
}

/// What is known of a complete copy.
pub(super) struct Copy {
    pub usage: Option<WalUsage>,
    /// Bytes that are its own.
    pub size: u64,
    /// The same with the WAL that it needs.
    pub size_with_wals: u64,
    /// Bytes saved against a full copy, and their share.
    pub saved: Option<(u64, f64)>,
    /// Bytes per second of copying.
    pub throughput: Option<u64>,
}

impl<'a> Facts<'a> {
    pub fn of(catalog: &'a Catalog, backup: &'a BackupInfo, retention: RetentionWord) -> Facts<'a> {
        let chain = backup.is_incremental().then(|| {
            let (root, length) = catalog.chain(backup);
            (root.id, length)
        });
        Facts {
            backup,
            server: &backup.server_name,
            kind: kind(backup).1,
            copy: backup.is_copied().then(|| Copy::of(catalog, backup)),
            timelines: catalog.reachable_timelines(backup),
            retention,
            previous: catalog.previous(backup.id).map(|other| other.id),
            next: catalog.next(backup.id).map(|other| other.id),
            chain,
            hole: catalog.hole_behind(backup).filter(|_| backup.is_copied()),
        }
    }
}

impl Copy {
    fn of(catalog: &Catalog, backup: &BackupInfo) -> Copy {
        let usage = catalog.usage(backup);
        let size = backup.deduplicated_size.or(backup.size).unwrap_or(0);
        let copy_time = backup.copy_stats.as_ref().and_then(CopyStats::copy_time);
        Copy {
            size,
            size_with_wals: size + usage.as_ref().map_or(0, |usage| usage.own_bytes),
            saved: saved(backup),
            throughput: copy_time
                .filter(|seconds| *seconds > 0.0)
                .map(|seconds| (size as f64 / seconds) as u64),
            usage,
        }
    }
}

/// What an incremental backup or hard links save, as a share of the whole cluster.
fn saved(backup: &BackupInfo) -> Option<(u64, f64)> {
    let (cluster, size) = (backup.cluster_size? as f64, backup.size? as f64);
    let own = backup.deduplicated_size.map_or(size, |own| own as f64);
    let share = if backup.is_incremental() { 1.0 - own / cluster } else { 1.0 - own / size };
    (share > 0.0).then_some(((share * cluster) as u64, share))
}
