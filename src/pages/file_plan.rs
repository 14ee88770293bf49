//! One file of a relation out of a chain of backups: where each block comes from.
//!
//! The newest incremental file says how long the result is and up to where older backups count
//! (its truncation length). Each block comes from the newest backup that holds it; the first
//! whole file on the way ends the search, and what nobody holds is zeros. Source: manual,
//! `pg_combinebackup`; `src/bin/pg_combinebackup/reconstruct.c`.
//!
//! Each older incremental file also says how long the file was, and what lay behind its end then is
//! not taken from before it: a block that is there again and that no newer backup brings was added
//! as zeros, of which WAL says nothing (`COPY` adds more pages than it fills). An even older backup
//! has at that place what was cut off. `pg_combinebackup` takes it, and deleted rows are back. Where
//! a file was cut off between two neighbouring backups, [`super::LimitBlocks`] tells it.

use super::IncrementalHeader;

/// The blocks of a file that are to be found in older backups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilePlan {
    /// Of the result.
    length: u32,
    /// Blocks from this one on are not taken from older backups.
    truncation: u32,
    /// One bit for each block below: 1 when a newer backup has given it. Empty while none has:
    /// files that have not changed take no memory.
    given: Box<[u64]>,
    /// How many are still missing.
    missing: u32,
}

impl FilePlan {
    /// What is left to be found when the newest backup has given its blocks.
    pub fn new(newest: &IncrementalHeader) -> FilePlan {
        let (length, truncation) = (newest.result_blocks(), newest.truncation_blocks);
        let mut plan = FilePlan { length, truncation, given: Box::default(), missing: truncation };
        for &block in &newest.blocks {
            plan.give(block);
        }
        plan
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Whether no newer backup has given a block, so that a whole file of `blocks` blocks is
    /// the result as it is.
    pub fn is_exactly(&self, blocks: u64) -> bool {
        let whole = u64::from(self.truncation) == blocks && u64::from(self.length) == blocks;
        self.given.is_empty() && whole
    }

    /// An older incremental file has given what it has, and says where the file ended: nothing
    /// behind that is taken from before it.
    pub fn end_at(&mut self, blocks: u32) {
        let cut = (blocks..self.truncation).filter(|&block| self.wants(block)).count();
        self.missing -= cut as u32;
        self.truncation = self.truncation.min(blocks);
    }

    /// Whether a block is to be taken from the backup that is being read.
    pub fn wants(&self, block: u32) -> bool {
        let word = self.given.get(block as usize / 64).copied().unwrap_or(0);
        block < self.truncation && word & 1 << (block % 64) == 0
    }

    /// Takes what is wanted of `count` blocks from `first` on: gives `each` runs of them, and
    /// wants them no more.
    pub fn take<E>(
        &mut self,
        first: u32,
        count: u32,
        each: &mut dyn FnMut(u32, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = first.saturating_add(count).min(self.truncation);
        let mut block = first;
        while block < end {
            let start = block;
            while block < end && self.wants(block) {
                block += 1;
            }
            if block == start {
                block += 1;
                continue;
            }
            each(start, block - start)?;
        }
        for block in first..end {
            self.give(block);
        }
        Ok(())
    }

    fn give(&mut self, block: u32) {
        if self.wants(block) {
            if self.given.is_empty() {
                self.given = vec![0; (self.truncation as usize).div_ceil(64)].into();
            }
            self.given[block as usize / 64] |= 1 << (block % 64);
            self.missing -= 1;
        }
    }
}
