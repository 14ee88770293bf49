//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! Verification of WAL while it passes: page headers, record links, checksums, commit times.

use super::page::{PAGE_SIZE, PageHeader, PageMagic};
use super::record::{self, RecordHeader};
use super::{Finding, Lsn, PgTimestamp, SegmentSize, SystemIdentifier, Timeline};

/// Bytes of a commit record that are kept to find its time in them: its fragment headers are
/// 12 bytes at most, and no block precedes them.
const COMMIT_PREFIX: usize = 64;

/// Follows a stretch of WAL of one timeline, fed in pieces that may be cut anywhere.
///
/// Needs no record from its beginning: at a segment start (or any page start) it skips the
/// rest of a record that began before, and it may start in mid-page if that is the start of a
/// record, such as [`WalChecker::valid_end`]. Damage is reported once, and verification goes
/// on at the next page that makes sense.
#[derive(Clone, Debug)]
pub struct WalChecker {
    /// The newest timeline that a page may belong to.
    timeline: Timeline,
    system: Option<SystemIdentifier>,
    segment_size: SegmentSize,
    /// The next byte to come.
    position: Lsn,
    state: State,
    /// `Some` from damage until the next good record: where it began.
    lost: Option<Lsn>,
    /// Nothing that is not verified has passed since the start.
    unbroken: bool,
    /// The beginning of the page header at `position`, if `position` is inside one.
    page_header: [u8; PageHeader::LONG],
    page_header_filled: usize,
    /// Of the pages so far.
    magic: Option<PageMagic>,
    page_timeline: u32,
    record: OpenRecord,
    /// Start of the last good record.
    previous: Option<Lsn>,
    valid_end: Option<Lsn>,
    /// `valid_end` lies behind a segment switch.
    valid_end_in_filler: bool,
    commits: Option<CommitTimes>,
}

/// The earliest and the latest time in the commit records of a stretch of WAL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CommitTimes {
    /// The earliest.
    pub first: PgTimestamp,
    /// The latest.
    pub last: PgTimestamp,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Until a page header tells where records are.
    Searching,
    /// In the rest of a record whose beginning was not seen.
    Skipping { left: u32 },
    /// Behind a record, or at the start of the next.
    Between,
    /// In `record`.
    Record,
    /// Behind a segment switch.
    Filler,
}

/// The record that is being read. `seen <= length` once four bytes are seen.
#[derive(Clone, Copy, Debug)]
struct OpenRecord {
    start: Lsn,
    length: u32,
    seen: u32,
    header: [u8; RecordHeader::LEN],
    /// Of the body so far.
    crc: u32,
    /// The first bytes of the body, if it is a commit.
    prefix: [u8; COMMIT_PREFIX],
    prefix_filled: usize,
}

impl WalChecker {
    /// A checker for WAL of `timeline` and its ancestors from `start` on. With `system`, pages
    /// of other clusters are found out.
    pub fn new(
        timeline: Timeline,
        system: Option<SystemIdentifier>,
        segment_size: SegmentSize,
        start: Lsn,
    ) -> WalChecker {
        let on_page = start.0.is_multiple_of(u64::from(PAGE_SIZE));
        WalChecker {
            timeline,
            system,
            segment_size,
            position: start,
            state: if on_page { State::Searching } else { State::Between },
            lost: None,
            unbroken: true,
            page_header: [0; PageHeader::LONG],
            page_header_filled: 0,
            magic: None,
            page_timeline: 0,
            record: OpenRecord::at(start),
            previous: None,
            valid_end: None,
            valid_end_in_filler: false,
            commits: None,
        }
    }

    /// Takes the bytes at `start`. Pieces come in order; a hole is reported, and a step back
    /// starts the verification anew from there.
    pub fn feed(&mut self, start: Lsn, bytes: &[u8], findings: &mut Vec<Finding>) {
        if start != self.position {
            self.jump(start, findings);
        }
        if start.checked_add(bytes.len() as u64).is_none() {
            // A position that no server reaches; nothing can be said about such bytes.
            return;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = self.page_offset();
            let taken = if offset < self.page_header_length() {
                self.take_page_header(rest, offset, findings)
            } else {
                let in_page = rest.len().min(PAGE_SIZE as usize - offset);
                self.take_content(&rest[..in_page], findings)
            };
            rest = &rest[taken..];
        }
    }

    /// The end of the last good record, padding and filler included, up to which everything
    /// since the start is verified: after the first damage it stays. Streaming can resume
    /// here. `None` while no record is complete.
    pub fn valid_end(&self) -> Option<Lsn> {
        self.valid_end
    }

