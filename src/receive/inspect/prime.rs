//! Begins to follow a stream: with what is stored of its open segment and of its open record.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;

use super::notes::Notes;
use super::{OpenHole, Walk};
use crate::codec::StoredFile;
use crate::disk::{Disk, DiskError, DiskFile};
use crate::output::one_line;
use crate::receive::history::HistoryPlaces;
use crate::receive::resume::{complete_path, partial_path};
use crate::repository::{SegmentFacts, ServerLayout};
use crate::wal::page::PageHeader;
use crate::wal::{
    Finding, Lsn, SegmentName, SegmentNumber, SegmentSize, SystemIdentifier, Timeline,
    TimelineHistory, WalChecker,
};

/// A segment that was received before, read behind its first bytes.
type StoredSegment = (SegmentNumber, [u8; PageHeader::LONG], StoredFile);

/// Reads what was stored before a stream begins.
#[derive(Debug)]
pub(super) struct Primer {
    disk: Arc<dyn Disk>,
    layout: ServerLayout,
    pub(super) segment_size: SegmentSize,
    system: SystemIdentifier,
}

impl Primer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        layout: &ServerLayout,
        segment_size: SegmentSize,
        system: SystemIdentifier,
    ) -> Primer {
        Primer { disk, layout: layout.clone(), segment_size, system }
    }

    /// A walk that goes on at `start`. What cannot be read costs the verification of a record.
    pub(super) fn prime(&self, timeline: Timeline, start: Lsn, notes: &mut Notes) -> Walk {
        let read = self.chain(timeline, start).and_then(|chain| self.walk(timeline, start, chain));
        read.unwrap_or_else(|error| {
            let (server, error) = (notes.server(), one_line(&error));
            warn!(%server, %error, "what was received before cannot be read to verify what comes");
            self.begin(timeline, start, start)
        })
    }

    /// The segments before `start`, newest first: back to one that does not begin inside of a
    /// record. Empty if there is nothing to begin with.
    fn chain(&self, timeline: Timeline, start: Lsn) -> Result<Vec<StoredSegment>, DiskError> {
        let size = self.segment_size;
        let history = self.history(timeline)?;
        let mut chain = Vec::new();
        let mut position = start;
        while position.is_valid() && chain.len() <= CHAIN_MAX {
            let number = position.segment_before(size);
            let open = position != number.end(size);
            // Of a segment with a switch in it, the successor's copy has both halves.
            let owner = if open { timeline } else { history.timeline_at(Lsn(position.0 - 1)) };
            let Some(file) = self.open(SegmentName::new(owner, number, size), open)? else { break };
            let mut file = StoredFile::of_wal(file)?;
            let mut first = [0; PageHeader::LONG];
            let read = file.read(&mut first)?;
            let header = PageHeader::parse(&first[..read]).filter(|header| header.is_long());
            let Some(header) = header.filter(|header| header.address == number.start(size)) else {
                break;
            };
            chain.push((number, first, file));
            if !header.continues_record() {
                break;
            }
            position = number.start(size);
        }
        Ok(chain)
    }

    fn history(&self, timeline: Timeline) -> Result<TimelineHistory, DiskError> {
        let places = HistoryPlaces {
            disk: self.disk.as_ref(),
            streaming: self.layout.streaming(),
            wals: self.layout.wals(),
        };
        let mut stored = places.stored()?.into_iter();
        let found = stored.find(|history| history.timeline() == timeline);
        Ok(found.unwrap_or_else(|| TimelineHistory::without_ancestors(timeline)))
    }

    /// A segment that was received. `open` says that it is not complete.
    fn open(&self, name: SegmentName, open: bool) -> Result<Option<Box<dyn DiskFile>>, DiskError> {
        let streaming = self.layout.streaming();
        let archived = self.layout.wals().join(name.hash_directory()).join(name.to_string());
        let paths: [PathBuf; 2] = match open {
            true => [partial_path(streaming, name), complete_path(streaming, name)],
            false => [complete_path(streaming, name), archived],
        };
        for path in paths {
            match self.disk.open_read(&path) {
                Err(error) if error.is_absent() => {}
                result => {
                    return result.map(Some);
                }
            }
        }
        Ok(None)
    }

    /// A walk that has seen nothing, and is to be fed from `position` on before `start`.
    fn begin(&self, timeline: Timeline, position: Lsn, start: Lsn) -> Walk {
        let size = self.segment_size;
        let system = Some(self.system);
        let checker = if position == position.segment_start(size) {
            WalChecker::new(timeline, system, size, position)
        } else {
            WalChecker::in_mid_record(timeline, system, size, position)
        };
        let first = SegmentName::containing(timeline, start, size);
        let facts = SegmentFacts::begin(first, start.segment_start(size));
        Walk { checker, size, first, facts, hole: None, alarms: 0 }
    }

    fn walk(
        &self,
        timeline: Timeline,
        start: Lsn,
        mut chain: Vec<StoredSegment>,
    ) -> Result<Walk, DiskError> {
        let size = self.segment_size;
        let Some((first, ..)) = chain.last() else { return Ok(self.begin(timeline, start, start)) };
        let mut walk = self.begin(timeline, first.start(size), start);
        let mut findings = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        while let Some((number, first, mut file)) = chain.pop() {
            // Only what ends in the segment that is open now is to be counted for it.
            walk.checker.take_commit_times();
            findings.clear();
            let end = start.min(number.end(size));
            let known = &first[..first.len().min((end - number.start(size)) as usize)];
            let mut at = number.start(size);
            walk.checker.feed(at, known, &mut findings);
            at = at + known.len() as u64;
            while at < end {
                let wanted = buffer.len().min((end - at) as usize);
                let read = file.read(&mut buffer[..wanted])?;
                if read == 0 {
                    return Ok(self.begin(timeline, start, start));
                }
                walk.checker.feed(at, &buffer[..read], &mut findings);
                at = at + read as u64;
            }
        }
        if start == start.segment_start(size) {
            walk.checker.take_commit_times();
            findings.clear();
        }
        self.recall(&mut walk, &findings);
        Ok(walk)
    }

    /// Damage that was said when it came is not said again, but belongs to what is known.
    fn recall(&self, walk: &mut Walk, findings: &[Finding]) {
        let start = walk.facts.from;
        let position = walk.checker.position();
        let open = walk.checker.damage();
        let seen = findings.iter().find_map(|finding| match finding {
            Finding::Resumed { lost, .. } => Some(*lost),
            _ => None,
        });
        walk.facts.damage = seen.or(open).map(|from| from.max(start));
        if let Some(from) = open {
            walk.hole = Some(OpenHole { from, to: position, recorded: None });
        }
    }
}

/// A record has at most about 1 GiB, which is 64 segments of the usual size.
const CHAIN_MAX: usize = 66;
const READ_BYTES: usize = 1 << 20;
