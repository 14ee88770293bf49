//! The next segment file, made ready before it is needed.
//!
//! To create, fill and sync a file takes longer than a commit may wait. A spare is made while
//! the segment before it fills, under a name that nobody takes for WAL: Barman leaves `.tmp`
//! alone, and a start clears it away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::disk::{self, Disk, DiskError, DiskFile};
use crate::wal::SegmentSize;

/// How a file gets its full size.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Filling {
    /// Space is reserved: cheap, and right when whole segments are flushed at once.
    Reserved,
    /// Zeros are written: then no flush has to change the file's block map, which makes small
    /// flushes cheaper.
    Zeros,
}

/// Where spares are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preparation {
    /// In a thread of its own.
    Background,
    /// By the writer itself, between two writes: for short streams, and for tests that need
    /// the same order of calls each time.
    InTurn,
}

/// Makes spares, one at a time.
#[derive(Debug)]
pub(super) struct Spares {
    maker: Maker,
    /// One that is made and waits.
    ready: Option<Box<dyn DiskFile>>,
    state: State,
}

#[derive(Debug)]
enum State {
    InTurn,
    /// The thread waits for an order, or has one if `ordered`.
    Background {
        orders: SyncSender<()>,
        made: Receiver<Made>,
        ordered: bool,
    },
}

type Made = Result<Box<dyn DiskFile>, DiskError>;

#[derive(Clone, Debug)]
struct Maker {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    size: SegmentSize,
    filling: Filling,
}

impl Spares {
    /// Spares of `size` bytes in `directory`.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        directory: &Path,
        size: SegmentSize,
        filling: Filling,
        preparation: Preparation,
    ) -> Spares {
        let maker = Maker { disk, path: directory.join(SPARE_NAME), size, filling };
        let state = match preparation {
            Preparation::InTurn => State::InTurn,
            Preparation::Background => background(&maker).unwrap_or(State::InTurn),
        };
        Spares { maker, ready: None, state }
    }

    /// The path of a spare that was made and not yet taken into use.
    pub(super) fn path(&self) -> &Path {
        &self.maker.path
    }

    /// Makes the first spare and waits for it.
    pub(super) fn make_first(&mut self) -> Result<(), DiskError> {
        self.ready = Some(self.maker.make()?);
        Ok(())
    }

    /// Has a spare made, unless there is one. Errors wait for [`Spares::take`]: until then the
    /// current segment can still be finished.
    pub(super) fn prepare(&mut self) {
        if self.ready.is_some() {
            return;
        }
        match &mut self.state {
            State::InTurn => self.ready = self.maker.make().ok(),
            State::Background { orders, ordered, .. } => {
                *ordered = *ordered || orders.try_send(()).is_ok();
            }
        }
    }

    /// A file of full size, durable as it is, at [`Spares::path`].
    pub(super) fn take(&mut self) -> Result<Box<dyn DiskFile>, DiskError> {
        // A thread that failed says so here, and then the file is made in its stead: the reason
        // may have gone away meanwhile, and if not, it comes up again.
        let ready = self.ready.take().or_else(|| self.ordered());
        ready.map_or_else(|| self.maker.make(), Ok)
    }

    /// What the thread was told to make, if it was told and could.
    fn ordered(&mut self) -> Option<Box<dyn DiskFile>> {
        match &mut self.state {
            State::Background { made, ordered, .. } => {
                std::mem::take(ordered).then(|| made.recv().ok()?.ok()).flatten()
            }
            State::InTurn => None,
        }
    }
}

impl Drop for Spares {
    /// Leaves no file behind that nobody needs.
    fn drop(&mut self) {
        if self.ready.take().or_else(|| self.ordered()).is_some() {
            // Not worth an error: the next start clears it away.
            let _ = self.maker.disk.remove_file(&self.maker.path);
        }
    }
}

/// `None` when the machine has no thread left: spares are then made in turn.
fn background(maker: &Maker) -> Option<State> {
    let (orders, ordered) = mpsc::sync_channel::<()>(1);
    let (done, made) = mpsc::sync_channel(1);
    let maker = maker.clone();
    let work = move || {
        while ordered.recv().is_ok() {
            if done.send(maker.make()).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().name("wal-spare".to_owned()).spawn(work).ok()?;
    Some(State::Background { orders, made, ordered: false })
}

impl Maker {
    fn make(&self) -> Made {
        match self.disk.remove_file(&self.path) {
            Err(error) if !error.is_absent() => return Err(error),
            _ => {}
        }
        let file = self.disk.create(&self.path, SEGMENT_MODE)?;
        match fill(file.as_ref(), self.size, self.filling) {
            Ok(()) => Ok(file),
            Err(error) => {
                // A part of a spare takes the room that others may need now.
                let _ = self.disk.remove_file(&self.path);
                Err(error)
            }
        }
    }
}

fn fill(file: &dyn DiskFile, size: SegmentSize, filling: Filling) -> Result<(), DiskError> {
    let length = u64::from(size.bytes());
    // Reserved in both cases: that it fits is known before much is written.
    file.allocate(0, length)?;
    if filling == Filling::Zeros {
        let zeros = vec![0; ZEROS_BYTES];
        for offset in (0..length).step_by(ZEROS_BYTES) {
            file.write_all_at(&zeros, offset)?;
        }
    }
    file.sync_all()
}

/// Clears away a spare that a crash left behind.
pub(super) fn clear(disk: &dyn Disk, directory: &Path) -> Result<(), DiskError> {
    let path = directory.join(SPARE_NAME);
    match disk.stat(&path)? {
        Some(_) => disk::remove_file(disk, &path),
        None => Ok(()),
    }
}

const SPARE_NAME: &str = "spare.tmp";
/// Segments are as secret as the tables: nobody else reads them.
const SEGMENT_MODE: u32 = 0o600;
/// Divides every segment size.
const ZEROS_BYTES: usize = 1 << 20;
