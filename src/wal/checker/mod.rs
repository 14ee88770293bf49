//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! Verification of WAL while it passes: page headers, record links, checksums, commit times.

mod pages;
mod records;

use self::records::OpenRecord;
use super::page::{PAGE_SIZE, PageHeader, PageMagic};
use super::{Finding, Lsn, PgTimestamp, SegmentSize, SystemIdentifier, Timeline};

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

    /// Takes from bytes that hold no page header; none only when it changes the state.
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

    fn take_filler(&mut self, bytes: &[u8], findings: &mut Vec<Finding>) -> usize {
        if !is_zero(bytes) {
            let clean = bytes.iter().take_while(|&&byte| byte == 0).count();
            self.advance(clean);
            self.verified(true);
            self.report(Finding::Filler { at: self.position }, self.position, findings);
            return clean;
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

/// In blocks without an early end, so that the compiler can use wide registers.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}
