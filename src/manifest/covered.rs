//! The part of a manifest's text that its checksum covers, found while the text passes.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Sums up all lines but the last, which holds the sum.
#[derive(Debug)]
pub(super) struct Covered<R> {
    source: R,
    hash: Sha256,
    /// The line that may be the last, as far as it has come.
    held: Vec<u8>,
    lines: usize,
}

/// No line of a manifest is longer: a path has 4 KiB at most.
const LINE_MAX: usize = 1 << 20;

impl<R: Read> Covered<R> {
    /// Nothing has passed.
    pub(super) fn new(source: R) -> Covered<R> {
        Covered { source, hash: Sha256::new(), held: Vec::new(), lines: 0 }
    }

    /// The sum, now that everything has passed; `None` when the text does not end with a line
    /// behind other lines.
    pub(super) fn finish(self) -> Option<[u8; 32]> {
        let whole = self.held.ends_with(b"\n") && self.lines > 0;
        whole.then(|| self.hash.finalize().into())
    }

    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((_, before)) = bytes.split_last() else { return Ok(()) };
        // A line end with something behind it ends a line that is covered.
        if self.held.ends_with(b"\n") {
            self.cover();
        }
        match before.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => {
                self.cover();
                self.hash.update(&bytes[..=end]);
                self.lines += 1;
                self.held.extend_from_slice(&bytes[end + 1..]);
            }
            None => self.held.extend_from_slice(bytes),
        }
        if self.held.len() > LINE_MAX {
            return Err(io::Error::other(format!("a line has more than {LINE_MAX} bytes")));
        }
        Ok(())
    }

    fn cover(&mut self) {
        if !self.held.is_empty() {
            self.hash.update(&self.held);
            self.held.clear();
            self.lines += 1;
        }
    }
}

impl<R: Read> Read for Covered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.pass(&buffer[..read])?;
        Ok(read)
    }
}
