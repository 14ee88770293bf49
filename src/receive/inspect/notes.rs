//! What an inspector says and writes down: alarms, marks, holes.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::{OpenHole, Walk};
use crate::disk::Disk;
use crate::output::one_line;
use crate::repository::{
    FactsLog, Hole, HoleCause, Holes, SegmentFacts, ServerLayout, ServerName, wal_facts,
};
use crate::service;
use crate::wal::page::PAGE_SIZE;
use crate::wal::{Finding, Lsn, SegmentName, SegmentNumber, SegmentSize, Timeline};

/// The inspector's own files. What their disk refuses is said once and tried again.
#[derive(Debug)]
pub(super) struct Notes {
    disk: Arc<dyn Disk>,
    layout: ServerLayout,
    log: FactsLog,
    /// Holes that could not be recorded yet.
    pending: Holes,
    has_complained: bool,
}

impl Walk {
    /// Says what was found, and marks what is damaged.
    pub(super) fn note(&mut self, findings: &mut Vec<Finding>, notes: &mut Notes) {
        let server = notes.layout.server().clone();
        for at in 0..findings.len() {
            let segment = self.facts.name;
            match findings[at] {
                found @ (Finding::Overwritten { .. } | Finding::Filler { .. }) => {
                    info!(%server, %segment, "{found}");
                }
                found @ Finding::Resumed { at, .. } => {
                    if let Some(hole) = &mut self.hole {
                        hole.to = hole.to.max(at);
                        if self.alarms <= ALARMS_MAX {
                            warn!(%server, %segment, "{found}");
                        }
                    }
                }
                found => {
                    let resumed = findings[at..].iter().find_map(|later| match later {
                        Finding::Resumed { lost, .. } => Some(*lost),
                        _ => None,
                    });
                    let from = resumed.or(self.checker.damage());
                    self.alarm(found, from.unwrap_or(self.checker.position()), notes);
                }
            }
        }
        findings.clear();
    }

    fn alarm(&mut self, found: Finding, from: Lsn, notes: &mut Notes) {
        let (server, segment) = (notes.layout.server().clone(), self.facts.name);
        self.alarms += 1;
        if self.alarms <= ALARMS_MAX {
            error!(
                %server, %segment, damage = %found,
                "damaged WAL came from the server: it is stored as it came, and no backup before \
                 it can be restored past {from}; look after the server, and take a new base backup"
            );
        }
        let start = self.facts.from;
        self.facts.damage.get_or_insert(from.max(start));
        let page_end = Lsn((self.checker.position().0 + 1).next_multiple_of(u64::from(PAGE_SIZE)));
        match &mut self.hole {
            Some(hole) => hole.to = hole.to.max(page_end),
            // At once; how far it goes is recorded at the end of the segment.
            None => {
                self.hole = Some(OpenHole { from, to: page_end, recorded: Some(page_end) });
                notes.record(segment.timeline(), from, page_end);
                notes.mark(from, self);
                let facts = self.facts();
                notes.keep(&facts);
                notes.sync();
            }
        }
    }
}

impl Notes {
    pub(super) fn new(disk: Arc<dyn Disk>, layout: &ServerLayout) -> Notes {
        Notes {
            log: FactsLog::new(Arc::clone(&disk), layout),
            disk,
            layout: layout.clone(),
            pending: Holes::default(),
            has_complained: false,
        }
    }

    pub(super) fn server(&self) -> &ServerName {
        self.layout.server()
    }

    /// Adds what is known of a segment to its file.
    pub(super) fn keep(&mut self, facts: &SegmentFacts) {
        let kept = self.log.append(facts);
        self.complain(kept);
    }

    /// Makes durable what was kept.
    pub(super) fn sync(&mut self) {
        let synced = self.log.sync();
        self.complain(synced);
    }

    /// Records damaged WAL as a hole.
    pub(super) fn record(&mut self, timeline: Timeline, from: Lsn, to: Lsn) {
        let since = service::now();
        self.pending.add(Hole { timeline, from, to, since, why: HoleCause::Damaged });
        let mut recorded = Ok(());
        for hole in self.pending.iter() {
            recorded =
                recorded.and(Holes::record(self.disk.as_ref(), &self.layout, *hole).map(|_| ()));
        }
        if recorded.is_ok() {
            self.pending = Holes::default();
        }
        self.complain(recorded);
    }

    /// Marks the earlier segments in which a damaged record began.
    fn mark(&mut self, from: Lsn, walk: &Walk) {
        let (size, timeline) = (walk.size, walk.facts.name.timeline());
        let number = |name: SegmentName| name.number(size).map_or(0, |number| number.0);
        let first = from.segment(size).0.max(number(walk.first));
        for number in (first..number(walk.facts.name)).map(SegmentNumber) {
            let name = SegmentName::new(timeline, number, size);
            let known = wal_facts::read(self.disk.as_ref(), &self.layout, &name.hash_directory());
            let known = match known {
                Ok(all) => all.get(&name).copied(),
                Err(error) => {
                    self.complain(Err(error));
                    None
                }
            };
            let mut facts = known.unwrap_or_else(|| whole(name, number, size));
            facts.damage = Some(facts.damage.unwrap_or(from.max(number.start(size))));
            self.keep(&facts);
        }
    }

    /// Once: what is lost here is lost to convenience, not to the archive.
    fn complain<E: std::error::Error>(&mut self, result: Result<(), E>) {
        match result {
            Ok(()) => self.has_complained = false,
            Err(_) if self.has_complained => {}
            Err(error) => {
                self.has_complained = true;
                let (server, error) = (self.layout.server(), one_line(&error));
                warn!(%server, %error, "what is known of the WAL cannot be written down");
            }
        }
    }
}

fn whole(name: SegmentName, number: SegmentNumber, size: SegmentSize) -> SegmentFacts {
    SegmentFacts { to: number.end(size), ..SegmentFacts::begin(name, number.start(size)) }
}

/// Alarms that one segment may raise: a bad page is seldom alone.
const ALARMS_MAX: u32 = 3;
