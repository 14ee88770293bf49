//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! How the next spare is to be made, by what it was like to fill the last segment. No clock.

use std::time::{Duration, Instant};

use super::SHORT_FLUSH;
use crate::receive::spare::{Filling, Order};
use crate::wal::SegmentSize;

/// The segment that is being filled, and what follows from those before it.
#[derive(Debug)]
pub(super) struct Filled {
    order: Order,
    /// When the segment before the current one was complete.
    completed_at: Option<Instant>,
    /// How often the current one was flushed.
    flushes: u32,
    /// What the disk took to write and to flush it.
    at_the_disk: Duration,
}

impl Filled {
    /// Nothing is known yet: the first spares are made like this.
    pub(super) fn new(filling: Filling) -> Filled {
        let order = Order { filling, within: FIRST };
        Filled { order, completed_at: None, flushes: 0, at_the_disk: Duration::ZERO }
    }

    /// How spares are to be made from now on.
    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// A part was written.
    pub(super) fn written(&mut self, took: Duration) {
        self.at_the_disk += took;
    }

    /// What was written is durable.
    pub(super) fn flushed(&mut self, took: Duration) {
        self.at_the_disk += took;
        self.flushes += 1;
    }

    /// The segment is complete. Zeros are written once more than needed, and pay where commits
    /// wait for flushes; in catch-up, and where a bulk load keeps the disk busy, they would only
    /// be in the way. Who makes spares in turn always writes them while commits wait.
    pub(super) fn completed(
        &mut self,
        now: Instant,
        size: SegmentSize,
        commits_wait: bool,
        in_turn: bool,
    ) {
        let since =
            self.completed_at.replace(now).map(|before| now.saturating_duration_since(before));
        let flushes = std::mem::take(&mut self.flushes);
        let at_the_disk = std::mem::take(&mut self.at_the_disk);
        let is_bulk = u64::from(flushes) * LONG_FLUSH < u64::from(size.bytes());
        let is_busy = at_the_disk > SHORT_FLUSH * flushes;
        self.order.filling = match commits_wait && (in_turn || !(is_bulk && is_busy)) {
            true => Filling::Zeros,
            false => Filling::Reserved,
        };
        if let Some(since) = since {
            // The next one may fill faster than the last one.
            self.order.within = since.min(SLOW) * 3 / 4;
        }
    }
}

/// Flushes that are longer than this on average are those of a bulk load. Behind a checkpoint
/// small commits fill segments as fast.
const LONG_FLUSH: u64 = 64 << 10;
/// In which time the second spare is made: how fast segments fill is not known yet.
const FIRST: Duration = Duration::from_millis(250);
/// A spare need not take longer than this, however slowly segments fill.
const SLOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    /// What is chosen behind a segment of 16 MiB that was filled by flushes of that size, each of
    /// which took so long with its write.
    fn choice(flush: u32, micros: u64, commits_wait: bool, in_turn: bool) -> Filling {
        let mut filled = Filled::new(Filling::Zeros);
        for _ in 0..16 * MIB / flush {
            filled.written(Duration::from_micros(micros / 2));
            filled.flushed(Duration::from_micros(micros - micros / 2));
        }
        let size = SegmentSize::new(16 << 20).expect("a size");
        filled.completed(Instant::now(), size, commits_wait, in_turn);
        filled.order().filling
    }

    #[test]
    fn zeros_are_written_where_commits_wait_unless_a_bulk_load_keeps_the_disk_busy() {
        for flush in [MIB / 128, MIB / 32] {
            assert_eq!(choice(flush, 5000, true, false), Filling::Zeros, "however fast they come");
        }
        assert_eq!(choice(MIB / 8, 1000, true, false), Filling::Zeros, "a bulk load");
        assert_eq!(choice(MIB / 8, 1001, true, false), Filling::Reserved, "a busy disk");
        assert_eq!(choice(MIB / 8, 1001, true, true), Filling::Zeros, "in turn");
        for micros in [1, 5000] {
            assert_eq!(choice(MIB / 128, micros, false, false), Filling::Reserved, "nobody waits");
        }
    }

    #[test]
    fn one_segment_says_nothing_of_the_next_but_one_and_its_time_is_that_for_a_spare() {
        let size = SegmentSize::new(16 << 20).expect("a size");
        let mut filled = Filled::new(Filling::Zeros);
        let begun = Instant::now();
        filled.written(Duration::from_secs(1));
        // Not one flush before the last one.
        filled.completed(begun, size, true, false);
        assert_eq!(filled.order(), Order { filling: Filling::Reserved, within: FIRST });
        (0..2048).for_each(|_| filled.flushed(Duration::from_micros(100)));
        filled.completed(begun + Duration::from_millis(400), size, true, false);
        let within = Duration::from_millis(300);
        assert_eq!(filled.order(), Order { filling: Filling::Zeros, within });
        filled.completed(begun + Duration::from_secs(1000), size, false, false);
        assert_eq!(filled.order().within, SLOW * 3 / 4);
    }
}
