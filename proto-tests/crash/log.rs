//! WAL as a server would send it: valid pages and records, on timelines that branch.

use std::collections::BTreeMap;

use tapster::wal::{Lsn, SegmentNumber, SegmentSize, SystemIdentifier, Timeline, TimelineHistory};

/// Of release 15.
const MAGIC: u16 = 0xD110;
const PAGE: u64 = 8192;
pub const SYSTEM: SystemIdentifier = SystemIdentifier(0x1234_5678_9ABC_DEF0);

/// A stretch of WAL, and the timelines that it runs through.
pub struct Log {
    pub size: SegmentSize,
    /// Where the first timeline begins: a segment's start.
    pub start: Lsn,
    /// Each timeline's bytes from `start` on, those of its ancestors included.
    timelines: BTreeMap<u32, Vec<u8>>,
    /// Each timeline's end for its successor.
    pub switchpoints: Vec<(u32, Lsn)>,
}

impl Log {
    /// One timeline for each length, in bytes from `start`; each but the last ends there.
    pub fn new(ends: &[u64]) -> Log {
        let size = SegmentSize::new(1 << 20).expect("a power of two");
        let start = SegmentNumber(2).start(size);
        let mut log = Log { size, start, timelines: BTreeMap::new(), switchpoints: Vec::new() };
        let mut author = Author { size, start, bytes: Vec::new(), previous: Lsn(0), timeline: 1 };
        for (index, end) in ends.iter().enumerate() {
            author.timeline = index as u32 + 1;
            let mut seed = 17 + u64::from(author.timeline);
            while (author.bytes.len() as u64) < *end {
                // Now and then a record that is longer than a page, or than many.
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let length = match seed >> 60 {
                    0 => 40_000,
                    1..3 => 9_000,
                    _ => (seed >> 33) % 1500,
                };
                author.record(length as usize);
            }
            log.timelines.insert(author.timeline, author.bytes.clone());
            if index + 1 < ends.len() {
                log.switchpoints.push((author.timeline, author.position()));
            }
        }
        log
    }

    /// The end of a timeline's WAL.
    pub fn end(&self, timeline: u32) -> Lsn {
        self.start + self.timelines[&timeline].len() as u64
    }

    /// The bytes of a timeline from `from` to `to`.
    pub fn bytes(&self, timeline: u32, from: Lsn, to: Lsn) -> &[u8] {
        let range = (from - self.start) as usize..(to - self.start) as usize;
        &self.timelines[&timeline][range]
    }

    /// Moves a timeline's end to an earlier position.
    pub fn cut(&mut self, timeline: u32, end: Lsn) {
        let length = (end - self.start) as usize;
        if let Some(bytes) = self.timelines.get_mut(&timeline) {
            bytes.truncate(length);
        }
        for (id, at) in &mut self.switchpoints {
            if *id == timeline {
                *at = end;
            }
        }
    }

    pub fn newest(&self) -> u32 {
        self.switchpoints.len() as u32 + 1
    }

    /// The content of the history file of a timeline.
    pub fn history_text(&self, timeline: u32) -> String {
        let ended = self.switchpoints.iter().filter(|(id, _)| *id < timeline);
        ended.map(|(id, at)| format!("{id}\t{at}\tno recovery target specified\n")).collect()
    }

    pub fn history(&self, timeline: u32) -> TimelineHistory {
        let id = Timeline::new(timeline).expect("not 0");
        TimelineHistory::parse(id, self.history_text(timeline).as_bytes()).expect("well-formed")
    }
}

/// Writes records one behind the other.
struct Author {
    size: SegmentSize,
    start: Lsn,
    bytes: Vec<u8>,
    previous: Lsn,
    timeline: u32,
}

impl Author {
    fn position(&self) -> Lsn {
        self.start + self.bytes.len() as u64
    }

    fn record(&mut self, body: usize) {
        // What is behind a record is padded to the next multiple of 8.
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        if self.position().0.is_multiple_of(PAGE) {
            self.page_header(0);
        }
        let at = self.position();
        let body: Vec<u8> = (0..body).map(|index| (index * 7 + at.0 as usize) as u8).collect();
        let mut header = Vec::with_capacity(24);
        header.extend_from_slice(&(24 + body.len() as u32).to_le_bytes());
        header.extend_from_slice(&700u32.to_le_bytes());
        header.extend_from_slice(&self.previous.0.to_le_bytes());
        header.extend_from_slice(&[0x20, 0, 0, 0]);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&body), &header);
        header.extend_from_slice(&crc.to_le_bytes());
        self.previous = at;
        let record = [header, body].concat();
        let mut rest = record.as_slice();
        while !rest.is_empty() {
            if self.position().0.is_multiple_of(PAGE) {
                self.page_header(rest.len() as u32);
            }
            let room = (PAGE - self.position().0 % PAGE) as usize;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.bytes.extend_from_slice(now);
            rest = later;
        }
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
    }

    fn page_header(&mut self, remaining: u32) {
        let at = self.position();
        let long = at.segment_offset(self.size) == 0;
        let flags = u16::from(remaining > 0) | u16::from(long) << 1 | 4;
        let mut header = Vec::with_capacity(40);
        header.extend_from_slice(&MAGIC.to_le_bytes());
        header.extend_from_slice(&flags.to_le_bytes());
        header.extend_from_slice(&self.timeline.to_le_bytes());
        header.extend_from_slice(&at.0.to_le_bytes());
        header.extend_from_slice(&remaining.to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        if long {
            header.extend_from_slice(&SYSTEM.0.to_le_bytes());
            header.extend_from_slice(&self.size.bytes().to_le_bytes());
            header.extend_from_slice(&(PAGE as u32).to_le_bytes());
        }
        self.bytes.extend_from_slice(&header);
    }
}
