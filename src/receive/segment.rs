//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! One segment file while WAL arrives for it.
//!
//! Its name ends in `.partial` until it is complete and durable. The file has its full size
//! from the beginning, so that later only bytes have to be made durable.
//!
//! Much at once goes past the page cache: one copy into an aligned buffer, where the kernel
//! would make the same copy, find pages for it and write them back later. Little at a time goes
//! through the page cache, which gathers it, and so do the ends of a large write that fill no
//! whole block: to write one twice into reserved space costs more.
//!
//! Where commits wait, everything goes past the page cache: a flush comes after each batch, and
//! then finds nothing to write back. See [`Blocks`] for what fills no whole block. A block that
//! began in the page cache is ended there: no page waits in the cache to be written back over
//! what was written past it. A file that an earlier life has left is the exception: its bytes stay
//! as they are until they are received again.

mod blocks;

use std::path::PathBuf;

pub(super) use self::blocks::Blocks;
use super::batch::Batch;
use crate::disk::{DIRECT_ALIGN, DiskError, DiskFile};
use crate::wal::{Lsn, SegmentName};

/// A file of a segment, through its two doors.
#[derive(Debug)]
pub(super) struct SegmentFile {
    /// Through the page cache.
    pub(super) file: Box<dyn DiskFile>,
    /// Past the page cache, where the file system has that.
    pub(super) direct: Option<Box<dyn DiskFile>>,
}

impl SegmentFile {
    /// Writes past the page cache, from memory and to an offset as [`Disk::open_direct`] wants
    /// them. `false`: this file has no such writes, and nothing counts as written. A file system that
    /// took the flag and refuses the write is asked no more.
    ///
    /// [`Disk::open_direct`]: crate::disk::Disk::open_direct
    pub(super) fn write_direct(&mut self, bytes: &[u8], offset: u64) -> Result<bool, DiskError> {
        let Some(direct) = &self.direct else { return Ok(false) };
        match direct.write_all_at(bytes, offset) {
            Err(error) if error.is_unsupported() => {
                self.direct = None;
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }
}

/// What goes past the page cache, where a file has that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PastCache {
    /// Everything: commits wait.
    All,
    /// What is long enough to be worth a trip to the device, in whole blocks.
    Long,
}

/// An open segment. `start <= flushed <= written <= end`.
#[derive(Debug)]
pub(super) struct OpenSegment {
    file: SegmentFile,
    /// Where it stands now; it was opened under another name if it was prepared ahead.
    path: PathBuf,
    name: SegmentName,
    end: Lsn,
    /// Position of the first byte of the file.
    start: Lsn,
    /// Behind the last byte that the kernel has.
    written: Lsn,
    /// Behind the last byte that is durable.
    flushed: Lsn,
    /// Write-back has been asked for up to here, or was waited for.
    hinted: Lsn,
    /// An earlier life may have received and acknowledged what stands behind `written`.
    may_hold_more: bool,
}

impl OpenSegment {
    /// A segment from `start` to `end` whose bytes before `position` are durable.
    pub(super) fn new(
        file: SegmentFile,
        path: PathBuf,
        name: SegmentName,
        (start, end): (Lsn, Lsn),
        position: Lsn,
    ) -> OpenSegment {
        OpenSegment {
            file,
            path,
            name,
            end,
            start,
            written: position,
            flushed: position,
            hinted: position,
            may_hold_more: false,
        }
    }

    /// The same of a file that an earlier life has left.
    pub(super) fn left_behind(self) -> OpenSegment {
        OpenSegment { may_hold_more: true, ..self }
    }

    /// Which segment it is.
    pub(super) fn name(&self) -> SegmentName {
        self.name
    }

    /// The file with the suffix `.partial`.
    pub(super) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Behind the last byte that the kernel has.
    pub(super) fn written(&self) -> Lsn {
        self.written
    }

    /// Bytes that still fit.
    pub(super) fn room(&self) -> u64 {
        self.end - self.written
    }

