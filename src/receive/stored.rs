//! What the repository holds of the stream: which segments, up to which byte.
//!
//! Reads directories and the newest segments; writes nothing but the last name of a segment
//! that was complete when a crash came. Knows no connections.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::resume::{self, partial_path};
use super::start::LocalEnd;
use crate::codec::{Codec, StoredFile};
use crate::disk::{Disk, DiskError, FileKind};
use crate::wal::page::PageHeader;
use crate::wal::{
    Finding, Lsn, SegmentName, SegmentNumber, SegmentSize, SystemIdentifier, Timeline, WalChecker,
    WalFileName,
};

/// Where to look for stored WAL.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The directory that the receiver writes to.
    pub streaming: &'a Path,
    /// The archive: hash directories and history files.
    pub wals: &'a Path,
    /// The segment size of the server.
    pub segment_size: SegmentSize,
}

/// The names in a streaming directory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Names {
    /// Complete segments.
    pub complete: BTreeSet<SegmentName>,
    /// Segments that are not complete.
    pub partial: BTreeSet<SegmentName>,
    /// History files.
    pub histories: BTreeSet<Timeline>,
}

impl Names {
    /// Lists a directory. Names that are not of WAL are passed over.
    pub fn list(disk: &dyn Disk, directory: &Path) -> Result<Names, DiskError> {
        let mut names = Names::default();
        for entry in disk.list(directory)? {
            let parsed = entry.name.to_str().and_then(|name| name.parse().ok());
            match parsed.filter(|_| entry.kind == FileKind::File) {
                Some(WalFileName::Segment(name)) => _ = names.complete.insert(name),
                Some(WalFileName::Partial(name)) => _ = names.partial.insert(name),
                Some(WalFileName::History(timeline)) => _ = names.histories.insert(timeline),
                Some(WalFileName::BackupLabel { .. }) | None => {}
            }
        }
        Ok(names)
    }
}

