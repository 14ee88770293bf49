//! Timelines and the identity of a cluster.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// A timeline ID: never 0, printed in decimal by SQL and as 8 hexadecimal digits in file names.
///
/// Source: `TimeLineID` in `src/include/access/xlogdefs.h`.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timeline(NonZeroU32);

impl Timeline {
    /// The timeline of a cluster that was never promoted.
    pub const FIRST: Timeline = Timeline(NonZeroU32::MIN);

    /// `None` for 0, which is no timeline.
    pub fn new(id: u32) -> Option<Timeline> {
        NonZeroU32::new(id).map(Timeline)
    }

    /// Reads a column that the server types int4 (10 to 15) or int8 (16 and later): values
    /// above 2^31 arrive negative in the former.
    pub fn from_column(value: i64) -> Option<Timeline> {
        let id = match value {
            0..=0xFFFF_FFFF => u32::try_from(value).ok()?,
            -0x8000_0000..=-1 => i32::try_from(value).ok()?.cast_unsigned(),
            _ => return None,
        };
        Timeline::new(id)
    }

    /// The number itself.
    pub fn id(self) -> u32 {
        self.0.get()
    }

    /// The name of the file that tells this timeline's ancestry: `0000000A.history`.
    pub fn history_file_name(self) -> String {
        format!("{:08X}.history", self.id())
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is not a decimal timeline ID.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a timeline; expected a whole number from 1 to 4294967295")]
pub struct ParseTimelineError(pub String);

impl FromStr for Timeline {
    type Err = ParseTimelineError;
    fn from_str(text: &str) -> Result<Timeline, ParseTimelineError> {
        text.parse().ok().map(Timeline).ok_or_else(|| ParseTimelineError(text.to_owned()))
    }
}

/// What tells one cluster from another: chosen at initdb, shared by all its copies.
///
/// Source: `system_identifier` in `src/include/catalog/pg_control.h`; printed in decimal.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SystemIdentifier(pub u64);

impl fmt::Display for SystemIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SystemIdentifier {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<SystemIdentifier, Self::Err> {
        text.parse().map(SystemIdentifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_above_two_billion_survives_a_signed_column() {
        assert_eq!(Timeline::from_column(-1).map(Timeline::id), Some(u32::MAX));
        assert_eq!(Timeline::from_column(4_294_967_295).map(Timeline::id), Some(u32::MAX));
        assert_eq!(Timeline::from_column(7).map(Timeline::id), Some(7));
        assert_eq!(Timeline::from_column(0), None);
        assert_eq!(Timeline::from_column(1 << 32), None);
    }
}
