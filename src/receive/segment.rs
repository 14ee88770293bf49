//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! One segment file while WAL arrives for it.
//!
//! Its name ends in `.partial` until it is complete and durable. The file has its full size
//! from the beginning, so that later only bytes have to be made durable.

use std::io::IoSlice;
use std::path::PathBuf;

use crate::disk::{DiskError, DiskFile};
use crate::wal::{Lsn, SegmentName};

/// An open segment. `start <= flushed <= written <= end`.
#[derive(Debug)]
pub(super) struct OpenSegment {
    file: Box<dyn DiskFile>,
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
    /// Write-back has been asked for up to here.
    hinted: Lsn,
}

impl OpenSegment {
    /// A segment from `start` to `end` whose bytes before `position` are durable.
    pub(super) fn new(
        file: Box<dyn DiskFile>,
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

    /// Appends the slices, `length` bytes in all, which fit.
    pub(super) fn append(&mut self, slices: &[IoSlice<'_>], length: u64) -> Result<(), DiskError> {
        let offset = self.written - self.start;
        self.file.write_all_vectored_at(slices, offset).map_err(|error| self.named(error))?;
        self.written = self.written + length;
        Ok(())
    }

    /// Asks for write-back of what has gathered, so that the flush to come finds little to do.
    pub(super) fn hint(&mut self) -> Result<(), DiskError> {
        let gathered = self.written - self.hinted;
        if gathered >= HINT_BYTES {
            let offset = self.hinted - self.start;
            self.file.start_writeback(offset, gathered).map_err(|error| self.named(error))?;
            self.hinted = self.written;
        }
        Ok(())
    }

    /// Makes everything durable that was written.
    pub(super) fn flush(&mut self) -> Result<(), DiskError> {
        if self.flushed < self.written {
            // fdatasync, not fsync: the file was synced at its full size before it got its
            // name, so no metadata that matters can be pending.
            self.file.sync_data().map_err(|error| self.named(error))?;
            self.flushed = self.written;
        }
        Ok(())
    }

    /// Errors name the file as an operator finds it.
    fn named(&self, error: DiskError) -> DiskError {
        DiskError { path: self.path.clone(), ..error }
    }
}

/// Large enough that the requests stay long, small enough that the last one is soon done.
const HINT_BYTES: u64 = 1 << 20;
