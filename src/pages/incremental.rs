//! The head of a file that holds only the blocks that have changed (17 and later).
//!
//! ```text
//! magic 0xd3ae1f0d | blocks n | truncation length t | n block numbers | zeros to a full page
//! ```
//!
//! All numbers have 32 bits, the low byte first; block numbers count from the start of this
//! file, and ascend. The zeros are only there when there are blocks, which follow in the same
//! order. Source: `src/backend/backup/basebackup_incremental.c`.

use super::{PageLayout, PageSize};

const MAGIC: u32 = 0xD3AE_1F0D;
const FIXED: usize = 12;

/// What an incremental file holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IncrementalHeader {
    /// Blocks from this one on that an older backup has do not exist any more. No older backup
    /// has been found to hold less than this since.
    pub truncation_blocks: u32,
    /// The blocks that follow, ascending, counted from the start of the file.
    pub blocks: Vec<u32>,
}

/// A file that is no incremental one, or none that may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IncrementalError {
    /// It begins with something else.
    #[error("it begins with {0:08x} instead of d3ae1f0d")]
    Magic(u32),
    /// More blocks than a file of a relation has.
    #[error("it announces {blocks} blocks, and a file of a relation has no more than {max}")]
    Blocks {
        /// As announced.
        blocks: u32,
        /// Of a whole file.
        max: u32,
    },
    /// Block numbers that do not ascend, or that lie outside of the file.
    #[error("block number {0} of it is out of order or range")]
    Order(u32),
    /// It is cut, or something follows.
    #[error("it has {found} bytes instead of {expected}")]
    Length {
        /// As its head says.
        expected: u64,
        /// Of the file.
        found: u64,
    },
    /// It ends within its head.
    #[error("it ends after {0} bytes, within its head")]
    Cut(u64),
}

impl IncrementalHeader {
    /// Bytes before the first block.
    pub fn length(&self, page: PageSize) -> u64 {
        head_length(self.blocks.len(), page)
    }

    /// Bytes of the whole file.
    pub fn file_length(&self, page: PageSize) -> u64 {
        self.length(page) + self.blocks.len() as u64 * page.bytes() as u64
    }

    /// Blocks of the file that is made of this one and what older backups hold.
    pub fn result_blocks(&self) -> u32 {
        let last = self.blocks.last().map_or(0, |&last| last + 1);
        self.truncation_blocks.max(last)
    }
}

fn head_length(blocks: usize, page: PageSize) -> u64 {
    let unpadded = FIXED + 4 * blocks;
    let length = if blocks == 0 { unpadded } else { unpadded.next_multiple_of(page.bytes()) };
    length as u64
}

/// Collects a head out of pieces that are cut anywhere.
#[derive(Clone, Debug)]
pub struct HeaderParser {
    layout: PageLayout,
    /// Of the three fixed numbers.
    fixed: [u8; FIXED],
    /// Bytes taken so far.
    taken: u64,
    /// Of a block number.
    word: [u8; 4],
    count: u32,
    header: IncrementalHeader,
}

impl HeaderParser {
    /// Nothing has come.
    pub fn new(layout: PageLayout) -> HeaderParser {
        let (fixed, word, header) = ([0; FIXED], [0; 4], IncrementalHeader::default());
        HeaderParser { layout, fixed, taken: 0, word, count: 0, header }
    }

    /// Takes what belongs to the head, and leaves `bytes` at the rest: the head, once it is
    /// complete with the zeros behind it.
    ///
    /// # Errors
    /// What cannot be a head. Nothing is reserved for numbers that are not there.
    pub fn push(
        &mut self,
        bytes: &mut &[u8],
    ) -> Result<Option<IncrementalHeader>, IncrementalError> {
        while (self.taken as usize) < FIXED {
            let Some(byte) = self.byte(bytes) else { return Ok(None) };
            self.fixed[self.taken as usize - 1] = byte;
            if self.taken as usize == FIXED {
                self.read_fixed()?;
            }
        }
        while self.header.blocks.len() < self.count as usize {
            let at = (self.taken as usize - FIXED) % 4;
            let Some(byte) = self.byte(bytes) else { return Ok(None) };
            self.word[at] = byte;
            if at == 3 {
                self.read_block()?;
            }
        }
        let length = head_length(self.header.blocks.len(), self.layout.page_size);
        let padding = bytes.len().min((length - self.taken) as usize);
        *bytes = &bytes[padding..];
        self.taken += padding as u64;
        Ok((self.taken == length).then(|| std::mem::take(&mut self.header)))
    }

    /// Bytes taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    fn byte(&mut self, bytes: &mut &[u8]) -> Option<u8> {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        self.taken += 1;
        Some(first)
    }

    fn read_fixed(&mut self) -> Result<(), IncrementalError> {
        let (words, _) = self.fixed.as_chunks::<4>();
        let word = |at: usize| words.get(at).map_or(0, |word| u32::from_le_bytes(*word));
        let max = self.layout.segment_blocks;
        if word(0) != MAGIC {
            return Err(IncrementalError::Magic(word(0)));
        }
        if word(1) > max {
            return Err(IncrementalError::Blocks { blocks: word(1), max });
        }
        self.count = word(1);
        // Servers before 17.8 and 18.2 write more when a relation of several files is cut; what
        // they mean, and the later ones write, is the whole file.
        self.header.truncation_blocks = word(2).min(max);
        Ok(())
    }

    fn read_block(&mut self) -> Result<(), IncrementalError> {
        let block = u32::from_le_bytes(self.word);
        let ascends = self.header.blocks.last().is_none_or(|&last| last < block);
        if !ascends || block >= self.layout.segment_blocks {
            return Err(IncrementalError::Order(block));
        }
        self.header.blocks.push(block);
        Ok(())
    }
}
