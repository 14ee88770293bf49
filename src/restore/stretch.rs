//! Which file serves for a segment, and up to where.
//!
//! Pure.

use crate::repository::Hole;
use crate::wal::{Lsn, SegmentName, SegmentNumber, SegmentSize};

use super::lineage::Lineage;
use super::selection::{AvailableWal, BackupRange, Gap};

/// A file that is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) name: SegmentName,
    /// It is an incomplete one.
    pub(super) open: bool,
    /// No byte of it at or behind this position is replayed.
    pub(super) end: Lsn,
    /// Where it ceases to count, whatever it holds: at the switchpoint, if it is an ancestor's.
    pub(super) counts_to: Lsn,
    /// It ends where it is damaged.
    pub(super) damaged: bool,
    /// The lost WAL that it ends at, and where.
    pub(super) hole: Option<(Lsn, Hole)>,
}

impl AvailableWal {
    /// The file that takes recovery furthest in a segment, of all that hold bytes of it. Of two
    /// that go as far the newer timeline's, which recovery asks for first, and the complete one.
    ///
    /// A promoted server that has not yet archived the segment in which it was promoted, or has
    /// not yet sent much of it, has an ancestor whose file holds the same bytes up to the
    /// switchpoint.
    pub(super) fn piece(
        &self,
        lineage: &Lineage,
        number: SegmentNumber,
        backup: &BackupRange,
    ) -> Option<Piece> {
        let size = backup.segment_size;
        let mut best: Option<Piece> = None;
        for (name, counts_to) in lineage.files(number, size) {
            let hole = self.hole_in(name, backup);
            let lost_from = hole.map_or(counts_to, |(at, _)| at);
            let whole = self.segments.contains(&name).then_some((false, counts_to, false));
            let partial = self.partials.get(&name).filter(|_| self.is_offered(lineage, name, size));
            let partial = partial.map(|partial| (true, partial.end, partial.damaged));
            for (open, end, damaged) in whole.into_iter().chain(partial) {
                let end = end.min(counts_to).min(lost_from);
                let hole = hole.filter(|(at, _)| *at == end && *at < counts_to);
                let is_in_vain = hole.is_some() && end <= number.start(size);
                if !is_in_vain && best.is_none_or(|best| end > best.end) {
                    let damaged = damaged && end < counts_to.min(lost_from);
                    best = Some(Piece { name, open, end, counts_to, damaged, hole });
                }
            }
        }
        best
    }

    /// An incomplete file that there is of a segment, and that could not be read to its end.
    pub(super) fn unread_piece(
        &self,
        lineage: &Lineage,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> Option<SegmentName> {
        let mut names = lineage.files(number, size).map(|(name, _)| name);
        names.find(|name| self.unread.contains(name) && self.is_offered(lineage, *name, size))
    }

    /// Whether an incomplete segment may be taken. Recovery never asks for a `.partial`: it is
    /// offered as the last file of the timeline that is followed, whether that is still written
    /// or ended there; or, up to the switchpoint, as the beginning of a timeline.
    fn is_offered(&self, lineage: &Lineage, name: SegmentName, size: SegmentSize) -> bool {
        let is_own = name.number(size).is_some_and(|number| lineage.name(number, size) == name);
        let newest = name.timeline() == lineage.timeline;
        // It was completed elsewhere, unless it is known that the rest of it is lost.
        let completed =
            || self.segments.range(name..).any(|other| other.timeline() == name.timeline());
        let is_lost = || self.holes.iter().any(|hole| hole.is_in(name, size));
        !is_own || newest && (is_lost() || !completed())
    }

    /// The first recorded hole in a file, behind the beginning of the backup, and where it stops
    /// recovery.
    pub(super) fn hole_in(&self, name: SegmentName, backup: &BackupRange) -> Option<(Lsn, Hole)> {
        let size = backup.segment_size;
        let start = name.number(size)?.start(size);
        let stops = |hole: &Hole| {
            let at = hole.from.max(start).max(backup.begin);
            (at < hole.to).then_some((at, *hole))
        };
        let within = self.holes.iter().filter(|hole| hole.is_in(name, size));
        within.filter_map(stops).min_by_key(|(at, _)| *at)
    }

    /// What lies in vain behind a segment that is not there, or not to its end.
    pub(super) fn gap(
        &self,
        lineage: &Lineage,
        at: SegmentNumber,
        hole: Option<Hole>,
        size: SegmentSize,
    ) -> Option<Gap> {
        let is_behind = |name: &&SegmentName| {
            name.number(size)
                .is_some_and(|number| number > at && lineage.name(number, size) == **name)
        };
        let behind = self.segments.iter().filter(is_behind).count();
        let missing = lineage.name(at, size);
        (behind > 0 || hole.is_some()).then_some(Gap { missing, behind, hole })
    }
}
