//! How one spare is made: from a file that the archive has left, or anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Filling, Preparation, SPARE_NAME};
use crate::archive::RECYCLED_NAME;
use crate::disk::{AlignedBuffer, Disk, DiskError, DiskFile};
use crate::receive::segment::SegmentFile;
use crate::receive::target::Target;
use crate::wal::SegmentSize;

pub(super) type Made = Result<SegmentFile, DiskError>;

/// Makes files of full size, durable as they are.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub(super) disk: Arc<dyn Disk>,
    /// Where a spare waits for the writer.
    pub(super) path: PathBuf,
    recycled: PathBuf,
    size: SegmentSize,
    /// Whether files are opened for writes past the page cache.
    direct: bool,
    /// What one step writes.
    zeros: Arc<AlignedBuffer>,
    /// How much of it the page cache gets at once: what is written in one piece may become one
    /// piece of it, all of which each small write into it would dirty.
    piece: usize,
}

/// Spreads work over a time, until somebody is in a hurry.
pub(super) struct Pace<'a> {
    pub(super) began: Instant,
    pub(super) within: Duration,
    pub(super) hurry: &'a AtomicBool,
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

impl Maker {
    /// For segments of `target`.
    pub(super) fn new(target: &Target) -> Maker {
        let directory = &target.directory;
        let mut zeros = AlignedBuffer::new(STEP);
        zeros.fill(STEP);
        Maker {
            disk: Arc::clone(&target.disk),
            path: directory.join(SPARE_NAME),
            recycled: directory.join(RECYCLED_NAME),
            size: target.segment_size,
            direct: target.direct,
            zeros: Arc::new(zeros),
            piece: match target.preparation {
                Preparation::Background => PIECE,
                Preparation::InTurn => STEP,
            },
        }
    }

    /// The length of a spare, in bytes.
    pub(super) fn length(&self) -> u64 {
        u64::from(self.size.bytes())
    }

    /// What is free on the disk, in bytes.
    pub(super) fn free_bytes(&self) -> Result<u64, DiskError> {
        self.disk.free_bytes(self.path.parent().unwrap_or(&self.path))
    }

    /// Makes one at once: somebody waits for it.
    pub(super) fn make(&self, filling: Filling) -> Made {
        match self.recycled()? {
            Some(recycled) => Ok(recycled),
            None => self.make_new(filling, None),
        }
    }

    /// The same at a pace, where [`Maker::recycled`] had none.
    pub(super) fn make_new(&self, filling: Filling, pace: Option<&Pace<'_>>) -> Made {
        let mut file = self.reserve(&self.path)?;
        match self.fill(&mut file, filling, pace) {
            Ok(()) => Ok(file),
            Err(error) => {
                // A part of a spare takes the room that others may need now.
                let _ = self.disk.remove_file(&self.path);
                Err(error)
            }
        }
    }

    /// The file that the archive has left, if it has the right size. Without it the name of the
    /// spare is free.
    pub(super) fn recycled(&self) -> Result<Option<SegmentFile>, DiskError> {
        self.make_way(&self.path)?;
        let Some(stat) = self.disk.stat(&self.recycled)? else { return Ok(None) };
        // A second name would lead to the archive: to write there would be the end of a segment.
        let is_ours = stat.links == 1 && stat.mode == SEGMENT_MODE;
        if !is_ours || stat.length != self.length() {
            self.disk.remove_file(&self.recycled)?;
            return Ok(None);
        }
        self.disk.rename(&self.recycled, &self.path)?;
        let file = self.disk.open(&self.path)?;
        // Its size and its blocks are to be as durable as those of a new one.
        file.sync_all()?;
        let direct = self.direct_door(&self.path)?;
        Ok(Some(SegmentFile { file, direct }))
    }

    /// Nothing has this name any more.
    pub(super) fn make_way(&self, path: &Path) -> Result<(), DiskError> {
        match self.disk.remove_file(path) {
            Err(error) if !error.is_absent() => Err(error),
            _ => Ok(()),
        }
    }

    /// Creates a file of full size at `path`, or none: that it fits is known before anything is
    /// written. Nothing of it is durable.
    pub(super) fn reserve(&self, path: &Path) -> Made {
        let file = self.disk.create(path, SEGMENT_MODE)?;
        let reserved = file.allocate(0, self.length());
        match reserved.and_then(|()| self.direct_door(path)) {
            Ok(direct) => Ok(SegmentFile { file, direct }),
            Err(error) => {
                let _ = self.disk.remove_file(path);
                Err(error)
            }
        }
    }

    fn direct_door(&self, path: &Path) -> Result<Option<Box<dyn DiskFile>>, DiskError> {
        if self.direct { self.disk.open_direct(path) } else { Ok(None) }
    }

    /// Writes zeros from `step` on, and returns where the next step begins.
    pub(super) fn write_step(&self, file: &mut SegmentFile, step: u64) -> Result<u64, DiskError> {
        let end = step + STEP as u64;
        if !file.write_direct(self.zeros.filled(), step)? {
            let zeros = &self.zeros.filled()[..self.piece];
            for offset in (step..end).step_by(self.piece) {
                file.file.write_all_at(zeros, offset)?;
            }
            file.file.start_writeback(step, end - step)?;
        }
        Ok(end)
    }

    /// Zeros are written step by step, until somebody is in a hurry: the rest is only reserved.
    fn fill(
        &self,
        file: &mut SegmentFile,
        filling: Filling,
        pace: Option<&Pace<'_>>,
    ) -> Result<(), DiskError> {
        let mut step = if filling == Filling::Zeros { 0 } else { self.length() };
        while step < self.length() && pace.is_none_or(|pace| pace.wait(step, self.length())) {
            step = self.write_step(file, step)?;
        }
        file.file.sync_all()
    }
}

/// Segments are as secret as the tables: nobody else reads them.
const SEGMENT_MODE: u32 = 0o600;
/// What a flush of the current segment may find before it: a quarter of a millisecond of the disk.
/// All at once would be met by fewer commits, each of which would wait for 15 ms. Divides every
/// segment size.
const STEP: usize = 256 << 10;
/// Divides [`STEP`].
const PIECE: usize = 8 << 10;
