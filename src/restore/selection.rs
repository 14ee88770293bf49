//! Which WAL a restore needs, of what there is.
//!
//! Pure: sets of names in, a list of names out. Selection goes by set and order, never by the
//! order of lines in a database file, and proves that nothing is missing from the first byte
//! that recovery reads to the last one that it promises.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::{Hole, Holes};
use crate::wal::{Lsn, SegmentName, SegmentNumber, SegmentSize, Timeline, TimelineHistory};

use super::refusal::Refusal;
use super::target::TargetTimeline;

/// All WAL files of a server, wherever they lie.
#[derive(Clone, Debug, Default)]
pub struct AvailableWal {
    /// Complete segments.
    pub segments: BTreeSet<SegmentName>,
    /// Incomplete ones, each with the end of its last good record if that was looked for.
    pub partials: BTreeMap<SegmentName, Option<Lsn>>,
    /// The ancestry of every timeline that has a history file.
    pub histories: BTreeMap<Timeline, TimelineHistory>,
    /// WAL that is lost, and was not found again.
    pub holes: Holes,
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

/// The WAL to be copied, in the order in which recovery reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WalSelection {
    /// Complete segments.
    pub segments: Vec<SegmentName>,
    /// The open segment behind them, to be copied at full size under its plain name.
    pub partial: Option<SegmentName>,
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
        let hole = self.first_hole(&lineage, backup);
        let mut number = backup.begin.segment(size);
        let mut segments = Vec::new();
        let (mut end, mut cut) = (number.start(size), None);
        let lost_from = hole.map_or(Lsn(u64::MAX), |(at, _)| at);
        while last.is_none_or(|last| number <= last) && lost_from > number.start(size) {
            let Some((name, covered)) = self.find(&lineage, number, size) else { break };
            segments.push(name);
            end = covered.min(lost_from);
            cut = Some(covered).filter(|covered| *covered < number.end(size));
            // Nothing is replayed behind a hole. An ancestor's file stands in for one that is missing: nothing follows it.
            if end < number.end(size) {
                break;
            }
            number = number.next();
        }
        let wanted = last.is_none_or(|last| number <= last)
            && end <= number.start(size)
            && lost_from > number.start(size);
        let partial = if wanted { self.open_segment(&lineage, number, size) } else { None };
        if let Some((name, valid_end)) = partial {
            end = valid_end.unwrap_or_else(|| number.end(size)).min(lost_from);
            cut = lineage.ancestor_within(number, size).map(|(_, left)| left);
            cut = cut.filter(|_| lineage.name(number, size) != name);
            number = number.next();
        }
        if let Some((at, hole)) = hole.filter(|(at, _)| *at < backup.end) {
            return Err(Refusal::BackupWalLost { hole, at, end: backup.end });
        }
        if end < backup.end {
            let missing = lineage.name(number, size);
            return Err(Refusal::BackupWalMissing {
                missing,
                begin: backup.begin,
                end: backup.end,
            });
        }
        let stopped_early = last.is_none_or(|last| number <= last);
        let gap = match hole {
            _ if !stopped_early => None,
            // What is lost behind the target matters to nobody.
            Some((at, _)) if matches!(reach, Reach::Past(target) if target < at) => None,
            Some((at, hole)) if at <= end.max(number.start(size)) => {
                let lost = at.segment(size);
                let behind = self.gap(&lineage, lost.next(), size).map_or(0, |gap| gap.behind);
                Some(Gap { missing: lineage.name(lost, size), behind, hole: Some(hole) })
            }
            _ => self.gap(&lineage, number, size),
        };
        Ok(WalSelection {
            segments,
            partial: partial.map(|(name, _)| name),
            cut,
            histories: self.histories.keys().copied().collect(),
            timeline,
            end,
            gap,
            not_followed: self.children(timeline, backup),
        })
    }

    /// The file that recovery reads for a segment, and up to where its bytes count.
    fn find(
        &self,
        lineage: &Lineage,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> Option<(SegmentName, Lsn)> {
        let here = lineage.name(number, size);
        if self.segments.contains(&here) {
            return Some((here, number.end(size)));
        }
        // A promoted server that has not yet archived the segment in which it was promoted:
        // the ancestor's file holds the same bytes up to the switchpoint.
        let (ancestor, switchpoint) = lineage.ancestor_within(number, size)?;
        let there = SegmentName::new(ancestor, number, size);
        let open = self.partials.contains_key(&here);
        (!open && self.segments.contains(&there)).then_some((there, switchpoint))
    }

    /// The segment that was not received to its end, unless something supersedes it.
    ///
    /// Recovery never asks for a `.partial`: it is offered as the last file of the timeline that is
    /// followed, whether that is still written or ended there; or, up to the switchpoint, as the
    /// beginning of that timeline, while there is nothing of its own.
    fn open_segment(
        &self,
        lineage: &Lineage,
        number: SegmentNumber,
        size: SegmentSize,
    ) -> Option<(SegmentName, Option<Lsn>)> {
        let name = lineage.name(number, size);
        let Some(valid_end) = self.partials.get(&name) else {
            let (ancestor, left) = lineage.ancestor_within(number, size)?;
            let there = SegmentName::new(ancestor, number, size);
            let valid_end = *self.partials.get(&there)?;
            return Some((there, Some(valid_end.map_or(left, |end| end.min(left)))));
        };
        let newest = name.timeline() == lineage.timeline;
        let later = self.segments.range(name..).any(|other| other.timeline() == name.timeline());
        (newest && !later).then_some((name, *valid_end))
    }

    /// The first recorded hole in what recovery reads from the beginning of the backup on, and
    /// where it stops recovery.
    fn first_hole(&self, lineage: &Lineage, backup: &BackupRange) -> Option<(Lsn, Hole)> {
        let size = backup.segment_size;
        let stops = |hole: &Hole| {
            let read = hole.segments(size).find(|name| {
                name.number(size).is_some_and(|number| {
                    number >= backup.begin.segment(size) && lineage.name(number, size) == *name
                })
            })?;
            let at = hole.from.max(read.number(size)?.start(size)).max(backup.begin);
            (at < hole.to).then_some((at, *hole))
        };
        self.holes.iter().filter_map(stops).min_by_key(|(at, _)| *at)
    }

    fn gap(&self, lineage: &Lineage, from: SegmentNumber, size: SegmentSize) -> Option<Gap> {
        let behind = self
            .segments
            .iter()
            .filter(|name| {
                name.number(size)
                    .is_some_and(|number| number >= from && lineage.name(number, size) == **name)
            })
            .count();
        (behind > 0).then(|| Gap { missing: lineage.name(from, size), behind, hole: None })
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
    fn timelines(&self, backup: &BackupRange) -> Vec<Timeline> {
        let mut known: BTreeSet<Timeline> = self.histories.keys().copied().collect();
        known.extend(self.segments.iter().map(|name| name.timeline()));
        known.insert(backup.timeline);
        known.into_iter().collect()
    }
}

fn is_descendant(history: &TimelineHistory, backup: &BackupRange) -> bool {
    history.switchpoint_of(backup.end_timeline).is_some_and(|at| at >= backup.end)
}

/// The timelines that recovery passes, each with the position at which it begins.
#[derive(Debug)]
struct Lineage {
    timeline: Timeline,
    /// Ascending in both; the first one begins at 0/0.
    legs: Vec<(Lsn, Timeline)>,
}

impl Lineage {
    fn new(
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
    fn name(&self, number: SegmentNumber, size: SegmentSize) -> SegmentName {
        let leg = self.legs.iter().rev().find(|(begins, _)| begins.segment(size) <= number);
        let timeline = leg.map_or(self.timeline, |(_, timeline)| *timeline);
        SegmentName::new(timeline, number, size)
    }

    /// The ancestor of the timeline that begins inside this segment, and where it ends.
    fn ancestor_within(&self, number: SegmentNumber, size: SegmentSize) -> Option<(Timeline, Lsn)> {
        let at = self.legs.iter().position(|(begins, _)| {
            begins.segment(size) == number && begins.segment_offset(size) > 0
        })?;
        let (_, ancestor) = *self.legs.get(at.checked_sub(1)?)?;
        Some((ancestor, self.legs[at].0))
    }
}

#[cfg(test)]
#[path = "tests/selection.rs"]
mod tests;
