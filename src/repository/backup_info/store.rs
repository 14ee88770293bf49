//! `backup.info` on disk.

use std::collections::BTreeSet;

use super::BackupInfo;
use crate::disk::{self, Disk, FileKind};
use crate::repository::layout::FILE_MODE;
use crate::repository::{BackupId, RepositoryError, ServerLayout};

/// Far above any real file; snapshots_info of many disks is the longest value.
const BYTES_MAX: u64 = 16 << 20;

/// Every backup that has metadata, oldest first.
pub fn list_ids(disk: &dyn Disk, layout: &ServerLayout) -> Result<Vec<BackupId>, RepositoryError> {
    let mut ids = BTreeSet::new();
    for entry in list_if_there(disk, &layout.meta())? {
        let name = entry.name.to_str().and_then(|name| name.strip_suffix("-backup.info"));
        ids.extend(name.and_then(|id| id.parse::<BackupId>().ok()));
    }
    for entry in list_if_there(disk, layout.base())? {
        let id = entry.name.to_str().and_then(|name| name.parse::<BackupId>().ok());
        if let Some(id) = id.filter(|id| entry.kind == FileKind::Directory && !ids.contains(id))
            && disk.stat(&layout.old_backup_info(id))?.is_some()
        {
            ids.insert(id);
        }
    }
    Ok(ids.into_iter().collect())
}

fn list_if_there(
    disk: &dyn Disk,
    directory: &std::path::Path,
) -> Result<Vec<disk::DirectoryEntry>, RepositoryError> {
    match disk.list(directory) {
        Err(error) if error.is_absent() => Ok(Vec::new()),
        result => Ok(result?),
    }
}

/// Reads the metadata of a backup from `meta/`, else from where old releases put it.
pub fn read(
    disk: &dyn Disk,
    layout: &ServerLayout,
    id: BackupId,
) -> Result<BackupInfo, RepositoryError> {
    let mut path = layout.backup_info(id);
    let bytes = match disk::read_file(disk, &path, BYTES_MAX) {
        Err(error) if error.is_absent() => {
            path = layout.old_backup_info(id);
            disk::read_file(disk, &path, BYTES_MAX)
        }
        result => result,
    }?;
    BackupInfo::parse(id, &bytes).map_err(|(line, fault)| RepositoryError::BackupInfo {
        path,
        line,
        fault,
    })
}

/// Writes the metadata of a backup to `meta/`: after a crash the old file is there or the new.
pub fn write(
    disk: &dyn Disk,
    layout: &ServerLayout,
    info: &BackupInfo,
) -> Result<(), RepositoryError> {
    Ok(disk::write_file(disk, &layout.backup_info(info.id), FILE_MODE, &info.render())?)
}

impl BackupInfo {
    /// Reads it from `meta/`, see [`read()`].
    pub fn read(
        disk: &dyn Disk,
        layout: &ServerLayout,
        id: BackupId,
    ) -> Result<BackupInfo, RepositoryError> {
        read(disk, layout, id)
    }

    /// Writes it to `meta/`, see [`write()`].
    pub fn write(&self, disk: &dyn Disk, layout: &ServerLayout) -> Result<(), RepositoryError> {
        write(disk, layout, self)
    }
}
