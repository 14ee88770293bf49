//! Memory that writes past the page cache can be made from.

use std::fmt;
use std::ops::Range;

use crate::sys;

/// What the offset, the length and the memory of a direct write are multiples of: the largest
/// logical block of disks in use, and the page of the machines that we run on. Source:
/// `open(2)`, "O_DIRECT".
pub const DIRECT_ALIGN: usize = 4096;

/// The larger pages of x86-64, and of ARM with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// A fixed piece of memory that begins at a multiple of [`DIRECT_ALIGN`].
pub struct AlignedBuffer {
    /// Longer than needed, so that an aligned stretch of full length lies in it.
    memory: Box<[u8]>,
    start: usize,
    capacity: usize,
    filled: usize,
}

impl AlignedBuffer {
    /// Room for `capacity` bytes, rounded up to whole blocks.
    pub fn new(capacity: usize) -> AlignedBuffer {
        let capacity = capacity.next_multiple_of(DIRECT_ALIGN);
        let align = if capacity >= HUGE_PAGE { HUGE_PAGE } else { DIRECT_ALIGN };
        let mut memory = vec![0; capacity + align].into_boxed_slice();
        let start = memory.as_ptr().align_offset(align).min(align);
        if align == HUGE_PAGE {
            sys::prefer_huge_pages(&mut memory[start..start + capacity]);
        }
        AlignedBuffer { memory, start, capacity, filled: 0 }
    }

    /// How much it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What it holds.
    pub fn filled(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.filled]
    }

    /// Forgets what it holds.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Forgets what it holds but for this range, which must lie in it and stands at its beginning
    /// afterwards.
    pub fn keep(&mut self, range: Range<usize>) {
        let length = range.len();
        let (from, to) = (self.start + range.start, self.start + range.end);
        self.memory.copy_within(from..to, self.start);
        self.filled = length;
    }

    /// Adds zeros up to the end of a block.
    pub fn pad(&mut self) {
        let missing = self.filled.next_multiple_of(DIRECT_ALIGN) - self.filled;
        self.room()[..missing].fill(0);
        self.fill(missing);
    }

    /// What is free, to be filled from its beginning on; then say so to
    /// [`AlignedBuffer::fill`].
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.start + self.filled..self.start + self.capacity]
    }

    /// The first `length` bytes of the room belong to what it holds; more than fit do not.
    pub fn fill(&mut self, length: usize) {
        self.filled = self.capacity.min(self.filled + length);
    }

    /// Appends a copy of as many bytes as fit. Returns how many.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let taken = bytes.len().min(room.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        self.fill(taken);
        taken
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} of {})", self.filled, self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_holds_begins_at_a_block_and_never_exceeds_its_room() {
        let mut buffer = AlignedBuffer::new(5000);
        assert_eq!(buffer.capacity(), 8192);
        assert_eq!(buffer.append(&[1; 5000]), 5000);
        assert_eq!(buffer.append(&[2; 5000]), 3192);
        assert_eq!(buffer.append(&[3; 1]), 0);
        assert_eq!(buffer.filled().as_ptr().align_offset(DIRECT_ALIGN), 0);
        assert_eq!(buffer.filled()[4999..5001], [1, 2]);
        buffer.fill(1);
        assert!(buffer.room().is_empty() && buffer.filled().len() == 8192);
        buffer.keep(4999..5002);
        assert_eq!(buffer.filled(), [1, 2, 2]);
        buffer.pad();
        assert_eq!((buffer.filled().len(), &buffer.filled()[2..4]), (4096, &[2, 0][..]));
        buffer.pad();
        assert_eq!(buffer.filled().len(), 4096, "it ends at a block");
        buffer.clear();
        assert!(buffer.filled().is_empty());
    }
}
