//! The xlog database: one line for each archived WAL file.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::layout::FILE_MODE;
use super::{Lock, RepositoryError, ServerLayout, python};
use crate::disk::LockFile;
use crate::disk::{self, Disk};
use crate::wal::WalFileName;

/// One line: five columns, separated by tabs.
///
/// ```text
/// 000000010000000000000010  16514  1795415404.293217  gzip  None
/// name                      bytes  last change        compression and encryption, or None
/// ```
///
/// Old releases wrote three or four columns. The size is that of the stored file.
#[derive(Clone, Debug, PartialEq)]
pub struct XlogLine {
    /// The file.
    pub name: WalFileName,
    /// Its size as stored.
    pub size: u64,
    /// Its last change, in seconds since 1970.
    pub modified: f64,
    /// `gzip`, `zstd`, …
    pub compression: Option<String>,
    /// `gpg`.
    pub encryption: Option<String>,
}

impl XlogLine {
    /// The line for a file that is neither compressed nor encrypted.
    pub fn plain(name: WalFileName, size: u64, modified: SystemTime) -> XlogLine {
        let modified = seconds(modified);
        XlogLine { name, size, modified, compression: None, encryption: None }
    }

    /// Reads a line without its newline. Columns may be separated by any blanks.
    pub fn parse(line: &str) -> Option<XlogLine> {
        let mut columns = line.split_ascii_whitespace();
        let name = columns.next()?.parse().ok()?;
        let size = columns.next()?.parse().ok()?;
        let modified = columns.next()?.parse().ok()?;
        let mut word = || columns.next().filter(|word| *word != "None").map(str::to_owned);
        let (compression, encryption) = (word(), word());
        let whole = columns.next().is_none();
        whole.then_some(XlogLine { name, size, modified, compression, encryption })
    }
}

impl fmt::Display for XlogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let XlogLine { name, size, modified, compression, encryption } = self;
        let modified = python::float(*modified);
        let compression = compression.as_deref().unwrap_or("None");
        let encryption = encryption.as_deref().unwrap_or("None");
        write!(f, "{name}\t{size}\t{modified}\t{compression}\t{encryption}")
    }
}

/// Seconds since 1970 as Python's `st_mtime` has them: two roundings, one after the other.
pub fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as f64 + 1e-9 * f64::from(since.subsec_nanos()),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// A copy of the file, made in one go: nobody waits while it is looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct XlogDb {
    /// The lines in the order of the file, which is no order: two archivers interleave, and
    /// late files come late.
    pub lines: Vec<XlogLine>,
    /// Numbers of lines that say nothing, from 1.
    pub damaged: Vec<usize>,
}

impl XlogDb {
    /// Reads the file's bytes. Of a name that stands twice the last line counts.
    pub fn parse(bytes: &[u8]) -> XlogDb {
        let mut db = XlogDb::default();
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match std::str::from_utf8(line).ok().and_then(XlogLine::parse) {
                Some(line) => db.lines.push(line),
                None => db.damaged.push(index + 1),
            }
        }
        db
    }

    /// Reads the database under its lock; an empty one when there is none.
    pub fn read(disk: &dyn Disk, layout: &ServerLayout) -> Result<XlogDb, RepositoryError> {
        let _lock = match LockFile::acquire_waiting(&layout.lock(Lock::XlogDb)) {
            Ok(lock) => Some(lock),
            // Someone who may read the repository but not write to it can still list it.
            Err(disk::LockError::Disk(error)) if may_not_write(&error) => None,
            Err(error) => return Err(error.into()),
        };
        XlogDb::read_locked(disk, layout)
    }

    /// Reads the database; the caller holds its lock.
    pub fn read_locked(disk: &dyn Disk, layout: &ServerLayout) -> Result<XlogDb, RepositoryError> {
        for path in [layout.xlogdb(), layout.old_xlogdb()] {
            match disk.open_read(&path) {
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error.into()),
                Ok(file) => return Ok(XlogDb::parse(&disk::read_to_end(file.as_ref(), 0)?)),
            }
        }
        Ok(XlogDb::default())
    }

    /// The names that have a line.
    pub fn names(&self) -> HashSet<WalFileName> {
        self.lines.iter().map(|line| line.name).collect()
    }
}

