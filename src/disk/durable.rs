//! Writes that are either not there at all or there for good.
//!
//! The order is always the same: bytes, then the name, then the directory that holds the name.
//! Knows paths and bytes, not what they mean.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Disk, DiskError, DiskFile, FileKind};

/// Writes a file as a whole, replacing what stands at `path`: after a crash at any point there
/// is the old content or the new, never a mixture.
///
/// A helper file `<path>.<pid>.tmp` stands beside it meanwhile, and is left behind by a crash.
pub fn write_file(disk: &dyn Disk, path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = temporary_path(path);
    let written = write_new(disk, &temporary, mode, bytes)
        .and_then(|()| disk.rename(&temporary, path))
        .and_then(|()| disk.sync_directory(parent(path)));
    if written.is_err() {
        // Best effort: the error that is already on its way says more than this one.
        let _ = disk.remove_file(&temporary);
    }
    written
}

fn write_new(disk: &dyn Disk, path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DiskError> {
    let file = create_afresh(disk, path, mode)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()
}

/// Creates a helper file in place of one that a crash left behind.
pub fn create_afresh(
    disk: &dyn Disk,
    path: &Path,
    mode: u32,
) -> Result<Box<dyn DiskFile>, DiskError> {
    match disk.create(path, mode) {
        Err(error) if error.is_present() => {
            disk.remove_file(path)?;
            disk.create(path, mode)
        }
        result => result,
    }
}

/// Appends to a file, creating it when it is absent, and returns the length it had. The bytes
/// are durable; after a crash a part of them may stand at the end.
pub fn append(disk: &dyn Disk, path: &Path, mode: u32, bytes: &[u8]) -> Result<u64, DiskError> {
    let (file, is_new) = match disk.open(path) {
        Ok(file) => (file, false),
        Err(error) if error.is_absent() => (disk.create(path, mode)?, true),
        Err(error) => return Err(error),
    };
    let length = file.length()?;
    file.write_all_at(bytes, length)?;
    file.sync_all()?;
    if is_new {
        disk.sync_directory(parent(path))?;
    }
    Ok(length)
}

/// Renames a file that is already durable, replacing what stands at `to`, and makes both names'
/// directories durable. Both paths lie on one file system.
pub fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), DiskError> {
    disk.rename(from, to)?;
    disk.sync_directory(parent(to))?;
    if parent(from) != parent(to) {
        disk.sync_directory(parent(from))?;
    }
    Ok(())
}

/// Renames a durable file, or copies it and removes the original where the two paths lie on
/// different file systems. Mode and time of the last change go with it.
pub fn move_file(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), DiskError> {
    match rename(disk, from, to) {
        Err(error) if error.is_cross_device() => {
            copy(disk, from, to)?;
            remove_file(disk, from)
        }
        result => result,
    }
}

/// Copies a file as a whole, with its mode and the time of its last change, replacing what
/// stands at `to`.
pub fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), DiskError> {
    let temporary = temporary_path(to);
    let copied = copy_new(disk, from, &temporary)
        .and_then(|()| disk.rename(&temporary, to))
        .and_then(|()| disk.sync_directory(parent(to)));
    if copied.is_err() {
        let _ = disk.remove_file(&temporary);
    }
    copied
}

fn copy_new(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), DiskError> {
    let source = disk.open_read(from)?;
    let stat = disk.stat(from)?.ok_or_else(|| {
        DiskError::new("stat", from, std::io::Error::from(std::io::ErrorKind::NotFound))
    })?;
    let target = create_afresh(disk, to, stat.mode)?;
    copy_content(source.as_ref(), target.as_ref())?;
    target.set_modified(stat.modified)?;
    target.sync_all()
}

/// Copies what a file holds into an empty one, and makes nothing durable. Returns how many bytes
/// there were.
pub fn copy_content(source: &dyn DiskFile, target: &dyn DiskFile) -> Result<u64, DiskError> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = source.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(at);
        }
        target.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
}

/// Removes a file and makes that durable. A file that is not there is not an error: a crash may
/// have come between the two halves of an earlier try.
pub fn remove_file(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    match disk.remove_file(path) {
        Err(error) if !error.is_absent() => return Err(error),
        _ => {}
    }
    disk.sync_directory(parent(path))
}

/// Removes everything that stands in a directory, the directory itself aside. Links are removed,
/// not followed. Nothing is made durable.
pub fn remove_content(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    for entry in disk.list(path)? {
        let below = path.join(&entry.name);
        if entry.kind == FileKind::Directory {
            remove_content(disk, &below)?;
            disk.remove_directory(&below)?;
        } else {
            disk.remove_file(&below)?;
        }
    }
    Ok(())
}

/// Creates a directory and those above it that are missing, each durable before the next.
///
/// A directory that exists already is made durable again: an earlier try may have ended between
/// its creation and its sync.
pub fn create_directories(disk: &dyn Disk, path: &Path, mode: u32) -> Result<(), DiskError> {
    if disk.stat(path)?.is_some() {
        return match path.parent() {
            Some(above) => sync_if_allowed(disk, above),
            None => Ok(()),
        };
    }
    let Some(above) = path.parent() else { return Ok(()) };
    create_directories(disk, above, mode)?;
    match disk.create_directory(path, mode) {
        Err(error) if !error.is_present() => return Err(error),
        _ => {}
    }
    disk.sync_directory(above)
}

/// Directories far above the repository belong to others and may not be opened by us; they were
/// not made by us either.
fn sync_if_allowed(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    match disk.sync_directory(path) {
        Err(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// Reads a whole file that should be small; one of more than `limit` bytes is an error.
pub fn read_file(disk: &dyn Disk, path: &Path, limit: u64) -> Result<Vec<u8>, DiskError> {
    let file = disk.open_read(path)?;
    if file.length()? > limit {
        let message = format!("the file is larger than {limit} bytes");
        return Err(DiskError::new("read", path, std::io::Error::other(message)));
    }
    read_to_end(file.as_ref(), 0)
}

/// Reads an open file from `offset` to its end.
pub fn read_to_end(file: &dyn DiskFile, offset: u64) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; file.length()?.saturating_sub(offset) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Syncs `count` files, whose paths `path` tells, several at a time: a file system writes one
/// journal entry for all syncs that wait together. Says nothing of their names.
pub fn sync_files(
    disk: &dyn Disk,
    count: usize,
    path: &(dyn Fn(usize) -> PathBuf + Sync),
) -> Result<(), DiskError> {
    let part = count.div_ceil(SYNC_THREADS).max(1);
    let sync = |from: usize| -> Result<(), DiskError> {
        (from..count.min(from + part))
            .try_for_each(|index| disk.open_read(&path(index))?.sync_all())
    };
    if count <= SYNC_THREADS {
        return (0..count).try_for_each(sync);
    }
    std::thread::scope(|scope| {
        let start = |from: usize| {
            let thread = std::thread::Builder::new().name("sync".to_owned());
            (from, thread.spawn_scoped(scope, move || sync(from)))
        };
        let threads: Vec<_> = (0..count).step_by(part).map(start).collect();
        let mut outcome = Ok(());
        for (from, thread) in threads {
            let synced = match thread.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(synced)) => synced,
                // No thread to be had, or it panicked: the work is done here.
                Ok(Err(_)) | Err(_) => sync(from),
            };
            outcome = outcome.and(synced);
        }
        outcome
    })
}

const SYNC_THREADS: usize = 16;

/// The directory that holds a name.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// The process number keeps two processes that write the same file apart.
fn temporary_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{}.tmp", std::process::id()));
    PathBuf::from(name)
}

const COPY_BYTES: usize = 1 << 20;
