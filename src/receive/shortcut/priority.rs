//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! Who comes first at a processor while a bulk load goes on: the thread that commits wait for.
//!
//! The processes of a load keep every processor busy, and a thread that has been waiting for a
//! socket gets its turn when one of theirs is over. Without a load nothing is changed: a thread
//! that comes at once finds smaller groups of commits, and flushes more often.

use std::io::{self, ErrorKind};

use rustix::process::{Resource, getrlimit};

use crate::sys::Schedule;

/// The place of the calling thread, which it gets back at the end. Not for another thread.
#[derive(Debug, Default)]
pub(super) struct Priority {
    is_first: bool,
    /// What it had before.
    usual: Option<Schedule>,
}

impl Priority {
    /// Lets the thread come first, or as it did before. Cheap when nothing is to be changed.
    ///
    /// # Errors
    /// The system refuses that it comes first; told once each time when it is to.
    pub(super) fn set(&mut self, first: bool) -> io::Result<()> {
        if first == self.is_first {
            return Ok(());
        }
        self.is_first = first;
        if first {
            return self.raise();
        }
        self.lower();
        Ok(())
    }

    fn raise(&mut self) -> io::Result<()> {
        let usual = Schedule::of_this_thread()?;
        if !usual.is_ordinary() {
            // Somebody has chosen another policy, and knows why.
            return Ok(());
        }
        self.usual = Some(usual);
        let with = |nice| usual.with(nice, SLICE);
        let wanted = first_nice(usual.nice());
        match with(wanted).apply() {
            Err(refusal) if refusal.kind() == ErrorKind::PermissionDenied => {
                let allowed = lowest_allowed().clamp(wanted, usual.nice());
                with(allowed).apply()?;
                if allowed < usual.nice() { Ok(()) } else { Err(refusal) }
            }
            result => result,
        }
    }

    /// Back to exactly what it had, also where its time slice was the system's choice.
    fn lower(&mut self) {
        if let Some(usual) = self.usual.take() {
            // Refused only where somebody has sent it further back meanwhile: so be it.
            let _ = usual.apply();
        }
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        self.lower();
    }
}

/// The nice value with which a thread comes first whose usual one this is. Who was sent back by
/// its administrator comes less far.
fn first_nice(usual: i32) -> i32 {
    (usual - AHEAD).max(FIRST).min(usual)
}

/// The lowest nice value that needs no privilege, by the limit of this process.
fn lowest_allowed() -> i32 {
    lowest_within(getrlimit(Resource::Nice).current)
}

/// `RLIMIT_NICE` counts downwards from a nice value of 20; `None` is no limit: `getrlimit(2)`.
fn lowest_within(limit: Option<u64>) -> i32 {
    let steps = limit.and_then(|limit| i32::try_from(limit).ok()).unwrap_or(i32::MAX);
    20 - steps.min(40)
}

/// By how much nice values are lowered.
const AHEAD: i32 = 10;
/// No nice value is lowered further than to this.
const FIRST: i32 = -10;
/// The shortest time slice that Linux gives, in nanoseconds: 0.1 ms.
const SLICE: u64 = 100_000;

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    use super::*;

    fn schedule() -> Schedule {
        Schedule::of_this_thread().expect("it told before")
    }

    /// In a thread of its own, which ends with the nice value that it has then. Nothing is to be
    /// seen where the kernel does not tell, or where somebody has chosen another policy.
    fn in_a_thread(test: impl FnOnce(Schedule) + Send + 'static) {
        let usual = Schedule::of_this_thread();
        if let Ok(usual) = usual
            && usual.is_ordinary()
        {
            thread::spawn(move || test(usual)).join().expect("no panic");
        }
    }

    /// What a thread has that comes first, or may not.
    fn assert_first(result: io::Result<()>, usual: Schedule) {
        let first = schedule();
        let allowed = lowest_allowed().clamp(first_nice(usual.nice()), usual.nice());
        match result {
            Ok(()) => {
                let expected = [first_nice(usual.nice()), allowed];
                assert!(expected.contains(&first.nice()), "{first:?}, {usual:?}");
                let lowest = usual.nice() <= FIRST;
                assert!(first.nice() < usual.nice() || lowest, "{first:?}, {usual:?}");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                assert_eq!((first.nice(), allowed), (usual.nice(), usual.nice()));
            }
        }
        // Kernels that heed it tell it.
        let expected = if usual.slice() == 0 { 0 } else { SLICE };
        assert_eq!(first.slice(), expected, "{usual:?}");
    }

    #[test]
    fn a_thread_that_comes_first_has_its_old_place_again_afterwards() {
        in_a_thread(|usual| {
            let mut priority = Priority::default();
            for _ in 0..2 {
                assert_first(priority.set(true), usual);
                priority.set(true).expect("told once");
                priority.set(false).expect("never refused");
                assert_eq!(schedule(), usual);
            }
            assert_first(priority.set(true), usual);
            drop(priority);
            assert_eq!(schedule(), usual, "also when it is forgotten");
        });
    }

    #[test]
    fn a_thread_that_may_not_come_first_says_so_and_keeps_its_nice_value() {
        in_a_thread(|usual| {
            let mut sets = capabilities(None).expect("Linux tells");
            sets.effective.remove(CapabilitySet::SYS_NICE);
            set_capabilities(None, sets).expect("less is never refused");
            let mut priority = Priority::default();
            let result = priority.set(true);
            assert!(result.is_err() || lowest_allowed() < usual.nice() || usual.nice() <= FIRST);
            assert_first(result, usual);
            drop(priority);
            assert_eq!(schedule(), usual);
        });
    }

    #[test]
    fn whose_policy_somebody_has_chosen_is_left_alone() {
        in_a_thread(|usual| {
            let batch = usual.with_batch_policy();
            batch.apply().expect("anybody may");
            let before = schedule();
            assert!(!before.is_ordinary());
            let mut priority = Priority::default();
            priority.set(true).expect("nothing is asked for");
            assert_eq!(schedule(), before);
            drop(priority);
            assert_eq!(schedule(), before);
        });
    }

    #[test]
    fn ten_steps_ahead_and_no_further_than_minus_ten() {
        for (usual, first) in [(0, -10), (19, 9), (5, -5), (-5, -10), (-10, -10), (-15, -15)] {
            assert_eq!(first_nice(usual), first, "{usual}");
        }
    }

    #[test]
    fn a_limit_is_a_nice_value_counted_from_the_other_end() {
        for (limit, nice) in
            [(0, 20), (1, 19), (20, 0), (30, -10), (40, -20), (41, -20), (u64::MAX, -20)]
        {
            assert_eq!(lowest_within(Some(limit)), nice, "{limit}");
        }
        assert_eq!(lowest_within(None), -20);
    }
}
