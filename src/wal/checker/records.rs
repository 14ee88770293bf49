//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! Records: put together across pages, linked, summed.

use super::{Commit, CommitTimes, State, WalChecker};
use crate::wal::page::PageMagic;
use crate::wal::record::{self, RecordHeader};
use crate::wal::{Finding, Lsn};

/// Bytes of a commit record that are kept to find its time in them: its fragment headers are
/// 12 bytes at most, and no block precedes them.
const COMMIT_PREFIX: usize = 64;

/// The record that is being read. `seen <= length` once four bytes are seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenRecord {
    pub(super) start: Lsn,
    pub(super) length: u32,
    pub(super) seen: u32,
    header: [u8; RecordHeader::LEN],
    /// Of the body so far.
    crc: u32,
    /// The first bytes of the body, if it is a commit.
    prefix: [u8; COMMIT_PREFIX],
    prefix_filled: usize,
}

impl WalChecker {
    pub(super) fn take_record(&mut self, bytes: &[u8], findings: &mut Vec<Finding>) -> usize {
        let seen = self.record.seen as usize;
        let taken;
        if seen < RecordHeader::LEN {
            taken = bytes.len().min(RecordHeader::LEN - seen);
            self.record.header[seen..seen + taken].copy_from_slice(&bytes[..taken]);
            self.record.seen += taken as u32;
            self.advance(taken);
            if let Some(finding) = self.judge_record_header(seen) {
                self.report(finding, self.record.start, findings);
                return taken;
            }
        } else {
            let left = self.record.length - self.record.seen;
            taken = bytes.len().min(left as usize);
            self.record.take_body(&bytes[..taken]);
            self.advance(taken);
        }
        let header_complete = self.record.seen as usize >= RecordHeader::LEN;
        if header_complete && self.record.seen == self.record.length {
            self.finish_record(findings);
        }
        taken
    }

    /// Judges what became readable since `before` bytes of the header were there.
    fn judge_record_header(&mut self, before: usize) -> Option<Finding> {
        let record = self.record.start;
        let seen = self.record.seen as usize;
        if before < 4 && seen >= 4 {
            let [a, b, c, d, ..] = self.record.header;
            let length = u32::from_le_bytes([a, b, c, d]);
            self.record.length = length;
            if length == 0 {
                return Some(Finding::EndOfWal { at: record });
            }
            let max = self.magic.map_or(u32::MAX, PageMagic::record_length_max);
            if !(RecordHeader::LEN as u32..=max).contains(&length) {
                return Some(Finding::RecordLength { record, length });
            }
        }
        if seen < RecordHeader::LEN {
            return None;
        }
        let header = RecordHeader::parse(&self.record.header);
        let found = header.previous;
        let follows = match self.previous {
            Some(previous) => found == previous,
            None => found < record,
        };
        if !follows {
            return Some(Finding::PreviousRecord { record, expected: self.previous, found });
        }
        if !header.has_known_resource_manager(self.magic) {
            return Some(Finding::ResourceManager { record, found: header.resource_manager });
        }
        None
    }

    fn finish_record(&mut self, findings: &mut Vec<Finding>) {
        let header = RecordHeader::parse(&self.record.header);
        let start = self.record.start;
        let computed = record::finish_crc(self.record.crc, &self.record.header);
        if computed != header.crc {
            let (record, stored) = (start, header.crc);
            self.report(Finding::RecordChecksum { record, stored, computed }, start, findings);
            return;
        }
        if let Some(lost) = self.lost.take() {
            findings.push(Finding::Resumed { lost, at: start });
        }
        self.previous = Some(start);
        self.first.get_or_insert(start);
        let at_segment_end = self.position.segment_offset(self.segment_size) == 0;
        let switched = header.is_segment_switch() && !at_segment_end;
        self.state = if switched { State::Filler } else { State::Between };
        self.foreign_filler = false;
        self.verified(switched);
        if header.is_commit() {
            self.note_commit();
        }
    }

    fn note_commit(&mut self) {
        let prefix = &self.record.prefix[..self.record.prefix_filled];
        let Some(magic) = self.magic else { return };
        let Some(time) = record::commit_time(prefix, magic) else { return };
        let commit = CommitTimes::of(Commit { end: self.position, time });
        match &mut self.commits {
            Some(commits) => commits.extend(commit),
            None => self.commits = Some(commit),
        }
    }
}

impl OpenRecord {
    pub(super) fn at(start: Lsn) -> OpenRecord {
        OpenRecord {
            start,
            length: 0,
            seen: 0,
            header: [0; RecordHeader::LEN],
            crc: 0,
            prefix: [0; COMMIT_PREFIX],
            prefix_filled: 0,
        }
    }

    fn take_body(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.seen += bytes.len() as u32;
        if self.prefix_filled < COMMIT_PREFIX && RecordHeader::parse(&self.header).is_commit() {
            let kept = bytes.len().min(COMMIT_PREFIX - self.prefix_filled);
            let end = self.prefix_filled + kept;
            self.prefix[self.prefix_filled..end].copy_from_slice(&bytes[..kept]);
            self.prefix_filled = end;
        }
    }
}
