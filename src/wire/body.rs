//! The body of a message, read from front to back.
//!
//! Every length and count is checked against the bytes that are there before it is used.

use bytes::{Buf, Bytes};

use super::{Tag, WireError};

/// The part of a body that has not been read yet.
pub(super) struct Body {
    tag: Tag,
    rest: Bytes,
}

impl Body {
    pub(super) fn new(tag: Tag, rest: Bytes) -> Body {
        Body { tag, rest }
    }

    pub(super) fn tag(&self) -> Tag {
        self.tag
    }

    /// Bytes left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Checks that all was read.
    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("bytes after its end")) }
    }

    pub(super) fn malformed(&self, what: &'static str) -> WireError {
        WireError::Malformed { tag: self.tag, what }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<Bytes, WireError> {
        if self.rest.len() < length {
            return Err(self.malformed("ends early"));
        }
        Ok(self.rest.split_to(length))
    }

    pub(super) fn remainder(&mut self) -> Bytes {
        self.rest.split_to(self.rest.len())
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn i32(&mut self) -> Result<i32, WireError> {
        Ok(self.take(4)?.get_i32())
    }

    /// A number of columns, each of which takes `least` bytes at least.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, WireError> {
        let count = usize::try_from(self.take(2)?.get_i16())
            .map_err(|_| self.malformed("negative number of columns"))?;
        if count * least > self.rest.len() {
            return Err(self.malformed("more columns than bytes"));
        }
        Ok(count)
    }

    /// A zero-terminated string. What is not UTF-8 or not printable is replaced: these texts
    /// are shown to people, and the peer may be anyone.
    pub(super) fn string(&mut self) -> Result<String, WireError> {
        let end = self
            .rest
            .iter()
            .position(|&byte| byte == 0)
            .ok_or_else(|| self.malformed("string without end"))?;
        let bytes = self.rest.split_to(end);
        self.rest.advance(1);
        Ok(printable(&bytes))
    }
}

/// Text that is safe to show and to log, in bounded length.
pub(super) fn printable(bytes: &[u8]) -> String {
    const LENGTH_MAX: usize = 8 << 10;
    let shown = &bytes[..bytes.len().min(LENGTH_MAX)];
    let mut text: String = String::from_utf8_lossy(shown)
        .chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect();
    if bytes.len() > LENGTH_MAX {
        text.push('…');
    }
    text
}
