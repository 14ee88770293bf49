//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! The queue between the reader and the writer, bounded by the memory that it pins.
//!
//! A slice keeps the whole buffer alive that it was cut from, however short it is: what counts
//! against the limit are buffers. Slices are consumed in order, so a buffer is free as soon as
//! a job behind it is done. Short payloads are gathered into one piece per read, so that a
//! burst of tiny frames takes neither slots nor system calls of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::shortcut::{Conversation, Counter};
use crate::wal::Lsn;

/// WAL of one position, in one piece.
#[derive(Debug)]
pub(super) struct Piece {
    /// Position of the first byte.
    pub(super) start: Lsn,
    /// At least one byte.
    pub(super) bytes: Bytes,
}

/// What the writer is asked for, in order.
#[derive(Debug)]
pub(super) enum Job {
    /// To be written.
    Wal(Piece),
    /// Everything before this is to be made durable now.
    Flush,
    /// The conversation with the server, and where to give it back.
    Errand(Box<Conversation>, Arc<Counter>),
}

/// A job and the memory that is free once it is done.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Job,
    /// Bytes of buffers that no later job refers to.
    unpins: usize,
}

/// What came of a wait.
#[derive(Debug)]
pub(super) enum Wait {
    /// A job.
    Job(Queued),
    /// None came in time.
    Nothing,
    /// The reader has ended and everything is taken.
    End,
}

/// The writer has ended: it failed, and its thread has the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriterGone;

/// The reader's end.
#[derive(Debug)]
pub(super) struct QueueSender {
    jobs: SyncSender<Queued>,
    gauge: Arc<Gauge>,
    limit: usize,
    /// Size of the buffer that slices are being cut from, and whether it counts already.
    buffer: usize,
    buffer_counts: bool,
    /// Released with the next job.
    unpins: usize,
    gathered: BytesMut,
    gathered_start: Lsn,
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct QueueReceiver {
    jobs: Receiver<Queued>,
    gauge: Arc<Gauge>,
}

#[derive(Debug, Default)]
struct Gauge {
    pinned: AtomicUsize,
    jobs: AtomicUsize,
    drained: Notify,
    /// The reader has ended.
    closed: AtomicBool,
}

/// Memory of the queue that somebody still needs. To drop it gives it back.
#[derive(Debug)]
pub(super) struct Pins {
    gauge: Arc<Gauge>,
    bytes: usize,
}

impl Pins {
    /// Holds what `other` holds, too.
    pub(super) fn absorb(&mut self, mut other: Pins) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.gauge.pinned.fetch_sub(self.bytes, Ordering::AcqRel);
        self.gauge.drained.notify_one();
    }
}

impl Drop for QueueSender {
    fn drop(&mut self) {
        self.gauge.closed.store(true, Ordering::Release);
    }
}

/// A queue that pins at most about `limit` bytes: one read more than that can be under way.
pub(super) fn queue(limit: usize) -> (QueueSender, QueueReceiver) {
    let (sender, receiver) = mpsc::sync_channel(SLOTS);
    let gauge = Arc::new(Gauge::default());
    let sender = QueueSender {
        jobs: sender,
        gauge: Arc::clone(&gauge),
        limit,
        buffer: 0,
        buffer_counts: false,
        unpins: 0,
        gathered: BytesMut::with_capacity(GATHER_BUFFER),
        gathered_start: Lsn::INVALID,
    };
    (sender, QueueReceiver { jobs: receiver, gauge })
}

impl QueueSender {
    /// Whether another read may be queued. While not, the reader leaves its socket alone.
    pub(super) fn has_room(&self) -> bool {
        self.gauge.pinned.load(Ordering::Acquire) < self.limit
            && self.gauge.jobs.load(Ordering::Acquire) <= SLOTS - SLOTS_PER_READ
    }

    /// How many bytes are pinned.
    pub(super) fn pinned(&self) -> usize {
        self.gauge.pinned.load(Ordering::Acquire)
    }

    /// Whether the writer has done all its jobs.
    pub(super) fn is_idle(&self) -> bool {
        self.gauge.jobs.load(Ordering::Acquire) == 0
    }

    /// Waits until the writer has taken something out.
    pub(super) async fn drained(&self) {
        self.gauge.drained.notified().await;
    }

    /// From now on slices are cut from another buffer, of `capacity` bytes.
    pub(super) fn turn_buffer(&mut self, capacity: usize) {
        if std::mem::take(&mut self.buffer_counts) {
            self.unpins += self.buffer;
        }
        self.buffer = capacity;
    }

    /// Queues the WAL at `start`. Pieces come in order; after the last one of a read comes
    /// [`QueueSender::end_read`].
    pub(super) fn push(&mut self, start: Lsn, bytes: Bytes) -> Result<(), WriterGone> {
        if bytes.len() > GATHER_MAX {
            self.end_read()?;
            if !std::mem::replace(&mut self.buffer_counts, true) {
                self.gauge.pinned.fetch_add(self.buffer, Ordering::AcqRel);
            }
            return self.send(Job::Wal(Piece { start, bytes }), 0);
        }
        if self.gathered.capacity() - self.gathered.len() < bytes.len() {
            self.end_read()?;
            self.gathered.reserve(GATHER_BUFFER);
        }
        if self.gathered.is_empty() {
            self.gathered_start = start;
        }
        self.gathered.extend_from_slice(&bytes);
        Ok(())
    }

