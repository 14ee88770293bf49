//! HOT PATH: no allocation per frame, no lock, no log line, no process.
//! The end of an archive that grows past the page cache, written by a thread of its own.
//!
//! One copy into an aligned buffer, where the kernel would make the same copy, find pages for it
//! and write them back later. Meanwhile the next buffer fills: who checks the bytes never waits
//! for the disk unless all buffers are full. What fills no whole block at the end of the file
//! goes through the page cache; no page of it is ever written by both.
//!
//! Where the file system has no such writes, the same thread writes through the page cache.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;

use crate::disk::{AlignedBuffer, DIRECT_ALIGN, DiskError, DiskFile};

/// A file that is written from its beginning on.
#[derive(Debug)]
pub(super) struct DirectTail {
    filling: AlignedBuffer,
    /// Bytes that were taken, those that fill `filling` aside.
    handed_over: u64,
    path: Box<Path>,
    full: Option<SyncSender<AlignedBuffer>>,
    empty: Receiver<AlignedBuffer>,
    thread: Option<JoinHandle<Result<Box<dyn DiskFile>, DiskError>>>,
}

/// One write: long enough that the disk is busy nearly all the time.
pub(super) const BUFFER_BYTES: usize = 2 << 20;
/// What a stall of the disk may be behind.
pub(super) const BUFFERS: usize = 8;

impl DirectTail {
    /// Starts the thread of an empty file, which is open through both doors: through the page
    /// cache, and past it where the file system has that.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(
        file: Box<dyn DiskFile>,
        direct: Option<Box<dyn DiskFile>>,
    ) -> io::Result<DirectTail> {
        let (full, to_write) = mpsc::sync_channel(BUFFERS);
        let (written, empty) = mpsc::sync_channel(BUFFERS);
        for _ in 1..BUFFERS {
            // There is room for all; memory that is not touched costs none.
            let _ = written.send(AlignedBuffer::new(BUFFER_BYTES));
        }
        let path = file.path().into();
        let doors = Doors { file, direct, offset: 0 };
        let thread = std::thread::Builder::new()
            .name("backup-disk".to_owned())
            .spawn(move || doors.run(&to_write, &written))?;
        Ok(DirectTail {
            path,
            filling: AlignedBuffer::new(BUFFER_BYTES),
            handed_over: 0,
            full: Some(full),
            empty,
            thread: Some(thread),
        })
    }

    /// The file, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        loop {
            let taken = self.filling.append(bytes);
            bytes = &bytes[taken..];
            if bytes.is_empty() {
                return Ok(());
            }
            self.hand_over()?;
        }
    }

    /// Where the next bytes may be put, at least one; then say so to [`DirectTail::fill`]. What
    /// was put there before and is not yet on its way is [`DirectTail::filled`].
    pub(super) fn room(&mut self) -> Result<&mut [u8], DiskError> {
        if self.is_full() {
            self.hand_over()?;
        }
        Ok(self.filling.room())
    }

    /// So many bytes were put into the room.
    pub(super) fn fill(&mut self, length: usize) {
        self.filling.fill(length);
    }

    /// The bytes that wait for company.
    pub(super) fn filled(&self) -> &[u8] {
        self.filling.filled()
    }

    /// Whether what waits goes to the disk before anything more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.filling.filled().len() == self.filling.capacity()
    }

    /// Gives the full buffer to the thread, and begins with an empty one.
    fn hand_over(&mut self) -> Result<(), DiskError> {
        let Ok(next) = self.empty.recv() else { return self.join().map(drop) };
        let full = std::mem::replace(&mut self.filling, next);
        self.handed_over += full.filled().len() as u64;
        match self.full.as_ref().map(|sender| sender.send(full)) {
            Some(Ok(())) => Ok(()),
            // The thread has ended before its time, and has the reason.
            _ => self.join().map(drop),
        }
    }

    /// Makes everything durable. Returns the length of the file.
    pub(super) fn finish(mut self) -> Result<u64, DiskError> {
        let file = self.join()?;
        let rest = self.filled();
        if !rest.is_empty() {
            file.write_all_at(rest, self.handed_over)?;
        }
        file.sync_all()?;
        Ok(self.handed_over + rest.len() as u64)
    }

    /// Waits until everything that was handed over is written.
    fn join(&mut self) -> Result<Box<dyn DiskFile>, DiskError> {
        self.full = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(written)) => written,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {
                let before = io::Error::other("an earlier write has failed");
                Err(DiskError::new("write", &self.path, before))
            }
        }
    }
}

/// Nothing is written any more when it is gone.
impl Drop for DirectTail {
    fn drop(&mut self) {
        self.full = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The two doors of the file, in the thread.
struct Doors {
    file: Box<dyn DiskFile>,
    direct: Option<Box<dyn DiskFile>>,
    offset: u64,
}

impl Doors {
    fn run(
        mut self,
        full: &Receiver<AlignedBuffer>,
        empty: &SyncSender<AlignedBuffer>,
    ) -> Result<Box<dyn DiskFile>, DiskError> {
        while let Ok(mut buffer) = full.recv() {
            self.write(buffer.filled())?;
            buffer.clear();
            // There is room for all that there are.
            let _ = empty.send(buffer);
        }
        Ok(self.file)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        debug_assert!(bytes.len().is_multiple_of(DIRECT_ALIGN), "only full buffers come here");
        let length = bytes.len() as u64;
        if let Some(direct) = &self.direct {
            match direct.write_all_at(bytes, self.offset) {
                Ok(()) => {
                    self.offset += length;
                    return Ok(());
                }
                // It took the flag and refuses the write: it is asked no more.
                Err(error) if error.is_unsupported() => self.direct = None,
                Err(error) => return Err(error),
            }
        }
        self.file.write_all_at(bytes, self.offset)?;
        // The sync at the end then finds little to do.
        self.file.start_writeback(self.offset, length)?;
        self.offset += length;
        Ok(())
    }
}
