//! The blocks of one file of a relation, as they pass in pieces that are cut anywhere.

use super::{HeaderParser, IncrementalError, IncrementalHeader, PageLayout};

/// Cuts a file, whole or incremental, into runs of blocks.
#[derive(Clone, Debug)]
pub struct Blocks {
    layout: PageLayout,
    /// The beginning of a page that is not complete.
    page: Vec<u8>,
    state: State,
    /// Bytes that have come.
    length: u64,
}

#[derive(Clone, Debug)]
enum State {
    /// Every block from the first on; this one is next.
    Whole {
        next: u32,
    },
    Header(Box<HeaderParser>),
    /// The blocks of the header, this one next.
    Listed {
        header: IncrementalHeader,
        next: usize,
    },
}

/// What has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'a> {
    /// The head of an incremental file, before its first block.
    Header(&'a IncrementalHeader),
    /// Whole blocks, one behind the other also in the relation.
    Run {
        /// The number of the first, counted from the start of the file.
        first: u32,
        /// Their bytes.
        bytes: &'a [u8],
    },
}

impl Blocks {
    /// Nothing has come of a file.
    pub fn new(layout: PageLayout, incremental: bool) -> Blocks {
        let state = match incremental {
            true => State::Header(Box::new(HeaderParser::new(layout))),
            false => State::Whole { next: 0 },
        };
        Blocks { layout, page: Vec::new(), state, length: 0 }
    }

    /// Takes the next bytes, and gives `each` what is complete.
    ///
    /// # Errors
    /// An incremental file that is none, and what `each` says.
    pub fn push<E: From<IncrementalError>>(
        &mut self,
        bytes: &[u8],
        each: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let page_bytes = self.layout.page_size.bytes();
        self.length += bytes.len() as u64;
        let mut bytes = bytes;
        if let State::Header(parser) = &mut self.state {
            let Some(header) = parser.push(&mut bytes)? else { return Ok(()) };
            each(Piece::Header(&header))?;
            self.state = State::Listed { header, next: 0 };
        }
        if !self.page.is_empty() {
            let taken = bytes.len().min(page_bytes - self.page.len());
            self.page.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.page.len() < page_bytes {
                return Ok(());
            }
            let page = std::mem::take(&mut self.page);
            self.runs(&page, each)?;
            self.page = page;
            self.page.clear();
        }
        let whole = bytes.len() - bytes.len() % page_bytes;
        self.runs(&bytes[..whole], each)?;
        self.page.extend_from_slice(&bytes[whole..]);
        Ok(())
    }

    /// Gives whole pages as the longest runs that they make.
    fn runs<E: From<IncrementalError>>(
        &mut self,
        pages: &[u8],
        each: &mut dyn FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let page_bytes = self.layout.page_size.bytes();
        let mut pages = pages;
        while !pages.is_empty() {
            let there = pages.len() / page_bytes;
            let (first, count) = match &mut self.state {
                State::Whole { next } => {
                    let first = *next;
                    *next += there as u32;
                    (first, there)
                }
                State::Listed { header, next } => {
                    let listed = &header.blocks[*next..];
                    let Some(&first) = listed.first() else {
                        // What is too much is said by `finish`.
                        return Ok(());
                    };
                    let follows = |(at, block): &(usize, &u32)| **block == first + *at as u32;
                    let run = listed.iter().enumerate().take(there).take_while(follows).count();
                    *next += run;
                    (first, run)
                }
                State::Header(_) => return Ok(()),
            };
            let (run, rest) = pages.split_at(count * page_bytes);
            each(Piece::Run { first, bytes: run })?;
            pages = rest;
        }
        Ok(())
    }

    /// The file has come to its end: whether it is complete. A whole file may end within a page,
    /// of which nothing is given.
    pub fn finish(&self) -> Result<(), IncrementalError> {
        let found = self.length;
        match &self.state {
            State::Whole { .. } => Ok(()),
            State::Header(parser) => Err(IncrementalError::Cut(parser.taken())),
            State::Listed { header, .. } => {
                let expected = header.file_length(self.layout.page_size);
                match expected == found {
                    true => Ok(()),
                    false => Err(IncrementalError::Length { expected, found }),
                }
            }
        }
    }
}
