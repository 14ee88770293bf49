//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! What a receiver knows of itself: for the status file, for systemd, for whoever asks.
//!
//! Reader, writer and inspector write, each its own cells, with single atomic stores and adds;
//! anyone reads, at any time. Nothing here decides anything: what is durable, and what the
//! server is told, is said by the writer's positions alone.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use super::Progress;
use super::histogram::{Latencies, Percentiles};
use crate::service;
use crate::wal::{Lsn, PgTimestamp, Timeline};

/// The meters of one receiver, from its start on, over all its connections.
#[derive(Debug)]
pub struct Meters {
    born: Instant,
    streaming: AtomicBool,
    timeline: AtomicU32,
    /// Streams that have begun.
    streams: AtomicU64,
    received: AtomicU64,
    server: AtomicU64,
    written: AtomicU64,
    flushed: AtomicU64,
    /// The queue: bytes that it pins, and how many it may.
    queue: AtomicU64,
    queue_limit: AtomicU64,
    flushes: Latencies,
    segments: AtomicU64,
    /// Since when the disk has been full, in Unix microseconds; 0 while it is not.
    full_since: AtomicI64,
    /// Since when the writer has been at its work, in microseconds since `born`, at least 1;
    /// 0 while it waits for something to do.
    busy_since: AtomicU64,
    /// The newest commit in WAL that was looked at.
    seen: Commit,
    /// One that was not durable when it was seen: kept until it is, however many follow.
    next: Commit,
    /// One that was found to be.
    durable: Commit,
}

/// What the meters show at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Readings {
    /// A stream has begun and not ended.
    pub streaming: bool,
    /// The timeline of the current stream, or of the last one.
    pub timeline: Option<Timeline>,
    /// Streams so far.
    pub streams: u64,
    /// Behind the last byte that has come.
    pub received: Lsn,
    /// How far the server's WAL goes, as it said last.
    pub server: Lsn,
    /// What is written, and what is durable.
    pub progress: Progress,
    /// Bytes that the queue pins.
    pub queue: u64,
    /// How many it may.
    pub queue_limit: u64,
    /// Flushes of the last [`Meters::WINDOW`].
    pub flushes: Percentiles,
    /// Flushes since the start.
    pub all_flushes: Percentiles,
    /// Segments that became complete.
    pub segments: u64,
    /// Since when the disk has been full.
    pub full_since: Option<jiff::Timestamp>,
    /// How long the writer has been at one piece of work.
    pub busy: Duration,
    /// The newest commit that was seen.
    pub last_commit: Option<CommitSeen>,
    /// The newest commit that is known to be durable.
    pub durable_commit: Option<CommitSeen>,
}

/// A commit in the WAL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CommitSeen {
    /// Behind its record: durable once everything before is.
    pub end: Lsn,
    /// By the server's clock.
    pub time: PgTimestamp,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            born: Instant::now(),
            streaming: AtomicBool::new(false),
            timeline: AtomicU32::new(0),
            streams: AtomicU64::new(0),
            received: AtomicU64::new(0),
            server: AtomicU64::new(0),
            written: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            queue: AtomicU64::new(0),
            queue_limit: AtomicU64::new(0),
            flushes: Latencies::new(),
            segments: AtomicU64::new(0),
            full_since: AtomicI64::new(0),
            busy_since: AtomicU64::new(0),
            seen: Commit::default(),
            next: Commit::default(),
            durable: Commit::default(),
        }
    }
}

impl Meters {
    /// What "recent" flushes are.
    pub const WINDOW: Duration = Latencies::WINDOW;

    /// A stream of `timeline` is asked for from `start`, before which everything is durable. Positions
    /// may go back here: on another timeline they are others.
    pub fn begin_stream(&self, timeline: Timeline, start: Lsn) {
        self.timeline.store(timeline.id(), Ordering::Relaxed);
        for position in [&self.received, &self.written, &self.flushed] {
            position.store(start.0, Ordering::Relaxed);
        }
        self.server.store(start.0, Ordering::Relaxed);
    }

    /// The server has begun to send it.
    pub fn confirm_stream(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.streaming.store(true, Ordering::Release);
    }

    /// It is over, and came so far.
    pub fn end_stream(&self, progress: Progress) {
        self.written.store(progress.written.0, Ordering::Relaxed);
        self.flushed.store(progress.flushed.0, Ordering::Relaxed);
        self.streaming.store(false, Ordering::Release);
        self.set_full(false);
        self.set_queue(0);
        self.rest();
    }