    /// Queues what was gathered: nothing waits in here while the reader waits for more.
    pub(super) fn end_read(&mut self) -> Result<(), WriterGone> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let bytes = self.gathered.split().freeze();
        let length = bytes.len();
        self.gauge.pinned.fetch_add(length, Ordering::AcqRel);
        self.send(Job::Wal(Piece { start: self.gathered_start, bytes }), length)
    }

    /// Asks for everything so far to be made durable.
    pub(super) fn flush(&mut self) -> Result<(), WriterGone> {
        self.end_read()?;
        self.send(Job::Flush, 0)
    }

    /// Queues a job that pins nothing.
    pub(super) fn lend(&mut self, job: Job) -> Result<(), WriterGone> {
        self.send(job, 0)
    }

    fn send(&mut self, job: Job, own: usize) -> Result<(), WriterGone> {
        let unpins = std::mem::take(&mut self.unpins) + own;
        self.gauge.jobs.fetch_add(1, Ordering::AcqRel);
        // There is a slot: `has_room` keeps back more than one read can fill.
        self.jobs.send(Queued { job, unpins }).map_err(|_| WriterGone)
    }
}

impl QueueReceiver {
    /// Waits for the next job; `None` when the reader has ended and everything is taken.
    pub(super) fn wait(&self) -> Option<Queued> {
        self.jobs.recv().ok()
    }

    /// Waits for the next job, but not for longer than `patience`.
    pub(super) fn wait_for(&self, patience: Duration) -> Wait {
        match self.jobs.recv_timeout(patience) {
            Ok(queued) => Wait::Job(queued),
            Err(RecvTimeoutError::Timeout) => Wait::Nothing,
            Err(RecvTimeoutError::Disconnected) => Wait::End,
        }
    }

    /// The next job, if there is one already.
    pub(super) fn take(&self) -> Option<Queued> {
        self.jobs.try_recv().ok()
    }

    /// Jobs are done; their memory is given back when nobody needs it any more.
    pub(super) fn done(&self, finished: Finished) -> Pins {
        self.gauge.jobs.fetch_sub(finished.jobs, Ordering::AcqRel);
        self.gauge.drained.notify_one();
        Pins { gauge: Arc::clone(&self.gauge), bytes: finished.unpinned }
    }

    /// Whether the reader has ended. What it has queued is still there.
    pub(super) fn is_closed(&self) -> bool {
        self.gauge.closed.load(Ordering::Acquire)
    }
}

/// Jobs that are done, summed up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finished {
    jobs: usize,
    unpinned: usize,
}

impl Finished {
    /// Adds one.
    pub(super) fn add(&mut self, queued: &Queued) {
        self.jobs += 1;
        self.unpinned += queued.unpins;
    }
}

/// Payloads up to this many bytes are copied: less than it costs to keep them apart.
const GATHER_MAX: usize = 4 << 10;
/// Room for gathered payloads; allocated anew when it is full.
const GATHER_BUFFER: usize = 64 << 10;
const SLOTS: usize = 2048;
/// A read of 256 KiB is cut into at most 64 pieces above [`GATHER_MAX`] with gathered ones
/// between them; the rest is for buffers that grew larger.
const SLOTS_PER_READ: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn wal(queued: Option<Queued>) -> (u64, usize) {
        match queued.map(|queued| queued.job) {
            Some(Job::Wal(piece)) => (piece.start.0, piece.bytes.len()),
            other => panic!("no WAL: {other:?}"),
        }
    }

    #[test]
    fn a_burst_of_tiny_frames_is_one_piece_and_order_is_kept_around_large_ones() {
        let (mut sender, receiver) = queue(1 << 20);
        sender.turn_buffer(256 << 10);
        for frame in 0..100 {
            sender.push(Lsn(frame * 10), Bytes::from_static(b"0123456789")).expect("open");
        }
        sender.push(Lsn(1000), Bytes::from(vec![1; 8192])).expect("open");
        sender.push(Lsn(9192), Bytes::from_static(b"x")).expect("open");
        sender.flush().expect("open");
        assert_eq!(wal(receiver.take()), (0, 1000));
        assert_eq!(wal(receiver.take()), (1000, 8192));
        assert_eq!(wal(receiver.take()), (9192, 1));
        assert!(matches!(receiver.take().map(|queued| queued.job), Some(Job::Flush)));
        assert!(receiver.take().is_none());
    }

    #[test]
    fn the_bound_is_on_buffers_and_not_on_the_slices_cut_from_them() {
        let (mut sender, receiver) = queue(1 << 20);
        let mut buffers = 0;
        while sender.has_room() {
            sender.turn_buffer(256 << 10);
            buffers += 1;
            sender.push(Lsn(buffers), Bytes::from(vec![0; GATHER_MAX + 1])).expect("open");
            assert!(buffers <= 4, "more than the limit is pinned");
        }
        assert_eq!(buffers, 4);
        // The first two are done: with the second one it is sure that nobody needs the first.
        let mut finished = Finished::default();
        for _ in 0..2 {
            finished.add(&receiver.take().expect("queued"));
        }
        let pins = receiver.done(finished);
        assert!(!sender.has_room(), "somebody still needs the memory");
        drop(pins);
        assert!(sender.has_room());
        assert_eq!(sender.gauge.pinned.load(Ordering::Acquire), 3 * (256 << 10));
    }

    #[test]
    fn jobs_are_bounded_too() {
        let (mut sender, _receiver) = queue(usize::MAX);
        let mut pushed = 0;
        while sender.has_room() {
            sender.flush().expect("open");
            pushed += 1;
            assert!(pushed < SLOTS, "the next push would block the reader");
        }
    }

    #[test]
    fn a_writer_that_is_gone_is_noticed() {
        let (mut sender, receiver) = queue(1 << 20);
        drop(receiver);
        assert!(sender.flush().is_err());
    }
}
