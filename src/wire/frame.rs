//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//!
//! Cuts what the server sends into messages. Knows lengths and types, not meanings.
//!
//! Control messages come out whole; CopyData comes out in the pieces in which it arrived, as
//! slices of the caller's buffer: to wait for a whole one would hold 128 KiB back from the
//! disk, and to join two pieces would copy them.

use bytes::{Buf, Bytes, BytesMut};

use super::{Tag, WireError};

/// The longest CopyData accepted, its length field included. Servers stay below 300 kB; only
/// what arrives is ever held, so the bound has to catch nonsense, not to save memory.
pub const COPY_DATA_LENGTH_MAX: u32 = 64 << 20;

/// The longest row: the content of a history file, which grows by a line with each promotion,
/// is the longest value that a walsender sends. It is held whole.
pub const DATA_ROW_LENGTH_MAX: u32 = 64 << 20;

/// The longest message with text of the server's choice: errors with context, row descriptions,
/// parameter values.
pub const TEXT_LENGTH_MAX: u32 = 1 << 20;

/// The longest message of any other type. They have some bytes each; libpq draws the same line.
pub const CONTROL_LENGTH_MAX: u32 = 30_000;

/// Type byte and length.
pub(super) const HEADER: usize = 1 + 4;

/// One step through the server's bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// A whole message other than CopyData.
    Message {
        /// Its type.
        tag: Tag,
        /// Its body, without type and length.
        body: Bytes,
    },
    /// The head of a CopyData; its payload follows as [`Frame::CopyPiece`]s.
    CopyData {
        /// Bytes of payload.
        length: u32,
    },
    /// A part of the payload, never empty.
    CopyPiece(Bytes),
}

/// Finds the boundaries between messages.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// Payload of the current CopyData that has not been handed out yet.
    copy_left: u32,
}

impl FrameReader {
    /// A reader that stands between two messages.
    pub fn new() -> FrameReader {
        FrameReader::default()
    }

    /// The next frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// A type that no walsender sends, or a length out of bounds: found in the first five
    /// bytes, before anything is waited for.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        if self.copy_left > 0 {
            return Ok(self.copy_piece(input).map(Frame::CopyPiece));
        }
        let Some(&[tag, a, b, c, d]) = input.first_chunk::<HEADER>() else {
            // A wrong type is worth an error before the rest of the header arrives.
            if let Some(&tag) = input.first() {
                length_max(Tag(tag))?;
            }
            return Ok(None);
        };
        let tag = Tag(tag);
        let max = length_max(tag)?;
        let announced = i32::from_be_bytes([a, b, c, d]);
        let length = match u32::try_from(announced) {
            Ok(length) if length >= 4 => length,
            _ => return Err(WireError::TooShort { tag, length: announced }),
        };
        if length > max {
            return Err(WireError::TooLong { tag, length, max });
        }
        let body = length - 4;
        if tag.0 == b'd' {
            input.advance(HEADER);
            self.copy_left = body;
            return Ok(Some(Frame::CopyData { length: body }));
        }
        let whole = HEADER + body as usize;
        if input.len() < whole {
            return Ok(None);
        }
        input.advance(HEADER);
        let body = input.split_to(body as usize).freeze();
        Ok(Some(Frame::Message { tag, body }))
    }

    /// Payload of the current CopyData that has not been handed out yet.
    pub fn copy_left(&self) -> u32 {
        self.copy_left
    }

    /// So many bytes of the current CopyData went another way than through the buffer. `length`
    /// must not exceed [`Self::copy_left`].
    pub fn pass(&mut self, length: u32) {
        self.copy_left = self.copy_left.saturating_sub(length);
    }

    /// The next byte of the current CopyData, left where it is.
    pub fn peek(&self, input: &BytesMut) -> Option<u8> {
        if self.copy_left == 0 { None } else { input.first().copied() }
    }

    /// Exactly `length` bytes of the current CopyData, or `None` when they have not all come.
    ///
    /// For the small heads inside CopyData. `length` must not exceed [`Self::copy_left`].
    pub fn take(&mut self, input: &mut BytesMut, length: u32) -> Option<Bytes> {
        if length > self.copy_left || input.len() < length as usize {
            return None;
        }
        self.copy_left -= length;
        Some(input.split_to(length as usize).freeze())
    }

    fn copy_piece(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        if input.is_empty() {
            return None;
        }
        let length = input.len().min(self.copy_left as usize);
        // At most `copy_left`, which is a u32.
        self.copy_left -= length as u32;
        Some(input.split_to(length).freeze())
    }
}

/// The bound of a message's length field, by its type.
fn length_max(tag: Tag) -> Result<u32, WireError> {
    match tag.0 {
        b'd' => Ok(COPY_DATA_LENGTH_MAX),
        b'D' => Ok(DATA_ROW_LENGTH_MAX),
        b'T' | b'E' | b'N' | b'A' | b'v' | b'S' => Ok(TEXT_LENGTH_MAX),
        b'R' | b'K' | b'Z' | b'C' | b'G' | b'H' | b'W' | b'c' => Ok(CONTROL_LENGTH_MAX),
        _ => {
            let expected = "a message of the replication protocol";
            Err(WireError::Unexpected { got: tag, expected })
        }
    }
}
