//! WAL as a server writes it, for tests.

use super::page::PAGE_SIZE;
use super::record::{RecordHeader, record_crc};
use super::{Lsn, SegmentSize, SystemIdentifier, Timeline};

/// A cluster.
pub(crate) const SYSTEM: SystemIdentifier = SystemIdentifier(7_711_249_317_654_332_226);

/// Writes WAL as a server does: pages, records across pages, switches.
pub(crate) struct WalWriter {
    magic: u16,
    segment_size: SegmentSize,
    start: Lsn,
    /// In the page headers.
    pub(crate) timeline: Timeline,
    /// In the long page headers.
    pub(crate) system: SystemIdentifier,
    /// From `start` on.
    pub(crate) bytes: Vec<u8>,
    previous: Lsn,
    /// Of the records.
    pub(crate) starts: Vec<Lsn>,
}

impl WalWriter {
    /// WAL from the start of a segment on.
    pub(crate) fn new(magic: u16, start: Lsn, segment_size: SegmentSize) -> WalWriter {
        WalWriter {
            magic,
            segment_size,
            start,
            timeline: Timeline::FIRST,
            system: SYSTEM,
            bytes: Vec::new(),
            previous: Lsn(0x28),
            starts: Vec::new(),
        }
    }

    /// Behind what is written.
    pub(crate) fn position(&self) -> Lsn {
        self.start + self.bytes.len() as u64
    }

    fn page_header(&mut self, flags: u16, remaining: u32) {
        let at = self.position();
        let long = at.segment_offset(self.segment_size) == 0;
        let flags = flags | 0x0004 | if long { 0x0002 } else { 0 };
        self.bytes.extend(self.magic.to_le_bytes());
        self.bytes.extend(flags.to_le_bytes());
        self.bytes.extend(self.timeline.id().to_le_bytes());
        self.bytes.extend(at.0.to_le_bytes());
        self.bytes.extend(remaining.to_le_bytes());
        self.bytes.extend([0; 4]);
        if long {
            self.bytes.extend(self.system.0.to_le_bytes());
            self.bytes.extend(self.segment_size.bytes().to_le_bytes());
            self.bytes.extend(PAGE_SIZE.to_le_bytes());
        }
    }

    fn left_on_page(&self) -> usize {
        PAGE_SIZE as usize - self.bytes.len() % PAGE_SIZE as usize
    }

    fn on_page_start(&self) -> bool {
        self.bytes.len().is_multiple_of(PAGE_SIZE as usize)
    }

    /// Writes a record, over as many pages as it takes.
    pub(crate) fn record(&mut self, resource_manager: u8, info: u8, body: &[u8]) -> Lsn {
        if self.on_page_start() {
            self.page_header(0, 0);
        }
        let start = self.position();
        let mut header = [0; RecordHeader::LEN];
        header[..4].copy_from_slice(&((RecordHeader::LEN + body.len()) as u32).to_le_bytes());
        header[8..16].copy_from_slice(&self.previous.0.to_le_bytes());
        header[16] = info;
        header[17] = resource_manager;
        let crc = record_crc(&header, body);
        header[20..].copy_from_slice(&crc.to_le_bytes());
        self.spill(&[&header, body].concat());
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.previous = start;
        self.starts.push(start);
        start
    }

    /// Begins a record of which a crash lets nothing but the first page be written, and goes on
    /// as the server does afterwards: the next page says that the rest is never to come.
    pub(crate) fn abandon_record(&mut self) -> Lsn {
        let previous = self.previous;
        let start = self.record(10, 0, &[7; 2 * PAGE_SIZE as usize]);
        self.starts.pop();
        self.previous = previous;
        let page = (start.0 - self.start.0 + 1).next_multiple_of(u64::from(PAGE_SIZE));
        self.bytes.truncate(page as usize);
        self.page_header(0x0008, 0);
        start
    }

    fn spill(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            if self.on_page_start() {
                self.page_header(1, rest.len() as u32);
            }
            let (now, later) = rest.split_at(rest.len().min(self.left_on_page()));
            self.bytes.extend(now);
            rest = later;
        }
    }

    /// The commit of a transaction.
    pub(crate) fn commit(&mut self, time: i64) {
        let body = [&[255, 8][..], &time.to_le_bytes()].concat();
        self.record(1, 0x00, &body);
    }

    /// A switch of the segment, and what this version writes behind it.
    pub(crate) fn switch(&mut self) {
        self.record(0, 0x40, &[]);
        while self.position().segment_offset(self.segment_size) != 0 {
            if self.magic == 0xD097 && self.on_page_start() {
                self.page_header(0, 0);
            }
            let filled = self.bytes.len() + self.left_on_page();
            self.bytes.resize(filled, 0);
        }
    }
}
