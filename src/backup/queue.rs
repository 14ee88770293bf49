//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! The queue between the reader and the writer, bounded in bytes and in jobs.
//!
//! The payload of a base backup follows on itself without a gap, so the bytes that are queued
//! are, but for frame headers, the memory that they pin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

use bytes::Bytes;
use tokio::sync::Notify;

use super::errand::Errand;
use crate::pages::LimitBlocks;
use crate::wal::Lsn;

/// What the writer is asked for, in order.
#[derive(Debug)]
pub(super) enum Job {
    /// The backup begins here in the WAL. Comes before everything else.
    Start(Lsn),
    /// Where relations were cut off since the parent of an incremental backup. Comes next.
    Limits(Box<LimitBlocks>),
    /// An archive begins.
    Archive {
        /// `base.tar` or `<oid>.tar`.
        name: String,
        /// `None` for the data directory.
        tablespace: Option<u32>,
    },
    /// Bytes of the archive.
    Data(Bytes),
    /// The archive is complete.
    ArchiveEnd,
    /// Bytes of the manifest.
    Manifest(Bytes),
    /// The writer is to read for itself.
    Errand(Errand),
}

impl Job {
    fn weight(&self) -> usize {
        match self {
            Job::Data(bytes) | Job::Manifest(bytes) => bytes.len() + JOB_BYTES,
            Job::Start(_)
            | Job::Limits(_)
            | Job::Archive { .. }
            | Job::ArchiveEnd
            | Job::Errand(_) => JOB_BYTES,
        }
    }
}

/// The writer has ended before the reader; it has the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriterGone;

/// The reader's end.
#[derive(Debug)]
pub(super) struct QueueSender {
    batches: SyncSender<Vec<Job>>,
    /// What goes to the writer together, and how much that is.
    batch: Vec<Job>,
    batch_bytes: usize,
    gauge: Arc<Gauge>,
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct QueueReceiver {
    batches: Receiver<Vec<Job>>,
    batch: std::vec::IntoIter<Job>,
    gauge: Arc<Gauge>,
}

/// Tells from outside when the writer has ended.
#[derive(Clone, Debug)]
pub(super) struct WriterEnd(Arc<Gauge>);

#[derive(Debug, Default)]
struct Gauge {
    bytes: AtomicUsize,
    jobs: AtomicUsize,
    ended: AtomicBool,
    changed: Notify,
}

/// A queue that holds about [`LIMIT`] bytes.
pub(super) fn queue() -> (QueueSender, QueueReceiver, WriterEnd) {
    let (sender, receiver) = mpsc::sync_channel(SLOTS);
    let gauge = Arc::new(Gauge::default());
    let end = WriterEnd(Arc::clone(&gauge));
    let batch = Vec::with_capacity(BATCH_JOBS);
    let sender = QueueSender { batches: sender, batch, batch_bytes: 0, gauge: Arc::clone(&gauge) };
    let batch = Vec::new().into_iter();
    (sender, QueueReceiver { batches: receiver, batch, gauge }, end)
}

impl QueueSender {
    /// Queues a job, waiting while the queue is full. It goes to the writer with others: to wake
    /// a thread for each frame costs more than to write it.
    pub(super) async fn push(&mut self, job: Job) -> Result<(), WriterGone> {
        while self.is_full() && !self.gauge.ended.load(Ordering::Acquire) {
            // What the writer waits for is in here.
            self.send()?;
            self.gauge.changed.notified().await;
        }
        self.gauge.bytes.fetch_add(job.weight(), Ordering::AcqRel);
        self.gauge.jobs.fetch_add(1, Ordering::AcqRel);
        self.batch_bytes += job.weight();
        self.batch.push(job);
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_JOBS {
            self.send()?;
        }
        Ok(())
    }

