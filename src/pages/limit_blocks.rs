//! Where relations were cut off between two backups, and what that means for a file of which the
//! second brings only some blocks.
//!
//! A WAL summary has a *limit block* for each fork that was truncated: its shortest length. It drops
//! what WAL had said before that of blocks from the limit on, and keeps what it says after. A block
//! from the limit on that an incremental file does not hold was therefore not written by WAL since
//! it was cut off. If it is there again it was added as zeros, of which WAL says nothing (`COPY`
//! adds more pages than it fills): what an older backup has at that place was deleted.
//!
//! That is only true when the file holds every block of which WAL says that it was written behind a
//! truncation. A server reads its summaries in the order in which they lie in their directory
//! (`PrepareForIncrementalBackup` sorts nothing; seen with 17.10 and 18.4), and the limit of an
//! older summary, read later, makes it forget what a newer one says. Such a file lacks rows that
//! were committed, and no backup of the chain has them: it has to be found. Source:
//! `src/backend/backup/basebackup_incremental.c`, `src/common/blkreftable.c`.

use std::collections::BTreeMap;

use super::{Fork, INCREMENTAL, IncrementalHeader, PagedFile};

/// One fork of one relation, in the server's numbers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RelationFork {
    /// OID of the tablespace.
    pub tablespace: u32,
    /// OID of the database; 0 for relations that all share.
    pub database: u32,
    /// The relation's file number.
    pub relation: u32,
    /// Which fork.
    pub fork: Fork,
}

/// `pg_default` and `pg_global`.
const DEFAULT_TABLESPACE: u32 = 1663;
const GLOBAL_TABLESPACE: u32 = 1664;

impl RelationFork {
    /// The fork that a file below the data directory is of, and which of its files that is.
    pub fn at(path: &[u8]) -> Option<(RelationFork, u32)> {
        let paged = PagedFile::at(path)?;
        let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        let (tablespace, database) = match parts[..] {
            [b"global", _] => (GLOBAL_TABLESPACE, 0),
            [b"base", database, _] => (DEFAULT_TABLESPACE, leading_number(database)?),
            [_, space, _, database, _] => (leading_number(space)?, leading_number(database)?),
            _ => return None,
        };
        let name = parts.last()?;
        let relation = leading_number(name.strip_prefix(INCREMENTAL).unwrap_or(name))?;
        Some((RelationFork { tablespace, database, relation, fork: paged.fork }, paged.segment))
    }
}

fn leading_number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

/// Blocks of a fork that WAL has written behind a truncation, in a later summary than that of the
/// truncation. No block is in two of these.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WrittenBehind {
    /// The fork.
    pub of: RelationFork,
    /// The first of them, counted over all files of the fork.
    pub first: u32,
    /// The last of them.
    pub last: u32,
}

/// Blocks that an incremental backup was to bring, and does not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LostBlocks {
    /// How many.
    pub count: u64,
    /// A file that lacks some, relative to the data directory.
    pub path: String,
    /// The first that it lacks, counted from the start of the file.
    pub block: u32,
}

/// What is known of truncations between a backup and its parent, held against the incremental
/// files of the backup as they pass.
#[derive(Clone, Debug, Default)]
pub struct LimitBlocks {
    limits: Vec<(RelationFork, u32)>,
    written: Vec<WrittenBehind>,
    segment_blocks: u32,
    files: BTreeMap<String, u32>,
    lost: LostBlocks,
    unknown: Option<String>,
}

/// Files that are kept; each takes about 150 bytes. They are those that became shorter and longer
/// again between two backups.
const FILES_MAX: usize = 20_000;

impl LimitBlocks {
    /// The lowest limit block of each fork, and what was written behind it. Forks that were cut off
    /// as a whole need not be among them: their files are sent whole.
    pub fn new(
        mut limits: Vec<(RelationFork, u32)>,
        mut written: Vec<WrittenBehind>,
        segment_blocks: u32,
    ) -> LimitBlocks {
        limits.sort_unstable();
        written.sort_unstable();
        LimitBlocks { limits, written, segment_blocks, ..LimitBlocks::default() }
    }

    /// Nothing is known, for this reason.
    pub fn unknown(why: String) -> LimitBlocks {
        LimitBlocks { unknown: Some(why), ..LimitBlocks::default() }
    }

    /// An incremental file has passed. `path` is its path in two parts, as the manifest has it.
    pub fn note(&mut self, path: [&[u8]; 2], header: &IncrementalHeader) {
        if self.limits.is_empty() {
            return;
        }
        let path = path.concat();
        let Some((of, segment)) = RelationFork::at(&path) else { return };
        let Ok(at) = self.limits.binary_search_by_key(&of, |(of, _)| *of) else { return };
        let base = segment.saturating_mul(self.segment_blocks);
        let name = String::from_utf8(path).ok().map(|path| path.replacen("INCREMENTAL.", "", 1));
        // The server sends files that begin at or behind the limit whole.
        let limit = self.limits[at].1.checked_sub(base).filter(|limit| *limit > 0);
        let (Some(limit), Some(name)) = (limit, name) else {
            let why = format!("the server has sent a part of {of:?}, which was cut off as a whole");
            self.unknown.get_or_insert(why);
            return;
        };
        if limit >= header.truncation_blocks {
            return;
        }
        self.look_for_lost(of, base, &name, header);
        if self.files.len() == FILES_MAX {
            self.unknown.get_or_insert(format!("more than {FILES_MAX} files were cut off"));
            return;
        }
        self.files.insert(name, limit);
    }

