//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! Tells a bulk load from commits by what is heard at a time, and by what the disk takes.

use std::time::Duration;

use crate::receive::writer::SHORT_FLUSH;

/// A bulk load, or none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bulk {
    /// Gatherings in a row that ended because they were large enough.
    large: u32,
    /// What it took to make them durable.
    flushing: Duration,
    /// Gatherings in a row that were not large.
    small: u32,
    goes_on: bool,
}

impl Bulk {
    /// Something has been gathered that is to be made durable at once.
    pub(super) fn gathered(&mut self, is_large: bool) {
        if !is_large {
            (self.large, self.flushing) = (0, Duration::ZERO);
            self.small = self.small.saturating_add(1);
            self.goes_on &= self.small < CALM;
            return;
        }
        (self.large, self.small) = (self.large + 1, 0);
        self.goes_on |= self.large > BULK;
        if self.large == WINDOW {
            // What the disk did long ago says little.
            (self.large, self.flushing) = (WINDOW / 2, self.flushing / 2);
        }
    }

    pub(super) fn flushed(&mut self, took: Duration) {
        if self.large > 0 {
            self.flushing += took;
        }
    }

    /// Whether reading and writing at the same time is better now. What a fast disk makes durable
    /// in no time is better left to one thread: each one more has to be woken up.
    pub(super) fn keeps_the_disk_busy(&self) -> bool {
        self.large > BULK && self.flushing > SHORT_FLUSH * (self.large - 1)
    }

    /// Whether commits come beside a bulk load, which they interrupt all the time.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }
}

/// So many large gatherings in a row are a bulk load: full pages behind a checkpoint are not.
const BULK: u32 = 4;
/// Over so many of them at most the flushes are averaged.
const WINDOW: u32 = 32;
/// So many small gatherings in a row are the end of it.
const CALM: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(2);
    const FAST: Duration = Duration::from_micros(500);

    #[test]
    fn a_bulk_load_is_better_by_two_when_it_keeps_coming_and_its_flushes_take_their_time() {
        let is_busy_after = |gatherings: &[(bool, Duration)]| {
            let mut bulk = Bulk::default();
            gatherings.iter().any(|(is_large, flush)| {
                bulk.gathered(*is_large);
                let is_busy = bulk.keeps_the_disk_busy();
                bulk.flushed(*flush);
                is_busy
            })
        };
        assert!(is_busy_after(&[(true, SLOW); 5]));
        assert!(!is_busy_after(&[(true, SLOW); 4]), "full pages behind a checkpoint");
        assert!(!is_busy_after(&[(true, FAST); 100]), "a fast disk");
        let mut group = [(true, SLOW); 4];
        group[3].0 = false;
        assert!(!is_busy_after(&group.repeat(10)), "groups of commits");
        let fast_now = [&group.repeat(10)[..], &[(true, FAST); 10]].concat();
        assert!(!is_busy_after(&fast_now), "the slow flushes were others'");
        let slow_now = [[(true, FAST); 1000].as_slice(), &[(true, SLOW); 40]].concat();
        assert!(is_busy_after(&slow_now), "a disk that was fast for long");
    }

    #[test]
    fn a_bulk_load_goes_on_between_commits_until_many_came_without_it() {
        let mut bulk = Bulk::default();
        let mut gather = |is_large: bool, times: u32| {
            (0..times).for_each(|_| bulk.gathered(is_large));
            bulk.goes_on()
        };
        for _ in 0..100 {
            assert!(!gather(true, BULK), "full pages behind a checkpoint");
            assert!(!gather(false, 1));
        }
        assert!(gather(true, BULK + 1));
        for _ in 0..100 {
            assert!(gather(false, CALM - 1), "commits beside it");
            assert!(gather(true, 1));
        }
        assert!(!gather(false, CALM));
        assert!(!gather(true, BULK), "full pages behind a checkpoint");
        assert!(gather(true, 1000));
    }
}
