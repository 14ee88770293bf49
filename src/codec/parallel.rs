//! A file of many frames: packed by several threads while it is written, unpacked by several
//! while it is read.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use super::Codec;
use super::crew::{Crew, Piece, Worker};
use super::frame::{packer, unpacker};
use super::framing::{FRAME_BYTES, Framing, usual_workers};
use super::index::FrameIndex;
use crate::disk::DiskFile;

/// Frames in memory beyond those that are being worked on: one that is being filled or written,
/// and one that waits.
const AHEAD: usize = 2;

/// Packs what is pushed into frames of [`FRAME_BYTES`] plain bytes each, in threads of its own.
///
/// The caller pushes bytes and takes frames, in turns, and writes them one behind the other; at
/// last it closes the encoder, takes what is left, and writes the [index][Self::index] behind
/// it. Each byte is copied once, into the frame that it will be packed in.
#[derive(Debug)]
pub struct ParallelEncoder {
    codec: Codec,
    crew: Crew,
    /// Being filled.
    open: Option<Piece>,
    /// Being written by the caller.
    taken: Option<Piece>,
    spare: Vec<Piece>,
    /// How many more pieces may be made.
    unmade: usize,
    index: FrameIndex,
    closed: bool,
}

impl ParallelEncoder {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(framing: Framing) -> io::Result<ParallelEncoder> {
        let workers = (0..framing.workers()).map(|_| packer(framing));
        ParallelEncoder::with(framing.codec(), workers.collect::<io::Result<Vec<Worker>>>()?)
    }

    fn with(codec: Codec, workers: Vec<Worker>) -> io::Result<ParallelEncoder> {
        let pieces = workers.len() + AHEAD;
        Ok(ParallelEncoder {
            codec,
            crew: Crew::start("backup-packer", workers, pieces)?,
            open: None,
            taken: None,
            spare: Vec::with_capacity(pieces),
            unmade: pieces,
            index: FrameIndex::default(),
            closed: false,
        })
    }

    /// Takes bytes, and returns how many: none when every buffer is in use, until a frame has
    /// been taken.
    ///
    /// # Errors
    /// All threads are gone.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut piece) = self.open.take().or_else(|| self.new_piece()) else { return Ok(0) };
        let taken = bytes.len().min(FRAME_BYTES - piece.plain.len());
        piece.plain.extend_from_slice(&bytes[..taken]);
        if piece.plain.len() == FRAME_BYTES {
            self.crew.submit(piece)?;
        } else {
            self.open = Some(piece);
        }
        Ok(taken)
    }

    /// The next frame. `None` when there is none that is finished, and room for more bytes; of a
    /// closed encoder when all have been taken.
    ///
    /// # Errors
    /// A thread could not pack a frame.
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        if let Some(mut piece) = self.taken.take() {
            piece.plain.clear();
            self.spare.push(piece);
        }
        let has_room = self.open.is_some() || !self.spare.is_empty() || self.unmade > 0;
        let piece = match has_room && !self.closed {
            true => self.crew.poll()?,
            false => self.crew.wait()?,
        };
        let Some(piece) = piece else { return Ok(None) };
        self.index.push(piece.packed.len(), piece.plain.len())?;
        Ok(Some(&self.taken.insert(piece).packed))
    }

    /// Nothing more comes. A file without content is one empty frame.
    ///
    /// # Errors
    /// All threads are gone.
    pub fn close(&mut self) -> io::Result<()> {
        self.closed = true;
        let is_empty = self.index.frames().is_empty() && self.crew.in_flight() == 0;
        match self.open.take() {
            Some(piece) => self.crew.submit(piece),
            None if is_empty => self.crew.submit(Piece::default()),
            None => Ok(()),
        }
    }

    /// What is to be written behind the last frame.
    pub fn index(&self) -> Vec<u8> {
        self.index.render(self.codec)
    }

    fn new_piece(&mut self) -> Option<Piece> {
        if let Some(piece) = self.spare.pop() {
            return Some(piece);
        }
        self.unmade = self.unmade.checked_sub(1)?;
        Some(Piece { plain: Vec::with_capacity(FRAME_BYTES), ..Piece::default() })
    }
}

/// Reads the content of a file whose frames are listed at its end.
pub(super) struct ParallelDecoder {
    crew: Crew,
    index: FrameIndex,
    /// The frame that is submitted next, and where it stands.
    next: usize,
    at: u64,
    /// Being read by the caller, and up to where it is.
    taken: Option<Piece>,
    read: usize,
    spare: Vec<Piece>,
}

