//! Lines of Tapster's own files: words, and a check value at the end.

use std::fmt::{self, Write};

use jiff::Timestamp;

use crate::wal::{Lsn, PgTimestamp};

/// Permission bits of [`super::ServerLayout::state`].
pub const STATE_MODE: u32 = 0o700;
/// Permission bits of the files in it.
pub const STATE_FILE_MODE: u32 = 0o600;

/// Adds a line of words with its check value (CRC-32, eight hexadecimal digits) to `text`.
pub(super) fn add_line(text: &mut String, words: fmt::Arguments<'_>) {
    let start = text.len();
    // To write to a string never fails.
    let _ = text.write_fmt(words);
    let check = crc32fast::hash(&text.as_bytes()[start..]);
    let _ = writeln!(text, " {check:08x}");
}

/// The words of a line without its newline; `None` when the check value is another one.
pub(super) fn read_line(line: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let line = std::str::from_utf8(line).ok()?;
    let (words, check) = line.rsplit_once(' ')?;
    let good =
        check.len() == 8 && u32::from_str_radix(check, 16) == Ok(crc32fast::hash(words.as_bytes()));
    good.then(|| words.split(' '))
}

/// `-` for what is not known or does not exist.
pub(super) struct Word<T>(pub(super) Option<T>);

impl<T: fmt::Display> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// A position or `-`; the outer `None` is for neither.
pub(super) fn lsn(word: &str) -> Option<Option<Lsn>> {
    if word == "-" { Some(None) } else { word.parse().ok().map(Some) }
}

/// A time of the server or `-`.
pub(super) fn time(word: &str) -> Option<Option<PgTimestamp>> {
    if word == "-" {
        return Some(None);
    }
    word.parse::<Timestamp>().ok().map(|time| Some(PgTimestamp::from(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_what_was_written_is_no_line() {
        let mut text = String::new();
        add_line(&mut text, format_args!("0/3000000 {}", Word::<Lsn>(None)));
        let line = text.trim_end().as_bytes().to_vec();
        let words: Vec<&str> = read_line(&line).expect("as written").collect();
        assert_eq!(words, ["0/3000000", "-"]);
        for at in 0..line.len() {
            let mut other = line.clone();
            other[at] ^= 1;
            assert!(read_line(&other).is_none(), "byte {at}");
            assert!(read_line(&line[..at]).is_none(), "cut at {at}");
        }
    }
}
