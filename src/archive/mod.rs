//! From `streaming/` to `wals/` and the xlog database. Knows no connections.
//!
//! A file is in the archive when it stands in `wals/` durably and has its line in the xlog
//! database. It keeps its place in `streaming/` until then: a crash at any point leaves it
//! where the next sweep finds it, and to archive it again changes nothing.

mod error;
mod worker;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::error::ArchiveError;
pub use self::worker::ArchiveWorker;
use crate::disk::{self, Disk, DiskFile, FileKind, FileStat, LockFile};
use crate::repository::{DIRECTORY_MODE, Lock, ServerLayout, XlogDb, XlogLine, xlogdb};
use crate::wal::{SegmentName, SegmentSize, WalFileName};

/// Archives the files of one server, one after the other.
#[derive(Debug)]
pub struct Archiver {
    disk: Arc<dyn Disk>,
    layout: ServerLayout,
    /// The directory that is known to be there for good; the next file mostly goes there too.
    directory: Option<PathBuf>,
}

/// What became of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Archived {
    /// It is in the archive now.
    Stored,
    /// It was there already, with the same bytes, perhaps without its line.
    Known,
    /// Something else stands in its place. It was moved here instead.
    Duplicate(PathBuf),
    /// It is not there: another process was quicker.
    Gone,
}

/// What a sweep found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Files that are in the archive now.
    pub stored: Vec<WalFileName>,
    /// Files whose place in the archive holds something else, and where they are.
    pub duplicates: Vec<(WalFileName, PathBuf)>,
}

impl Archiver {
    /// An archiver for the repository of one server, whose directories exist.
    pub fn new(disk: Arc<dyn Disk>, layout: ServerLayout) -> Archiver {
        Archiver { disk, layout, directory: None }
    }

    /// The repository.
    pub fn layout(&self) -> &ServerLayout {
        &self.layout
    }

    /// Archives everything in `streaming/` that is finished: history files, complete segments,
    /// and incomplete ones of timelines that are over. In the order of the names; the first
    /// error ends it, so that the archive has no hole that the next sweep would fill late.
    ///
    /// # Errors
    /// The first file that could not be archived. Files before it are in the archive.
    pub fn sweep(&mut self) -> Result<Swept, ArchiveError> {
        self.sweep_with(|archiver, path, name| {
            let _lock = LockFile::acquire_waiting(&archiver.layout.lock(Lock::XlogDb))?;
            archiver.archive_locked(path, name)
        })
    }

    /// Archives one finished file: a complete segment, a history file, a backup label, or a
    /// segment that will for ever be incomplete.
    ///
    /// # Errors
    /// The file is still where it was.
    pub fn archive(&mut self, path: &Path, name: WalFileName) -> Result<Archived, ArchiveError> {
        let _lock = LockFile::acquire_waiting(&self.layout.lock(Lock::XlogDb))?;
        self.archive_locked(path, name)
    }

    fn sweep_with(
        &mut self,
        mut archive: impl FnMut(&mut Archiver, &Path, WalFileName) -> Result<Archived, ArchiveError>,
    ) -> Result<Swept, ArchiveError> {
        let streaming = self.layout.streaming().to_owned();
        let mut swept = Swept::default();
        for name in finished(self.disk.as_ref(), &streaming)? {
            let path = streaming.join(name.to_string());
            match archive(self, &path, name)? {
                Archived::Stored | Archived::Known => swept.stored.push(name),
                Archived::Duplicate(moved) => swept.duplicates.push((name, moved)),
                Archived::Gone => {}
            }
        }
        Ok(swept)
    }

    /// The caller holds the lock of the xlog database.
    fn archive_locked(&mut self, from: &Path, name: WalFileName) -> Result<Archived, ArchiveError> {
        let Some(stat) = self.disk.stat(from)? else { return Ok(Archived::Gone) };
        check_size(from, name, &stat)?;
        let source = self.disk.open_read(from)?;
        // Whoever wrote it: its bytes are durable before its name is in the archive.
        source.sync_all()?;
        let to = self.layout.wal(name);
        let directory = self.layout.wal_directory(name);
        self.establish(&directory)?;
        let is_new = self.place(from, &to)?;
        if !is_new && !self.is_same(source.as_ref(), &to)? {
            return self.put_aside(from, name).map(Archived::Duplicate);
        }
        self.disk.sync_directory(&directory)?;
        if is_new || !self.has_line(name)? {
            let line = XlogLine::plain(name, stat.length, stat.modified);
            xlogdb::append_locked(self.disk.as_ref(), &self.layout, &[line])?;
        }
        // Not synced: if the name comes back after a crash, it is found to be known.
        self.disk.remove_file(from)?;
        Ok(if is_new { Archived::Stored } else { Archived::Known })
    }

