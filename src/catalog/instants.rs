//! Which instants a backup can be restored to.
//!
//! Pure: what is known of the segments goes in. A stretch that ends at a hole, a missing segment
//! or damage ends there for good, whatever lies behind.

use crate::repository::{Hole, SegmentFacts, WalFacts};
use crate::wal::{Lsn, PgTimestamp, SegmentName, SegmentNumber, SegmentSize, TimelineHistory};

/// How far a backup can be brought along a timeline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Instants {
    /// Behind the last byte that can be replayed.
    pub end: Lsn,
    /// The latest time of a commit up to there, if there is one.
    pub latest: Option<PgTimestamp>,
    /// Segments of which nothing is known: they are to be walked before `latest` is believed.
    pub unknown: usize,
    /// What recovery cannot cross.
    pub stop: Stop,
}

/// Why a stretch ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// There is no more WAL yet.
    Newest,
    /// This segment is missing, and later ones are there.
    Missing(SegmentName),
    /// WAL is lost.
    Hole(Hole),
    /// This segment is damaged.
    Damage(SegmentName),
}

/// Follows `history` from `begin` on, through the segments of which `is_there` says that they
/// are stored. `last` is the last segment of the newest timeline.
pub fn instants(
    begin: Lsn,
    history: &TimelineHistory,
    size: SegmentSize,
    facts: &WalFacts,
    holes: &[Hole],
    (is_there, last): (&dyn Fn(SegmentName) -> bool, SegmentNumber),
) -> Instants {
    let mut reach = Instants { end: begin, latest: None, unknown: 0, stop: Stop::Newest };
    let mut number = begin.segment(size);
    while number <= last {
        // The newest timeline that has bytes in the segment, as recovery reads it.
        let end = Lsn(number.end(size).0 - 1);
        let name = SegmentName::new(history.timeline_at(end), number, size);
        let hole = holes.iter().find(|hole| hole.to > begin && hole.is_in(name, size));
        let known = facts.get(&name);
        let damage = known.and_then(|facts| facts.damage).filter(|at| *at >= begin);
        if !is_there(name) && hole.is_none() {
            reach.take_of_ancestor(number, history, (size, facts, holes), is_there);
            return Instants { stop: Stop::Missing(name), ..reach };
        }
        if let Some(hole) = hole {
            reach.take_before(hole.from, known.filter(|_| is_there(name)));
            return Instants { stop: Stop::Hole(*hole), ..reach };
        }
        if let Some(at) = damage {
            reach.take_before(at, known);
            return Instants { stop: Stop::Damage(name), ..reach };
        }
        reach.unknown += usize::from(known.is_none());
        reach.take_before(number.end(size), known);
        number = number.next();
    }
    reach
}

impl Instants {
    /// Takes what an older timeline's file has of a segment, up to where that timeline was left,
    /// as restore does: of several the one that goes furthest.
    fn take_of_ancestor(
        &mut self,
        number: SegmentNumber,
        history: &TimelineHistory,
        (size, facts, holes): (SegmentSize, &WalFacts, &[Hole]),
        is_there: &dyn Fn(SegmentName) -> bool,
    ) {
        for entry in history.entries() {
            let name = SegmentName::new(entry.timeline, number, size);
            let within = entry.switchpoint > number.start(size)
                && entry.switchpoint < number.end(size)
                && is_there(name);
            if within {
                let known = facts.get(&name);
                let lost = holes.iter().filter(|hole| hole.is_in(name, size)).map(|hole| hole.from);
                let damaged = known.and_then(|facts| facts.damage);
                let end = lost.chain(damaged).fold(entry.switchpoint, Lsn::min);
                self.unknown += usize::from(known.is_none());
                self.take_before(end, known);
            }
        }
    }