impl ParallelDecoder {
    /// Starts the threads. They read the file themselves.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(
        codec: Codec,
        file: &Arc<dyn DiskFile>,
        index: FrameIndex,
    ) -> io::Result<ParallelDecoder> {
        let workers = (0..usual_workers()).map(|_| reading(unpacker(codec)?, Arc::clone(file)));
        let workers = workers.collect::<io::Result<Vec<Worker>>>()?;
        let pieces = workers.len() + AHEAD;
        let spare = (0..pieces).map(|_| Piece::default()).collect();
        let crew = Crew::start("unpacker", workers, pieces)?;
        Ok(ParallelDecoder { crew, index, next: 0, at: 0, taken: None, read: 0, spare })
    }

    fn submit_more(&mut self) -> io::Result<()> {
        while let Some(&lengths) = self.index.frames().get(self.next)
            && let Some(mut piece) = self.spare.pop()
        {
            piece.at = self.at;
            piece.packed_length = lengths.packed as usize;
            piece.plain_length = lengths.plain as usize;
            self.crew.submit(piece)?;
            self.next += 1;
            self.at += u64::from(lengths.packed);
        }
        Ok(())
    }
}

/// A worker that reads the packed bytes before it unpacks them.
fn reading(mut unpack: Worker, file: Arc<dyn DiskFile>) -> io::Result<Worker> {
    Ok(Box::new(move |piece| {
        piece.packed.resize(piece.packed_length, 0);
        read_exact_at(file.as_ref(), &mut piece.packed, piece.at)?;
        unpack(piece)
    }))
}

/// Fills the buffer.
pub(super) fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let place = at + filled as u64;
        match file.read_at(&mut buffer[filled..], place).map_err(io::Error::other)? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            read => filled += read,
        }
    }
    Ok(())
}

impl Read for ParallelDecoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(piece) = &self.taken {
                let rest = &piece.plain[self.read..];
                if !rest.is_empty() || buffer.is_empty() {
                    let read = rest.len().min(buffer.len());
                    buffer[..read].copy_from_slice(&rest[..read]);
                    self.read += read;
                    return Ok(read);
                }
            }
            self.spare.extend(self.taken.take());
            self.submit_more()?;
            self.taken = self.crew.wait()?;
            self.read = 0;
            if self.taken.is_none() {
                return Ok(0);
            }
        }
    }
}

impl fmt::Debug for ParallelDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParallelDecoder({} of {} frames)", self.next, self.index.frames().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that fails on the third frame it sees.
    fn failing() -> Worker {
        let mut left = 2;
        Box::new(move |piece| {
            if left == 0 {
                return Err(io::Error::other("no more"));
            }
            left -= 1;
            piece.packed.clear();
            Ok(())
        })
    }

    #[test]
    fn a_frame_that_cannot_be_packed_ends_the_file_and_nobody_waits_for_it() {
        let mut encoder = ParallelEncoder::with(Codec::Zstd, vec![failing()]).expect("started");
        let bytes = vec![1; FRAME_BYTES];
        let mut frames = 0;
        let error = loop {
            let pushed = encoder.push(&bytes);
            match pushed.and_then(|_| encoder.next_frame().map(|frame| frame.is_some())) {
                Ok(taken) => frames += usize::from(taken),
                Err(error) => break error,
            }
        };
        assert_eq!((frames, error.to_string().as_str()), (2, "no more"));
    }

    #[test]
    fn no_more_frames_are_in_memory_than_threads_and_two_however_much_is_pushed() {
        let idle = || -> Worker { Box::new(|_| Ok(())) };
        let mut encoder =
            ParallelEncoder::with(Codec::Zstd, vec![idle(), idle()]).expect("started");
        let bytes = vec![1; FRAME_BYTES];
        for _ in 0..4 {
            assert_eq!(encoder.push(&bytes).expect("room"), FRAME_BYTES);
        }
        assert_eq!(encoder.push(&bytes).expect("alive"), 0, "until a frame is taken");
        assert!(encoder.next_frame().expect("alive").is_some(), "it waits for one");
        assert_eq!(encoder.push(&bytes).expect("alive"), 0, "it is still being written");
        let _ = encoder.next_frame().expect("alive");
        assert_eq!(encoder.push(&bytes).expect("room"), FRAME_BYTES);
    }
}
