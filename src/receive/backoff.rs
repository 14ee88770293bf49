//! How long to wait before the next try, by the class of the error.
//!
//! Pure: chance is an argument, waiting is the caller's.

use std::time::Duration;

use crate::wire::Retry;

/// Waits that double from a tenth of a second to ten seconds.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    /// Failures in a row.
    failures: u32,
}

impl Backoff {
    /// The stream went well: the next failure is the first again.
    pub fn handle_success(&mut self) {
        self.failures = 0;
    }

    /// How long to wait before the next try, or `None` if there is to be none.
    ///
    /// `jitter`, from 0 to 1, shortens the wait by up to a half: receivers that lost the same
    /// server do not come back in the same moment.
    pub fn handle_failure(&mut self, retry: Retry, jitter: f64) -> Option<Duration> {
        let doubled = FIRST * 2u32.saturating_pow(self.failures.min(16));
        let wait = match retry {
            // At once means once: a server that ends each stream at once would be flooded.
            Retry::Now if self.failures == 0 => Duration::ZERO,
            Retry::Now | Retry::AfterBackoff => doubled.min(LONGEST),
            Retry::Slowly => SLOW,
            Retry::Never => return None,
        };
        self.failures = self.failures.saturating_add(1);
        Some(wait.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0))
    }
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// For what only a person can mend: a password, a missing entry in pg_hba.conf.
const SLOW: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_ten_seconds_and_start_over_after_success() {
        let mut backoff = Backoff::default();
        let mut next = || backoff.handle_failure(Retry::AfterBackoff, 0.0).map(|d| d.as_millis());
        let waits: Vec<_> = (0..9).map_while(|_| next()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        backoff.handle_success();
        let wait = backoff.handle_failure(Retry::AfterBackoff, 0.0);
        assert_eq!(wait, Some(Duration::from_millis(100)));
    }

    #[test]
    fn each_class_has_its_own_patience() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.handle_failure(Retry::Now, 1.0), Some(Duration::ZERO));
        assert!(backoff.handle_failure(Retry::Now, 1.0) > Some(Duration::ZERO));
        assert_eq!(backoff.handle_failure(Retry::Slowly, 0.0), Some(SLOW));
        assert_eq!(backoff.handle_failure(Retry::Slowly, 1.0), Some(SLOW / 2));
        assert_eq!(backoff.handle_failure(Retry::Never, 0.0), None);
    }
}
