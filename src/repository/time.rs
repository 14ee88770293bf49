//! Moments as backup.info writes them.

use std::fmt;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

/// A moment with the offset it was written with: `2026-11-23 06:25:41.276016+00:00`.
///
/// Microseconds. Without an offset, as old releases of Barman wrote it, local time is meant.
/// Printed as Python prints a `datetime`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BackupTime {
    civil: DateTime,
    offset: Option<Offset>,
}

impl BackupTime {
    /// The moment, to be written with `offset`. Finer than microseconds is cut off.
    pub fn new(moment: Timestamp, offset: Offset) -> BackupTime {
        let civil = offset.to_datetime(moment);
        let micros = civil.subsec_nanosecond() / 1000 * 1000;
        let civil = civil.with().subsec_nanosecond(micros).build().unwrap_or(civil);
        BackupTime { civil, offset: Some(offset) }
    }

    /// The moment, to be written with the offset that its zone has then.
    pub fn from_zoned(moment: &Zoned) -> BackupTime {
        BackupTime::new(moment.timestamp(), moment.offset())
    }

    /// Reads the form above, leniently: `T` or a blank between date and time, with or without
    /// fraction and offset.
    pub fn parse(text: &str) -> Option<BackupTime> {
        let pieces = Pieces::parse(text.trim()).ok()?;
        let civil = pieces.date().to_datetime(pieces.time()?);
        Some(BackupTime { civil, offset: pieces.to_numeric_offset() })
    }

    /// The moment itself; what has no offset is taken as local time.
    pub fn moment(self) -> Timestamp {
        let moment = match self.offset {
            Some(offset) => offset.to_timestamp(self.civil),
            None => self.civil.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp()),
        };
        // Out of range only beyond the year 9999.
        moment.unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for BackupTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.civil.strftime("%Y-%m-%d %H:%M:%S"))?;
        let micros = self.civil.subsec_nanosecond() / 1000;
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        let Some(offset) = self.offset else { return Ok(()) };
        let seconds = offset.seconds().unsigned_abs();
        let sign = if offset.seconds() < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)?;
        match seconds % 60 {
            0 => Ok(()),
            odd => write!(f, ":{odd:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_printed_as_it_was_written() {
        for text in [
            "2026-11-23 06:25:41.276016+00:00",
            "2026-11-23 06:25:41+05:30",
            "2026-11-23 06:25:41.000100-03:00",
            "2026-11-23 06:25:41",
        ] {
            assert_eq!(BackupTime::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn other_spellings_of_a_moment_are_understood() {
        let moment = BackupTime::parse("2026-11-23 06:25:41.5+00:00").expect("a time").moment();
        for text in
            ["2026-11-23T06:25:41.5Z", "2026-11-23 07:25:41.500+01:00", "2026-11-23T05:25:41.5-01"]
        {
            assert_eq!(BackupTime::parse(text).expect(text).moment(), moment, "{text}");
        }
        assert_eq!(BackupTime::parse("yesterday"), None);
        assert_eq!(BackupTime::parse("2026-11-23"), None);
    }
}
