//! Where received WAL goes, and what its writer is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::inspection::InspectionQueue;
use super::meters::Meters;
use super::spare::Preparation;
use crate::disk::Disk;
use crate::wal::SegmentSize;

/// Where segments are written, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The directory of the segment files; it exists.
    pub directory: PathBuf,
    /// The segment size of the server.
    pub segment_size: SegmentSize,
    /// Whether everything is made durable as soon as it is written, because commits wait for
    /// it. Otherwise at the end of a segment and when asked.
    pub synchronous: Synchronous,
    /// Where the next segment is made ready.
    pub preparation: Preparation,
    /// Gets a word when a segment is complete; a word that is still unread is enough.
    pub completed: Option<SyncSender<()>>,
    /// Whether writes may go past the page cache, where the file system has that.
    pub direct: bool,
    /// What a full disk means.
    pub when_full: WhenFull,
    /// What the queue before the writer may pin, in bytes.
    pub queue_bytes: usize,
    /// Gets everything that was written.
    pub inspection: Option<InspectionQueue>,
    /// What is to be seen from outside.
    pub meters: Arc<Meters>,
}

impl Target {
    /// A [`Target::queue_bytes`] that outlasts a flush at the full speed of a server.
    pub const QUEUE_BYTES: usize = 8 << 20;
    /// A [`Target::when_full`] that notices soon that there is room.
    pub const WAIT_FOR_ROOM: WhenFull = WhenFull::Wait(Duration::from_millis(500));
}

/// What a writer does that finds no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenFull {
    /// It waits for room, however long, and tries again after each such span: the connection
    /// lives, and the server keeps the WAL.
    Wait(Duration),
    /// It ends with the error.
    Fail,
}

/// Whether commits wait. Clones are one value, which may change while a writer runs.
#[derive(Clone, Debug)]
pub struct Synchronous(Arc<AtomicBool>);

impl Synchronous {
    /// The first answer.
    pub fn new(synchronous: bool) -> Synchronous {
        Synchronous(Arc::new(AtomicBool::new(synchronous)))
    }

    /// The answer now.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Another answer, which counts from the next write on. Returns the one before.
    pub fn set(&self, synchronous: bool) -> bool {
        self.0.swap(synchronous, Ordering::Relaxed)
    }
}
