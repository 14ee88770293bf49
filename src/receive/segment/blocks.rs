//! HOT PATH: no allocation per frame, no lock, no log line, no process.
//! Whole blocks for writes past the page cache, out of WAL that ends anywhere.
//!
//! The last block of a write is filled up with zeros, and its bytes are kept: the next write
//! begins with them, and so writes the block again as a whole. What was written of the block is
//! written over itself, which no interruption can harm; what else the file held there is gone.
//! Knows no files.

use crate::disk::{AlignedBuffer, DIRECT_ALIGN};
use crate::receive::batch::Batch;
use crate::wal::Lsn;

/// Where direct writes are put together, of whichever segment is the current one. Segments begin
/// at blocks.
#[derive(Debug)]
pub(in crate::receive) struct Blocks {
    memory: AlignedBuffer,
    /// The memory holds what stands before this position in its block.
    end: Lsn,
}

impl Blocks {
    /// Room for writes of `capacity` bytes.
    pub(in crate::receive) fn new(capacity: usize) -> Blocks {
        Blocks { memory: AlignedBuffer::new(capacity), end: Lsn::INVALID }
    }

    /// Puts the next bytes of the batch, which belong to `position`, into blocks: `limit` bytes
    /// at most. Returns how many they are; `None` where the beginning of their block is not
    /// known here, because it was not written from here.
    pub(super) fn load(&mut self, batch: &Batch, position: Lsn, limit: u64) -> Option<u64> {
        let before = before(position);
        if before == 0 {
            self.memory.clear();
        } else if self.end != position {
            return None;
        }
        let room = (self.memory.capacity() - before) as u64;
        let length = limit.min(room);
        batch.copy_into(&mut self.memory, length as usize);
        self.memory.pad();
        Some(length)
    }

    /// What was loaded: whole blocks, from the start of the first byte's block on.
    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.filled()
    }

    /// They are written, up to `end`.
    pub(super) fn written(&mut self, end: Lsn) {
        let whole = self.memory.filled().len() - DIRECT_ALIGN;
        match before(end) {
            0 => self.memory.clear(),
            kept => self.memory.keep(whole..whole + kept),
        }
        self.end = end;
    }

    /// They are not written: all is as before they were loaded at `position`.
    pub(super) fn unload(&mut self, position: Lsn) {
        self.memory.keep(0..before(position));
        self.end = position;
    }
}

/// How much of a position's block stands before it.
fn before(position: Lsn) -> usize {
    // Less than a block.
    (position.0 % DIRECT_ALIGN as u64) as usize
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::receive::queue::Piece;

    const BLOCK: usize = DIRECT_ALIGN;

    fn wal(from: usize, to: usize) -> Vec<u8> {
        (from..to).map(|at| (at % 251) as u8 + 1).collect()
    }

    fn batch(from: usize, to: usize) -> Batch {
        let mut batch = Batch::new();
        batch.push(Piece { start: Lsn(from as u64), bytes: Bytes::from(wal(from, to)) });
        batch
    }

    /// What a write would bring: WAL from a block's start on, zeros behind it.
    fn blocks(from: usize, to: usize) -> Vec<u8> {
        let mut bytes = wal(from, to);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    #[test]
    fn every_write_is_of_whole_blocks_and_begins_with_what_its_first_block_holds() {
        let mut all = Blocks::new(3 * BLOCK);
        let mut at = 0;
        for length in [1, 100, BLOCK - 101, BLOCK, 5, 2 * BLOCK, BLOCK - 5, 3 * BLOCK, 7] {
            let (batch, position) = (batch(at, at + length), Lsn(at as u64));
            assert_eq!(all.load(&batch, position, length as u64), Some(length as u64));
            assert!(all.bytes() == blocks(at / BLOCK * BLOCK, at + length), "at {at}");
            at += length;
            all.written(Lsn(at as u64));
        }
        let more = batch(at, at + 4 * BLOCK);
        let taken = all.load(&more, Lsn(at as u64), 4 * BLOCK as u64);
        assert_eq!(taken, Some((3 * BLOCK - at % BLOCK) as u64), "no more than it has room for");
    }

    #[test]
    fn what_was_not_written_is_loaded_again_and_a_block_of_others_is_left_to_them() {
        let mut all = Blocks::new(2 * BLOCK);
        assert_eq!(all.load(&batch(10, 20), Lsn(10), 10), None, "its first bytes are unknown");
        assert_eq!(all.load(&batch(BLOCK, BLOCK + 30), Lsn(BLOCK as u64), 30), Some(30));
        all.written(Lsn(BLOCK as u64 + 30));
        let (batch, position) = (batch(BLOCK + 30, 2 * BLOCK + 9), Lsn(BLOCK as u64 + 30));
        for _ in 0..2 {
            assert!(all.load(&batch, position, batch.left()).is_some());
            assert!(all.bytes() == blocks(BLOCK, 2 * BLOCK + 9));
            all.unload(position);
        }
        assert_eq!(all.load(&batch, position + 1, 1), None, "others wrote meanwhile");
    }
}
