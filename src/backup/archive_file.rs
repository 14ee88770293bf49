//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! One archive on its way to the disk.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::error::BackupError;
use super::member::Members;
use crate::disk::{DiskError, DiskFile};
use crate::tar::{Ending, TRAILER, TarError, TarEvent, TarSplitter};

/// An archive that is being stored, under a temporary name.
#[derive(Debug)]
pub(super) struct ArchiveFile {
    file: Box<dyn DiskFile>,
    /// `base.tar` or `<oid>.tar`.
    name: String,
    /// What the manifest puts before the names in it: nothing, or `pg_tblspc/<oid>/`.
    prefix: Vec<u8>,
    splitter: TarSplitter,
    /// Bytes that were handed to the disk.
    written: u64,
    /// Up to where the kernel was asked to write back. `written_back <= written`.
    written_back: u64,
    /// What was not yet handed to the disk, and how much it is.
    pending: Vec<Bytes>,
    pending_bytes: usize,
}

/// Large enough that the call costs nothing, small enough to stay in the cache.
const WRITE_BYTES: usize = 1 << 20;
/// Below the limit of what a vectored write takes.
const WRITE_PIECES: usize = 512;
/// Early write-back: the sync at the end then finds little to do.
const WRITE_BACK_BYTES: u64 = 8 << 20;

impl ArchiveFile {
    /// Begins with an empty file.
    pub(super) fn new(file: Box<dyn DiskFile>, name: String, prefix: Vec<u8>) -> ArchiveFile {
        ArchiveFile {
            file,
            name,
            prefix,
            splitter: TarSplitter::new(),
            written: 0,
            written_back: 0,
            pending: Vec::with_capacity(WRITE_PIECES),
            pending_bytes: 0,
        }
    }

    /// Takes the next bytes of the archive.
    pub(super) fn take(&mut self, bytes: Bytes, members: &mut Members) -> Result<(), BackupError> {
        self.pending_bytes += bytes.len();
        self.splitter.push(Bytes::clone(&bytes));
        self.pending.push(bytes);
        self.split(members)?;
        if self.pending_bytes >= WRITE_BYTES || self.pending.len() >= WRITE_PIECES {
            self.write()?;
        }
        Ok(())
    }

    fn split(&mut self, members: &mut Members) -> Result<(), BackupError> {
        while let Some(event) = self.splitter.next().map_err(|error| self.broken(error))? {
            match event {
                TarEvent::Member(member) => members.begin(member, &self.prefix),
                TarEvent::Data(bytes) => members.data(&bytes),
                TarEvent::MemberEnd => members.end(&self.prefix),
                TarEvent::End => {}
            }
        }
        Ok(())
    }

    fn broken(&self, source: TarError) -> BackupError {
        BackupError::Tar { archive: String::clone(&self.name), source }
    }

    /// Hands what is pending to the disk.
    fn write(&mut self) -> Result<(), DiskError> {
        let empty = IoSlice::new(&[]);
        let mut slices = [empty; WRITE_PIECES];
        let mut count = 0;
        for piece in &self.pending {
            slices[count] = IoSlice::new(piece.chunk());
            count += 1;
        }
        self.file.write_all_vectored_at(&slices[..count], self.written)?;
        self.written += self.pending_bytes as u64;
        self.pending.clear();
        self.pending_bytes = 0;
        if self.written - self.written_back >= WRITE_BACK_BYTES {
            let length = self.written - self.written_back;
            self.file.start_writeback(self.written_back, length)?;
            self.written_back = self.written;
        }
        Ok(())
    }

    /// Adds the trailer where the server sent none, and makes everything durable. Returns the
    /// length of the file.
    pub(super) fn finish(mut self) -> Result<u64, BackupError> {
        let ending = self.splitter.finish().map_err(|error| self.broken(error))?;
        self.write()?;
        if ending == Ending::NoTrailer {
            self.file.write_all_at(&TRAILER, self.written)?;
            self.written += TRAILER.len() as u64;
        }
        self.file.sync_all()?;
        Ok(self.written)
    }
}