    /// The reader: how far it is, how far the server is, and what the writer has published.
    pub fn set_positions(&self, received: Lsn, server: Lsn, progress: Progress) {
        self.received.store(received.0, Ordering::Relaxed);
        self.server.fetch_max(server.max(received).0, Ordering::Relaxed);
        self.written.store(progress.written.0, Ordering::Relaxed);
        self.flushed.store(progress.flushed.0, Ordering::Relaxed);
    }

    /// How far the server is, by another way than the stream.
    pub fn set_server(&self, position: Lsn) {
        self.server.fetch_max(position.0, Ordering::Relaxed);
    }

    /// The queue: what it pins now.
    pub fn set_queue(&self, pinned: usize) {
        self.queue.store(pinned as u64, Ordering::Relaxed);
    }

    /// The queue: what it may pin.
    pub fn set_queue_limit(&self, limit: usize) {
        self.queue_limit.store(limit as u64, Ordering::Relaxed);
    }

    /// The writer: a flush has succeeded.
    pub fn record_flush(&self, took: Duration) {
        self.flushes.record(took, self.born.elapsed());
    }

    /// The writer: a segment is complete.
    pub fn count_segment(&self) {
        self.segments.fetch_add(1, Ordering::Relaxed);
    }

    /// The writer: a piece of work for the disk begins, or a full disk is tried again.
    pub fn work(&self) {
        let now = u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.busy_since.store(now.max(1), Ordering::Relaxed);
    }

    /// The writer: it is done, and the writer waits for the next.
    pub fn rest(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// The disk is full, or is no longer.
    pub fn set_full(&self, full: bool) {
        let now = if full { service::now().as_microsecond() } else { 0 };
        let (order, cell) = (Ordering::Relaxed, &self.full_since);
        // It is full since it was first found to be.
        let _ = match full {
            true => cell.compare_exchange(0, now, order, order).is_ok(),
            false => cell.swap(0, order) != 0,
        };
    }

    /// The inspector: WAL that was written holds a commit, whose record ends at `end`.
    pub fn commit_seen(&self, end: Lsn, time: PgTimestamp) {
        let flushed = Lsn(self.flushed.load(Ordering::Relaxed));
        let commit = CommitSeen { end, time };
        let (seen, next) = (self.seen.get(), self.next.get());
        let durable = |commit: &CommitSeen| commit.end <= flushed;
        if let Some(known) = seen.filter(durable).or(next.filter(durable)) {
            self.durable.set(known);
            self.next.set(commit);
        } else if seen.is_none_or(|seen| seen.end > end) {
            // The first, or the first of another branch: the old ones wait for nothing any more.
            self.next.set(commit);
        }
        self.seen.set(commit);
    }

    /// What they show.
    pub fn read(&self) -> Readings {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let now = self.born.elapsed();
        // Flushed first: what is read after it may only be further.
        let flushed = Lsn(get(&self.flushed));
        let full_since = self.full_since.load(Ordering::Relaxed);
        let busy = match get(&self.busy_since) {
            0 => Duration::ZERO,
            since => now.saturating_sub(Duration::from_micros(since)),
        };
        let (seen, next) = (self.seen.get(), self.next.get());
        let durable = |commit: &CommitSeen| commit.end <= flushed;
        Readings {
            streaming: self.streaming.load(Ordering::Acquire),
            timeline: Timeline::new(self.timeline.load(Ordering::Relaxed)),
            streams: get(&self.streams),
            received: Lsn(get(&self.received)),
            server: Lsn(get(&self.server)),
            progress: Progress { written: Lsn(get(&self.written)).max(flushed), flushed },
            queue: get(&self.queue),
            queue_limit: get(&self.queue_limit),
            flushes: self.flushes.recent(now),
            all_flushes: self.flushes.all(),
            segments: get(&self.segments),
            full_since: match full_since {
                0 => None,
                since => jiff::Timestamp::from_microsecond(since).ok(),
            },
            busy,
            last_commit: seen,
            durable_commit: seen.filter(durable).or(next.filter(durable)).or(self.durable.get()),
        }
    }
}

/// A position and a time that are read as they were written together. One thread writes.
#[derive(Debug, Default)]
struct Commit {
    /// Odd while the two are being written.
    turn: AtomicU64,
    end: AtomicU64,
    time: AtomicI64,
}

impl Commit {
    fn set(&self, commit: CommitSeen) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.end.store(commit.end.0, Ordering::Relaxed);
        self.time.store(commit.time.0, Ordering::Relaxed);
        self.turn.store(turn + 2, Ordering::Release);
    }

