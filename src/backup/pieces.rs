//! Pieces that one thread sends and another reads, as one stream.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf, Bytes};

/// Pieces that the reading may be behind; each pins a read buffer at most.
const AHEAD: usize = 64;

/// The reading end. The stream ends when the sender is gone.
#[derive(Debug)]
pub(super) struct Pieces {
    queue: Receiver<Bytes>,
    piece: Bytes,
}

impl Pieces {
    /// A stream and where its pieces are put; a sender that is too far ahead waits.
    pub(super) fn new() -> (SyncSender<Bytes>, Pieces) {
        let (sender, queue) = sync_channel(AHEAD);
        (sender, Pieces { queue, piece: Bytes::new() })
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.queue.recv() {
                Ok(piece) => self.piece = piece,
                Err(_) => return Ok(0),
            }
        }
        let read = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}