    /// The next byte to come.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// The commit times since the last call.
    pub fn take_commit_times(&mut self) -> Option<CommitTimes> {
        self.commits.take()
    }

    /// The major version of the server that wrote the pages so far.
    pub fn major_version(&self) -> Option<u32> {
        self.magic.and_then(PageMagic::major_version)
    }

    /// Goes back to [`WalChecker::valid_end`], to be fed what comes there anew, and returns it.
    pub fn rewind(&mut self) -> Option<Lsn> {
        let end = self.valid_end?;
        self.position = end;
        self.state = if self.valid_end_in_filler { State::Filler } else { State::Between };
        self.lost = None;
        self.unbroken = true;
        self.page_header_filled = 0;
        Some(end)
    }

    fn page_offset(&self) -> usize {
        (self.position.0 % u64::from(PAGE_SIZE)) as usize
    }

    fn at_segment_start(&self) -> bool {
        self.position.segment_offset(self.segment_size) < PAGE_SIZE
    }

    fn page_header_length(&self) -> usize {
        if self.at_segment_start() { PageHeader::LONG } else { PageHeader::SHORT }
    }

    fn jump(&mut self, start: Lsn, findings: &mut Vec<Finding>) {
        if start > self.position {
            findings.push(Finding::Gap { expected: self.position, got: start });
            self.lose(self.position);
        } else {
            *self = WalChecker {
                commits: self.commits,
                ..WalChecker::new(self.timeline, self.system, self.segment_size, start)
            };
            self.state = State::Searching;
        }
        self.previous = None;
        self.page_header_filled = 0;
        self.position = start;
    }

    /// Gives up until the next page. What record precedes the first one there is not known.
    fn lose(&mut self, from: Lsn) {
        self.state = State::Searching;
        self.previous = None;
        self.lost.get_or_insert(from);
        self.unbroken = false;
    }

    /// Damage in consequence of damage is not news.
    fn report(&mut self, finding: Finding, from: Lsn, findings: &mut Vec<Finding>) {
        if self.lost.is_none() {
            findings.push(finding);
        }
        self.lose(from);
    }

    fn verified(&mut self, in_filler: bool) {
        if self.unbroken {
            self.valid_end = Some(self.position);
            self.valid_end_in_filler = in_filler;
        }
    }

    fn take_page_header(
        &mut self,
        bytes: &[u8],
        offset: usize,
        findings: &mut Vec<Finding>,
    ) -> usize {
        let length = self.page_header_length();
        let taken = bytes.len().min(length - offset);
        let whole_so_far = self.page_header_filled == offset;
        if whole_so_far {
            self.page_header[offset..offset + taken].copy_from_slice(&bytes[..taken]);
            self.page_header_filled += taken;
        }
        let page = Lsn(self.position.0 - offset as u64);
        let starts_segment = self.at_segment_start();
        self.position = self.position + taken as u64;
        if self.page_header_filled == length {
            self.page_header_filled = 0;
            self.enter_page(page, starts_segment, findings);
        } else if !whole_so_far {
            // The stream began in the middle of this header.
            self.lose(page);
        }
        taken
    }

    fn enter_page(&mut self, page: Lsn, starts_segment: bool, findings: &mut Vec<Finding>) {
        let length = if starts_segment { PageHeader::LONG } else { PageHeader::SHORT };
        if self.page_header[..length].iter().all(|&byte| byte == 0) {
            match self.state {
                State::Filler => self.verified(true),
                _ => self.report(Finding::EndOfWal { at: page }, self.loss_start(page), findings),
            }
            return;
        }
        let Some(header) = PageHeader::parse(&self.page_header[..length]) else { return };
        if let Some(finding) = self.judge_page(page, starts_segment, &header) {
            self.report(finding, self.loss_start(page), findings);
            return;
        }
        self.magic = Some(header.magic);
        self.page_timeline = header.timeline;
        if !self.page_continues(page, &header, findings) {
            self.state = if header.continues_record() {
                State::Skipping { left: header.remaining }
            } else {
                State::Between
            };
        }
    }

    /// Whether the state holds across the start of the page; otherwise the page header alone
    /// says what comes, damage having been reported.
    fn page_continues(
        &mut self,
        page: Lsn,
        header: &PageHeader,
        findings: &mut Vec<Finding>,
    ) -> bool {
        let left = match self.state {
            State::Searching => return false,
            State::Filler => {
                if header.magic.filler_has_headers() && !header.continues_record() {
                    self.verified(true);
                    return true;
                }
                self.report(Finding::Filler { at: page }, page, findings);
                return false;
            }
            State::Between => 0,
            State::Record => self.record.length - self.record.seen,
            State::Skipping { left } => left,
        };
        if header.remaining == left && header.continues_record() == (left > 0) {
            return true;
        }
        if header.overwrites_record() && !header.continues_record() {
            if self.state == State::Record {
                findings.push(Finding::Overwritten { record: self.record.start, page });
            }
            return false;
        }
        let finding = Finding::Continuation { page, expected: left, found: header.remaining };
        self.report(finding, self.loss_start(page), findings);
        false
    }

