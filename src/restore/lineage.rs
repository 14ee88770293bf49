//! The branch of history that a restore follows: from the timeline of the backup to its own.
//!
//! Pure.

use crate::wal::{Lsn, SegmentName, SegmentNumber, SegmentSize, Timeline};

use super::refusal::Refusal;
use super::selection::{AvailableWal, BackupRange};

/// The timelines that recovery passes, each with the position at which it begins.
#[derive(Debug)]
pub(super) struct Lineage {
    pub(super) timeline: Timeline,
    /// Ascending in both; the first one begins at 0/0.
    legs: Vec<(Lsn, Timeline)>,
}

impl Lineage {
    pub(super) fn new(
        wal: &AvailableWal,
        backup: &BackupRange,
        timeline: Timeline,
    ) -> Result<Lineage, Refusal> {
        let mut legs = vec![(Lsn::INVALID, backup.timeline)];
        if timeline != backup.timeline {
            let known = || wal.timelines(backup);
            let history = wal
                .histories
                .get(&timeline)
                .ok_or_else(|| Refusal::UnknownTimeline { timeline, known: known() })?;
            if !history.contains(backup.timeline) || !history.contains(backup.end_timeline) {
                return Err(Refusal::NotDescendant {
                    timeline,
                    backup: backup.end_timeline,
                    left_at: None,
                    end: backup.end,
                });
            }
            let mut at = backup.timeline;
            while let (Some(begins), Some(next)) =
                (history.switchpoint_of(at), history.successor_of(at))
            {
                legs.push((begins, next));
                at = next;
            }
        }
        Ok(Lineage { timeline, legs })
    }

    /// The newest timeline that has bytes in the segment: its file is what recovery asks for
    /// first, and it holds its ancestors' bytes up to the switchpoint.
    pub(super) fn name(&self, number: SegmentNumber, size: SegmentSize) -> SegmentName {
        let leg = self.legs.iter().rev().find(|(begins, _)| begins.segment(size) <= number);
        let timeline = leg.map_or(self.timeline, |(_, timeline)| *timeline);
        SegmentName::new(timeline, number, size)
    }

    /// The files that hold bytes of the segment, the newest timeline's first, and for each the
    /// position at which it ceases to count: every one holds its ancestors' bytes up to its own
    /// switchpoint, and behind the next one's what a dead branch wrote. There may be several:
    /// nothing forbids two promotions within a segment.
    pub(super) fn files(
        &self,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> impl Iterator<Item = (SegmentName, Lsn)> {
        let mut left = number.end(size);
        self.legs.iter().rev().filter(move |(begins, _)| *begins < number.end(size)).map_while(
            move |(begins, timeline)| {
                let counts_to = std::mem::replace(&mut left, *begins);
                let holds_any = counts_to > number.start(size);
                holds_any.then(|| (SegmentName::new(*timeline, number, size), counts_to))
            },
        )
    }
}
