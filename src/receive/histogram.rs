//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! How long something takes, in buckets that grow with the value. Reads no clock.
//!
//! One thread records, any number read. A reader may see a value in one counter and not yet in
//! another: good enough for a percentile.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Counts since the start, and counts of the last [`Latencies::WINDOW`].
#[derive(Debug)]
pub(super) struct Latencies {
    all: Counts,
    recent: [Slice; SLICES],
}

/// Where values lie. Percentiles are at most an eighth too high, and never above the maximum.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// Of a hundred, one took longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

#[derive(Debug)]
struct Counts {
    buckets: [AtomicU32; BUCKETS],
    max: AtomicU64,
}

/// A part of the window.
#[derive(Debug)]
struct Slice {
    /// Which part of time it counts; 0 before the first.
    turn: AtomicU64,
    counts: Counts,
}

impl Latencies {
    /// What "recent" means.
    pub(super) const WINDOW: Duration = Duration::from_secs(SLICES as u64 * SLICE.as_secs());

    pub(super) fn new() -> Latencies {
        let slice = |_| Slice { turn: AtomicU64::new(0), counts: Counts::new() };
        Latencies { all: Counts::new(), recent: std::array::from_fn(slice) }
    }

    /// Counts a value at `now`, a time since some fixed beginning.
    pub(super) fn record(&self, took: Duration, now: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.all.add(micros);
        let turn = turn(now);
        let slice = &self.recent[turn as usize % SLICES];
        if slice.turn.load(Ordering::Relaxed) != turn {
            slice.counts.clear();
            slice.turn.store(turn, Ordering::Release);
        }
        slice.counts.add(micros);
    }

    /// Everything since the start.
    pub(super) fn all(&self) -> Percentiles {
        percentiles(&[&self.all])
    }

    /// What was recorded shortly before `now`.
    pub(super) fn recent(&self, now: Duration) -> Percentiles {
        let oldest = turn(now).saturating_sub(SLICES as u64 - 1);
        let fresh = |slice: &Slice| slice.turn.load(Ordering::Acquire) >= oldest.max(1);
        let mut counts: [&Counts; SLICES] = [&self.all; SLICES];
        let mut used = 0;
        for slice in self.recent.iter().filter(|slice| fresh(slice)) {
            counts[used] = &slice.counts;
            used += 1;
        }
        percentiles(&counts[..used])
    }
}

impl Counts {
    fn new() -> Counts {
        Counts { buckets: std::array::from_fn(|_| AtomicU32::new(0)), max: AtomicU64::new(0) }
    }

    fn add(&self, micros: u64) {
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(micros, Ordering::Relaxed);
    }

    fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
        self.max.store(0, Ordering::Relaxed);
    }
}

fn percentiles(counts: &[&Counts]) -> Percentiles {
    let at = |index: usize| -> u64 {
        counts.iter().map(|counts| u64::from(counts.buckets[index].load(Ordering::Relaxed))).sum()
    };
    let buckets: [u64; BUCKETS] = std::array::from_fn(at);
    let count: u64 = buckets.iter().sum();
    let max = counts.iter().map(|counts| counts.max.load(Ordering::Relaxed)).max().unwrap_or(0);
    let below = |part: u64| {
        // The rank, from 1, of the value that `part` of a hundred do not exceed.
        let rank = (count * part).div_ceil(100);
        let mut seen = 0;
        let found = buckets.iter().position(|&in_bucket| {
            seen += in_bucket;
            seen >= rank
        });
        Duration::from_micros(found.map_or(max, last_of).min(max))
    };
    if count == 0 {
        return Percentiles::default();
    }
    Percentiles {
        count,
        p50: below(50),
        p90: below(90),
        p99: below(99),
        max: Duration::from_micros(max),
    }
}

/// Which part of time this is, from 1.
fn turn(now: Duration) -> u64 {
    now.as_secs() / SLICE.as_secs() + 1
}

/// Eight buckets for each doubling: single values up to 15, then ever wider.
fn bucket(micros: u64) -> usize {
    let clipped = micros.min(LONGEST);
    let shift = (u64::BITS - clipped.leading_zeros()).saturating_sub(4);
    (shift as usize) * 8 + (clipped >> shift) as usize
}

/// The largest value of a bucket.
fn last_of(bucket: usize) -> u64 {
    if bucket < 16 {
        return bucket as u64;
    }
    let shift = bucket / 8 - 1;
    let lowest = (bucket - shift * 8) as u64;
    ((lowest + 1) << shift) - 1
}

const SLICES: usize = 6;
const SLICE: Duration = Duration::from_secs(10);
/// Longer than an hour is an hour: the maximum is kept beside.
const LONGEST: u64 = (1 << 32) - 1;
const BUCKETS: usize = (32 - 4) * 8 + 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_value_lies_in_a_bucket_whose_end_is_at_most_an_eighth_above_it() {
        for power in 0..32 {
            for value in [1_u64 << power, (1 << power) + (1 << power >> 1), (2 << power) - 1] {
                let last = last_of(bucket(value));
                assert!(last >= value && last - value <= value / 8, "{value}: {last}");
            }
        }
        assert_eq!(bucket(LONGEST), BUCKETS - 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket(0), 0);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let latencies = Latencies::new();
        // 1 to 1000 in an order that is none.
        for number in 0..1000_u64 {
            latencies.record(Duration::from_micros(number * 7919 % 1000 + 1), SECOND);
        }
        let found = latencies.all();
        assert_eq!((found.count, found.max), (1000, Duration::from_micros(1000)));
        for (percentile, exact) in [(found.p50, 500), (found.p90, 900), (found.p99, 990)] {
            let micros = percentile.as_micros() as u64;
            assert!(micros >= exact && micros <= exact + exact / 8, "{micros} for {exact}");
        }
        assert_eq!(latencies.recent(SECOND), found);
    }

    #[test]
    fn the_window_forgets_a_slow_flush_and_the_sum_does_not() {
        let latencies = Latencies::new();
        latencies.record(SECOND, Duration::ZERO);
        let mut now = Duration::ZERO;
        while now < Latencies::WINDOW + SLICE {
            latencies.record(Duration::from_micros(5), now);
            now += SECOND;
        }
        assert_eq!(latencies.recent(now).max, Duration::from_micros(5));
        assert_eq!(latencies.all().max, SECOND);
        // Nothing was recorded for long: there is nothing recent, and no panic.
        assert_eq!(latencies.recent(now + Latencies::WINDOW * 2), Percentiles::default());
    }

    #[test]
    fn a_single_slow_value_is_its_own_percentile_to_the_microsecond() {
        let latencies = Latencies::new();
        latencies.record(Duration::from_micros(1_000_003), SECOND);
        let found = latencies.all();
        assert_eq!((found.p50, found.p99), (found.max, found.max));
        assert_eq!(found.max, Duration::from_micros(1_000_003));
    }
}
