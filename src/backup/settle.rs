//! What has become of backups that nobody works on any more.

use super::error::BackupError;
use super::{kept, parent, record, segments};
use crate::catalog::{Catalog, WalState, wal_state};
use crate::disk::{Disk, DiskError};
use crate::repository::{BackupId, BackupInfo, BackupStatus, ServerLayout, backup_info};
use crate::wal::{SegmentName, SegmentNumber, WalFileName};

/// Decides about each backup that waits for WAL, and marks as failed those whose process was
/// killed. Returns the former with the status that they have now. The caller holds the server's
/// backup lock.
///
/// # Errors
/// The repository cannot be read or written.
pub fn settle(
    disk: &dyn Disk,
    layout: &ServerLayout,
) -> Result<Vec<(BackupId, BackupStatus)>, BackupError> {
    record::bury_the_dead(disk, layout)?;
    clear_kept(disk, layout)?;
    let waits = |info: &BackupInfo| info.status == BackupStatus::WaitingForWals;
    let mut all = backup_info::list_ids(disk, layout)?.into_iter();
    if !all.any(|id| BackupInfo::read(disk, layout, id).is_ok_and(|info| waits(&info))) {
        // Nothing to decide: the tree of WAL may be large, and need not be read.
        return Ok(Vec::new());
    }
    let catalog = Catalog::load_from_tree(disk, layout)?;
    let mut settled = Vec::new();
    for backup in catalog.backups().iter().filter(|backup| waits(backup)) {
        let mut info = backup.clone();
        if judge(disk, layout, &catalog, &mut info)? {
            info.write(disk, layout)?;
        }
        settled.push((info.id, info.status));
    }
    Ok(settled)
}

/// What is kept of failed backups before the newest one that was copied: a kill may have come
/// before the backup that replaced it could clear it.
fn clear_kept(disk: &dyn Disk, layout: &ServerLayout) -> Result<(), BackupError> {
    let copied =
        |id: &BackupId| BackupInfo::read(disk, layout, *id).is_ok_and(|info| info.is_copied());
    let newest = backup_info::list_ids(disk, layout)?.into_iter().rev().find(copied);
    newest.map_or(Ok(()), |newest| Ok(kept::clear(disk, layout, newest)?))
}

/// Says whether the status is another one now.
fn judge(
    disk: &dyn Disk,
    layout: &ServerLayout,
    catalog: &Catalog,
    info: &mut BackupInfo,
) -> Result<bool, BackupError> {
    let size = info.xlog_segment_size;
    let (Some(begin), Some(end)) = (info.begin_wal, info.end_wal) else { return Ok(false) };
    match wal_state(begin, end, size, catalog.wal()) {
        WalState::Complete => {
            let (Some(first), Some(last)) = (begin.number(size), end.number(size)) else {
                return Ok(false);
            };
            let name = |number| SegmentName::new(begin.timeline(), SegmentNumber(number), size);
            let needed: Vec<SegmentName> = (first.0..=last.0).map(name).collect();
            segments::secure(disk, layout, &needed)?;
            let standing = info.parent_backup_id.map(|id| parent::check_standing(disk, layout, id));
            match standing {
                Some(Err(BackupError::Parent(error))) => {
                    info.status = BackupStatus::Failed;
                    info.error = Some(error.to_string());
                }
                Some(Err(error)) => return Err(error),
                Some(Ok(())) | None => info.status = BackupStatus::Done,
            }
            Ok(true)
        }
        // One that was delivered later than those behind it may still come.
        WalState::Missing(name) if !is_on_its_way(disk, layout, name)? => {
            info.status = BackupStatus::Failed;
            info.error = Some(format!(
                "At least one WAL file is missing. The first missing WAL file is {name}"
            ));
            Ok(true)
        }
        WalState::Missing(_) | WalState::Waiting => Ok(false),
    }
}

