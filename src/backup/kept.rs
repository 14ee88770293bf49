//! Files of a failed backup that are kept because somebody will want to look at them.
//!
//! A copy that came as a whole and is not what it should be says what is damaged, on the server
//! or on the way. Its data directory is renamed, so that no restore, of ours or of Barman, finds
//! it; and there is one such copy of a server at most.

use std::path::{Path, PathBuf};

use super::places::{PART, part_directory};
use crate::disk::{Disk, DiskError, FileKind};
use crate::repository::{BackupId, RepositoryError, ServerLayout, backup_info};

/// What the data directory of a failed backup is called when it is kept.
const KEPT: &str = "damaged";
/// Deeper than any data directory, shallow enough for the stack.
const DEPTH_MAX: usize = 32;

/// Keeps the files of a backup, under names of their own; returns where. Of a plain backup the
/// tablespaces are kept in there, by their numbers.
pub(super) fn keep(
    disk: &dyn Disk,
    layout: &ServerLayout,
    id: BackupId,
) -> Result<PathBuf, DiskError> {
    let (kept, data) = (layout.backup(id).join(KEPT), layout.data(id));
    let tree = part_directory(&data, None);
    if disk.stat(&tree)?.is_some() {
        disk.rename(&tree, &kept)?;
        for entry in disk.list(&layout.backup(id))? {
            let name = entry.name.to_string_lossy();
            if let Some(oid) = name.strip_suffix(PART) {
                disk.rename(&layout.backup(id).join(&entry.name), &kept.join(oid))?;
            }
        }
        disk.remove_directory(&data)?;
    } else {
        disk.rename(&data, &kept)?;
    }
    for entry in disk.list(&kept)? {
        let name = entry.name.to_string_lossy();
        if let Some(whole) = name.strip_suffix(PART).filter(|_| entry.kind == FileKind::File) {
            disk.rename(&kept.join(&entry.name), &kept.join(whole))?;
        }
    }
    disk.sync_directory(&kept)?;
    disk.sync_directory(&layout.backup(id))?;
    Ok(kept)
}

/// Removes what was kept of backups before `newest`, which has taken their place. The caller
/// holds the server's backup lock.
pub(super) fn clear(
    disk: &dyn Disk,
    layout: &ServerLayout,
    newest: BackupId,
) -> Result<(), RepositoryError> {
    for id in backup_info::list_ids(disk, layout)?.into_iter().filter(|id| *id < newest) {
        let kept = layout.backup(id).join(KEPT);
        if disk.stat(&kept)?.is_some_and(|stat| stat.kind == FileKind::Directory) {
            remove(disk, &kept, 0)?;
            disk.sync_directory(&layout.backup(id))?;
        }
    }
    Ok(())
}

/// Removes a directory and what is in it. Links are not followed.
fn remove(disk: &dyn Disk, path: &Path, depth: usize) -> Result<(), DiskError> {
    for entry in disk.list(path)? {
        let below = path.join(&entry.name);
        match entry.kind {
            FileKind::Directory if depth < DEPTH_MAX => remove(disk, &below, depth + 1)?,
            FileKind::Directory => disk.remove_directory(&below)?,
            _ => disk.remove_file(&below)?,
        }
    }
    disk.remove_directory(path)
}
