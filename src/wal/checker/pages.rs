//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! Page headers: the half of verification that finds its way and notices foreign bytes.

use super::{State, WalChecker};
use crate::wal::page::{PAGE_SIZE, PageHeader};
use crate::wal::{Finding, Lsn};

impl WalChecker {
    pub(super) fn take_page_header(
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
        if self.state == State::Filler {
            self.enter_filler(page, findings);
            return;
        }
        let length = if starts_segment { PageHeader::LONG } else { PageHeader::SHORT };
        if self.page_header[..length].iter().all(|&byte| byte == 0) {
            self.report(Finding::EndOfWal { at: page }, self.loss_start(page), findings);
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

    /// A page behind a segment switch: zeros, or up to 10 a header alone.
    fn enter_filler(&mut self, page: Lsn, findings: &mut Vec<Finding>) {
        let bytes = &self.page_header[..PageHeader::SHORT];
        let is_own = |header: &PageHeader| {
            header.magic.filler_has_headers()
                && !header.continues_record()
                && self.judge_page(page, false, header).is_none()
        };
        let is_zero = bytes.iter().all(|&byte| byte == 0);
        if is_zero || PageHeader::parse(bytes).is_some_and(|header| is_own(&header)) {
            self.verified(true);
        } else {
            self.note_foreign_filler(page, findings);
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
            State::Searching | State::Filler => return false,
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
}
