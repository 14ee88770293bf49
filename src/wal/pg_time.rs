//! Times as PostgreSQL writes them on the wire and in the WAL.

use std::fmt;

/// Microseconds since 2000-01-01 00:00:00 UTC.
///
/// Source: manual, "Streaming Replication Protocol"; `TimestampTz` in
/// `src/include/datatype/timestamp.h`. The two ends of the range stand for the infinities.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PgTimestamp(pub i64);

/// 2000-01-01 00:00:00 UTC in Unix microseconds.
const EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

impl PgTimestamp {
    /// The same instant, given in microseconds since 1970; `None` outside of the range.
    pub fn from_unix_micros(micros: i64) -> Option<PgTimestamp> {
        micros.checked_sub(EPOCH_UNIX_MICROS).map(PgTimestamp)
    }

    /// Microseconds since 1970; `None` outside of the range, and for the infinities.
    pub fn unix_micros(self) -> Option<i64> {
        let finite = self.0 != i64::MIN && self.0 != i64::MAX;
        finite.then(|| self.0.checked_add(EPOCH_UNIX_MICROS)).flatten()
    }

    /// The instant as a calendar type; `None` when it lies beyond the year 9999.
    pub fn to_timestamp(self) -> Option<jiff::Timestamp> {
        jiff::Timestamp::from_microsecond(self.unix_micros()?).ok()
    }
}

impl From<jiff::Timestamp> for PgTimestamp {
    fn from(time: jiff::Timestamp) -> PgTimestamp {
        // jiff ends with the year 9999, which is far from the end of the i64.
        PgTimestamp(time.as_microsecond() - EPOCH_UNIX_MICROS)
    }
}

impl fmt::Display for PgTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_timestamp() {
            Some(time) => write!(f, "{}", time.strftime("%Y-%m-%d %H:%M:%S%.6f+00:00")),
            None => write!(f, "{} microseconds after 2000-01-01", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_the_year_2000_and_instants_survive_both_directions() {
        assert_eq!(PgTimestamp(0).to_string(), "2000-01-01 00:00:00.000000+00:00");
        // The time in the keepalive that a server 18 sent.
        let sent = PgTimestamp(0x0003_03EA_751D_F56A);
        assert_eq!(sent.to_string(), "2026-11-23 06:27:32.260202+00:00");
        let unix = sent.unix_micros().expect("a finite time");
        assert_eq!(PgTimestamp::from_unix_micros(unix), Some(sent));
        assert_eq!(PgTimestamp::from(sent.to_timestamp().expect("in range")), sent);
    }

    #[test]
    fn infinities_are_no_instants() {
        assert_eq!(PgTimestamp(i64::MAX).unix_micros(), None);
        assert_eq!(PgTimestamp(i64::MIN).to_timestamp(), None);
        assert_eq!(PgTimestamp::from_unix_micros(i64::MIN), None);
        assert_eq!(
            PgTimestamp(i64::MAX).to_string(),
            "9223372036854775807 microseconds after 2000-01-01"
        );
    }
}
