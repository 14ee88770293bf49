//! A segment that was not received to its end: the one that is still written, or the last one of a
//! timeline that has ended.

use std::path::{Path, PathBuf};

use crate::codec::Codec;
use crate::wal::{Lsn, SegmentName, WalChecker, WalFileName};

use super::error::RestoreError;
use super::shelf::{
    COPY_BYTES, Shelf, WalIdentity, bytes_before, check_first_page, copy, first_bytes, inner,
    unpacked,
};
use super::tree::Tree;

impl Shelf<'_> {
    /// The incomplete file of this segment that goes furthest, and the end of its last good
    /// record. There may be two: a promoted server delivers what it had of its old timeline, and
    /// the receiver may have got more from the old primary.
    pub(super) fn find_open_segment(
        &self,
        name: SegmentName,
        identity: &WalIdentity,
    ) -> Result<Option<(PathBuf, Lsn)>, RestoreError> {
        let partial = WalFileName::Partial(name);
        let text = partial.to_string();
        let mut found: Option<(PathBuf, Lsn)> = None;
        let waiting = self.waiting().map(|directory| directory.join(&text));
        for path in std::iter::once(self.layout.wal(partial)).chain(waiting) {
            let Some(end) = self.valid_end(&path, name, identity)? else { continue };
            if found.as_ref().is_none_or(|(_, other)| end > *other) {
                found = Some((path, end));
            }
        }
        Ok(found)
    }

    /// The end of the last good record of an open segment. `None` when it is not there.
    fn valid_end(
        &self,
        path: &Path,
        name: SegmentName,
        identity: &WalIdentity,
    ) -> Result<Option<Lsn>, RestoreError> {
        let Some(number) = name.number(identity.segment_size) else { return Ok(None) };
        let file = match self.disk.open_read(path) {
            Ok(file) => file,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut file = match unpacked(file) {
            // Most restores need none of it: what cannot be read is not offered.
            Err(RestoreError::Packed { .. }) => return Ok(None),
            opened => opened?,
        };
        let start = number.start(identity.segment_size);
        let mut checker =
            WalChecker::new(name.timeline(), identity.system, identity.segment_size, start);
        let mut findings = Vec::new();
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = start;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                // Damaged: it is offered up to there, and who copies it hears of the damage.
                Err(_) if file.codec() != Codec::Plain => break,
                Err(error) => return Err(error.into()),
            };
            checker.feed(at, &buffer[..read], &mut findings);
            at = at + read as u64;
            if !findings.is_empty() {
                break;
            }
        }
        // No whole record is no WAL, which is another thing than a file that was moved on.
        Ok(Some(checker.valid_end().unwrap_or(start)))
    }

    /// Copies the open segment under its plain name, at full size. If it was completed
    /// meanwhile the complete one is copied. Behind `cut` there are zeros.
    pub fn copy_open_segment(
        &self,
        name: SegmentName,
        identity: &WalIdentity,
        cut: Option<Lsn>,
        (tree, directory): (&mut Tree<'_>, &str),
        moved: &mut dyn FnMut(u64) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let found = self.find_open_segment(name, identity)?;
        let opened = found.map(|(path, _)| self.disk.open_read(&path)).transpose();
        let file = match opened {
            Ok(Some(file)) => file,
            Err(error) if !error.is_absent() => return Err(error.into()),
            Ok(None) | Err(_) => {
                let place = (tree, directory);
                return self.copy_segment(name, identity, cut, place, moved).map(|_| ());
            }
        };
        let mut file = unpacked(file)?;
        let first = first_bytes(&mut file)?;
        check_first_page(file.path(), &first, name, identity)?;
        let target = tree.file(&inner(directory, &name.to_string())?, 0o600)?;
        let limit = bytes_before(cut, name, identity);
        let mut copied = copy(first, &mut file, limit, target, &mut |_| {}, moved)?;
        copied.pad_to(u64::from(identity.segment_size.bytes()))?;
        copied.finish(None)?;
        Ok(())
    }
}