/// The newest segment in the archive.
pub fn newest_archived(disk: &dyn Disk, wals: &Path) -> Result<Option<SegmentName>, DiskError> {
    if disk.stat(wals)?.is_none() {
        return Ok(None);
    }
    let mut hashes: Vec<String> = disk
        .list(wals)?
        .into_iter()
        .filter(|entry| entry.kind == FileKind::Directory)
        .filter_map(|entry| entry.name.into_string().ok())
        .filter(|name| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .collect();
    hashes.sort_unstable();
    // The last one may be empty, or hold nothing but labels and incomplete segments.
    for hash in hashes.iter().rev() {
        let names = Names::list(disk, &wals.join(hash))?;
        if let Some(newest) = names.complete.last() {
            return Ok(Some(*newest));
        }
    }
    Ok(None)
}

impl Places<'_> {
    /// The end of the stored WAL, and the cluster that wrote it, where a page says so.
    ///
    /// Segments that were complete under the name of an incomplete one get their final name.
    pub fn end(&self) -> Result<(Option<LocalEnd>, Option<SystemIdentifier>), DiskError> {
        let mut names = Names::list(self.disk, self.streaming)?;
        self.drop_wrong_sizes(&mut names.complete)?;
        names.complete.extend(newest_archived(self.disk, self.wals)?);
        let newest = names.complete.iter().chain(&names.partial).max().copied();
        let Some(newest) = newest else { return Ok((None, None)) };
        let timeline = newest.timeline();
        let complete = self.last_number(&names.complete, timeline);
        for number in self.open_run(&names.partial, timeline, complete) {
            let name = SegmentName::new(timeline, number, self.segment_size);
            let end = self.partial_end(name, number)?;
            if end < number.end(self.segment_size) {
                let local = LocalEnd { timeline, position: end };
                return Ok((Some(local), self.system_of(name)?.or(self.system_before(&names)?)));
            }
            resume::finish_partial(self.disk, self.streaming, name, self.segment_size)?;
            names.complete.insert(name);
        }
        let last = self.last_number(&names.complete, timeline);
        let local = last.map(|last| LocalEnd { timeline, position: last.end(self.segment_size) });
        Ok((local, self.system_before(&names)?))
    }

    /// The newest names of complete segments must tell the truth: streaming goes on behind
    /// them. What is too short came from elsewhere, and is replaced when it is received.
    fn drop_wrong_sizes(&self, complete: &mut BTreeSet<SegmentName>) -> Result<(), DiskError> {
        while let Some(&name) = complete.last() {
            let stat = self.disk.stat(&self.streaming.join(name.to_string()))?;
            if stat.is_some_and(|stat| stat.length == u64::from(self.segment_size.bytes())) {
                break;
            }
            complete.remove(&name);
        }
        Ok(())
    }

    fn last_number(
        &self,
        names: &BTreeSet<SegmentName>,
        timeline: Timeline,
    ) -> Option<SegmentNumber> {
        let mine = names.iter().rev().filter(|name| name.timeline() == timeline);
        mine.filter_map(|name| name.number(self.segment_size)).max()
    }

    /// The incomplete segments behind the last complete one that follow upon each other up to
    /// the newest. More than one stands there when a crash came between the renaming of a
    /// complete segment and the creation of the next.
    fn open_run(
        &self,
        partial: &BTreeSet<SegmentName>,
        timeline: Timeline,
        complete: Option<SegmentNumber>,
    ) -> Vec<SegmentNumber> {
        let mut run: Vec<SegmentNumber> = Vec::new();
        let mine = partial.iter().filter(|name| name.timeline() == timeline);
        let numbers = mine.filter_map(|name| name.number(self.segment_size));
        for number in numbers.filter(|number| complete.is_none_or(|last| *number > last)) {
            if run.last().is_some_and(|last| last.next() != number) {
                run.clear();
            }
            run.push(number);
        }
        run
    }

    /// Up to where an incomplete segment holds verified WAL.
    ///
    /// A record that began in an earlier segment can only be verified from its beginning. Where
    /// that is not at hand, nothing in this segment is trusted, and it is received again.
    fn partial_end(&self, name: SegmentName, number: SegmentNumber) -> Result<Lsn, DiskError> {
        let start = number.start(self.segment_size);
        let timeline = name.timeline();
        let mut chain = vec![(number, partial_path(self.streaming, name))];
        while let Some((first, path)) = chain.last() {
            let Some(header) = self.first_page(path)? else { return Ok(start) };
            if header.address != first.start(self.segment_size) {
                return Ok(start);
            }
            if !header.continues_record() {
                break;
            }
            let before = first.0.checked_sub(1).map(SegmentNumber);
            let Some(before) = before.filter(|_| chain.len() <= CHAIN_MAX) else {
                return Ok(start);
            };
            match self.complete_path(timeline, before)? {
                Some(path) => chain.push((before, path)),
                None => return Ok(start),
            }
        }
        self.check(timeline, chain).map(|end| end.unwrap_or(start).max(start))
    }

    /// Feeds the segments of a chain, the last of which comes first, to a checker.
    fn check(
        &self,
        timeline: Timeline,
        chain: Vec<(SegmentNumber, PathBuf)>,
    ) -> Result<Option<Lsn>, DiskError> {
        let Some((first, _)) = chain.last() else { return Ok(None) };
        let size = self.segment_size;
        let mut checker = WalChecker::new(timeline, None, size, first.start(size));
        let mut findings = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        for (number, path) in chain.iter().rev() {
            let mut file = StoredFile::of_wal(self.disk.open_read(path)?)?;
            let mut offset = 0;
            while offset < u64::from(size.bytes()) && !findings.iter().any(ends_verification) {
                let left = u64::from(size.bytes()) - offset;
                let wanted = buffer.len().min(left as usize);
                let read = match file.read(&mut buffer[..wanted]) {
                    // Damaged in the archive: what follows cannot be verified.
                    Err(error) if error.is_of_unpacking() => 0,
                    result => result?,
                };
                if read == 0 {
                    break;
                }
                checker.feed(number.start(size) + offset, &buffer[..read], &mut findings);
                offset += read as u64;
            }
        }
        Ok(checker.valid_end())
    }

    /// A complete segment, as it was received or as the archive has packed it.
    fn complete_path(
        &self,
        timeline: Timeline,
        number: SegmentNumber,
    ) -> Result<Option<PathBuf>, DiskError> {
        let name = SegmentName::new(timeline, number, self.segment_size);
        let archived = self.wals.join(name.hash_directory()).join(name.to_string());
        for path in [self.streaming.join(name.to_string()), archived] {
            let Some(stat) = self.disk.stat(&path)? else { continue };
            let is_full = stat.length == u64::from(self.segment_size.bytes());
            if is_full || self.is_packed(&path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    fn is_packed(&self, path: &Path) -> Result<bool, DiskError> {
        let mut head = [0; Codec::HEAD_BYTES];
        let read = self.disk.open_read(path)?.read_at(&mut head, 0)?;
        let codec = Codec::of_wal(&head[..read]);
        Ok(codec != Codec::Plain && codec.is_readable())
    }

    fn first_page(&self, path: &Path) -> Result<Option<PageHeader>, DiskError> {
        let opened = StoredFile::of_wal(self.disk.open_read(path)?);
        let mut bytes = [0; PageHeader::LONG];
        let read = match opened.and_then(|mut file| file.read(&mut bytes)) {
            // Encrypted, or damaged: it says nothing.
            Err(error) if error.is_of_unpacking() => return Ok(None),
            result => result?,
        };
        let header = PageHeader::parse(&bytes[..read]);
        Ok(header.filter(|header| header.long.is_some() && header.has_known_flags()))
    }

    /// The cluster that wrote an incomplete segment.
    fn system_of(&self, name: SegmentName) -> Result<Option<SystemIdentifier>, DiskError> {
        let header = self.first_page(&partial_path(self.streaming, name))?;
        Ok(header.and_then(|header| header.long).map(|long| long.system))
    }

    /// The cluster that wrote the newest complete segment.
    fn system_before(&self, names: &Names) -> Result<Option<SystemIdentifier>, DiskError> {
        let Some(name) = names.complete.last() else { return Ok(None) };
        let Some(number) = name.number(self.segment_size) else { return Ok(None) };
        match self.complete_path(name.timeline(), number)? {
            Some(path) => {
                Ok(self.first_page(&path)?.and_then(|header| header.long).map(|long| long.system))
            }
            None => Ok(None),
        }
    }
}

fn ends_verification(finding: &Finding) -> bool {
    !matches!(finding, Finding::Overwritten { .. } | Finding::Resumed { .. })
}

/// A record has at most about 1 GiB, which is 64 segments of the usual size.
const CHAIN_MAX: usize = 66;
const READ_BYTES: usize = 1 << 20;
