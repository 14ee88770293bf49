//! The next segment file, made ready before it is needed.
//!
//! To create, fill and sync a file takes longer than a commit may wait. A spare is made while
//! the segment before it fills, under a name that nobody takes for WAL: Barman leaves `.tmp`
//! alone, and a start clears it away.
//!
//! A file that the archive has compressed and left is the next spare: its blocks are there and
//! written, so that it costs nothing. What it holds is older WAL, as in the files that a server
//! recycles: behind the end of what is written, every reader of WAL has to expect that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::segment::SegmentFile;
use crate::archive::{RECYCLED_NAME, RECYCLING_NAME};
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

/// What kind of spare is wanted, and for how long nobody will need it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Order {
    /// How it gets its size.
    pub(super) filling: Filling,
    /// Over which time zeros may be spread: written in one go they would be in the way of the
    /// flushes of the current segment, and commits would wait.
    pub(super) within: Duration,
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
    ready: Option<SegmentFile>,
    state: State,
}

#[derive(Debug)]
enum State {
    InTurn,
    /// The thread waits for an order, or has one if `ordered`.
    Background {
        orders: SyncSender<Order>,
        made: Receiver<Made>,
        ordered: bool,
        hurry: Arc<AtomicBool>,
        thread: Thread,
    },
}

/// Spreads work over a time, until somebody is in a hurry.
struct Pace<'a> {
    began: Instant,
    within: Duration,
    hurry: &'a AtomicBool,
}

impl Pace<'_> {
    /// Waits until it is time for what comes after `done` of `all`. `false`: somebody waits.
    fn wait(&self, done: u64, all: u64) -> bool {
        let due = self.began + self.within.mul_f64(done as f64 / all as f64);
        loop {
            if self.hurry.load(Ordering::Acquire) {
                return false;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::park_timeout(left);
        }
    }
}

type Made = Result<SegmentFile, DiskError>;

#[derive(Clone, Debug)]
struct Maker {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    recycled: PathBuf,
    size: SegmentSize,
    /// Whether files are opened for writes past the page cache.
    direct: bool,
    /// How many zeros are written at once. What is written in one piece may become one piece of
    /// the page cache, all of which each small write into it would dirty.
    zeros: usize,
}