    /// `None` before the first.
    fn get(&self) -> Option<CommitSeen> {
        loop {
            let before = self.turn.load(Ordering::Acquire);
            let end = Lsn(self.end.load(Ordering::Relaxed));
            let time = PgTimestamp(self.time.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.turn.load(Ordering::Relaxed) == before {
                return (before > 0).then_some(CommitSeen { end, time });
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;

    use super::*;

    fn progress(position: u64) -> Progress {
        Progress { written: Lsn(position), flushed: Lsn(position) }
    }

    fn commit(number: i64) -> (Lsn, PgTimestamp) {
        (Lsn(number as u64), PgTimestamp(number))
    }

    #[test]
    fn a_commit_counts_as_durable_once_the_bytes_before_its_end_are_and_not_before() {
        let meters = Meters::default();
        meters.begin_stream(Timeline::FIRST, Lsn(0));
        let durable = || meters.read().durable_commit.map(|commit| commit.time.0);
        for number in [10, 20, 30] {
            let (end, time) = commit(number);
            meters.commit_seen(end, time);
        }
        assert_eq!(durable(), None);
        meters.set_positions(Lsn(30), Lsn(40), progress(9));
        assert_eq!(durable(), None);
        meters.set_positions(Lsn(30), Lsn(40), progress(10));
        assert_eq!(durable(), Some(10));
        meters.set_positions(Lsn(30), Lsn(40), progress(30));
        assert_eq!(durable(), Some(30));
        // A burst that is not durable yet does not hide the one before, nor what became durable
        // of it.
        for number in 31..100 {
            let (end, time) = commit(number);
            meters.commit_seen(end, time);
        }
        assert_eq!(durable(), Some(30));
        meters.set_positions(Lsn(99), Lsn(99), progress(60));
        assert_eq!(durable(), Some(31));
        assert_eq!(meters.read().last_commit.map(|commit| commit.end), Some(Lsn(99)));
    }

    #[test]
    fn a_stream_of_another_timeline_may_begin_further_back() {
        let meters = Meters::default();
        meters.begin_stream(Timeline::FIRST, Lsn(500));
        meters.set_positions(Lsn(900), Lsn(950), progress(800));
        let second = Timeline::new(2).expect("not 0");
        meters.begin_stream(second, Lsn(700));
        let readings = meters.read();
        assert_eq!(readings.timeline, Some(second));
        assert_eq!(readings.progress, progress(700));
        assert_eq!(readings.received, Lsn(700));
    }

    #[test]
    fn a_commit_of_a_branch_that_was_left_is_not_taken_for_one_of_the_next() {
        let meters = Meters::default();
        meters.begin_stream(Timeline::FIRST, Lsn(0));
        let (end, time) = commit(900);
        meters.commit_seen(end, time);
        let (end, time) = commit(500);
        meters.commit_seen(end, time);
        meters.set_positions(Lsn(950), Lsn(950), progress(950));
        assert_eq!(meters.read().durable_commit.map(|commit| commit.end), Some(Lsn(500)));
    }

    #[test]
    fn a_writer_at_rest_is_not_busy_and_one_at_work_is() {
        let meters = Meters::default();
        assert_eq!(meters.read().busy, Duration::ZERO);
        meters.work();
        while meters.read().busy.is_zero() {
            std::thread::yield_now();
        }
        meters.rest();
        assert_eq!(meters.read().busy, Duration::ZERO);
    }

    #[test]
    fn position_and_time_of_a_commit_are_never_of_two_commits() {
        let meters = Meters::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..200_000 {
                    let (end, time) = commit(number);
                    meters.commit_seen(end, time);
                }
            });
            for _ in 0..100_000 {
                if let Some(commit) = meters.read().last_commit {
                    assert_eq!(commit.end.0 as i64, commit.time.0);
                }
            }
        });
    }

    #[test]
    fn what_the_hot_paths_call_allocates_nothing() {
        let meters = Meters::default();
        let info = measure(|| {
            meters.begin_stream(Timeline::FIRST, Lsn(1));
            for number in 0..1000 {
                let (end, time) = commit(number);
                meters.set_positions(end, end, progress(number as u64));
                meters.set_queue(7);
                meters.work();
                meters.record_flush(Duration::from_micros(number as u64));
                meters.commit_seen(end, time);
                meters.rest();
            }
        });
        assert_eq!(info.count_total, 0);
    }
}
