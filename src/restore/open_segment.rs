//! A segment that was not received to its end: the one that is still written, or the last one of a
//! timeline that has ended.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskError};
use crate::wal::page::PAGE_SIZE;
use crate::wal::{Finding, Lsn, SegmentName, WalChecker, WalFileName};

use super::error::RestoreError;
use super::shelf::{
    Shelf, WalIdentity, bytes_before, check_first_page, copy, first_bytes, inner, unpacked,
};
use super::tree::Tree;

/// The incomplete files of one segment.
#[derive(Debug, Default)]
pub(super) struct OpenSegments {
    /// The one that goes furthest.
    pub(super) best: Option<OpenSegment>,
    /// Why one of them was not read to its end. Most restores need none of it.
    pub(super) unread: Option<RestoreError>,
}

/// An incomplete file of a segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct OpenSegment {
    /// Where it stands.
    pub(super) path: PathBuf,
    /// The end of its last good record.
    pub(super) end: Lsn,
    /// More cannot be read or unpacked.
    readable_to: Option<Lsn>,
    /// There is more behind its last good record, and that is damaged.
    pub(super) damaged: bool,
}

/// A file that is written meanwhile looks like a damaged one where what was read first was written
/// last. At the next look it goes further.
const LOOKS: usize = 3;

impl Shelf<'_> {
    /// The incomplete file of this segment that goes furthest. There may be two: a promoted server
    /// delivers what it had of its old timeline, and the receiver may have got more from the old
    /// primary.
    pub(super) fn find_open_segment(
        &self,
        name: SegmentName,
        identity: &WalIdentity,
    ) -> OpenSegments {
        let partial = WalFileName::Partial(name);
        let text = partial.to_string();
        let mut found = OpenSegments::default();
        let waiting = self.waiting().map(|directory| directory.join(&text));
        for path in std::iter::once(self.layout.wal(partial)).chain(waiting) {
            let (here, unread) = self.look_at(&path, name, identity);
            found.unread = found.unread.or(unread);
            let Some(here) = here else { continue };
            if found.best.as_ref().is_none_or(|other| here.end > other.end) {
                found.best = Some(here);
            }
        }
        found
    }

    fn look_at(
        &self,
        path: &Path,
        name: SegmentName,
        identity: &WalIdentity,
    ) -> (Option<OpenSegment>, Option<RestoreError>) {
        let mut before = None;
        for _ in 0..LOOKS {
            let (found, unread) = match walk(self.disk, path, name, identity) {
                Ok(found) => found,
                Err(RestoreError::Disk(error)) if error.is_absent() => return (None, None),
                Err(error) => return (None, Some(error)),
            };
            if !found.damaged || before.as_ref() == Some(&found) {
                return (Some(found), unread.map(RestoreError::Disk));
            }
            before = Some(found);
        }
        (before.map(|found| OpenSegment { damaged: false, ..found }), None)
    }

    /// Whether the open segment can be what its name says, as far as its first page tells.
    pub(super) fn check_open_segment(
        &self,
        name: SegmentName,
        identity: &WalIdentity,
    ) -> Result<(), RestoreError> {
        let Some(open) = self.find_open_segment(name, identity).best else { return Ok(()) };
        // Moved on meanwhile: the copy will find it.
        let file = match self.disk.open_read(&open.path) {
            Err(error) if error.is_absent() => return Ok(()),
            opened => opened?,
        };
        let mut file = unpacked(file)?;
        let first = first_bytes(&mut file)?;
        check_first_page(file.path(), &first, name, identity).map(drop)
    }

    /// Copies the open segment under its plain name, at full size, as far as it can be read. If
    /// it was completed meanwhile the complete one is copied, and what is damaged in it said.
    /// Behind `cut` there are zeros.
    pub fn copy_open_segment(
        &self,
        name: SegmentName,
        identity: &WalIdentity,
        cut: Option<Lsn>,
        (tree, directory): (&mut Tree<'_>, &str),
        moved: &mut dyn FnMut(u64) -> Result<(), RestoreError>,
    ) -> Result<Option<Finding>, RestoreError> {
        let found = self.find_open_segment(name, identity).best;
        let opened = found.as_ref().map(|open| self.disk.open_read(&open.path)).transpose();
        let file = match opened {
            Ok(Some(file)) => file,
            Err(error) if !error.is_absent() => return Err(error.into()),
            Ok(None) | Err(_) => {
                return self.copy_segment(name, identity, cut, (tree, directory), moved);
            }
        };
        let readable_to = found.and_then(|open| open.readable_to);
        let limit =
            bytes_before(cut, name, identity).min(bytes_before(readable_to, name, identity));
        let mut file = unpacked(file)?;
        let first = first_bytes(&mut file)?;
        check_first_page(file.path(), &first, name, identity)?;
        let target = tree.file(&inner(directory, &name.to_string())?, 0o600)?;
        // Where it ends, or is damaged, was looked at when it was chosen.
        let mut copied = copy(first, &mut file, limit, target, &mut |_| {}, moved)?;
        copied.pad_to(u64::from(identity.segment_size.bytes()))?;
        copied.finish(None)?;
        Ok(None)
    }
}

/// Reads an open segment as far as that goes; and what kept it from being read further, if that
/// was the disk.
fn walk(
    disk: &dyn Disk,
    path: &Path,
    name: SegmentName,
    identity: &WalIdentity,
) -> Result<(OpenSegment, Option<DiskError>), RestoreError> {
    let mut file = unpacked(disk.open_read(path)?)?;
    let size = identity.segment_size;
    let start = name.number(size).map_or(Lsn::INVALID, |number| number.start(size));
    let mut checker = WalChecker::new(name.timeline(), identity.system, size, start);
    let (mut findings, mut is_bad) = (Vec::new(), false);
    // What comes with an error is lost: the less the better.
    let mut buffer = vec![0; PAGE_SIZE as usize];
    let mut at = start;
    let error = loop {
        match file.read(&mut buffer) {
            Ok(0) => break None,
            Ok(read) => {
                checker.feed(at, &buffer[..read], &mut findings);
                at = at + read as u64;
            }
            // There is nothing in it to be had.
            Err(error) if at == start => return Err(error.into()),
            Err(error) => break Some(error),
        }
        let is_end = |finding: &Finding| matches!(finding, Finding::EndOfWal { .. });
        is_bad |= findings.drain(..).any(|finding| finding.is_damage() || is_end(&finding));
    };
    // Good records behind bad ones: that is not where writing stopped.
    let goes_on = is_bad && checker.damage().is_none();
    let is_of_content = error.as_ref().is_some_and(DiskError::is_of_unpacking);
    let found = OpenSegment {
        path: path.to_owned(),
        // No whole record is no WAL, which is another thing than a file that was moved on.
        end: checker.valid_end().unwrap_or(start),
        readable_to: error.as_ref().map(|_| at),
        damaged: goes_on || is_of_content,
    };
    Ok((found, error.filter(|_| !is_of_content)))
}
