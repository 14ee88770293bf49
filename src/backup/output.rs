//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! What is behind an archive: a file, into which it is written as it is or packed on the way, or
//! a directory that its members go to.

use std::io::{self, IoSlice};

use bytes::Bytes;

use super::direct::DirectTail;
use super::error::BackupError;
use super::tree::TreeOutput;
use crate::codec::{Framing, ParallelEncoder};
use crate::disk::{DiskError, DiskFile};
use crate::tar::Member;

/// Where the bytes of an archive go.
#[derive(Debug)]
pub(super) enum Output {
    /// To the file; each byte is copied once, for the disk.
    Plain(DirectTail),
    /// Through threads that pack; each byte is copied once, for them.
    Packed {
        /// The file.
        tail: DirectTail,
        /// The threads.
        encoder: Box<ParallelEncoder>,
    },
    /// Member by member, into a directory.
    Tree(TreeOutput),
    /// What is only looked at.
    Nowhere,
}

impl Output {
    /// Into a file.
    ///
    /// # Errors
    /// A thread that packs cannot be started.
    pub(super) fn new(tail: DirectTail, framing: Option<Framing>) -> io::Result<Output> {
        Ok(match framing {
            None => Output::Plain(tail),
            Some(framing) => {
                let encoder = Box::new(ParallelEncoder::start(framing)?);
                Output::Packed { tail, encoder }
            }
        })
    }

    /// A member begins.
    pub(super) fn begin(&mut self, member: &Member) -> Result<(), BackupError> {
        match self {
            Output::Tree(tree) => tree.begin(member),
            _ => Ok(()),
        }
    }

    /// Content of the member that has begun.
    pub(super) fn content(&mut self, bytes: Bytes) -> Result<(), DiskError> {
        match self {
            Output::Tree(tree) => tree.content(bytes),
            _ => Ok(()),
        }
    }

    /// The member that has begun is complete.
    pub(super) fn end(&mut self) -> Result<(), BackupError> {
        match self {
            Output::Tree(tree) => tree.end(),
            _ => Ok(()),
        }
    }

    /// Takes the next bytes of the archive itself.
    pub(super) fn take(&mut self, bytes: Bytes) -> Result<(), DiskError> {
        match self {
            Output::Plain(tail) => tail.write(&bytes),
            Output::Packed { tail, encoder } => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let pushed = encoder.push(rest).map_err(|error| fails(tail, error))?;
                    rest = &rest[pushed..];
                    write_frames(encoder, tail)?;
                }
                Ok(())
            }
            Output::Tree(_) | Output::Nowhere => Ok(()),
        }
    }

    /// Where the bytes of the archive are stored as they come.
    pub(super) fn place(&mut self) -> Option<&mut DirectTail> {
        match self {
            Output::Plain(tail) => Some(tail),
            _ => None,
        }
    }

    /// Makes everything durable, the files of a directory aside. Returns the length of the file,
    /// 0 for a directory.
    pub(super) fn finish(self) -> Result<u64, DiskError> {
        match self {
            Output::Plain(tail) => tail.finish(),
            Output::Packed { mut tail, mut encoder } => {
                encoder.close().map_err(|error| fails(&tail, error))?;
                write_frames(&mut encoder, &mut tail)?;
                tail.write(&encoder.index())?;
                tail.finish()
            }
            Output::Tree(tree) => tree.finish().map(|()| 0),
            Output::Nowhere => Ok(0),
        }
    }
}

/// Writes the frames that are finished; of a closed encoder all.
fn write_frames(encoder: &mut ParallelEncoder, tail: &mut DirectTail) -> Result<(), DiskError> {
    while let Some(frame) = encoder.next_frame().map_err(|error| fails(tail, error))? {
        tail.write(frame)?;
    }
    Ok(())
}

fn fails(tail: &DirectTail, error: io::Error) -> DiskError {
    DiskError::new("pack", tail.path(), error)
}

/// The end of a member's file that grows.
#[derive(Debug)]
pub(super) struct Tail {
    file: Box<dyn DiskFile>,
    /// Bytes that were handed to the disk.
    written: u64,
    /// Up to where the kernel was asked to write back. `written_back <= written`.
    written_back: u64,
}

/// Early write-back: the sync at the end then finds little to do.
const WRITE_BACK_BYTES: u64 = 8 << 20;

impl Tail {
    /// Of an empty file.
    pub(super) fn new(file: Box<dyn DiskFile>) -> Tail {
        Tail { file, written: 0, written_back: 0 }
    }

    /// Appends slices of `length` bytes together.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>], length: usize) -> Result<(), DiskError> {
        self.file.write_all_vectored_at(slices, self.written)?;
        self.written += length as u64;
        let pending = self.written - self.written_back;
        if pending >= WRITE_BACK_BYTES {
            self.file.start_writeback(self.written_back, pending)?;
            self.written_back = self.written;
        }
        Ok(())
    }
}

/// Slices that wait to be written together.
#[derive(Debug)]
pub(super) struct Gathered {
    pieces: Vec<Bytes>,
    bytes: usize,
}

/// Large enough that the call costs nothing, small enough to stay in the cache.
const WRITE_BYTES: usize = 1 << 20;
/// Below the limit of what a vectored write takes.
const WRITE_PIECES: usize = 512;

impl Gathered {
    /// None so far.
    pub(super) fn new() -> Gathered {
        Gathered { pieces: Vec::with_capacity(WRITE_PIECES), bytes: 0 }
    }

    /// Takes a slice. Says whether it is time to write.
    pub(super) fn push(&mut self, bytes: Bytes) -> bool {
        self.bytes += bytes.len();
        self.pieces.push(bytes);
        self.bytes >= WRITE_BYTES || self.pieces.len() >= WRITE_PIECES
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Hands everything to the disk.
    pub(super) fn write(&mut self, tail: &mut Tail) -> Result<(), DiskError> {
        let empty = IoSlice::new(&[]);
        let mut slices = [empty; WRITE_PIECES];
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        tail.write(&slices[..self.pieces.len()], self.bytes)?;
        self.pieces.clear();
        self.bytes = 0;
        Ok(())
    }
}
