//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! Looks into the WAL that was written: is it what a server writes, and when did transactions
//! commit?
//!
//! Beside the path: whatever is found here, no byte is refused and nothing is acknowledged
//! later. What is damaged is said at once, marked, and recorded as a hole; what each segment
//! holds is kept in a file of its own. Errors of that file's disk do not touch reception.

mod notes;
mod prime;

use std::sync::Arc;

use self::notes::Notes;
use self::prime::Primer;
use super::inspection::Inspect;
use super::meters::Meters;
use crate::disk::Disk;
use crate::repository::{SegmentFacts, ServerLayout};
use crate::wal::{
    Commit, Finding, Lsn, SegmentName, SegmentSize, SystemIdentifier, Timeline, WalChecker,
};

/// Follows the streams of one receiver.
#[derive(Debug)]
pub struct Inspector {
    primer: Primer,
    notes: Notes,
    meters: Arc<Meters>,
    walk: Option<Walk>,
    findings: Vec<Finding>,
    /// The commit that was said last.
    seen: Option<Commit>,
}

/// A stretch of WAL that is followed, at present in one segment of it.
#[derive(Debug)]
struct Walk {
    checker: WalChecker,
    size: SegmentSize,
    /// The first segment that was received: earlier ones may be of another timeline.
    first: SegmentName,
    facts: SegmentFacts,
    hole: Option<OpenHole>,
    /// Alarms in this segment.
    alarms: u32,
}

/// Damage in the present segment.
#[derive(Clone, Copy, Debug)]
struct OpenHole {
    from: Lsn,
    to: Lsn,
    /// How much of it is recorded.
    recorded: Option<Lsn>,
}

impl Inspector {
    /// An inspector of the WAL of `system` for the repository of one server, whose directories
    /// exist.
    pub fn new(
        disk: Arc<dyn Disk>,
        layout: &ServerLayout,
        segment_size: SegmentSize,
        system: SystemIdentifier,
        meters: Arc<Meters>,
    ) -> Inspector {
        Inspector {
            primer: Primer::new(Arc::clone(&disk), layout, segment_size, system),
            notes: Notes::new(disk, layout),
            meters,
            walk: None,
            findings: Vec::with_capacity(16),
            seen: None,
        }
    }

    /// Behind a piece, or at its end.
    fn look(&mut self) {
        let Some(walk) = &mut self.walk else { return };
        if !self.findings.is_empty() {
            walk.note(&mut self.findings, &mut self.notes);
        }
        let commit = walk.checker.last_commit();
        if let Some(commit) = commit.filter(|_| commit != self.seen) {
            self.meters.commit_seen(commit.end, commit.time);
            self.seen = Some(commit);
        }
        if walk.checker.position() == walk.segment_end() {
            walk.close_segment(&mut self.notes);
        }
    }
}

impl Inspect for Inspector {
    /// Reads what is stored before `start` of an open segment and of an open record, unless it
    /// has been followed so far.
    fn begin(&mut self, timeline: Timeline, start: Lsn) {
        let goes_on = self.walk.as_ref().is_some_and(|walk| {
            walk.checker.timeline() == timeline && walk.checker.position() == start
        });
        if !goes_on {
            self.walk = Some(self.primer.prime(timeline, start, &mut self.notes));
        }
    }

    fn feed(&mut self, start: Lsn, bytes: &[u8]) {
        let size = self.primer.segment_size;
        let (mut at, mut rest) = (start, bytes);
        while !rest.is_empty() {
            let Some(walk) = &mut self.walk else { return };
            let left = u64::from(size.bytes() - at.segment_offset(size));
            let (now, later) = rest.split_at((rest.len() as u64).min(left) as usize);
            walk.checker.feed(at, now, &mut self.findings);
            at = at + now.len() as u64;
            rest = later;
            self.look();
        }
    }

    /// Writes down what is known of the open segment.
    fn end(&mut self) {
        if let Some(walk) = &mut self.walk {
            walk.write_down(&mut self.notes);
            self.notes.sync();
        }
    }
}

impl Walk {
    fn segment_end(&self) -> Lsn {
        self.facts.name.number(self.size).map_or(Lsn::INVALID, |number| number.end(self.size))
    }

    /// What is known of the present segment by now.
    fn facts(&mut self) -> SegmentFacts {
        if let Some(later) = self.checker.take_commit_times() {
            match &mut self.facts.commits {
                Some(commits) => commits.extend(later),
                None => self.facts.commits = Some(later),
            }
        }
        let from = self.checker.verified_from(self.facts.from);
        SegmentFacts { from, to: self.checker.position(), ..self.facts }
    }

    fn write_down(&mut self, notes: &mut Notes) {
        if let Some(hole) = &mut self.hole {
            if self.checker.damage().is_some() {
                hole.to = self.checker.position();
            }
            if hole.from < hole.to && hole.recorded != Some(hole.to) {
                notes.record(self.facts.name.timeline(), hole.from, hole.to);
                hole.recorded = Some(hole.to);
            }
        }
        let facts = self.facts();
        notes.keep(&facts);
    }

    fn close_segment(&mut self, notes: &mut Notes) {
        self.write_down(notes);
        let start = self.checker.position();
        let name = SegmentName::containing(self.facts.name.timeline(), start, self.size);
        self.facts = SegmentFacts::begin(name, start);
        self.alarms = 0;
        self.hole = None;
        if self.checker.damage().is_some() {
            self.facts.damage = Some(start);
            self.hole = Some(OpenHole { from: start, to: start, recorded: None });
        }
    }
}

#[cfg(test)]
mod tests;
