//! WAL segments: their size, their numbers, and the names of the files around them.

use std::fmt;
use std::str::FromStr;

use super::{Lsn, Timeline};

/// The size of a WAL segment in bytes: a power of two from 1 MiB to 1 GiB.
///
/// Source: manual, `initdb --wal-segsize`; `IsValidWalSegSize` in `xlog_internal.h`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SegmentSize(u32);

/// A number of bytes that no server uses for its segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} bytes is not a WAL segment size; expected a power of two from 1 MiB to 1 GiB")]
pub struct SegmentSizeError(pub u64);

impl SegmentSize {
    /// 16 MiB, what initdb chooses unless told otherwise.
    pub const DEFAULT: SegmentSize = SegmentSize(16 << 20);

    /// Checks that `bytes` is a size that servers use.
    pub fn new(bytes: u64) -> Result<SegmentSize, SegmentSizeError> {
        match u32::try_from(bytes) {
            Ok(size) if size.is_power_of_two() && (1 << 20..=1 << 30).contains(&size) => {
                Ok(SegmentSize(size))
            }
            _ => Err(SegmentSizeError(bytes)),
        }
    }

    /// The size in bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }

    /// How many segments share the first 16 digits of their names: 2^32 / size.
    fn per_log(self) -> u64 {
        (1 << 32) / u64::from(self.0)
    }
}

/// The ordinal of a segment: LSN / segment size.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SegmentNumber(pub u64);

impl SegmentNumber {
    /// The first position in the segment.
    pub fn start(self, size: SegmentSize) -> Lsn {
        // The last segment has no end that could be written down: a server that lies may name it.
        Lsn(self.0.saturating_mul(u64::from(size.bytes())))
    }

    /// The first position behind the segment.
    pub fn end(self, size: SegmentSize) -> Lsn {
        self.next().start(size)
    }

    /// The segment that follows.
    pub fn next(self) -> SegmentNumber {
        SegmentNumber(self.0.saturating_add(1))
    }
}

/// The name of a segment file: 24 upper-case hexadecimal digits, timeline, high and low part.
///
/// The name alone does not tell the segment size, so positions are asked for with it. Names
/// order by timeline, then by position. Source: `XLogFileName` in `xlog_internal.h`.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SegmentName {
    timeline: Timeline,
    high: u32,
    low: u32,
}

impl SegmentName {
    /// The name of segment `number` on `timeline`.
    pub fn new(timeline: Timeline, number: SegmentNumber, size: SegmentSize) -> SegmentName {
        let per_log = size.per_log();
        SegmentName {
            timeline,
            high: (number.0 / per_log) as u32,
            low: (number.0 % per_log) as u32,
        }
    }

    /// The name of the segment that holds the byte at `lsn`.
    pub fn containing(timeline: Timeline, lsn: Lsn, size: SegmentSize) -> SegmentName {
        SegmentName::new(timeline, lsn.segment(size), size)
    }

    /// The timeline in the name. Pages inside may belong to an ancestor.
    pub fn timeline(self) -> Timeline {
        self.timeline
    }

    /// The ordinal of the segment; `None` when the low part does not exist at this size,
    /// which means that the file comes from a cluster with smaller segments.
    pub fn number(self, size: SegmentSize) -> Option<SegmentNumber> {
        let per_log = size.per_log();
        (u64::from(self.low) < per_log)
            .then(|| SegmentNumber(u64::from(self.high) * per_log + u64::from(self.low)))
    }

    /// Whether the other segment may be the next one. Without the segment size it is not known
    /// how many segments share their first 16 digits: where those change, it may be.
    pub fn may_precede(self, other: SegmentName) -> bool {
        let within = self.high == other.high && self.low.checked_add(1) == Some(other.low);
        let across = self.high.checked_add(1) == Some(other.high) && other.low == 0;
        self.timeline == other.timeline && (within || across)
    }

    /// The directory under `wals/` that holds the segment: the first 16 digits of the name.
    pub fn hash_directory(self) -> String {
        format!("{:08X}{:08X}", self.timeline.id(), self.high)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.id(), self.high, self.low)
    }
}

impl fmt::Debug for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A file name that is not one of those that WAL archives hold.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not the name of a WAL file")]
pub struct ParseWalNameError(pub String);

impl FromStr for SegmentName {
    type Err = ParseWalNameError;
    fn from_str(text: &str) -> Result<SegmentName, ParseWalNameError> {
        match text.parse()? {
            WalFileName::Segment(name) => Ok(name),
            _ => Err(ParseWalNameError(text.to_owned())),
        }
    }
}

/// Every kind of file that belongs in a WAL archive.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum WalFileName {
    /// A complete segment: `000000010000000000000003`.
    Segment(SegmentName),
    /// A segment that is still, or for ever, incomplete: `….partial`.
    Partial(SegmentName),
    /// A backup history file, `….00000028.backup`: the segment that holds the start of a
    /// base backup and the offset of that start in it.
    BackupLabel {
        /// The segment with the start of the backup.
        segment: SegmentName,
        /// Bytes from the start of the segment.
        offset: u32,
    },
    /// The ancestry of a timeline: `00000002.history`.
    History(Timeline),
}

