//! Where the files of a backup stand while they are written, and at last.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskError, FileKind, create_directories};
use crate::repository::{BackupId, DATA_MODE, DIRECTORY_MODE, ServerLayout};

/// Files until they may be believed: `base.tar.part`.
const PART: &str = ".part";

/// A file that is durable under its temporary name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Part {
    path: PathBuf,
    final_path: PathBuf,
    /// Bytes.
    pub(super) length: u64,
}

/// The path under which a file of the backup is written.
pub(super) fn part_path(data: &Path, name: &str) -> PathBuf {
    data.join(format!("{name}{PART}"))
}

impl Part {
    /// The file that was written as [`part_path`] says.
    pub(super) fn new(data: &Path, name: &str, length: u64) -> Part {
        Part { path: part_path(data, name), final_path: data.join(name), length }
    }
}

/// What the manifest puts before the names in an archive: tablespaces stand behind their link.
pub(super) fn manifest_prefix(tablespace: Option<u32>) -> Vec<u8> {
    tablespace.map_or(Vec::new(), |oid| format!("pg_tblspc/{oid}/").into_bytes())
}

/// Makes the directories of a backup, `data/` and one for each tablespace; the latter stay
/// empty beside archives, but Barman has them.
pub(super) fn create(
    disk: &dyn Disk,
    layout: &ServerLayout,
    id: BackupId,
) -> Result<PathBuf, DiskError> {
    create_directories(disk, &layout.backup(id), DIRECTORY_MODE)?;
    let data = layout.data(id);
    create_directories(disk, &data, DATA_MODE)?;
    Ok(data)
}

/// Gives the files their names, durably, and with them the directories that lead there.
pub(super) fn publish(disk: &dyn Disk, data: &Path, parts: &[Part]) -> Result<(), DiskError> {
    for part in parts {
        disk.rename(&part.path, &part.final_path)?;
    }
    disk.sync_directory(data)?;
    data.parent().map_or(Ok(()), |backup| disk.sync_directory(backup))
}

/// Removes what a failed backup has written. What cannot be removed stays: the failure that is
/// being reported matters more.
pub(super) fn clear(disk: &dyn Disk, data: &Path) {
    let Ok(entries) = disk.list(data) else { return };
    for entry in entries.into_iter().filter(|entry| entry.kind == FileKind::File) {
        let name = entry.name.to_string_lossy();
        if [".tar", PART].iter().any(|end| name.ends_with(end)) || name == super::writer::MANIFEST {
            let _ = disk.remove_file(&data.join(&entry.name));
        }
    }
    let _ = disk.sync_directory(data);
}
