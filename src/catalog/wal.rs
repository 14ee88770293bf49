//! Which WAL is archived, and whether it is enough.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::repository::XlogLine;
use crate::wal::{SegmentName, SegmentNumber, SegmentSize, Timeline, WalFileName};

/// A stored segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredWal {
    /// Bytes as stored.
    pub size: u64,
    /// Last change, in seconds since 1970.
    pub modified: f64,
}

/// Archived WAL, in the order of names: timeline first, then position.
#[derive(Clone, Debug, Default)]
pub struct ArchivedWal {
    segments: BTreeMap<SegmentName, StoredWal>,
    histories: BTreeSet<Timeline>,
    partials: BTreeSet<SegmentName>,
}

/// Segments that are missing between two that are there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    /// The timeline.
    pub timeline: Timeline,
    /// The first that is missing.
    pub first: SegmentNumber,
    /// The last that is missing.
    pub last: SegmentNumber,
}

impl ArchivedWal {
    /// From the lines of the xlog database, in any order; the last line of a name counts.
    pub fn from_lines(lines: impl IntoIterator<Item = XlogLine>) -> ArchivedWal {
        let mut wal = ArchivedWal::default();
        for line in lines {
            match line.name {
                WalFileName::Segment(name) => {
                    let stored = StoredWal { size: line.size, modified: line.modified };
                    wal.segments.insert(name, stored);
                }
                WalFileName::History(timeline) => drop(wal.histories.insert(timeline)),
                WalFileName::Partial(name) => drop(wal.partials.insert(name)),
                WalFileName::BackupLabel { .. } => {}
            }
        }
        wal
    }

    /// Keeps what is in `names`, and adds what is only there.
    pub(super) fn retain_names(&mut self, names: &HashSet<WalFileName>) {
        self.segments.retain(|name, _| names.contains(&WalFileName::Segment(*name)));
        self.histories.retain(|timeline| names.contains(&WalFileName::History(*timeline)));
        self.partials.retain(|name| names.contains(&WalFileName::Partial(*name)));
        for name in names {
            match *name {
                WalFileName::Segment(name) => {
                    self.segments.entry(name).or_insert(StoredWal { size: 0, modified: 0.0 });
                }
                WalFileName::History(timeline) => drop(self.histories.insert(timeline)),
                WalFileName::Partial(name) => drop(self.partials.insert(name)),
                WalFileName::BackupLabel { .. } => {}
            }
        }
    }

    /// Complete segments from `first` on, first the rest of its timeline, then later ones.
    pub fn segments_from(
        &self,
        first: SegmentName,
    ) -> impl Iterator<Item = (SegmentName, StoredWal)> {
        self.segments.range(first..).map(|(name, stored)| (*name, *stored))
    }

    /// Complete segments of all timelines.
    pub fn segments(&self) -> impl Iterator<Item = (SegmentName, StoredWal)> {
        self.segments.iter().map(|(name, stored)| (*name, *stored))
    }

    /// Whether a complete segment is there.
    pub fn contains(&self, name: SegmentName) -> bool {
        self.segments.contains_key(&name)
    }

    /// The last complete segment of a timeline.
    pub fn last_of(&self, timeline: Timeline) -> Option<SegmentName> {
        let mut of_timeline =
            self.segments.keys().rev().filter(|name| name.timeline() == timeline).copied();
        of_timeline.next()
    }

    /// Timelines whose history file is there.
    pub fn history_files(&self) -> impl Iterator<Item = Timeline> {
        self.histories.iter().copied()
    }

    /// Segments that will never be complete: the ends of timelines.
    pub fn partials(&self) -> impl Iterator<Item = SegmentName> {
        self.partials.iter().copied()
    }

    /// What is missing between the segments of each timeline, in order.
    pub fn gaps(&self, size: SegmentSize) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut before: Option<(Timeline, SegmentNumber)> = None;
        for name in self.segments.keys() {
            let Some(number) = name.number(size) else { continue };
            let timeline = name.timeline();
            if let Some((_, last)) = before.filter(|(other, _)| *other == timeline)
                && last.next() < number
            {
                gaps.push(Gap { timeline, first: last.next(), last: SegmentNumber(number.0 - 1) });
            }
            before = Some((timeline, number));
        }
        gaps
    }
}

/// Whether the WAL that a copied backup needs is archived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WalState {
    /// All of it.
    Complete,
    /// The rest is still to come.
    Waiting,
    /// WAL behind it came, but this segment did not: it will never come.
    Missing(SegmentName),
}

/// Decides whether a backup that needs the segments from `begin` to `end` is complete.
///
/// Names without a number at this segment size are of another cluster and never complete.
pub fn wal_state(
    begin: SegmentName,
    end: SegmentName,
    size: SegmentSize,
    wal: &ArchivedWal,
) -> WalState {
    let (Some(first), Some(last)) = (begin.number(size), end.number(size)) else {
        return WalState::Waiting;
    };
    let timeline = begin.timeline();
    let archived = wal.last_of(timeline).and_then(|name| name.number(size));
    let Some(archived) = archived.filter(|archived| *archived >= first) else {
        return WalState::Waiting;
    };
    let mut number = first;
    while number <= last.min(archived) {
        let name = SegmentName::new(timeline, number, size);
        if !wal.contains(name) {
            return WalState::Missing(name);
        }
        number = number.next();
    }
    if last <= archived { WalState::Complete } else { WalState::Waiting }
}
