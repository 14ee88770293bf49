//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! What the writer has taken out of the queue and not yet written.

use std::io::IoSlice;

use super::queue::Piece;
use crate::disk::AlignedBuffer;
use crate::wal::Lsn;

/// Pieces of WAL in order, and how far they are written. The pieces themselves stay whole:
/// whoever checks them comes later.
#[derive(Debug)]
pub(super) struct Batch {
    pieces: Vec<Piece>,
    /// The first piece that is not wholly written.
    at: usize,
    /// What of it is written.
    skip: usize,
    /// What is not written, of all pieces.
    left: u64,
    /// All pieces together.
    length: u64,
}

impl Batch {
    /// An empty one.
    pub(super) fn new() -> Batch {
        Batch { pieces: Vec::with_capacity(PIECES), at: 0, skip: 0, left: 0, length: 0 }
    }

    /// Adds a piece behind the others.
    pub(super) fn push(&mut self, piece: Piece) {
        self.left += piece.bytes.len() as u64;
        self.length += piece.bytes.len() as u64;
        self.pieces.push(piece);
    }

    /// Whether one drain has taken enough.
    pub(super) fn is_full(&self) -> bool {
        self.left >= BYTES || self.pieces.len() - self.at >= PIECES
    }

    /// Whether it is worth another thread's while. Single commits are not: to wake it for each
    /// would cost more than its work.
    pub(super) fn is_worth_a_look(&self) -> bool {
        self.length >= WORTH_A_LOOK || self.pieces.len() >= PIECES / 2
    }

    /// The same on the short way: there the other thread takes a processor that commits need.
    pub(super) fn is_long(&self) -> bool {
        self.length >= LONG || self.pieces.len() >= PIECES / 2
    }

    /// Whether more is kept for the inspector than a stream that goes past the queue may pile up.
    pub(super) fn is_piled_up(&self) -> bool {
        self.length >= PILED_UP
    }

    /// Bytes that are not written.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Where the next byte belongs.
    pub(super) fn position(&self) -> Option<Lsn> {
        self.pieces.get(self.at).map(|piece| piece.start + self.skip as u64)
    }

    /// As much of the rest as one call takes, `limit` bytes at most. Returns how much it is.
    pub(super) fn slices(&self, limit: u64) -> ([IoSlice<'_>; SLICES], usize, u64) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (mut count, mut length) = (0, 0);
        for bytes in self.rest() {
            if count == SLICES || length == limit {
                break;
            }
            let taken = bytes.len().min(usize::try_from(limit - length).unwrap_or(usize::MAX));
            slices[count] = IoSlice::new(&bytes[..taken]);
            count += 1;
            length += taken as u64;
        }
        (slices, count, length)
    }

    /// Appends a copy of the next `length` bytes, which fit.
    pub(super) fn copy_into(&self, buffer: &mut AlignedBuffer, length: usize) {
        let mut wanted = length;
        for bytes in self.rest() {
            if wanted == 0 {
                break;
            }
            wanted -= buffer.append(&bytes[..bytes.len().min(wanted)]);
        }
    }

    /// `length` bytes more are written.
    pub(super) fn advance(&mut self, mut length: u64) {
        self.left -= length;
        while length > 0 {
            let in_piece = (self.pieces[self.at].bytes.len() - self.skip) as u64;
            if length < in_piece {
                self.skip += length as usize;
                return;
            }
            length -= in_piece;
            self.at += 1;
            self.skip = 0;
        }
    }

    /// All pieces, written or not.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Lets go of all pieces and keeps the room for others.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        (self.at, self.skip, self.left, self.length) = (0, 0, 0, 0);
    }

    fn rest(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.pieces.get(self.at).map(|piece| &piece.bytes[self.skip..]);
        let others = self.pieces.iter().skip(self.at + 1).map(|piece| &piece.bytes[..]);
        first.into_iter().chain(others)
    }
}

/// What one drain takes at most: enough to keep the disk busy, little enough that a flush that
/// is due does not wait long.
const BYTES: u64 = 4 << 20;
const PIECES: usize = 512;
const WORTH_A_LOOK: u64 = 256 << 10;
const LONG: u64 = 1 << 20;
const PILED_UP: u64 = 2 << 20;
/// What one vectored write takes.
pub(super) const SLICES: usize = 128;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn batch(lengths: &[usize]) -> (Batch, Vec<u8>) {
        let (mut batch, mut all) = (Batch::new(), Vec::new());
        for length in lengths {
            let bytes: Vec<u8> = (0..*length).map(|at| ((all.len() + at) % 251) as u8).collect();
            batch.push(Piece { start: Lsn(all.len() as u64), bytes: Bytes::from(bytes.clone()) });
            all.extend(bytes);
        }
        (batch, all)
    }

    #[test]
    fn whatever_a_call_takes_the_bytes_come_once_and_in_order() {
        for limit in [1, 7, 100, 4096, 100_000] {
            let (mut batch, all) = batch(&[3, 100, 1, 5000, 7, 7, 4096]);
            let mut seen = Vec::new();
            while batch.left() > 0 {
                assert_eq!(batch.position(), Some(Lsn(seen.len() as u64)));
                let (slices, count, length) = batch.slices(limit);
                let taken: Vec<u8> =
                    slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!(taken.len() as u64, length);
                let mut buffer = AlignedBuffer::new(taken.len());
                batch.copy_into(&mut buffer, taken.len());
                assert_eq!(buffer.filled(), taken);
                seen.extend(taken);
                batch.advance(length);
            }
            assert!(seen == all, "limit {limit}");
            assert_eq!(batch.pieces().len(), 7);
        }
    }

    #[test]
    fn more_pieces_than_one_call_takes_are_written_by_several() {
        let (mut batch, all) = batch(&[2; 300]);
        let (_, count, length) = batch.slices(u64::MAX);
        assert_eq!((count, length), (SLICES, 2 * SLICES as u64));
        batch.advance(length);
        assert_eq!(batch.left(), all.len() as u64 - length);
    }
}
