//! When zeros are written: spread over the time that a segment takes to fill, each step right
//! behind a flush.
//!
//! Before the next commit comes, the server has to take our answer and a client has to think:
//! that is when the disk is free. A step that began just before a flush would be waited for by it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// What the writer tells the thread that makes its spares.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Somebody waits for the spare.
    hurry: AtomicBool,
    /// The thread waits for the end of a flush.
    awaits_lull: AtomicBool,
}

impl Signals {
    /// Nobody waits any more for what was made before.
    pub(super) fn reset(&self) {
        self.hurry.store(false, Ordering::Release);
    }

    /// Somebody waits.
    pub(super) fn hurry(&self, thread: &Thread) {
        self.hurry.store(true, Ordering::Release);
        thread.unpark();
    }

    /// The disk is free for a moment. Costs one load, unless a step is due.
    pub(super) fn lull(&self, thread: &Thread) {
        let is_awaited = self.awaits_lull.load(Ordering::Relaxed);
        if is_awaited && self.awaits_lull.swap(false, Ordering::AcqRel) {
            thread.unpark();
        }
    }
}

/// Spreads work over a time, until somebody is in a hurry.
pub(super) struct Pace<'a> {
    pub(super) began: Instant,
    pub(super) within: Duration,
    /// How long a step that is due waits for the end of a flush.
    pub(super) lull: Duration,
    pub(super) signals: &'a Signals,
}

impl Pace<'_> {
    /// Waits until it is time for what comes after `done` of `all`. `false`: somebody waits.
    pub(super) fn wait(&self, done: u64, all: u64) -> bool {
        let due = self.began + self.within.mul_f64(done as f64 / all as f64);
        self.park_until(due, || false) && self.wait_for_lull()
    }

    fn wait_for_lull(&self) -> bool {
        let awaited = &self.signals.awaits_lull;
        awaited.store(true, Ordering::Release);
        let goes_on =
            self.park_until(Instant::now() + self.lull, || !awaited.load(Ordering::Acquire));
        awaited.store(false, Ordering::Release);
        goes_on
    }

    fn park_until(&self, due: Instant, is_over: impl Fn() -> bool) -> bool {
        loop {
            if self.signals.hurry.load(Ordering::Acquire) {
                return false;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || is_over() {
                return true;
            }
            thread::park_timeout(left);
        }
    }
}

/// Where nothing comes there is nothing to wait for, and a spare is wanted all the same.
pub(super) const LULL_MAX: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// What a step that is due says when it was told this while it waited for a lull.
    fn step_that_is_told(tell: impl Fn(&Signals, &Thread)) -> bool {
        let signals = Signals::default();
        let pace =
            Pace { began: Instant::now(), within: Duration::ZERO, lull: LONG, signals: &signals };
        thread::scope(|scope| {
            let step = scope.spawn(|| pace.wait(1, 2));
            let deadline = Instant::now() + Duration::from_secs(60);
            while !signals.awaits_lull.load(Ordering::Acquire) {
                assert!(Instant::now() < deadline, "it does not wait");
                thread::yield_now();
            }
            tell(&signals, step.thread());
            step.join().expect("no panic")
        })
    }

    #[test]
    fn a_step_that_is_due_waits_for_the_end_of_a_flush() {
        assert!(step_that_is_told(Signals::lull));
    }

    #[test]
    fn who_waits_for_the_spare_does_not_wait_for_a_lull() {
        assert!(!step_that_is_told(Signals::hurry));
    }

    #[test]
    fn a_lull_that_never_comes_holds_nothing_up() {
        let signals = Signals::default();
        let pace = Pace {
            began: Instant::now(),
            within: Duration::ZERO,
            lull: LULL_MAX,
            signals: &signals,
        };
        assert!(pace.wait(1, 2));
        assert!(!signals.awaits_lull.load(Ordering::Acquire), "nobody is to ring for it");
    }
}
