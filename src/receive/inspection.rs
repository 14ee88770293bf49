//! The thread beside the path that looks into the WAL that was written.
//!
//! It gets each batch after the writer has handed it to the kernel, and holds the memory until
//! it has seen it. No acknowledgement waits for it; a reader that is far ahead of it does, as
//! it would for the disk. Knows neither sockets nor files.

use std::sync::mpsc::{self, Receiver, Sender};

use super::batch::Batch;
use super::queue::Pins;
use crate::service::Worker;
use crate::wal::{Lsn, Timeline};

/// Whoever looks into WAL as it passes.
pub trait Inspect: Send {
    /// A stream of `timeline` begins at `start`.
    fn begin(&mut self, timeline: Timeline, start: Lsn);
    /// WAL that was written, in order; called for each piece, and so to be free of allocation.
    fn feed(&mut self, start: Lsn, bytes: &[u8]);
    /// The stream is over.
    fn end(&mut self);
}

/// The thread of an inspector. To drop it lets it see what is queued, and waits for that.
#[derive(Debug)]
pub struct Inspection {
    /// Before the worker, so that it goes before: without it the thread ends.
    queue: InspectionQueue,
    worker: Worker,
}

/// A writer's way to the thread. One writer at a time uses it.
#[derive(Clone, Debug)]
pub struct InspectionQueue(Sender<Work>);

#[derive(Debug)]
enum Work {
    /// Batches that were seen go back through the sender.
    Begin(Timeline, Lsn, Sender<Batch>),
    Written(Batch, Pins),
    End,
}

impl Inspection {
    /// Starts the thread.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(inspector: impl Inspect + 'static) -> std::io::Result<Inspection> {
        let (sender, receiver) = mpsc::channel();
        let worker = Worker::start("wal-inspector", move || work(inspector, &receiver))?;
        Ok(Inspection { queue: InspectionQueue(sender), worker })
    }

    /// What a writer needs.
    pub fn queue(&self) -> InspectionQueue {
        self.queue.clone()
    }

    /// Waits until everything is seen. Who stops waiting leaves the thread alone.
    pub async fn finish(self) {
        drop(self.queue);
        self.worker.ended().await;
    }

    /// Leaves the thread alone, whatever it is at.
    pub fn abandon(self) {
        self.worker.abandon();
    }
}

fn work(mut inspector: impl Inspect, queue: &Receiver<Work>) {
    let mut back = None;
    while let Ok(work) = queue.recv() {
        match work {
            Work::Begin(timeline, start, seen) => {
                back = Some(seen);
                inspector.begin(timeline, start);
            }
            Work::Written(mut batch, pins) => {
                for piece in batch.pieces() {
                    inspector.feed(piece.start, &piece.bytes);
                }
                batch.clear();
                drop(pins);
                // A writer that has ended needs no room any more.
                let _ = back.as_ref().map(|back| back.send(batch));
            }
            Work::End => inspector.end(),
        }
    }
}

/// One stream's pieces on their way to the thread.
#[derive(Debug)]
pub(super) struct Handover {
    queue: InspectionQueue,
    seen: Receiver<Batch>,
    /// Batches that were made, of which some are under way.
    made: usize,
}

impl Handover {
    /// Says where the stream begins.
    pub(super) fn begin(queue: InspectionQueue, timeline: Timeline, start: Lsn) -> Handover {
        let (back, seen) = mpsc::channel();
        // A thread that is gone has panicked; WAL is received all the same.
        let _ = queue.0.send(Work::Begin(timeline, start, back));
        Handover { queue, seen, made: 0 }
    }

    /// Sends a written batch on its way and puts an empty one in its place. While too many are
    /// under way it stays where it is, and grows. Without pins there is nothing to send.
    pub(super) fn hand_over(&mut self, batch: &mut Batch, pins: &mut Option<Pins>) {
        let Some(held) = pins.take() else { return };
        let empty = match self.seen.try_recv() {
            Ok(empty) => empty,
            Err(_) if self.made < BATCHES => {
                self.made += 1;
                Batch::new()
            }
            Err(_) => {
                *pins = Some(held);
                return;
            }
        };
        let written = std::mem::replace(batch, empty);
        if self.queue.0.send(Work::Written(written, held)).is_err() {
            // Nobody sends batches back any more.
            self.made = 0;
        }
    }

