//! The xlog database, made anew from the files that it is about.

use std::collections::BTreeMap;
use std::path::Path;

use super::xlogdb::{self, XlogDb, XlogLine};
use super::{Lock, RepositoryError, ServerLayout};
use crate::codec::Codec;
use crate::disk::LockFile;
use crate::disk::{Disk, FileKind};
use crate::wal::WalFileName;

/// What [`rebuild`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rebuilt {
    /// History files.
    pub history: usize,
    /// Backup history files.
    pub labels: usize,
    /// Complete segments.
    pub segments: usize,
}

/// Rewrites the database from the tree of archived files, under its lock.
pub fn rebuild(disk: &dyn Disk, layout: &ServerLayout) -> Result<Rebuilt, RepositoryError> {
    let _lock = LockFile::acquire_waiting(&layout.lock(Lock::XlogDb))?;
    let db = from_tree(disk, layout)?;
    xlogdb::write_all(disk, &layout.xlogdb(), db.lines.iter())?;
    let mut rebuilt = Rebuilt::default();
    for line in &db.lines {
        match line.name {
            WalFileName::History(_) => rebuilt.history += 1,
            WalFileName::BackupLabel { .. } => rebuilt.labels += 1,
            WalFileName::Segment(_) | WalFileName::Partial(_) => rebuilt.segments += 1,
        }
    }
    Ok(rebuilt)
}

/// The lines that the tree of archived files asks for, in order of name. Partial segments and
/// files that are not WAL are left out.
pub(super) fn from_tree(disk: &dyn Disk, layout: &ServerLayout) -> Result<XlogDb, RepositoryError> {
    let mut lines = BTreeMap::new();
    for (name, path) in files(disk, layout)? {
        if matches!(name, WalFileName::Partial(_)) {
            continue;
        }
        let Some(stat) = disk.stat(&path)? else { continue };
        let mut line = XlogLine::plain(name, stat.length, stat.modified);
        line.compression = compression(disk, &path)?;
        lines.insert(name.to_string(), line);
    }
    Ok(XlogDb { lines: lines.into_values().collect(), damaged: Vec::new() })
}

/// Every archived file, with its path, in no order.
pub fn files(
    disk: &dyn Disk,
    layout: &ServerLayout,
) -> Result<Vec<(WalFileName, std::path::PathBuf)>, RepositoryError> {
    let wals = layout.wals();
    let mut found = Vec::new();
    let mut collect = |directory: &Path| -> Result<Vec<std::path::PathBuf>, RepositoryError> {
        let mut below = Vec::new();
        let entries = match disk.list(directory) {
            Err(error) if error.is_absent() => return Ok(below),
            result => result?,
        };
        for entry in entries {
            let Some(text) = entry.name.to_str() else { continue };
            let path = directory.join(text);
            if entry.kind == FileKind::Directory && text.len() == 16 {
                below.push(path);
            } else if let Ok(name) = text.parse::<WalFileName>()
                && entry.kind == FileKind::File
                && layout.wal(name) == path
            {
                found.push((name, path));
            }
        }
        Ok(below)
    };
    for directory in collect(wals)? {
        collect(&directory)?;
    }
    Ok(found)
}

fn compression(disk: &dyn Disk, path: &Path) -> Result<Option<String>, RepositoryError> {
    let mut head = [0; Codec::HEAD_BYTES];
    let read = disk.open_read(path)?.read_at(&mut head, 0)?;
    Ok(Codec::of_wal(&head[..read]).word().map(str::to_owned))
}
