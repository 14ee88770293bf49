//! What was seen in each segment while it passed: kept in small files of our own, from which
//! follows which instants can be restored.
//!
//! ```text
//! <backup_directory>/.tapster/wal-facts/<16 hex>
//!
//! 000000010000000000000003 0/3000000 0/4000000 - 0/3000128 2026-11-25T18:50:00.123456Z …  9a3c…
//! segment                  from      to        damage, first commit, last commit, earliest and
//!                                              latest time, check value
//! ```
//!
//! One file for each directory of `wals/`, so that facts go with what they are about. Lines are
//! only ever appended, and the last one of a segment counts. They repeat what the WAL itself
//! says: a line that a crash tore or lost is made anew from the segment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::state_file::{self, STATE_FILE_MODE, STATE_MODE, Word};
use super::{RepositoryError, ServerLayout};
use crate::disk::{self, Disk, DiskError, DiskFile, FileKind};
use crate::wal::{Commit, CommitTimes, Lsn, PgTimestamp, SegmentName, SegmentSize};

/// What a walk over a segment found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SegmentFacts {
    /// The segment.
    pub name: SegmentName,
    /// Where verification began: behind the start of the segment only if that belongs to a
    /// record whose beginning was not to be had.
    pub from: Lsn,
    /// Behind the last byte that was seen.
    pub to: Lsn,
    /// Where the first damage begins. Nothing can be replayed across it.
    pub damage: Option<Lsn>,
    /// The commits whose records end in the segment.
    pub commits: Option<CommitTimes>,
}

impl SegmentFacts {
    /// Nothing was seen yet of this segment.
    pub fn begin(name: SegmentName, from: Lsn) -> SegmentFacts {
        SegmentFacts { name, from, to: from, damage: None, commits: None }
    }

    /// Whether every byte of the segment was verified.
    pub fn is_whole(&self, size: SegmentSize) -> bool {
        let Some(number) = self.name.number(size) else { return false };
        self.damage.is_none() && self.from == number.start(size) && self.to == number.end(size)
    }

    fn add_to(&self, text: &mut String) {
        let SegmentFacts { name, from, to, damage, commits } = self;
        let end =
            |commit: fn(&CommitTimes) -> Commit| Word(commits.as_ref().map(commit).map(|c| c.end));
        let time = |time: fn(&CommitTimes) -> PgTimestamp| {
            Word(commits.as_ref().map(time).and_then(PgTimestamp::to_timestamp))
        };
        state_file::add_line(
            text,
            format_args!(
                "{name} {from} {to} {} {} {} {} {} {} {}",
                Word(*damage),
                end(|commits| commits.first),
                time(|commits| commits.first.time),
                end(|commits| commits.last),
                time(|commits| commits.last.time),
                time(|commits| commits.earliest),
                time(|commits| commits.latest),
            ),
        );
    }

    fn parse(line: &[u8]) -> Option<SegmentFacts> {
        let mut words = state_file::read_line(line)?;
        let name = words.next()?.parse().ok()?;
        let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let damage = state_file::lsn(words.next()?)?;
        let mut commit = || {
            let end = state_file::lsn(words.next()?)?;
            let time = state_file::time(words.next()?)?;
            Some(end.zip(time).map(|(end, time)| Commit { end, time }))
        };
        let (first, last) = (commit()?, commit()?);
        let mut time = || state_file::time(words.next()?);
        let (earliest, latest) = (time()?, time()?);
        let commits =
            first.zip(last).zip(earliest.zip(latest)).map(|((first, last), (earliest, latest))| {
                CommitTimes { first, last, earliest, latest }
            });
        words.next().is_none().then_some(SegmentFacts { name, from, to, damage, commits })
    }
}

/// The facts of many segments.
pub type WalFacts = BTreeMap<SegmentName, SegmentFacts>;

/// What is known of every segment. Lines that are torn say nothing.
pub fn read_all(disk: &dyn Disk, layout: &ServerLayout) -> Result<WalFacts, RepositoryError> {
    let mut facts = WalFacts::new();
    let entries = match disk.list(&layout.wal_facts()) {
        Err(error) if error.is_absent() => return Ok(facts),
        result => result?,
    };
    for entry in entries.into_iter().filter(|entry| entry.kind == FileKind::File) {
        if let Some(name) = entry.name.to_str() {
            facts.extend(read(disk, layout, name)?);
        }
    }
    Ok(facts)
}

/// What is known of the segments of one directory of `wals/`.
pub fn read(
    disk: &dyn Disk,
    layout: &ServerLayout,
    hash_directory: &str,
) -> Result<WalFacts, RepositoryError> {
    let path = layout.wal_facts().join(hash_directory);
    let bytes = match disk::read_file(disk, &path, BYTES_MAX) {
        Err(error) if error.is_absent() => return Ok(WalFacts::new()),
        result => result?,
    };
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(SegmentFacts::parse);
    Ok(lines.map(|facts| (facts.name, facts)).collect())
}

/// The files, open for more.
#[derive(Debug)]
pub struct FactsLog {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    open: Option<OpenLog>,
    line: String,
}

#[derive(Debug)]
struct OpenLog {
    /// Digits of the timeline and of the log in the segment names.
    name: String,
    file: Box<dyn DiskFile>,
}

