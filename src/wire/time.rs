//! The time of day as the stream carries it.

/// Microseconds since 2000-01-01 00:00:00 UTC, the epoch of PostgreSQL.
///
/// Source: manual, "Streaming Replication Protocol"; `TimestampTz` in `timestamp.h`.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct PgTimestamp(pub i64);

impl PgTimestamp {
    /// 2000-01-01 00:00:00 UTC in microseconds of the Unix epoch.
    const EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

    /// From microseconds since 1970-01-01 00:00:00 UTC.
    pub fn from_unix_micros(micros: i64) -> PgTimestamp {
        PgTimestamp(micros.saturating_sub(Self::EPOCH_UNIX_MICROS))
    }

    /// Microseconds since 1970-01-01 00:00:00 UTC.
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(Self::EPOCH_UNIX_MICROS)
    }
}
