//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! Pages of one file after the other, as they pass in pieces that are cut anywhere.

use super::{
    Damage, DamagedPages, HeaderParser, IncrementalError, IncrementalHeader, PageLayout, PagedFile,
    page_checksum,
};
use crate::wal::Lsn;

/// Where `pd_checksum` and `pd_upper` stand in a page.
const CHECKSUM_AT: usize = 8;
const UPPER_AT: usize = 14;

/// Judges the pages of a backup, and the structure of its incremental files.
#[derive(Clone, Debug)]
pub struct PageChecker {
    layout: PageLayout,
    /// Whether pages carry checksums.
    checksums: bool,
    /// Where the backup begins: what was written later may be torn, and is replayed anyway.
    start: Lsn,
    /// The beginning of a page that is not complete: `filled` bytes.
    page: Box<[u8]>,
    filled: usize,
    open: Option<Open>,
    damaged: DamagedPages,
    /// Findings of the open file, which gets its name when it ends.
    found: Vec<Damage>,
}

#[derive(Clone, Debug)]
struct Open {
    /// The number of the first block of the file.
    base: u32,
    state: State,
    /// Bytes that have come.
    length: u64,
}

#[derive(Clone, Debug)]
enum State {
    /// Every page from the first on; this one is next.
    Plain {
        next: u32,
    },
    Header(Box<HeaderParser>),
    /// The blocks of the header, this one next.
    Blocks {
        header: IncrementalHeader,
        next: usize,
    },
    /// The rest means nothing.
    Broken,
}

impl PageChecker {
    /// A checker for a cluster whose relations lie in files like this. Without `checksums` only
    /// the structure of incremental files is looked at.
    pub fn new(layout: PageLayout, checksums: bool) -> PageChecker {
        PageChecker {
            layout,
            checksums,
            start: Lsn::INVALID,
            page: vec![0; layout.page_size.bytes()].into_boxed_slice(),
            filled: 0,
            open: None,
            damaged: DamagedPages::new(),
            found: Vec::new(),
        }
    }

    /// The backup begins here. Pages that were changed later are not judged, as the server
    /// itself does not judge them; until this is called, none is.
    pub fn start(&mut self, start: Lsn) {
        self.start = start;
    }

    /// A file begins.
    pub fn begin(&mut self, file: PagedFile) {
        let base = file.segment.wrapping_mul(self.layout.segment_blocks);
        self.filled = 0;
        let state = match (file.incremental, self.checksums) {
            (true, _) => State::Header(Box::new(HeaderParser::new(self.layout))),
            (false, true) => State::Plain { next: base },
            (false, false) => return,
        };
        self.open = Some(Open { base, state, length: 0 });
    }

    /// Content of the file that has begun.
    pub fn push(&mut self, bytes: &[u8]) {
        let Some(open) = &mut self.open else { return };
        open.length += bytes.len() as u64;
        let mut bytes = bytes;
        if let State::Header(parser) = &mut open.state {
            match parser.push(&mut bytes) {
                Ok(None) => return,
                Ok(Some(header)) => open.state = State::Blocks { header, next: 0 },
                Err(error) => {
                    self.found.push(Damage::Incremental(error));
                    open.state = State::Broken;
                }
            }
        }
        if matches!(open.state, State::Broken) {
            return;
        }
        if self.filled > 0 {
            let taken = bytes.len().min(self.page.len() - self.filled);
            self.page[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled < self.page.len() {
                return;
            }
            self.filled = 0;
            let judge = Judge { checksums: self.checksums, start: self.start };
            judge.page(&self.page, open, &mut self.found);
        }
        let judge = Judge { checksums: self.checksums, start: self.start };
        let pages = bytes.chunks_exact(self.page.len());
        let rest = pages.remainder();
        for page in pages {
            judge.page(page, open, &mut self.found);
        }
        self.page[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    /// The file is complete, and this is its path, in two parts. The head of an incremental one.
    pub fn end(&mut self, path: [&[u8]; 2]) -> Option<IncrementalHeader> {
        let open = self.open.take()?;
        let found = open.length;
        let cut = match &open.state {
            State::Header(parser) => Some(IncrementalError::Cut(parser.taken())),
            State::Blocks { header, .. } => {
                let expected = header.file_length(self.layout.page_size);
                (expected != found).then_some(IncrementalError::Length { expected, found })
            }
            State::Plain { .. } | State::Broken => None,
        };
        self.found.extend(cut.map(Damage::Incremental));
        for damage in self.found.drain(..) {
            self.damaged.add(path, damage);
        }
        match open.state {
            State::Blocks { header, .. } => Some(header),
            _ => None,
        }
    }

    /// What was found so far.
    pub fn damaged(&self) -> &DamagedPages {
        &self.damaged
    }

    /// The same, when nothing more comes.
    pub fn into_damaged(self) -> DamagedPages {
        self.damaged
    }
}

/// What a page is judged by.
struct Judge {
    checksums: bool,
    start: Lsn,
}

impl Judge {
    /// Looks at the next page of a file.
    fn page(&self, page: &[u8], open: &mut Open, found: &mut Vec<Damage>) {
        let block = match &mut open.state {
            State::Plain { next } => {
                let block = *next;
                *next = next.wrapping_add(1);
                block
            }
            State::Blocks { header, next } => {
                let Some(&block) = header.blocks.get(*next) else { return };
                *next += 1;
                open.base.wrapping_add(block)
            }
            State::Header(_) | State::Broken => return,
        };
        if self.checksums && lsn(page) < self.start && !is_new(page) {
            let (stored, expected) = (half_word(page, CHECKSUM_AT), page_checksum(page, block));
            if stored != expected {
                found.push(Damage::Page { block, found: stored, expected });
            }
        }
    }
}

/// `pd_lsn`: where the WAL of the last change ends.
fn lsn(page: &[u8]) -> Lsn {
    let (words, _) = page.as_chunks::<4>();
    match words {
        [high, low, ..] => {
            Lsn(u64::from(u32::from_le_bytes(*high)) << 32 | u64::from(u32::from_le_bytes(*low)))
        }
        _ => Lsn::INVALID,
    }
}

/// A page that was added to a relation and not filled yet: zeros, and nothing else.
fn is_new(page: &[u8]) -> bool {
    half_word(page, UPPER_AT) == 0 && page.iter().all(|&byte| byte == 0)
}

fn half_word(page: &[u8], at: usize) -> u16 {
    page.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}