impl WalFileName {
    /// The directory under `wals/` that holds the file: empty for history files, which stand
    /// beside the hash directories.
    pub fn hash_directory(self) -> Option<String> {
        match self {
            WalFileName::Segment(name) | WalFileName::Partial(name) => Some(name.hash_directory()),
            WalFileName::BackupLabel { segment, .. } => Some(segment.hash_directory()),
            WalFileName::History(_) => None,
        }
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalFileName::Segment(name) => name.fmt(f),
            WalFileName::Partial(name) => write!(f, "{name}.partial"),
            WalFileName::BackupLabel { segment, offset } => {
                write!(f, "{segment}.{offset:08X}.backup")
            }
            WalFileName::History(timeline) => f.write_str(&timeline.history_file_name()),
        }
    }
}

impl FromStr for WalFileName {
    type Err = ParseWalNameError;

    fn from_str(text: &str) -> Result<WalFileName, ParseWalNameError> {
        parse_name(text).ok_or_else(|| ParseWalNameError(text.to_owned()))
    }
}

fn parse_name(text: &str) -> Option<WalFileName> {
    let (digits, suffix) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() == 8 && suffix == "history" {
        return Timeline::new(hex8(digits)?).map(WalFileName::History);
    }
    if digits.len() != 24 {
        return None;
    }
    let segment = SegmentName {
        timeline: Timeline::new(hex8(digits.get(..8)?)?)?,
        high: hex8(digits.get(8..16)?)?,
        low: hex8(digits.get(16..)?)?,
    };
    match suffix {
        "" if text.len() == 24 => Some(WalFileName::Segment(segment)),
        "partial" => Some(WalFileName::Partial(segment)),
        _ => {
            let offset = hex8(suffix.strip_suffix(".backup")?)?;
            Some(WalFileName::BackupLabel { segment, offset })
        }
    }
}

/// Exactly eight digits, upper case: the server writes no others.
fn hex8(digits: &str) -> Option<u32> {
    let upper = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    (digits.len() == 8 && digits.bytes().all(upper))
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(mib: u64) -> SegmentSize {
        SegmentSize::new(mib << 20).expect("a power of two")
    }

    fn name(tli: u32, lsn: u64, mib: u64) -> String {
        let timeline = Timeline::new(tli).expect("not 0");
        SegmentName::containing(timeline, Lsn(lsn), size(mib)).to_string()
    }

    #[test]
    fn names_are_those_of_the_server_at_every_segment_size() {
        assert_eq!(name(1, 0x33C_FBD8, 16), "000000010000000000000003");
        assert_eq!(name(0x1F, 1 << 32, 16), "0000001F0000000100000000");
        assert_eq!(name(1, 0x5_C000_0000, 1024), "000000010000000500000003");
        assert_eq!(name(1, 0xFFF0_0000, 1), "000000010000000000000FFF");
    }

    #[test]
    fn the_last_position_that_can_be_written_is_no_overflow() {
        for mib in [1, 16, 1024] {
            let last = Lsn(u64::MAX);
            let number = last.segment(size(mib));
            assert!(number.start(size(mib)) <= last);
            assert_eq!(number.end(size(mib)), last);
            assert_eq!(number.next().next().end(size(mib)), last);
            assert_eq!(last + 1, last);
        }
    }

    #[test]
    fn a_name_gives_its_number_back_unless_the_size_is_not_its_own() {
        let at_16: SegmentName = "0000000100000005000000FF".parse().expect("a segment name");
        assert_eq!(at_16.number(size(16)), Some(SegmentNumber(5 * 256 + 255)));
        assert_eq!(at_16.number(size(64)), None);
        assert_eq!(at_16.hash_directory(), "0000000100000005");
    }

    #[test]
    fn every_kind_of_wal_file_is_told_by_its_name_and_nothing_else_is_accepted() {
        for text in [
            "000000010000000000000003",
            "000000010000000000000003.partial",
            "000000010000000000000003.00000028.backup",
            "00000002.history",
        ] {
            let name: WalFileName = text.parse().expect(text);
            assert_eq!(name.to_string(), text);
        }
        for text in [
            "",
            "000000010000000000000003.",
            "00000001000000000000000a",
            "000000000000000000000003",
            "000000010000000000000003.gz",
            "000000010000000000000003.partial.gz",
            "000000010000000000000003.28.backup",
            "00000000.history",
            "2.history",
            "é000000010000000000000000",
        ] {
            assert!(text.parse::<WalFileName>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn only_sizes_that_initdb_allows_are_accepted() {
        for bytes in [0, 1, 512 << 10, (16 << 20) + 1, 2 << 30, 1 << 40] {
            assert_eq!(SegmentSize::new(bytes), Err(SegmentSizeError(bytes)));
        }
        assert_eq!(SegmentSize::new(1 << 30).map(SegmentSize::bytes), Ok(1 << 30));
    }
}
