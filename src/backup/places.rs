//! Where the files of a backup stand while they are written, and at last.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskError, FileKind, create_directories, remove_content};
use crate::repository::{BackupId, DATA_MODE, DIRECTORY_MODE, ServerLayout};

/// Files until they may be believed: `base.tar.part`.
pub(super) const PART: &str = ".part";

/// A file or a directory that is durable under its temporary name.
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

    /// The directory that was written as [`part_directory`] says.
    pub(super) fn directory(data: &Path, tablespace: Option<u32>, length: u64) -> Part {
        let (path, final_path) = (part_directory(data, tablespace), directory(data, tablespace));
        Part { path, final_path, length }
    }
}

/// Where the data directory or a tablespace of a plain backup stands at last, beside or in place of
/// `data`, the directory of the backup's data.
pub(super) fn directory(data: &Path, tablespace: Option<u32>) -> PathBuf {
    match tablespace {
        Some(oid) => data.with_file_name(oid.to_string()),
        None => data.to_owned(),
    }
}

/// Where it stands until it may be believed.
pub(super) fn part_directory(data: &Path, tablespace: Option<u32>) -> PathBuf {
    let mut name = directory(data, tablespace).into_os_string();
    name.push(PART);
    PathBuf::from(name)
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

/// Gives files and directories their names, durably, and with them the directories that lead
/// there. A directory takes the place of the empty one that was made for it.
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
    let Some(backup) = data.parent() else { return };
    for entry in disk.list(backup).unwrap_or_default() {
        let (path, name) = (backup.join(&entry.name), entry.name.to_string_lossy());
        let is_space = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if entry.kind != FileKind::Directory {
            continue;
        }
        if name.ends_with(PART) {
            let _ = remove_content(disk, &path).and_then(|()| disk.remove_directory(&path));
        } else if path == data || is_space {
            let _ = remove_content(disk, &path);
            let _ = disk.sync_directory(&path);
        }
    }
    let _ = disk.sync_directory(backup);
}
