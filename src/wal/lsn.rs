//! The position of a byte in the write-ahead log.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use super::{SegmentNumber, SegmentSize};

/// A log sequence number: the position of a byte in the WAL stream, counted from 0.
///
/// Written `HI/LO`, two hexadecimal numbers of 32 bits each, without padding (`0/33CFBD8`).
/// Source: PostgreSQL manual, type `pg_lsn`; `src/include/access/xlogdefs.h`.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lsn(pub u64);

impl Lsn {
    /// `0/0`: the protocol's word for "unknown"; no WAL byte lives here.
    pub const INVALID: Lsn = Lsn(0);

    /// Whether this is a position at all (`0/0` is not).
    pub fn is_valid(self) -> bool {
        self != Lsn::INVALID
    }

    /// The segment that holds the byte at this position. For the end of a range, which is
    /// exclusive, see [`Lsn::segment_before`].
    pub fn segment(self, size: SegmentSize) -> SegmentNumber {
        SegmentNumber(self.0 / u64::from(size.bytes()))
    }

    /// The segment that holds the last byte before this position: an end that lies exactly
    /// on a boundary belongs to the segment that it closes.
    pub fn segment_before(self, size: SegmentSize) -> SegmentNumber {
        Lsn(self.0.saturating_sub(1)).segment(size)
    }

    /// Bytes between the start of the segment and this position.
    pub fn segment_offset(self, size: SegmentSize) -> u32 {
        // The remainder is below the segment size, which is a u32.
        (self.0 % u64::from(size.bytes())) as u32
    }

    /// The first position of the segment that holds this one.
    pub fn segment_start(self, size: SegmentSize) -> Lsn {
        Lsn(self.0 - u64::from(self.segment_offset(size)))
    }

    /// `self + bytes`, or `None` beyond the end of the 64-bit range.
    pub fn checked_add(self, bytes: u64) -> Option<Lsn> {
        self.0.checked_add(bytes).map(Lsn)
    }

    /// Bytes from `earlier` to `self`; 0 when `earlier` is not earlier.
    pub fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Lsn {
    type Output = Lsn;
    /// Stops at the end of the 64-bit range, which only a server that lies comes near.
    fn add(self, bytes: u64) -> Lsn {
        Lsn(self.0.saturating_add(bytes))
    }
}

impl Sub<Lsn> for Lsn {
    type Output = u64;
    fn sub(self, other: Lsn) -> u64 {
        self.0 - other.0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a position of the form `HI/LO`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not an LSN; expected two hexadecimal numbers such as 0/33CFBD8")]
pub struct ParseLsnError(pub String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    /// Reads 1 to 8 hexadecimal digits on each side, in either case; servers of version 19
    /// pad the low half to eight digits.
    fn from_str(text: &str) -> Result<Lsn, ParseLsnError> {
        let half = |digits: &str| -> Option<u64> {
            let valid = (1..=8).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Lsn(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_the_servers_and_is_read_back_in_any_width_and_case() {
        assert_eq!(Lsn(0x33C_FBD8).to_string(), "0/33CFBD8");
        for text in ["0/33CFBD8", "0/033CFBD8", "0/33cfbd8", "00000000/033CFBD8"] {
            assert_eq!(text.parse(), Ok(Lsn(0x33C_FBD8)), "{text}");
        }
        assert_eq!("FFFFFFFF/FFFFFFFF".parse(), Ok(Lsn(u64::MAX)));
        for text in ["", "/", "0/", "/0", "0", "0/0/0", "+1/0", "0/ 1", "123456789/0", "g/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_boundary_starts_the_next_segment_and_ends_the_one_before() {
        let size = SegmentSize::DEFAULT;
        let boundary = Lsn(0x300_0000);
        assert_eq!(boundary.segment(size), SegmentNumber(3));
        assert_eq!(boundary.segment_before(size), SegmentNumber(2));
        assert_eq!(boundary.segment_offset(size), 0);
        assert_eq!(Lsn(0x300_0001).segment_before(size), SegmentNumber(3));
        assert_eq!(Lsn(0x3FF_FFFF).segment_start(size), boundary);
    }
}
