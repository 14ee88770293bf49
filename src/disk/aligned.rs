//! Memory that writes past the page cache can be made from.

use std::fmt;

/// What the offset, the length and the memory of a direct write are multiples of: the largest
/// logical block of disks in use, and the page of the machines that we run on. Source:
/// `open(2)`, "O_DIRECT".
pub const DIRECT_ALIGN: usize = 4096;

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
        let memory = vec![0; capacity + DIRECT_ALIGN].into_boxed_slice();
        let start = memory.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
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

    /// Appends a copy of as many bytes as fit. Returns how many.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.capacity - self.filled);
        let at = self.start + self.filled;
        self.memory[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
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
        buffer.clear();
        assert!(buffer.filled().is_empty());
    }
}