fn may_not_write(error: &disk::DiskError) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.source.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}

/// Appends lines under the lock of the database, durably.
pub fn append(
    disk: &dyn Disk,
    layout: &ServerLayout,
    lines: &[XlogLine],
) -> Result<(), RepositoryError> {
    let _lock = LockFile::acquire_waiting(&layout.lock(Lock::XlogDb))?;
    append_locked(disk, layout, lines)
}

/// Appends lines, durably; the caller holds the lock of the database.
///
/// What a crash left of an earlier line is cut off first: the file it was for is still where
/// it was, and comes again. A database that is missing beside archived files is made anew from
/// them before it is added to.
pub fn append_locked(
    disk: &dyn Disk,
    layout: &ServerLayout,
    lines: &[XlogLine],
) -> Result<(), RepositoryError> {
    let path = layout.xlogdb();
    if disk.stat(&path)?.is_none() {
        let known = match XlogDb::read_locked(disk, layout)? {
            old if !old.lines.is_empty() => old,
            _ => super::rebuild::from_tree(disk, layout)?,
        };
        let new = lines.iter().filter(|line| !known.lines.iter().any(|old| old.name == line.name));
        return write_all(disk, &path, known.lines.iter().chain(new));
    }
    mend_end(disk, &path)?;
    disk::append(disk, &path, FILE_MODE, &render(lines.iter()))?;
    Ok(())
}

/// Replaces the whole database: after a crash there is the old one or the new.
pub(super) fn write_all<'a>(
    disk: &dyn Disk,
    path: &Path,
    lines: impl Iterator<Item = &'a XlogLine>,
) -> Result<(), RepositoryError> {
    Ok(disk::write_file(disk, path, FILE_MODE, &render(lines))?)
}

fn render<'a>(lines: impl Iterator<Item = &'a XlogLine>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        bytes.extend_from_slice(format!("{line}\n").as_bytes());
    }
    bytes
}

/// Longer than any line: two words and a name of at most 41 bytes.
const TAIL_BYTES: u64 = 4096;

/// Makes the file end with a whole line. What stands behind the last one is of an append that
/// was never reported as done: torn, or holes where a page of it was lost.
fn mend_end(disk: &dyn Disk, path: &Path) -> Result<(), RepositoryError> {
    let file = disk.open(path)?;
    let length = file.length()?;
    let start = length.saturating_sub(TAIL_BYTES);
    let tail = disk::read_to_end(file.as_ref(), start)?;
    let mut whole = tail.len();
    while whole > 0 {
        let text = tail[..whole].strip_suffix(b"\n").unwrap_or(&tail[..whole]);
        let begin = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let line = std::str::from_utf8(&text[begin..]).unwrap_or_default();
        let ended = text.len() < whole;
        // Without its newline a line may lack digits, but not behind the last word.
        let complete = line.ends_with("None") && line.split_ascii_whitespace().count() == 5;
        // A crash leaves zeros where a page was lost. Another line with its end was written by
        // somebody who meant it, be it a newer Barman: it is not ours to cut.
        let foreign = ended && !text[begin..].contains(&0);
        if foreign || (XlogLine::parse(line).is_some() && (ended || complete)) {
            if !ended {
                file.write_all_at(b"\n", length)?;
                file.sync_all()?;
            }
            break;
        }
        // The first line in sight may have lost its beginning to the cut, not to a crash.
        if begin == 0 && start > 0 {
            break;
        }
        whole = begin;
    }
    if whole < tail.len() {
        file.set_length(start + whole as u64)?;
        file.sync_all()?;
    }
    Ok(())
}
