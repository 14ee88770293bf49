//! From `streaming/` and `incoming/` to `wals/` and the xlog database. Knows no connections.
//!
//! A file is in the archive when it stands in `wals/` durably and has its line in the xlog
//! database. It keeps its place until then: a crash at any point leaves it where the next sweep
//! finds it, and to archive it again changes nothing.

mod batch;
mod error;
mod finished;
mod incoming;
mod pack;
mod pile;
mod place;
mod sweep;
mod worker;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::batch::Batch;
pub use self::error::ArchiveError;
use self::pile::Pile;
pub use self::place::{RECYCLED_NAME, RECYCLING_NAME};
pub use self::worker::ArchiveWorker;
use crate::codec::{Packing, PackingError};
use crate::config::ServerConfig;
use crate::disk::Disk;
use crate::repository::ServerLayout;
use crate::wal::WalFileName;

/// How files are archived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArchiveSettings {
    /// How segments are packed; `None` for not at all.
    pub packing: Option<Packing>,
    /// How many segments are packed at once. What waits for its turn waits on the disk.
    pub threads: usize,
    /// Whether the file of a segment that was packed is left to the receiver as its next spare.
    pub recycle: bool,
    /// Whether segments that pile up are packed [faster][Packing::hurried] until the pile is
    /// gone: unpacked they take twice their room from the disk.
    pub keep_pace: bool,
}

impl Default for ArchiveSettings {
    /// Files as they are, one after the other.
    fn default() -> ArchiveSettings {
        ArchiveSettings { packing: None, threads: 1, recycle: false, keep_pace: false }
    }
}

impl ArchiveSettings {
    /// What the configuration of a server asks for.
    ///
    /// # Errors
    /// A compression that cannot be written.
    pub fn of(server: &ServerConfig) -> Result<ArchiveSettings, PackingError> {
        let packing = Packing::choose(server.compression.as_deref(), server.compression_level)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(ArchiveSettings {
            packing,
            threads: cores.min(THREADS_MAX),
            ..ArchiveSettings::default()
        })
    }
}

/// Archives the files of one server, one after the other.
#[derive(Debug)]
pub struct Archiver {
    disk: Arc<dyn Disk>,
    layout: ServerLayout,
    settings: ArchiveSettings,
    /// The directory that is known to be there for good; the next file mostly goes there too.
    directory: Option<PathBuf>,
    pile: Pile,
    /// A model disk has no locks.
    #[cfg(test)]
    without_locks: bool,
}

/// What became of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Archived {
    /// It is in the archive now.
    Stored,
    /// It was there already, with the same content, perhaps without its line.
    Known,
    /// Something else stands in its place. It was moved here instead.
    Duplicate(PathBuf),
    /// It is not there: another process was quicker.
    Gone,
}

/// What a sweep found.
#[derive(Debug, Default)]
pub struct Swept {
    /// Files that are in the archive now.
    pub stored: Vec<WalFileName>,
    /// Files whose place in the archive holds something else, and where they are.
    pub duplicates: Vec<(WalFileName, PathBuf)>,
    /// Files that cannot be what their name says. They stand where they stood.
    pub refused: Vec<ArchiveError>,
}

/// Where files come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Inbox {
    /// `streaming/`: what a receiver writes, its open segment among it.
    Streaming,
    /// `incoming/`: what `archive_command` delivers.
    Incoming,
}

impl Archiver {
    /// An archiver for the repository of one server, whose directories exist.
    pub fn new(disk: Arc<dyn Disk>, layout: ServerLayout, settings: ArchiveSettings) -> Archiver {
        Archiver {
            disk,
            layout,
            settings,
            directory: None,
            pile: Pile::default(),
            #[cfg(test)]
            without_locks: false,
        }
    }

    /// The repository.
    pub fn layout(&self) -> &ServerLayout {
        &self.layout
    }

    fn inbox(&self, inbox: Inbox) -> &Path {
        match inbox {
            Inbox::Streaming => self.layout.streaming(),
            Inbox::Incoming => self.layout.incoming(),
        }
    }
}

/// Each takes some 8 MiB while it packs.
const THREADS_MAX: usize = 4;