impl FactsLog {
    /// The log of a server whose `backup_directory` exists.
    pub fn new(disk: Arc<dyn Disk>, layout: &ServerLayout) -> FactsLog {
        FactsLog { disk, directory: layout.wal_facts(), open: None, line: String::new() }
    }

    /// Adds a line. It is durable after [`FactsLog::sync`], or when the file is left for the
    /// next: what a crash takes away, the segment itself still tells.
    pub fn append(&mut self, facts: &SegmentFacts) -> Result<(), DiskError> {
        self.line.clear();
        facts.add_to(&mut self.line);
        let written = self.write(&facts.name.hash_directory());
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn write(&mut self, name: &str) -> Result<(), DiskError> {
        if self.open.as_ref().is_none_or(|open| open.name != name) {
            self.sync()?;
            self.open = Some(self.open(name)?);
        }
        let Some(open) = &self.open else { return Ok(()) };
        // Another process may have added lines: a base backup receives WAL of its own.
        let length = open.file.length()?;
        open.file.write_all_at(self.line.as_bytes(), length)
    }

    fn open(&self, name: &str) -> Result<OpenLog, DiskError> {
        disk::create_directories(self.disk.as_ref(), &self.directory, STATE_MODE)?;
        let path = self.directory.join(name);
        let file = match self.disk.open(&path) {
            Err(error) if error.is_absent() => {
                let file = self.disk.create(&path, STATE_FILE_MODE)?;
                self.disk.sync_directory(&self.directory)?;
                file
            }
            result => result?,
        };
        let length = file.length()?;
        // A line that a crash tore must not take the next one with it.
        let mut last = [b'\n'];
        if length > 0 && file.read_at(&mut last, length - 1)? == 1 && last != [b'\n'] {
            file.write_all_at(b"\n", length)?;
        }
        Ok(OpenLog { name: name.to_owned(), file })
    }

    /// Makes what was added durable.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        let Some(open) = &self.open else { return Ok(()) };
        let synced = open.file.sync_all();
        if synced.is_err() {
            self.open = None;
        }
        synced
    }
}

/// 4096 segments at the most have one directory; each may have been written about often.
const BYTES_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::ModelDisk;

    const ROOT: &str = "/backup/main";

    fn layout() -> ServerLayout {
        ServerLayout::below(Path::new("/backup"), "main".parse().expect("a name"))
    }

    fn disk(seed: u64) -> ModelDisk {
        let disk = ModelDisk::new(seed);
        disk.put_directory(Path::new("/backup"));
        disk.put_directory(Path::new(ROOT));
        disk
    }

    fn facts(number: u64) -> SegmentFacts {
        let size = SegmentSize::DEFAULT;
        let start = Lsn(number << 24);
        let name = SegmentName::containing(crate::wal::Timeline::FIRST, start, size);
        let commit =
            |at: u64| Commit { end: start + at, time: PgTimestamp(number as i64 * 1_000_000 + 7) };
        let mut commits = CommitTimes::of(commit(100));
        commits.extend(CommitTimes::of(commit(900)));
        let commits = (!number.is_multiple_of(3)).then_some(commits);
        let damage = (number % 5 == 4).then_some(start + 8192);
        SegmentFacts { name, from: start, to: start + (16 << 20), damage, commits }
    }

    #[test]
    fn what_was_written_is_read_again_and_the_last_line_of_a_segment_counts() {
        let disk: Arc<dyn Disk> = Arc::new(disk(1));
        let mut log = FactsLog::new(Arc::clone(&disk), &layout());
        // Over the border of a file.
        for number in 250..260 {
            log.append(&facts(number)).expect("written");
        }
        let better = SegmentFacts { damage: None, ..facts(254) };
        log.append(&better).expect("written");
        let all = read_all(disk.as_ref(), &layout()).expect("read");
        assert_eq!(all.len(), 10);
        for number in 250..260 {
            let expected = if number == 254 { better } else { facts(number) };
            assert_eq!(all.get(&expected.name), Some(&expected), "{number}");
        }
        assert!(
            better.is_whole(SegmentSize::DEFAULT) && !facts(254).is_whole(SegmentSize::DEFAULT)
        );
        assert_eq!(read(disk.as_ref(), &layout(), "0000000100000001").expect("read").len(), 4);
    }

    #[test]
    fn a_power_cut_costs_lines_and_never_makes_a_wrong_one() {
        for seed in 0..64 {
            let disk = Arc::new(disk(seed));
            let mut log = FactsLog::new(Arc::clone(&disk) as Arc<dyn Disk>, &layout());
            for number in 1..40 {
                log.append(&facts(number)).expect("written");
                if number == 20 {
                    log.sync().expect("synced");
                }
            }
            let after: Arc<dyn Disk> = Arc::new(disk.after_power_loss(seed));
            let mut log = FactsLog::new(Arc::clone(&after), &layout());
            log.append(&facts(40)).expect("written");
            let all = read_all(after.as_ref(), &layout()).expect("read");
            for found in all.values() {
                let number = found.from.0 >> 24;
                assert_eq!(found, &facts(number), "seed {seed}");
            }
            for number in (1..=20).chain([40]) {
                assert!(all.contains_key(&facts(number).name), "seed {seed}: {number} is lost");
            }
        }
    }
}
