//! The one place that reads the wall clock.

use jiff::Timestamp;

/// The time of day, as the machine knows it. For names and records; never to measure a span.
pub fn now() -> Timestamp {
    Timestamp::now()
}
