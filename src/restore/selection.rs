//! Which WAL a restore needs, of what there is.
//!
//! Pure: sets of names in, a list of names out. Selection goes by set and order, never by the
//! order of lines in a database file, and proves that nothing is missing from the first byte
//! that recovery reads to the last one that it promises.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::{Hole, Holes};
use crate::wal::{Lsn, SegmentName, SegmentNumber, SegmentSize, Timeline, TimelineHistory};

use super::lineage::Lineage;
use super::refusal::Refusal;
use super::stretch::Piece;
use super::target::TargetTimeline;

/// All WAL files of a server, wherever they lie.
#[derive(Clone, Debug, Default)]
pub struct AvailableWal {
    /// Complete segments.
    pub segments: BTreeSet<SegmentName>,
    /// Incomplete ones.
    pub partials: BTreeMap<SegmentName, Incomplete>,
    /// Incomplete ones that could not be read to their end, or not at all.
    pub unread: BTreeSet<SegmentName>,
    /// The ancestry of every timeline that has a history file.
    pub histories: BTreeMap<Timeline, TimelineHistory>,
    /// WAL that is lost, and was not found again.
    pub holes: Holes,
}

/// An incomplete segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Incomplete {
    /// The end of its last good record.
    pub end: Lsn,
    /// It holds more behind that, which is damaged.
    pub damaged: bool,
}

/// The part of the WAL that a backup cannot do without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BackupRange {
    /// The timeline on which the backup began.
    pub timeline: Timeline,
    /// Where recovery begins to read.
    pub begin: Lsn,
    /// The timeline on which it ended: the same, but for a standby whose upstream switched.
    pub end_timeline: Timeline,
    /// The first byte behind the record that makes the backup consistent.
    pub end: Lsn,
    /// The size of every segment.
    pub segment_size: SegmentSize,
}

/// How far the WAL has to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// The end of the backup.
    Backup,
    /// The record at or behind this position.
    Past(Lsn),
    /// As far as there is any.
    End,
}

impl Reach {
    /// Whether WAL up to `end` is enough.
    fn is_reached(self, end: Lsn, backup: &BackupRange) -> bool {
        match self {
            Reach::Backup => end >= backup.end,
            Reach::Past(target) => end > target,
            Reach::End => false,
        }
    }
}

/// The WAL to be copied, in the order in which recovery reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WalSelection {
    /// Complete segments.
    pub segments: Vec<SegmentName>,
    /// The open segment behind them, to be copied at full size under its plain name.
    pub partial: Option<SegmentName>,
    /// The open segment holds more, which is damaged, and which was wanted.
    pub damaged: bool,
    /// An incomplete segment that may hold more, and could not be read.
    pub unread: Option<SegmentName>,
    /// Where the last file ends to count, if it is an ancestor's: what that timeline has written
    /// behind its end would be replayed as well.
    pub cut: Option<Lsn>,
    /// Timelines whose history files go along.
    pub histories: Vec<Timeline>,
    /// The timeline on which recovery ends.
    pub timeline: Timeline,
    /// No byte at or behind this position is there.
    pub end: Lsn,
    /// A hole behind the end: what is missing, and how many segments lie behind it in vain.
    pub gap: Option<Gap>,
    /// Newer timelines that descend from this one and are not followed.
    pub not_followed: Vec<Timeline>,
}

/// A missing segment with others behind it, or WAL that is known to be lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    /// The first one that is missing.
    pub missing: SegmentName,
    /// Segments of the same lineage behind it.
    pub behind: usize,
    /// The recorded hole, if it is one: the segment itself may then be there, and damaged.
    pub hole: Option<Hole>,
}

/// Where a selection ends.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// The first segment of which there is not all.
    number: SegmentNumber,
    end: Lsn,
    /// More was wanted.
    is_early: bool,
}

impl WalSelection {
    /// Where a file ends to count, if that is before its end.
    pub fn cut_of(&self, name: SegmentName) -> Option<Lsn> {
        let last = self.partial.as_ref().or(self.segments.last());
        self.cut.filter(|_| last == Some(&name))
    }
}

impl AvailableWal {
    /// The timeline to follow. `None` as wish means `latest`, as PostgreSQL does from 12 on.
    pub fn choose_timeline(
        &self,
        backup: &BackupRange,
        wish: TargetTimeline,
    ) -> Result<Timeline, Refusal> {
        match wish {
            TargetTimeline::Current => Ok(backup.end_timeline),
            TargetTimeline::Latest => {
                let newest = self.descendants(backup).max();
                Ok(newest.unwrap_or(backup.end_timeline))
            }
            TargetTimeline::Exact(timeline) if timeline == backup.end_timeline => Ok(timeline),
            TargetTimeline::Exact(timeline) => match self.histories.get(&timeline) {
                None => Err(Refusal::UnknownTimeline { timeline, known: self.timelines(backup) }),
                Some(history) if is_descendant(history, backup) => Ok(timeline),
                Some(history) => Err(Refusal::NotDescendant {
                    timeline,
                    backup: backup.end_timeline,
                    left_at: history.switchpoint_of(backup.end_timeline),
                    end: backup.end,
                }),
            },
        }
    }

