//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! Finds the members in a stream that arrives in pieces cut anywhere.

use std::ops::Deref;

use bytes::Bytes;

use super::{BLOCK, Member, TarError, padding};

/// Splits an archive into members.
///
/// Give it bytes with [`TarSplitter::push`], take events from [`TarSplitter::next`] until
/// there is none, repeat; at the end of the stream ask [`TarSplitter::finish`]. Content comes
/// out as slices of what was pushed in. Who holds the bytes himself gives them to
/// [`TarSplitter::split`] instead.
#[derive(Debug)]
pub struct TarSplitter {
    input: Bytes,
    /// Bytes of the archive taken so far.
    offset: u64,
    state: State,
    header: [u8; BLOCK],
    header_filled: usize,
}

/// Bytes from whose front slices are cut, without a copy.
pub trait Piece: Deref<Target = [u8]> {
    /// Cuts off the first `length` bytes; there are as many.
    fn cut(&mut self, length: usize) -> Self;
}

impl Piece for Bytes {
    fn cut(&mut self, length: usize) -> Bytes {
        self.split_to(length)
    }
}

impl Piece for &[u8] {
    fn cut(&mut self, length: usize) -> Self {
        let (front, rest) = self.split_at(length);
        *self = rest;
        front
    }
}

/// What comes next in an archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TarEvent<P = Bytes> {
    /// A member begins. Files are followed by their content and [`TarEvent::MemberEnd`], an
    /// empty file by the latter at once; directories and links by neither.
    Member(Member),
    /// Content of the open file, never empty.
    Data(P),
    /// The open file is complete.
    MemberEnd,
    /// The trailer is complete.
    End,
}

/// How an archive ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// With two blocks of zeros.
    Trailer,
    /// Behind a member: servers before 15 send no trailer.
    NoTrailer,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// At a header, or in one.
    Header,
    /// In the content of a file.
    Data { left: u64, padding: u64 },
    /// In the zeros behind a file.
    Padding { left: u64 },
    /// Behind one block of zeros.
    HalfTrailer,
    /// Behind two.
    End,
}

impl Default for TarSplitter {
    fn default() -> TarSplitter {
        TarSplitter {
            input: Bytes::new(),
            offset: 0,
            state: State::Header,
            header: [0; BLOCK],
            header_filled: 0,
        }
    }
}

impl TarSplitter {
    /// At the beginning of an archive.
    pub fn new() -> TarSplitter {
        TarSplitter::default()
    }

    /// Gives the next bytes, once `next` has nothing more to say about the ones before.
    pub fn push(&mut self, bytes: Bytes) {
        if self.input.is_empty() {
            self.input = bytes;
        } else {
            // Only a caller that does not drain pays for this.
            self.input = [std::mem::take(&mut self.input), bytes].concat().into();
        }
    }

    /// Bytes of the archive taken so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next event; `None` when more bytes are needed. An error is final.
    #[expect(clippy::should_implement_trait, reason = "an iterator ends; this waits for more")]
    pub fn next(&mut self) -> Result<Option<TarEvent>, TarError> {
        let mut input = std::mem::take(&mut self.input);
        let event = self.split(&mut input);
        self.input = input;
        event
    }

    /// The next event in these bytes, which are cut off; `None` when they are used up and more
    /// are needed. An error is final.
    pub fn split<P: Piece>(&mut self, input: &mut P) -> Result<Option<TarEvent<P>>, TarError> {
        loop {
            match self.state {
                State::Data { left: 0, padding } => {
                    self.state = State::Padding { left: padding };
                    return Ok(Some(TarEvent::MemberEnd));
                }
                State::Padding { left: 0 } => self.state = State::Header,
                _ if input.is_empty() => return Ok(None),
                State::Data { left, padding } => {
                    let taken = within(left, input.len());
                    self.offset += taken as u64;
                    self.state = State::Data { left: left - taken as u64, padding };
                    return Ok(Some(TarEvent::Data(input.cut(taken))));
                }
                State::Padding { left } => {
                    let taken = within(left, input.len());
                    self.skip(input, taken);
                    self.state = State::Padding { left: left - taken as u64 };
                }
                State::Header | State::HalfTrailer => {
                    if let Some(event) = self.take_block(input)? {
                        return Ok(Some(event));
                    }
                }
                State::End => {
                    // Other writers fill up to a larger unit with zeros.
                    let clean = input.iter().take_while(|&&byte| byte == 0).count();
                    self.skip(input, clean);
                    if !input.is_empty() {
                        return Err(TarError::BehindEnd { offset: self.offset });
                    }
                }
            }
        }
    }

    /// Says how the archive ended, now that nothing more comes. Anywhere but at a boundary is
    /// an error. To be called when `next` has said `None`.
    pub fn finish(&self) -> Result<Ending, TarError> {
        let offset = self.offset;
        let inside = match self.state {
            State::End => return Ok(Ending::Trailer),
            State::Header if self.header_filled == 0 => return Ok(Ending::NoTrailer),
            State::Header => "a header",
            State::HalfTrailer => "the trailer",
            State::Data { .. } => "a file",
            State::Padding { left: 0 } => return Ok(Ending::NoTrailer),
            State::Padding { .. } => "the zeros behind a file",
        };
        Err(TarError::Truncated { offset, inside })
    }

    fn skip(&mut self, input: &mut impl Piece, bytes: usize) {
        input.cut(bytes);
        self.offset += bytes as u64;
    }

    /// Collects a block, and decides what it is once it is whole.
    fn take_block<P: Piece>(&mut self, input: &mut P) -> Result<Option<TarEvent<P>>, TarError> {
        let taken = input.len().min(BLOCK - self.header_filled);
        let end = self.header_filled + taken;
        self.header[self.header_filled..end].copy_from_slice(&input[..taken]);
        self.header_filled = end;
        self.skip(input, taken);
        if end < BLOCK {
            return Ok(None);
        }
        self.header_filled = 0;
        let start = self.offset - BLOCK as u64;
        if self.header.iter().all(|&byte| byte == 0) {
            if self.state == State::HalfTrailer {
                self.state = State::End;
                return Ok(Some(TarEvent::End));
            }
            self.state = State::HalfTrailer;
            return Ok(None);
        }
        if self.state == State::HalfTrailer {
            return Err(TarError::HalfTrailer { offset: start - BLOCK as u64 });
        }
        let member = Member::parse(&self.header, start)?;
        if member.kind == super::MemberKind::File {
            self.state = State::Data { left: member.size, padding: padding(member.size) };
        }
        Ok(Some(TarEvent::Member(member)))
    }
}

/// `left`, but no more than there is.
fn within(left: u64, there: usize) -> usize {
    usize::try_from(left).map_or(there, |left| left.min(there))
}