    /// Sends what is left, and says that the stream is over.
    pub(super) fn finish(self, batch: Batch, pins: Option<Pins>) {
        if let Some(pins) = pins {
            let _ = self.queue.0.send(Work::Written(batch, pins));
        }
        let _ = self.queue.0.send(Work::End);
    }
}

/// Batches that may be under way: enough that the writer seldom has to keep one.
const BATCHES: usize = 8;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::receive::queue::{Finished, Job, QueueReceiver, QueueSender, queue};

    /// Writes down what it sees, and sees nothing before it is let.
    struct Witness {
        gate: Receiver<()>,
        said: Sender<String>,
    }

    impl Inspect for Witness {
        fn begin(&mut self, timeline: Timeline, start: Lsn) {
            let _ = self.gate.recv();
            let _ = self.said.send(format!("begin {timeline} {start}"));
        }

        fn feed(&mut self, start: Lsn, bytes: &[u8]) {
            let _ = self.said.send(format!("{start} {}", bytes.len()));
        }

        fn end(&mut self) {
            let _ = self.said.send("end".to_owned());
        }
    }

    /// Brings bytes through the queue into the batch, as if they were written.
    fn written(
        sender: &mut QueueSender,
        receiver: &QueueReceiver,
        start: Lsn,
        bytes: &'static [u8],
        batch: &mut Batch,
    ) -> Pins {
        sender.push(start, Bytes::from_static(bytes)).expect("open");
        sender.end_read().expect("open");
        let queued = receiver.take().expect("queued");
        let mut finished = Finished::default();
        finished.add(&queued);
        if let Job::Wal(piece) = queued.job {
            batch.push(piece);
            batch.advance(bytes.len() as u64);
        }
        receiver.done(finished)
    }

    #[test]
    fn a_quiet_stream_that_has_nothing_to_hand_over_uses_up_no_batch() {
        let (open, gate) = mpsc::channel();
        let (said, heard) = mpsc::channel();
        let inspection = Inspection::start(Witness { gate, said }).expect("a thread");
        open.send(()).expect("waiting");
        let mut handover = Handover::begin(inspection.queue(), Timeline::FIRST, Lsn(0));
        let (mut batch, mut pins) = (Batch::new(), None::<Pins>);
        for _ in 0..2 * BATCHES {
            handover.hand_over(&mut batch, &mut pins);
        }
        let (mut sender, receiver) = queue(64 << 10);
        pins = Some(written(&mut sender, &receiver, Lsn(0), b"late", &mut batch));
        handover.hand_over(&mut batch, &mut pins);
        assert!(pins.is_none(), "the memory would be held for ever");
        handover.finish(batch, pins);
        drop(inspection);
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["begin 1 0/0", "0/0 4", "end"]);
    }

    #[test]
    fn a_slow_inspector_holds_memory_and_not_the_writer_and_misses_nothing() {
        let (open, gate) = mpsc::channel();
        let (said, heard) = mpsc::channel();
        let inspection = Inspection::start(Witness { gate, said }).expect("a thread");
        let (mut sender, receiver) = queue(64 << 10);
        let mut handover = Handover::begin(inspection.queue(), Timeline::FIRST, Lsn(0));
        let (mut batch, mut pins) = (Batch::new(), None::<Pins>);
        let mut pushed = 0;
        while sender.has_room() {
            let new = written(&mut sender, &receiver, Lsn(pushed * 100), &[1; 100], &mut batch);
            match &mut pins {
                Some(pins) => pins.absorb(new),
                None => pins = Some(new),
            }
            handover.hand_over(&mut batch, &mut pins);
            pushed += 1;
            assert!(pushed < 2000, "the bound on memory does not hold");
        }
        assert_eq!(pushed, (64_u64 << 10).div_ceil(100));
        open.send(()).expect("waiting");
        handover.finish(batch, pins);
        drop(inspection);
        let lines: Vec<String> = heard.iter().collect();
        assert_eq!(lines.len() as u64, pushed + 2);
        assert_eq!((lines[0].as_str(), lines[1].as_str()), ("begin 1 0/0", "0/0 100"));
        assert_eq!(lines.last().map(String::as_str), Some("end"));
        assert!(sender.has_room());
    }
}
