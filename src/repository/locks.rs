//! The lock directory, which the servers of a configuration share.

use std::path::Path;

use crate::disk::{Disk, DiskError, FileKind, LockFile};

/// Removes the lock files that nobody holds, as Barman's `cron` does at its end, and returns how
/// many there were. Files of other names stay.
///
/// # Errors
/// The first file that could not be looked at; the others have been.
pub fn clear_locks(disk: &dyn Disk, directory: &Path) -> Result<usize, DiskError> {
    let mut removed = 0;
    let mut first_error = None;
    for entry in disk.list(directory)? {
        let is_lock = entry.name.to_str().is_some_and(|name| {
            name.starts_with('.') && name.ends_with(".lock") && name.len() > ".lock".len()
        });
        if !is_lock || entry.kind != FileKind::File {
            continue;
        }
        match LockFile::remove_free(&directory.join(&entry.name)) {
            Ok(was_free) => removed += usize::from(was_free),
            Err(error) => _ = first_error.get_or_insert(error),
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => Ok(removed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn free_lock_files_go_and_held_ones_and_all_else_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in [".main-cron.lock", ".a-20261123T062541.lock", ".config-update.lock"] {
            std::fs::write(path(name), "4194303999\n").expect("a stale lock file");
        }
        for name in [".lock", "main.lock", ".barman.auto.conf", ".main-cron.lock.old"] {
            std::fs::write(path(name), "").expect("a file");
        }
        std::fs::create_dir(path(".folder.lock")).expect("a folder");
        let held = LockFile::acquire(&path(".main-receive-wal.lock")).expect("free");
        assert_eq!(clear_locks(&RealDisk, folder.path()).expect("readable"), 3);
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        let expected = [
            ".barman.auto.conf",
            ".folder.lock",
            ".lock",
            ".main-cron.lock.old",
            ".main-receive-wal.lock",
            "main.lock",
        ];
        assert_eq!(left, expected);
        drop(held);
    }
}
