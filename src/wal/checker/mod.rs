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
    /// What stands behind the present segment switch is no filler; it was said.
    foreign_filler: bool,
    /// Of the pages so far.
    magic: Option<PageMagic>,
    page_timeline: u32,
    record: OpenRecord,
    /// Start of the last good record.
    previous: Option<Lsn>,
    valid_end: Option<Lsn>,
    /// `valid_end` lies behind a segment switch.
    valid_end_in_filler: bool,
    /// Start of the first good record.
    first: Option<Lsn>,
    commits: Option<CommitTimes>,
}

/// A commit record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Commit {
    /// Behind its last byte: whoever replays so far has the transaction.
    pub end: Lsn,
    /// By the server's clock.
    pub time: PgTimestamp,
}

/// The commit records that end in a stretch of WAL. Times are the server's: they need not come
/// in the order of positions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CommitTimes {
    /// The first, by position.
    pub first: Commit,
    /// The last, by position.
    pub last: Commit,
    /// The earliest time of all.
    pub earliest: PgTimestamp,
    /// The latest time of all.
    pub latest: PgTimestamp,
}

impl CommitTimes {
    /// Of a single commit.
    pub fn of(commit: Commit) -> CommitTimes {
        let time = commit.time;
        CommitTimes { first: commit, last: commit, earliest: time, latest: time }
    }

    /// With those of a stretch behind this one.
    pub fn extend(&mut self, later: CommitTimes) {
        self.last = later.last;
        self.earliest = self.earliest.min(later.earliest);
        self.latest = self.latest.max(later.latest);
    }
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
            foreign_filler: false,
            magic: None,
            page_timeline: 0,
            record: OpenRecord::at(start),
            previous: None,
            valid_end: None,
            valid_end_in_filler: false,
            first: None,
            commits: None,
        }
    }

    /// A checker for WAL from a position on that is no record's start for all that is known:
    /// verification begins on the next page.
    pub fn in_mid_record(
        timeline: Timeline,
        system: Option<SystemIdentifier>,
        segment_size: SegmentSize,
        start: Lsn,
    ) -> WalChecker {
        let checker = WalChecker::new(timeline, system, segment_size, start);
        WalChecker { state: State::Searching, ..checker }
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

    /// From where on a segment that begins at `start`, and that was fed from there to here, is
    /// verified: from `start`, unless that belongs to a record whose beginning was not seen.
    pub fn verified_from(&self, start: Lsn) -> Lsn {
        match self.first {
            Some(first) if first.bytes_since(start) <= PageHeader::LONG as u64 => start,
            Some(first) => first,
            None => self.position,
        }
    }

    /// Where the damage begins behind which no good record has come yet.
    pub fn damage(&self) -> Option<Lsn> {
        self.lost
    }

    /// The timeline that pages belong to, or to whose ancestors.
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// The last commit since [`WalChecker::take_commit_times`].
    pub fn last_commit(&self) -> Option<Commit> {
        self.commits.map(|commits| commits.last)
    }

    /// The commits since the last call.
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
            if clean > 0 {
                self.advance(clean);
                self.verified(true);
                return clean;
            }
            self.note_foreign_filler(self.position, findings);
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

impl WalChecker {
    /// Something else than filler behind a segment switch, said once a segment. Nothing that is
    /// replayed: a standby sends what its recycled file held, because to have replayed the
    /// switch counts as having the whole segment. In a file of our own it was not received yet,
    /// so that the valid end stays before it.
    fn note_foreign_filler(&mut self, at: Lsn, findings: &mut Vec<Finding>) {
        self.unbroken = false;
        if !std::mem::replace(&mut self.foreign_filler, true) {
            findings.push(Finding::Filler { at });
        }
    }
}

/// In blocks without an early end, so that the compiler can use wide registers.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}