    /// Takes a segment up to `end`. Its times count if all of its commits lie before.
    fn take_before(&mut self, end: Lsn, facts: Option<&SegmentFacts>) {
        self.end = self.end.max(end);
        let commits = facts.and_then(|facts| facts.commits);
        let time = commits.and_then(|commits| match () {
            () if commits.last.end <= end => Some(commits.latest),
            () if commits.first.end <= end => Some(commits.first.time),
            () => None,
        });
        self.latest = self.latest.max(time);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::repository::HoleCause;
    use crate::wal::{Commit, CommitTimes, Timeline};

    const MIB: u64 = 1 << 20;

    fn size() -> SegmentSize {
        SegmentSize::new(MIB).expect("a power of two")
    }

    fn timeline(id: u32) -> Timeline {
        Timeline::new(id).expect("not 0")
    }

    fn name(id: u32, number: u64) -> SegmentName {
        SegmentName::new(timeline(id), SegmentNumber(number), size())
    }

    /// Segments with a commit each, in the middle, at the second of their number.
    fn facts(names: &[SegmentName]) -> WalFacts {
        let facts = names.iter().map(|name| {
            let start = name.number(size()).expect("a number").start(size());
            let time = PgTimestamp(start.0 as i64 / MIB as i64 * 1_000_000);
            let commits = Some(CommitTimes::of(Commit { end: start + MIB / 2, time }));
            let facts =
                SegmentFacts { to: start + MIB, commits, ..SegmentFacts::begin(*name, start) };
            (*name, facts)
        });
        facts.collect()
    }

    fn hole(id: u32, from: u64, to: u64) -> Hole {
        let since = jiff::Timestamp::UNIX_EPOCH;
        let (from, to) = (Lsn(from), Lsn(to));
        Hole { timeline: timeline(id), from, to, since, why: HoleCause::Removed }
    }

    fn of(
        there: &[SegmentName],
        facts: &WalFacts,
        holes: &[Hole],
    ) -> (u64, Option<i64>, usize, Stop) {
        let history =
            TimelineHistory::parse(timeline(2), b"1\t0/580000\tpromoted\n").expect("a history");
        let there: BTreeSet<SegmentName> = there.iter().copied().collect();
        let is_there = |name| there.contains(&name);
        let found = instants(
            Lsn(3 * MIB + 7),
            &history,
            size(),
            facts,
            holes,
            (&is_there, SegmentNumber(8)),
        );
        let Instants { end, latest, unknown, stop } = found;
        (end.0, latest.map(|time| time.0 / 1_000_000), unknown, stop)
    }

    #[test]
    fn the_latest_instant_is_that_of_the_last_commit_before_whatever_recovery_cannot_cross() {
        // Timeline 2 began in the middle of segment 5, whose file it has.
        let all = [name(1, 3), name(1, 4), name(2, 5), name(2, 6), name(2, 7), name(2, 8)];
        let known = facts(&all);
        assert_eq!(of(&all, &known, &[]), (9 * MIB, Some(8), 0, Stop::Newest));
        let missing = [&all[..2], &all[3..]].concat();
        assert_eq!(of(&missing, &known, &[]), (5 * MIB, Some(4), 0, Stop::Missing(all[2])));
        // The old timeline's file stands in, with a commit in front of the switchpoint.
        let stands_in = [&missing[..], &[name(1, 5)]].concat();
        let with_it = facts(&stands_in);
        let found = of(&stands_in, &with_it, &[]);
        assert_eq!(found, (0x58_0000, Some(5), 0, Stop::Missing(all[2])));
        let lost = hole(1, 5 * MIB + 100, 5 * MIB + 200);
        let found = of(&stands_in, &with_it, &[lost]);
        assert_eq!(found, (5 * MIB + 100, Some(4), 0, Stop::Missing(all[2])));
        // In front of the commit in segment 6, and behind it.
        for (at, last) in [(100, 5), (MIB / 2 + 1, 6)] {
            let lost = hole(2, 6 * MIB + at, 7 * MIB);
            let expected = (6 * MIB + at, Some(last), 0, Stop::Hole(lost));
            assert_eq!(of(&all, &known, &[lost]), expected);
        }
        // On a branch that recovery does not follow, and before the backup.
        for other in [hole(1, 6 * MIB, 7 * MIB), hole(1, 2 * MIB, 3 * MIB)] {
            assert_eq!(of(&all, &known, &[other]).3, Stop::Newest);
        }
        let mut damaged = known.clone();
        damaged.get_mut(&all[4]).expect("known").damage = Some(Lsn(7 * MIB));
        assert_eq!(of(&all, &damaged, &[]), (7 * MIB, Some(6), 0, Stop::Damage(all[4])));
        let unknown = facts(&all[..4]);
        assert_eq!(of(&all, &unknown, &[]), (9 * MIB, Some(6), 2, Stop::Newest));
    }
}