    /// Whether the file holds what was written behind its limit, as far as it reaches.
    fn look_for_lost(
        &mut self,
        of: RelationFork,
        base: u32,
        name: &str,
        header: &IncrementalHeader,
    ) {
        let end = base.saturating_add(header.truncation_blocks);
        let from = self.written.partition_point(|run| run.of < of);
        for run in self.written[from..].iter().take_while(|run| run.of == of) {
            let (first, behind) = (run.first.max(base), run.last.saturating_add(1).min(end));
            if first >= behind {
                continue;
            }
            let held = |block: u32| header.blocks.partition_point(|&other| other < block - base);
            let count = (behind - first) as usize - (held(behind) - held(first));
            if count == 0 {
                continue;
            }
            if self.lost.count == 0 {
                let lacks = |block: &u32| header.blocks.binary_search(&(block - base)).is_err();
                self.lost.path = name.to_owned();
                self.lost.block = (first..behind).find(lacks).unwrap_or(first) - base;
            }
            self.lost.count += count as u64;
        }
    }

    /// What has come of it when all files have passed: the limit of each file that has one below
    /// its end, by the path that the whole file has, in blocks from the start of the file.
    ///
    /// # Errors
    /// Why nothing is known.
    pub fn files(&self) -> Result<&BTreeMap<String, u32>, &str> {
        match &self.unknown {
            Some(why) => Err(why),
            None => Ok(&self.files),
        }
    }

    /// What the files lack, if anything.
    pub fn lost(&self) -> Option<&LostBlocks> {
        (self.lost.count > 0).then_some(&self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(truncation_blocks: u32, blocks: &[u32]) -> IncrementalHeader {
        IncrementalHeader { truncation_blocks, blocks: blocks.to_vec() }
    }

    fn main_of(tablespace: u32, database: u32, relation: u32) -> RelationFork {
        RelationFork { tablespace, database, relation, fork: Fork::Main }
    }

    #[test]
    fn a_file_is_known_by_the_numbers_that_the_server_has_for_its_fork() {
        let vm = RelationFork { fork: Fork::Visibility, ..main_of(1663, 5, 16384) };
        for (path, expected) in [
            ("base/5/16384", Some((main_of(1663, 5, 16384), 0))),
            ("base/5/INCREMENTAL.16384.2", Some((main_of(1663, 5, 16384), 2))),
            ("base/5/INCREMENTAL.16384_vm", Some((vm, 0))),
            ("global/INCREMENTAL.1262", Some((main_of(1664, 0, 1262), 0))),
            (
                "pg_tblspc/16390/PG_17_202406281/5/INCREMENTAL.16400.1",
                Some((main_of(16390, 5, 16400), 1)),
            ),
            ("base/5/pg_filenode.map", None),
            ("base/5/t3_16384", None),
            ("pg_xact/0000", None),
        ] {
            assert_eq!(RelationFork::at(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn limits_are_kept_where_a_file_is_longer_again_and_nowhere_else() {
        let all = [(1, 3), (2, 8), (3, 25), (4, 10)];
        let limits = all.map(|(relation, limit)| (main_of(1663, 5, relation), limit)).to_vec();
        let mut limits = LimitBlocks::new(limits, Vec::new(), 10);
        limits.note([b"", b"base/5/INCREMENTAL.1"], &header(9, &[0, 7]));
        // It has stayed short.
        limits.note([b"", b"base/5/INCREMENTAL.2"], &header(8, &[]));
        // Its limit lies in the third of its files.
        limits.note([b"", b"base/5/INCREMENTAL.3"], &header(10, &[]));
        limits.note([b"", b"base/5/INCREMENTAL.3.1"], &header(10, &[]));
        limits.note([b"base/5/", b"INCREMENTAL.3.2"], &header(6, &[]));
        // Nothing is known of it.
        limits.note([b"", b"base/5/INCREMENTAL.9"], &header(6, &[]));
        assert_eq!(limits.lost(), None);
        let kept = BTreeMap::from([("base/5/1".to_owned(), 3), ("base/5/3.2".to_owned(), 5)]);
        assert_eq!(limits.files(), Ok(&kept));
        // Such a file is sent whole; a part of it fits to no limit.
        limits.note([b"", b"base/5/INCREMENTAL.4.1"], &header(6, &[]));
        limits.files().expect_err("not understood");
    }

    #[test]
    fn a_block_that_was_written_behind_a_truncation_and_is_not_there_is_found() {
        let of = main_of(1663, 5, 1);
        let run = |first, last| WrittenBehind { of, first, last };
        let other = WrittenBehind { of: main_of(1663, 5, 2), first: 4, last: 5 };
        let lost = |written: &[WrittenBehind], path: &str, held: &[u32]| {
            let mut limits = LimitBlocks::new(vec![(of, 3)], [written, &[other]].concat(), 10);
            limits.note([b"", path.as_bytes()], &header(8, held));
            limits.lost().map(|lost| (lost.count, lost.block))
        };
        assert_eq!(lost(&[run(4, 5), run(7, 7)], "base/5/INCREMENTAL.1", &[1, 4, 5, 7]), None);
        assert_eq!(lost(&[run(4, 6)], "base/5/INCREMENTAL.1", &[4, 6]), Some((1, 5)));
        assert_eq!(lost(&[run(3, 3), run(5, 99)], "base/5/INCREMENTAL.1", &[]), Some((4, 3)));
        // Where the file has ended since, nothing is lost.
        assert_eq!(lost(&[run(8, u32::MAX)], "base/5/INCREMENTAL.1", &[]), None);
    }
}