    /// What the server would find for `latest`: it counts up from the backup's timeline as
    /// long as there is a history file, whoever the ancestors are (`findNewestTimeLine`).
    pub fn servers_latest(&self, backup: &BackupRange) -> Timeline {
        let mut newest = backup.timeline;
        while let Some(next) = newest.id().checked_add(1).and_then(Timeline::new) {
            if !self.histories.contains_key(&next) {
                break;
            }
            newest = next;
        }
        newest
    }

    /// Selects what recovery reads from the beginning of `backup` along `timeline`.
    pub fn select(
        &self,
        backup: &BackupRange,
        timeline: Timeline,
        reach: Reach,
    ) -> Result<WalSelection, Refusal> {
        let lineage = Lineage::new(self, backup, timeline)?;
        let size = backup.segment_size;
        let last = match reach {
            Reach::Backup => Some(backup.end.segment_before(size)),
            // The record that begins at the target, or the first one behind it, may lie in, or
            // reach into, the segment behind.
            Reach::Past(lsn) => Some(lsn.segment(size).next()),
            Reach::End => None,
        };
        let mut number = backup.begin.segment(size);
        let (mut segments, mut final_piece) = (Vec::new(), None);
        let mut end = number.start(size);
        while last.is_none_or(|last| number <= last) {
            let Some(piece) = self.piece(&lineage, number, backup) else { break };
            (end, final_piece) = (piece.end, Some(piece));
            if !piece.open {
                segments.push(piece.name);
            }
            // Nothing follows a file that is not replayed to its end.
            if piece.open || end < number.end(size) {
                break;
            }
            number = number.next();
        }
        let stop = Stop { number, end, is_early: last.is_none_or(|last| number <= last) };
        let piece = final_piece.filter(|piece| piece.name.number(size) == Some(number));
        let (gap, unread) = self.behind(&lineage, backup, reach, stop, piece)?;
        Ok(WalSelection {
            segments,
            partial: piece.filter(|piece| piece.open).map(|piece| piece.name),
            damaged: piece.is_some_and(|piece| piece.damaged) && !reach.is_reached(end, backup),
            unread,
            cut: piece.map(|piece| piece.counts_to).filter(|at| *at < number.end(size)),
            histories: self.histories.keys().copied().collect(),
            timeline,
            end,
            gap,
            not_followed: self.children(timeline, backup),
        })
    }

    /// Why a selection ends where it does, if that is before the end that was wanted: what is
    /// missing there, and which file could not be read.
    fn behind(
        &self,
        lineage: &Lineage,
        backup: &BackupRange,
        reach: Reach,
        stop: Stop,
        piece: Option<Piece>,
    ) -> Result<(Option<Gap>, Option<SegmentName>), Refusal> {
        let (size, end) = (backup.segment_size, stop.end);
        let missing = lineage.name(stop.number, size);
        let hole = piece.and_then(|piece| piece.hole).or_else(|| self.hole_in(missing, backup));
        // What was found of it elsewhere is not lost.
        let hole = hole.map(|(at, hole)| (at.max(end), hole)).filter(|_| stop.is_early);
        let unread = self.unread_piece(lineage, stop.number, size);
        let unread = unread.filter(|_| stop.is_early && !reach.is_reached(end, backup));
        if let Some(name) = unread
            && (end < backup.end || matches!(reach, Reach::Past(_)))
        {
            return Err(Refusal::UnreadWal(name));
        }
        if end < backup.end {
            let (begin, end) = (backup.begin, backup.end);
            return Err(match hole.filter(|(at, _)| *at < end) {
                Some((at, hole)) => Refusal::BackupWalLost { hole, at, end },
                None => Refusal::BackupWalMissing { missing, begin, end },
            });
        }
        let gap = match (hole, reach) {
            _ if !stop.is_early => None,
            // What is lost behind the target matters to nobody.
            (Some((at, _)), Reach::Past(target)) if target < at => None,
            (hole, _) => self.gap(lineage, stop.number, hole.map(|(_, hole)| hole), size),
        };
        Ok((gap, unread))
    }

    /// Timelines that were born at or behind the end of the backup, from its own timeline.
    fn descendants(&self, backup: &BackupRange) -> impl Iterator<Item = Timeline> {
        self.histories
            .iter()
            .filter(|(_, history)| is_descendant(history, backup))
            .map(|(timeline, _)| *timeline)
    }

    fn children(&self, timeline: Timeline, backup: &BackupRange) -> Vec<Timeline> {
        let born_later = |history: &&TimelineHistory| {
            history.switchpoint_of(timeline).is_some_and(|at| at >= backup.end)
        };
        self.histories.values().filter(born_later).map(TimelineHistory::timeline).collect()
    }

    /// Every timeline of which there is anything.
    pub(super) fn timelines(&self, backup: &BackupRange) -> Vec<Timeline> {
        let mut known: BTreeSet<Timeline> = self.histories.keys().copied().collect();
        known.extend(self.segments.iter().map(|name| name.timeline()));
        known.insert(backup.timeline);
        known.into_iter().collect()
    }
}

fn is_descendant(history: &TimelineHistory, backup: &BackupRange) -> bool {
    history.switchpoint_of(backup.end_timeline).is_some_and(|at| at >= backup.end)
}

#[cfg(test)]
#[path = "tests/selection.rs"]
mod tests;
