//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! One segment file while WAL arrives for it.
//!
//! Its name ends in `.partial` until it is complete and durable. The file has its full size
//! from the beginning, so that later only bytes have to be made durable.
//!
//! Much at once goes past the page cache: one copy into an aligned buffer, where the kernel
//! would make the same copy, find pages for it and write them back later. Little at a time goes
//! through the page cache, and so do the ends of a large write that fill no whole block: no
//! page of the cache is ever written by both.
//!
//! Where commits wait, everything goes through the page cache: a flush comes after each batch,
//! and there the kernel is quicker with one long write-back than with our direct writes in turn.

use std::path::PathBuf;

use super::batch::Batch;
use crate::disk::{AlignedBuffer, DIRECT_ALIGN, DiskError, DiskFile};
use crate::wal::{Lsn, SegmentName};

/// A file of a segment, through its two doors.
#[derive(Debug)]
pub(super) struct SegmentFile {
    /// Through the page cache.
    pub(super) file: Box<dyn DiskFile>,
    /// Past the page cache, where the file system has that.
    pub(super) direct: Option<Box<dyn DiskFile>>,
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
        }
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

    /// Writes as much of the batch as fits; past the page cache with the help of `buffer`, if
    /// there is one. After an error what was written before it counts, and to write the rest
    /// again is right.
    pub(super) fn append(
        &mut self,
        batch: &mut Batch,
        mut buffer: Option<&mut AlignedBuffer>,
    ) -> Result<(), DiskError> {
        loop {
            let fits = self.room().min(batch.left());
            if fits == 0 {
                return Ok(());
            }
            let is_long = self.file.direct.is_some() && fits >= DIRECT_MIN;
            let Some(buffer) = buffer.as_deref_mut().filter(|_| is_long) else {
                self.append_cached(batch, fits)?;
                continue;
            };
            let block = DIRECT_ALIGN as u64;
            let offset = self.written - self.start;
            let before = offset.next_multiple_of(block) - offset;
            if before > 0 {
                self.append_cached(batch, before)?;
                continue;
            }
            let blocks = fits.min(buffer.capacity() as u64) / block * block;
            self.append_direct(batch, buffer, blocks)?;
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

    /// Past the page cache. A file system that took the flag and refuses the write is asked
    /// no more.
    fn append_direct(
        &mut self,
        batch: &mut Batch,
        buffer: &mut AlignedBuffer,
        length: u64,
    ) -> Result<(), DiskError> {
        let Some(direct) = &self.file.direct else { return Ok(()) };
        batch.copy_into(buffer, length as usize);
        match direct.write_all_at(buffer.filled(), self.written - self.start) {
            Ok(()) => {
                self.advance(batch, length);
                self.hinted = self.written;
                Ok(())
            }
            Err(error) if error.is_unsupported() => {
                self.file.direct = None;
                Ok(())
            }
            Err(error) => Err(self.named(error)),
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