fn is_on_its_way(
    disk: &dyn Disk,
    layout: &ServerLayout,
    name: SegmentName,
) -> Result<bool, DiskError> {
    let (whole, partial) = (WalFileName::Segment(name), WalFileName::Partial(name));
    let places = [
        layout.incoming().join(whole.to_string()),
        layout.streaming().join(whole.to_string()),
        layout.streaming().join(partial.to_string()),
        // Last: it may have been archived since the archive was looked at.
        layout.wal(whole),
    ];
    for place in places {
        if disk.stat(&place)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::ModelDisk;

    const WAITING: &str = "20261123T062541";

    fn layout(home: &Path) -> ServerLayout {
        ServerLayout::below(home, "main".parse().expect("a name"))
    }

    /// A backup that waits for segments 5 to 7, and the segments that are archived.
    fn repository(home: &Path, archived: &[u64]) -> (ModelDisk, ServerLayout) {
        let (disk, layout) = (ModelDisk::new(7), layout(home));
        for directory in layout.directories() {
            disk.put_directory(&directory);
        }
        let mut info = BackupInfo::new(WAITING.parse().expect("an id"), "main");
        info.begin_wal = Some(segment(5));
        info.end_wal = Some(segment(7));
        info.status = BackupStatus::WaitingForWals;
        info.write(&disk, &layout).expect("written");
        let mut lines = String::new();
        for &number in archived {
            disk.put(&layout.wal(WalFileName::Segment(segment(number))), &[1; 64]);
            lines.push_str(&format!("{}\t64\t1.0\tNone\tNone\n", segment(number)));
        }
        disk.put(&layout.xlogdb(), lines.as_bytes());
        (disk, layout)
    }

    fn segment(number: u64) -> SegmentName {
        format!("00000001000000000000{number:04X}").parse().expect("a name")
    }

    fn settled(disk: &ModelDisk, layout: &ServerLayout) -> (BackupStatus, Option<String>) {
        let said = settle(disk, layout).expect("settled");
        let id: BackupId = WAITING.parse().expect("an id");
        let info = BackupInfo::read(disk, layout, id).expect("readable");
        assert_eq!(said, [(id, info.status.clone())]);
        (info.status, info.error)
    }

    #[test]
    fn a_waiting_backup_is_done_when_all_its_wal_is_there_and_failed_when_some_never_comes() {
        let home = tempfile::tempdir().expect("a folder for locks");
        let home = home.path();
        let (disk, layout) = repository(home, &[5, 6, 7]);
        assert_eq!(settled(&disk, &layout), (BackupStatus::Done, None));
        assert_eq!(settle(&disk, &layout).expect("settled"), [], "it is decided");

        let (disk, layout) = repository(home, &[4, 5, 6]);
        assert_eq!(settled(&disk, &layout).0, BackupStatus::WaitingForWals);

        let (disk, layout) = repository(home, &[5, 7, 8]);
        let late = layout.incoming().join(segment(6).to_string());
        disk.put(&late, b"half");
        assert_eq!(settled(&disk, &layout).0, BackupStatus::WaitingForWals, "it may still come");
        Disk::remove_file(&disk, &late).expect("removed");
        let (status, error) = settled(&disk, &layout);
        assert_eq!(status, BackupStatus::Failed);
        let error = error.expect("a reason");
        assert!(error.ends_with("is 000000010000000000000006"), "{error}");
    }

    #[test]
    fn a_waiting_backup_whose_parent_is_deleted_meanwhile_is_failed() {
        let home = tempfile::tempdir().expect("a folder for locks");
        let (disk, layout) = repository(home.path(), &[5, 6, 7]);
        let [full, parent, child] = ["20261101T000000", "20261102T000000", WAITING]
            .map(|id| id.parse::<BackupId>().expect("an id"));
        for (id, below) in [(full, None), (parent, Some(full))] {
            let mut info = BackupInfo::new(id, "main");
            info.status = BackupStatus::Done;
            info.parent_backup_id = below;
            info.write(&disk, &layout).expect("written");
            disk.put_directory(&layout.data(id));
        }
        let waits = || {
            let mut info = BackupInfo::read(&disk, &layout, child).expect("readable");
            info.status = BackupStatus::WaitingForWals;
            info.parent_backup_id = Some(parent);
            info.write(&disk, &layout).expect("written");
        };
        waits();
        assert_eq!(settled(&disk, &layout), (BackupStatus::Done, None));
        for deleted in [parent, full] {
            disk.put(&layout.delete_marker(deleted), b"");
            waits();
            let (status, error) = settled(&disk, &layout);
            assert_eq!(status, BackupStatus::Failed);
            let error = error.expect("a reason");
            assert!(error.contains(&format!("backup {deleted} was deleted")), "{error}");
            Disk::remove_file(&disk, &layout.delete_marker(deleted)).expect("removed");
            let mut info = BackupInfo::read(&disk, &layout, child).expect("readable");
            info.error = None;
            info.write(&disk, &layout).expect("written");
        }
        Disk::remove_file(&disk, &layout.backup_info(full)).expect("removed");
        waits();
        assert_eq!(settled(&disk, &layout).0, BackupStatus::Failed);
    }
}
