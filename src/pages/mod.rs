//! Pages of relations as they lie in files: which files hold them, whether they are whole, and
//! the files of incremental backups.
//!
//! Pure: knows no files, no sockets, no clock. Source: `src/include/storage/checksum_impl.h`,
//! `src/include/storage/bufpage.h`, `src/common/relpath.c` and
//! `src/include/backup/basebackup_incremental.h` of PostgreSQL.

mod checksum;
mod incremental;
mod paged_file;
mod damage;
mod checker;
mod blocks;
mod file_plan;
mod limit_blocks;

pub use blocks::{Blocks, Piece};
pub use checker::PageChecker;
pub use checksum::page_checksum;
pub use damage::{DAMAGE_SHOWN, Damage, DamagedFile, DamagedPages};
pub use file_plan::FilePlan;
pub use incremental::{HeaderParser, IncrementalError, IncrementalHeader};
pub use limit_blocks::{LimitBlocks, LostBlocks, RelationFork, WrittenBehind};
pub use paged_file::{Fork, INCREMENTAL, PagedFile};

/// Bytes of a page (`BLCKSZ`): a power of two from 1024 to 32768, and 8192 nearly always.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageSize(u32);

impl PageSize {
    /// What servers are built with unless somebody wants otherwise.
    pub const DEFAULT: PageSize = PageSize(8192);

    /// Takes what servers can be built with, and nothing else.
    pub fn new(bytes: u32) -> Option<PageSize> {
        (bytes.is_power_of_two() && (1 << 10..=32 << 10).contains(&bytes))
            .then_some(PageSize(bytes))
    }

    /// The number of bytes.
    pub fn bytes(self) -> usize {
        self.0 as usize
    }

    /// Blocks of a file of a relation before the next one begins (`RELSEG_SIZE`), where nothing
    /// else is known: 1 GiB, as servers are built unless somebody wants otherwise.
    pub fn usual_segment_blocks(self) -> u32 {
        (1 << 30) / self.0
    }
}

/// How relations lie in files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageLayout {
    /// Of one page.
    pub page_size: PageSize,
    /// Blocks of a file before the next one begins (`RELSEG_SIZE`).
    pub segment_blocks: u32,
}

impl PageLayout {
    /// The layout of a server that is built as usual, but for its page size.
    pub fn usual(page_size: PageSize) -> PageLayout {
        PageLayout { page_size, segment_blocks: page_size.usual_segment_blocks() }
    }
}

#[cfg(test)]
mod tests;