    /// Whether there are jobs that the writer has not been told of.
    pub(super) fn is_holding_back(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Gives the writer what was pushed so far.
    pub(super) fn send(&mut self) -> Result<(), WriterGone> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_JOBS));
        self.batch_bytes = 0;
        // There are no more batches than jobs, so this does not block.
        self.batches.send(batch).map_err(|_| WriterGone)
    }

    fn is_full(&self) -> bool {
        self.gauge.bytes.load(Ordering::Acquire) >= LIMIT
            || self.gauge.jobs.load(Ordering::Acquire) >= SLOTS
    }
}

impl QueueReceiver {
    /// The next job; `None` when the reader has ended and everything is taken.
    pub(super) fn next(&mut self) -> Option<Job> {
        let job = loop {
            match self.batch.next() {
                Some(job) => break job,
                None => self.batch = self.batches.recv().ok()?.into_iter(),
            }
        };
        let bytes = self.gauge.bytes.fetch_sub(job.weight(), Ordering::AcqRel) - job.weight();
        let jobs = self.gauge.jobs.fetch_sub(1, Ordering::AcqRel) - 1;
        // A reader that waits for room is to find some: woken for each job it would fill its
        // place and wait again.
        if bytes < LIMIT / 2 && jobs < SLOTS / 2 {
            self.gauge.changed.notify_one();
        }
        Some(job)
    }
}

/// What was pushed last still arrives.
impl Drop for QueueSender {
    fn drop(&mut self) {
        // A writer that is gone needs nothing more.
        let _ = self.send();
    }
}

impl Drop for QueueReceiver {
    fn drop(&mut self) {
        self.gauge.ended.store(true, Ordering::Release);
        self.gauge.changed.notify_one();
    }
}

impl WriterEnd {
    /// Waits until the writer has ended. To be called when the reader has.
    pub(super) async fn wait(&self) {
        while !self.0.ended.load(Ordering::Acquire) {
            self.0.changed.notified().await;
        }
    }
}

/// What the queue may hold: a good second of a disk's work, so that its stalls do not reach the
/// server.
const LIMIT: usize = 16 << 20;
const SLOTS: usize = 4096;
/// What is still in the processor's cache when the writer gets it.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_JOBS: usize = 64;
/// What a job weighs beside its bytes.
const JOB_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_waits_for_the_writer_and_a_dead_one_is_noticed() {
        let (mut sender, mut receiver, end) = queue();
        let megabyte = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..16 {
            sender.push(Job::Data(megabyte.clone())).await.expect("room");
        }
        {
            let blocked = sender.push(Job::ArchiveEnd);
            tokio::pin!(blocked);
            assert!(futures_now(&mut blocked).await.is_none());
            receiver.next().expect("a job");
            assert!(futures_now(&mut blocked).await.is_none(), "not for a single job");
            while futures_now(&mut blocked).await.is_none() {
                receiver.next().expect("a job");
            }
        }
        drop(receiver);
        end.wait().await;
        assert!(sender.push(Job::Data(megabyte)).await.is_err());
    }

    #[tokio::test]
    async fn jobs_wait_for_others_until_they_are_sent_and_none_is_lost() {
        let (mut sender, mut receiver, _) = queue();
        sender.push(Job::ArchiveEnd).await.expect("room");
        assert!(sender.is_holding_back());
        sender.send().expect("a writer");
        assert!(!sender.is_holding_back());
        assert!(matches!(receiver.next(), Some(Job::ArchiveEnd)));
        sender.push(Job::Data(Bytes::from(vec![0; BATCH_BYTES]))).await.expect("room");
        assert!(!sender.is_holding_back(), "it is enough");
        // What is held back when the reader ends arrives too.
        sender.push(Job::ArchiveEnd).await.expect("room");
        drop(sender);
        assert!(matches!(receiver.next(), Some(Job::Data(_))));
        assert!(matches!(receiver.next(), Some(Job::ArchiveEnd)));
        assert!(receiver.next().is_none());
    }

    /// What a future is ready with at once.
    async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