impl Spares {
    /// Spares of `size` bytes in `directory`.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        directory: &Path,
        size: SegmentSize,
        direct: bool,
        preparation: Preparation,
    ) -> Spares {
        let path = directory.join(SPARE_NAME);
        let zeros = match preparation {
            Preparation::Background => ZEROS_SHORT,
            Preparation::InTurn => ZEROS_LONG,
        };
        let recycled = directory.join(RECYCLED_NAME);
        let maker = Maker { disk, path, recycled, size, direct, zeros };
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
    pub(super) fn make_first(&mut self, filling: Filling) -> Result<(), DiskError> {
        self.ready = Some(self.maker.make(filling, None)?);
        Ok(())
    }

    /// Has a spare made, unless there is one. Errors wait for [`Spares::take`]: until then the
    /// current segment can still be finished.
    pub(super) fn prepare(&mut self, order: Order) {
        if self.ready.is_some() {
            return;
        }
        match &mut self.state {
            State::InTurn => self.ready = self.maker.make(order.filling, None).ok(),
            State::Background { orders, ordered, hurry, .. } => {
                if !*ordered {
                    hurry.store(false, Ordering::Release);
                    *ordered = orders.try_send(order).is_ok();
                }
            }
        }
    }

    /// A file of full size, durable as it is, at [`Spares::path`]. Where none is ready, one is
    /// made in the shortest way.
    pub(super) fn take(&mut self) -> Result<SegmentFile, DiskError> {
        // A thread that failed says so here, and then the file is made in its stead: the reason
        // may have gone away meanwhile, and if not, it comes up again.
        let ready = self.ready.take().or_else(|| self.ordered());
        ready.map_or_else(|| self.maker.make(Filling::Reserved, None), Ok)
    }

    /// One that was taken and not used.
    pub(super) fn give_back(&mut self, file: SegmentFile) {
        self.ready = Some(file);
    }

    /// What the thread was told to make, if it was told and could.
    fn ordered(&mut self) -> Option<SegmentFile> {
        match &mut self.state {
            State::Background { made, ordered, hurry, thread, .. } => {
                if !std::mem::take(ordered) {
                    return None;
                }
                hurry.store(true, Ordering::Release);
                thread.unpark();
                made.recv().ok()?.ok()
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
    let (orders, ordered) = mpsc::sync_channel::<Order>(1);
    let (done, made) = mpsc::sync_channel(1);
    let (maker, hurry) = (maker.clone(), Arc::new(AtomicBool::new(false)));
    let hurried = Arc::clone(&hurry);
    let work = move || {
        while let Ok(order) = ordered.recv() {
            let pace = Pace { began: Instant::now(), within: order.within, hurry: &hurried };
            if done.send(maker.make(order.filling, Some(&pace))).is_err() {
                break;
            }
        }
    };
    let handle = thread::Builder::new().name("wal-spare".to_owned()).spawn(work).ok()?;
    let thread = handle.thread().clone();
    Some(State::Background { orders, made, ordered: false, hurry, thread })
}

impl Maker {
    /// Without a pace it is made at once: somebody waits for it.
    fn make(&self, filling: Filling, pace: Option<&Pace<'_>>) -> Made {
        match self.disk.remove_file(&self.path) {
            Err(error) if !error.is_absent() => return Err(error),
            _ => {}
        }
        if let Some(file) = self.reuse()? {
            return self.with_both_doors(file);
        }
        let file = self.disk.create(&self.path, SEGMENT_MODE)?;
        match self.fill(file.as_ref(), filling, pace) {
            Ok(()) => self.with_both_doors(file),
            Err(error) => {
                // A part of a spare takes the room that others may need now.
                let _ = self.disk.remove_file(&self.path);
                Err(error)
            }
        }
    }

    /// Zeros are written step by step, until somebody is in a hurry: the rest is only reserved.
    fn fill(
        &self,
        file: &dyn DiskFile,
        filling: Filling,
        pace: Option<&Pace<'_>>,
    ) -> Result<(), DiskError> {
        let length = u64::from(self.size.bytes());
        // Reserved in both cases: that it fits is known before much is written.
        file.allocate(0, length)?;
        if filling == Filling::Zeros {
            let zeros = vec![0; self.zeros];
            let step_bytes = STEP.min(self.size.bytes() as usize);
            for step in (0..length).step_by(step_bytes) {
                if pace.is_some_and(|pace| !pace.wait(step, length)) {
                    break;
                }
                for offset in (step..step + step_bytes as u64).step_by(self.zeros) {
                    file.write_all_at(&zeros, offset)?;
                }
                if pace.is_some() {
                    file.start_writeback(step, step_bytes as u64)?;
                }
            }
        }
        file.sync_all()
    }

    /// The file that the archive has left, if it has the right size.
    fn reuse(&self) -> Result<Option<Box<dyn DiskFile>>, DiskError> {
        let Some(stat) = self.disk.stat(&self.recycled)? else { return Ok(None) };
        // A second name would lead to the archive: to write there would be the end of a segment.
        let is_ours = stat.links == 1 && stat.mode == SEGMENT_MODE;
        if !is_ours || stat.length != u64::from(self.size.bytes()) {
            self.disk.remove_file(&self.recycled)?;
            return Ok(None);
        }
        self.disk.rename(&self.recycled, &self.path)?;
        let file = self.disk.open(&self.path)?;
        // Its size and its blocks are to be as durable as those of a new one.
        file.sync_all()?;
        Ok(Some(file))
    }

    fn with_both_doors(&self, file: Box<dyn DiskFile>) -> Made {
        let direct = if self.direct { self.disk.open_direct(&self.path)? } else { None };
        Ok(SegmentFile { file, direct })
    }
}

/// Clears away a spare that a crash left behind.
pub(super) fn clear(disk: &dyn Disk, directory: &Path) -> Result<(), DiskError> {
    for name in [SPARE_NAME, RECYCLED_NAME, RECYCLING_NAME] {
        let path = directory.join(name);
        if disk.stat(&path)?.is_some() {
            disk::remove_file(disk, &path)?;
        }
    }
    Ok(())
}

const SPARE_NAME: &str = "spare.tmp";
/// Segments are as secret as the tables: nobody else reads them.
const SEGMENT_MODE: u32 = 0o600;
/// Each divides [`STEP`], which divides every segment size.
const ZEROS_LONG: usize = 256 << 10;
const ZEROS_SHORT: usize = 8 << 10;
/// What a flush of the current segment may find before it: a quarter of a millisecond of the disk.
/// All at once would be met by fewer commits, each of which would wait for 15 ms.
const STEP: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ModelDisk;

    #[test]
    fn who_needs_a_spare_gets_it_at_once_however_slowly_it_is_being_made() {
        let disk = Arc::new(ModelDisk::new(1));
        disk.put_directory(Path::new("/streaming"));
        let size = SegmentSize::new(1 << 20).expect("a size");
        let directory = Path::new("/streaming");
        let mut spares = Spares::new(disk, directory, size, false, Preparation::Background);
        let day = Duration::from_secs(24 * 3600);
        for _ in 0..3 {
            spares.prepare(Order { filling: Filling::Zeros, within: day });
            let spare = spares.take().expect("made");
            assert_eq!(spare.file.length().expect("a length"), 1 << 20);
        }
    }
}