    fn establish(&mut self, directory: &Path) -> Result<(), ArchiveError> {
        if self.directory.as_deref() != Some(directory) {
            disk::create_directories(self.disk.as_ref(), directory, DIRECTORY_MODE)?;
            self.directory = Some(directory.to_owned());
        }
        Ok(())
    }

    /// Gives the file its second name, or copies it where that cannot be. `false` when
    /// something stands there already.
    fn place(&self, from: &Path, to: &Path) -> Result<bool, ArchiveError> {
        match self.disk.link(from, to) {
            Ok(()) => Ok(true),
            Err(error) if error.is_present() => Ok(false),
            Err(error) if error.is_link_refused() => {
                if self.disk.stat(to)?.is_some() {
                    return Ok(false);
                }
                disk::copy(self.disk.as_ref(), from, to)?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn is_same(&self, source: &dyn DiskFile, to: &Path) -> Result<bool, ArchiveError> {
        let stored = self.disk.open_read(to)?;
        if source.length()? != stored.length()? {
            return Ok(false);
        }
        let (mut left, mut right) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
        let mut offset = 0;
        loop {
            let read = source.read_at(&mut left, offset)?;
            if read == 0 {
                return Ok(true);
            }
            let mut filled = 0;
            while filled < read {
                match stored.read_at(&mut right[filled..read], offset + filled as u64)? {
                    0 => return Ok(false),
                    more => filled += more,
                }
            }
            if left[..read] != right[..read] {
                return Ok(false);
            }
            offset += read as u64;
        }
    }

    fn has_line(&self, name: WalFileName) -> Result<bool, ArchiveError> {
        let db = XlogDb::read_locked(self.disk.as_ref(), &self.layout)?;
        Ok(db.lines.iter().any(|line| line.name == name))
    }

    /// Moves a file to `errors/` that must not replace what the archive holds.
    fn put_aside(&self, from: &Path, name: WalFileName) -> Result<PathBuf, ArchiveError> {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let to = self.layout.errors().join(format!("{name}.{now}.duplicate"));
        disk::create_directories(self.disk.as_ref(), self.layout.errors(), DIRECTORY_MODE)?;
        disk::move_file(self.disk.as_ref(), from, &to)?;
        Ok(to)
    }
}

/// The files in a streaming directory that nobody writes to any more, in the order in which
/// they are to be archived: a history file before the segments of its timeline.
fn finished(disk: &dyn Disk, streaming: &Path) -> Result<Vec<WalFileName>, ArchiveError> {
    let mut names: Vec<WalFileName> = Vec::new();
    let mut newest: Option<SegmentName> = None;
    for entry in disk.list(streaming)? {
        let parsed: Option<WalFileName> = entry.name.to_str().and_then(|name| name.parse().ok());
        let Some(name) = parsed.filter(|_| entry.kind == FileKind::File) else { continue };
        if let WalFileName::Segment(segment) | WalFileName::Partial(segment) = name {
            newest = newest.max(Some(segment));
        }
        names.push(name);
    }
    // Incomplete segments of the newest timeline are being written, or will be again.
    let over = |segment: SegmentName| newest.is_some_and(|n| segment.timeline() < n.timeline());
    names.retain(|name| match name {
        WalFileName::Partial(segment) => over(*segment),
        _ => true,
    });
    names.sort_by_key(|name| match *name {
        WalFileName::History(timeline) => (0, timeline.id(), None),
        WalFileName::Segment(segment)
        | WalFileName::Partial(segment)
        | WalFileName::BackupLabel { segment, .. } => (1, 0, Some(segment)),
    });
    Ok(names)
}

fn check_size(path: &Path, name: WalFileName, stat: &FileStat) -> Result<(), ArchiveError> {
    let is_segment = matches!(name, WalFileName::Segment(_));
    if is_segment && SegmentSize::new(stat.length).is_err() {
        return Err(ArchiveError::Size { path: path.to_owned(), length: stat.length });
    }
    Ok(())
}

const COMPARE_BYTES: usize = 256 << 10;