    fn judge_page(&self, page: Lsn, starts_segment: bool, header: &PageHeader) -> Option<Finding> {
        let found = header.magic;
        if found.major_version().is_none() {
            return Some(Finding::PageMagic { page, found });
        }
        if let Some(expected) = self.magic.filter(|&magic| magic != found) {
            return Some(Finding::MagicChanged { page, expected, found });
        }
        if !header.has_known_flags() || header.is_long() != starts_segment {
            return Some(Finding::PageFlags { page, flags: header.flags });
        }
        if header.address != page {
            return Some(Finding::PageAddress { page, found: header.address });
        }
        if let Some(long) = header.long {
            if let Some(expected) = self.system.filter(|&system| system != long.system) {
                return Some(Finding::System { page, expected, found: long.system });
            }
            if long.segment_size != self.segment_size.bytes() || long.page_size != PAGE_SIZE {
                let (segment_size, page_size) = (long.segment_size, long.page_size);
                return Some(Finding::Geometry { page, segment_size, page_size });
            }
        }
        if !(self.page_timeline.max(1)..=self.timeline.id()).contains(&header.timeline) {
            let found = header.timeline;
            return Some(Finding::PageTimeline { page, found, newest: self.timeline });
        }
        let empty_rest = header.continues_record() && header.remaining == 0;
        empty_rest.then_some(Finding::Continuation { page, expected: 0, found: 0 })
    }

    /// Where a loss that shows at `page` begins: an open record goes with it.
    fn loss_start(&self, page: Lsn) -> Lsn {
        if self.state == State::Record { self.record.start } else { page }
    }

    /// Takes from bytes that hold no page header; at least one.
    fn take_content(&mut self, bytes: &[u8], findings: &mut Vec<Finding>) -> usize {
        match self.state {
            State::Searching => self.advance(bytes.len()),
            State::Skipping { left } => {
                let taken = bytes.len().min(left as usize);
                let left = left - taken as u32;
                self.state = if left == 0 { State::Between } else { State::Skipping { left } };
                self.advance(taken)
            }
            State::Between => {
                let padding = (self.position.0.next_multiple_of(8) - self.position.0) as usize;
                if padding > 0 {
                    let was_verified = self.valid_end == Some(self.position);
                    let taken = self.advance(padding.min(bytes.len()));
                    if was_verified {
                        self.verified(false);
                    }
                    return taken;
                }
                self.record = OpenRecord::at(self.position);
                self.state = State::Record;
                self.take_record(bytes, findings)
            }
            State::Record => self.take_record(bytes, findings),
            State::Filler => self.take_filler(bytes, findings),
        }
    }

    fn advance(&mut self, taken: usize) -> usize {
        self.position = self.position + taken as u64;
        taken
    }

    fn take_record(&mut self, bytes: &[u8], findings: &mut Vec<Finding>) -> usize {
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
        let at_segment_end = self.position.segment_offset(self.segment_size) == 0;
        let switched = header.is_segment_switch() && !at_segment_end;
        self.state = if switched { State::Filler } else { State::Between };
        self.verified(switched);
        if header.is_commit() {
            self.note_commit();
        }
    }

    fn note_commit(&mut self) {
        let prefix = &self.record.prefix[..self.record.prefix_filled];
        let Some(magic) = self.magic else { return };
        let Some(time) = record::commit_time(prefix, magic) else { return };
        let times = self.commits.get_or_insert(CommitTimes { first: time, last: time });
        times.first = times.first.min(time);
        times.last = times.last.max(time);
    }

    fn take_filler(&mut self, bytes: &[u8], findings: &mut Vec<Finding>) -> usize {
        if !is_zero(bytes) {
            let clean = bytes.iter().take_while(|&&byte| byte == 0).count();
            let at = self.position + clean as u64;
            self.report(Finding::Filler { at }, at, findings);
            return self.advance(bytes.len());
        }
        self.advance(bytes.len());
        let segment_ended = self.position.segment_offset(self.segment_size) == 0;
        if segment_ended {
            self.state = State::Between;
        }
        self.verified(!segment_ended);
        bytes.len()
    }
}

impl OpenRecord {
    fn at(start: Lsn) -> OpenRecord {
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

/// In blocks without an early end, so that the compiler can use wide registers.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}
