//! How far durable WAL is behind the server, in time.
//!
//! Pure, and by one clock: how long ago the server had written what is not durable here yet. The
//! times in the WAL are by the server's clock, and an idle server writes none.

use std::collections::VecDeque;
use std::time::Duration;

use crate::wal::Lsn;

/// Remembers where the server stood when.
#[derive(Clone, Debug, Default)]
pub(super) struct LagClock {
    /// Positions that were not durable when they were seen, with the first time that they were.
    seen: VecDeque<(Duration, Lsn)>,
}

impl LagClock {
    /// The lag at `now`, a time that only goes forward.
    pub(super) fn handle(&mut self, now: Duration, server: Lsn, flushed: Lsn) -> Duration {
        let newest = self.seen.back().map(|(_, position)| *position);
        if newest.is_some_and(|newest| server < newest) {
            // Another timeline.
            self.seen.clear();
        }
        if server > flushed && newest != Some(server) {
            if self.seen.len() == SAMPLES {
                self.thin();
            }
            self.seen.push_back((now, server));
        }
        while self.seen.front().is_some_and(|(_, position)| *position <= flushed) {
            self.seen.pop_front();
        }
        self.seen.front().map_or(Duration::ZERO, |(since, _)| now.saturating_sub(*since))
    }

    /// Keeps every second one, the oldest among them: a long lag is told less finely.
    fn thin(&mut self) {
        let mut keep = false;
        self.seen.retain(|_| {
            keep = !keep;
            keep
        });
    }
}

const SAMPLES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_lag_is_the_age_of_the_oldest_position_that_is_not_durable() {
        let mut clock = LagClock::default();
        for second in 0..10 {
            let lag = clock.handle(SECOND * second, Lsn(100 + u64::from(second)), Lsn(100));
            // At the first look all is durable.
            assert_eq!(lag, SECOND * second.saturating_sub(1));
        }
        assert_eq!(clock.handle(SECOND * 10, Lsn(109), Lsn(105)), SECOND * 4);
        assert_eq!(clock.handle(SECOND * 11, Lsn(109), Lsn(109)), Duration::ZERO);
        assert_eq!(clock.handle(SECOND * 99, Lsn(109), Lsn(109)), Duration::ZERO);
    }

    #[test]
    fn a_lag_of_hours_is_told_without_memory_of_each_second() {
        let mut clock = LagClock::default();
        let mut lag = Duration::ZERO;
        for second in 0..100_000_u32 {
            lag = clock.handle(SECOND * second, Lsn(1 + u64::from(second)), Lsn(0));
        }
        assert_eq!(lag, SECOND * 99_999);
        assert!(clock.seen.len() <= SAMPLES);
    }

    #[test]
    fn positions_of_a_timeline_that_was_left_are_forgotten() {
        let mut clock = LagClock::default();
        clock.handle(SECOND, Lsn(900), Lsn(100));
        assert_eq!(clock.handle(SECOND * 50, Lsn(500), Lsn(400)), Duration::ZERO);
        assert_eq!(clock.handle(SECOND * 51, Lsn(500), Lsn(400)), SECOND);
    }
}