    /// Writes as much of the batch as fits; past the page cache with the help of `blocks`. After
    /// an error what was written before it counts, and to write the rest again is right.
    pub(super) fn append(
        &mut self,
        batch: &mut Batch,
        past_cache: PastCache,
        blocks: &mut Blocks,
    ) -> Result<(), DiskError> {
        // What fills a block up would stand in the place of what was acknowledged.
        let past_cache = if self.may_hold_more { PastCache::Long } else { past_cache };
        loop {
            let fits = self.room().min(batch.left());
            if fits == 0 {
                return Ok(());
            }
            match past_cache {
                PastCache::All if self.file.direct.is_some() => {
                    self.append_direct(batch, fits, blocks)?;
                }
                PastCache::Long if self.file.direct.is_some() && fits >= DIRECT_MIN => {
                    let rest = (self.written + fits).0 % DIRECT_ALIGN as u64;
                    self.append_direct(batch, fits - rest, blocks)?;
                }
                _ => self.append_cached(batch, fits)?,
            }
        }
    }

    /// Through the page cache, with one call.
    fn append_cached(&mut self, batch: &mut Batch, limit: u64) -> Result<(), DiskError> {
        let offset = self.written - self.start;
        let (slices, count, length) = batch.slices(limit);
        let result = self.file.file.write_all_vectored_at(&slices[..count], offset);
        result.map_err(|error| self.named(error))?;
        self.advance(batch, length);
        Ok(())
    }

    /// Past the page cache, with one call, unless the block began in it.
    fn append_direct(
        &mut self,
        batch: &mut Batch,
        limit: u64,
        blocks: &mut Blocks,
    ) -> Result<(), DiskError> {
        let (offset, block) = (self.written - self.start, DIRECT_ALIGN as u64);
        let Some(length) = blocks.load(batch, self.written, limit) else {
            let rest = offset.next_multiple_of(block) - offset;
            return self.append_cached(batch, limit.min(rest));
        };
        match self.file.write_direct(blocks.bytes(), offset / block * block) {
            Ok(true) => {
                self.advance(batch, length);
                self.hinted = self.written;
                blocks.written(self.written);
                Ok(())
            }
            refused => {
                blocks.unload(self.written);
                refused.map(drop).map_err(|error| self.named(error))
            }
        }
    }

    fn advance(&mut self, batch: &mut Batch, length: u64) {
        batch.advance(length);
        self.written = self.written + length;
    }

    /// Asks for write-back of what has gathered, so that the flush to come finds little to do.
    pub(super) fn hint(&mut self) -> Result<(), DiskError> {
        let gathered = self.written - self.hinted;
        if gathered >= HINT_BYTES {
            let offset = self.hinted - self.start;
            let result = self.file.file.start_writeback(offset, gathered);
            result.map_err(|error| self.named(error))?;
            self.hinted = self.written;
        }
        Ok(())
    }

    /// Makes everything durable that was written. Returns whether there was anything.
    pub(super) fn flush(&mut self) -> Result<bool, DiskError> {
        if self.flushed == self.written {
            return Ok(false);
        }
        // fdatasync, not fsync: the file was synced at its full size before it got its name, so
        // no metadata that matters can be pending. It speaks for both doors: it writes the
        // pages of the cache, and then empties the cache of the device.
        self.file.file.sync_data().map_err(|error| self.named(error))?;
        self.flushed = self.written;
        self.hinted = self.written;
        Ok(true)
    }

    /// Errors name the file as an operator finds it.
    fn named(&self, error: DiskError) -> DiskError {
        DiskError { path: self.path.clone(), ..error }
    }
}

/// Large enough that the requests stay long, small enough that the last one is soon done.
const HINT_BYTES: u64 = 1 << 20;
/// Below this a trip to the device costs more than the copy that it saves.
const DIRECT_MIN: u64 = 64 << 10;
