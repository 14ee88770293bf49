//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! From the queue to segment files: the only place that decides what is durable.
//!
//! A segment gets its final name after its bytes are durable, and a position is published as
//! flushed after the bytes before it and the names that lead to them are. An error ends the
//! writer: nothing that was not published may be believed afterwards.

mod filled;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::filled::Filled;
use super::batch::Batch;
use super::inspection::Handover;
use super::meters::Meters;
use super::positions::{Positions, Progress};
use super::queue::{Finished, Job, Piece, Pins, QueueReceiver, Queued, Wait};
use super::resume;
use super::segment::{Blocks, OpenSegment, PastCache};
use super::spare::{Filling, Preparation, Spares};
use super::target::{Synchronous, Target, WhenFull};
use crate::disk::DiskError;
use crate::wal::{Lsn, SegmentName, Timeline};

/// Writes the WAL of one timeline, in order.
#[derive(Debug)]
pub struct Writer {
    target: Target,
    timeline: Timeline,
    /// The next byte to come.
    position: Lsn,
    /// `Some` exactly while `position` is inside a segment, at the start of one whose file was
    /// there before, or at the end of one that could not be completed.
    segment: Option<OpenSegment>,
    spares: Spares,
    positions: Arc<Positions>,
    batch: Batch,
    /// The memory of the batch.
    pins: Option<Pins>,
    blocks: Blocks,
    filled: Filled,
}

impl Writer {
    /// A writer that goes on at `position`, before which everything is there. What a `.partial`
    /// holds before it is durable when this returns.
    ///
    /// # Errors
    /// The file cannot be opened, is not there although `position` is inside a segment, or
    /// there is no room for a new one.
    pub fn open(target: Target, timeline: Timeline, position: Lsn) -> Result<Writer, DiskError> {
        let filling = if target.synchronous.get() { Filling::Zeros } else { Filling::Reserved };
        let mut spares = Spares::new(&target);
        let segment = resume::open_partial(&target, timeline, position)?;
        // What stands before `position` will be reported as durable: its name is to be.
        target.disk.sync_directory(&target.directory)?;
        if segment.is_none() {
            // A full disk is found out before the server is asked for anything.
            spares.make_first(filling)?;
        }
        Ok(Writer {
            timeline,
            position,
            segment,
            spares,
            positions: Arc::new(Positions::new(position)),
            batch: Batch::new(),
            pins: None,
            blocks: Blocks::new(if target.direct { BUFFER_BYTES } else { 0 }),
            filled: Filled::new(filling),
            target,
        })
    }

    /// Where it stands; only what is durable is called flushed.
    pub fn progress(&self) -> Progress {
        self.positions.read()
    }

    /// The same, for another thread.
    pub(super) fn positions(&self) -> Arc<Positions> {
        Arc::clone(&self.positions)
    }

    /// What the queue before it may pin.
    pub(super) fn queue_bytes(&self) -> usize {
        self.target.queue_bytes
    }

    /// Whether commits wait; may change.
    pub(super) fn synchronous(&self) -> Synchronous {
        self.target.synchronous.clone()
    }

    pub(super) fn is_synchronous(&self) -> bool {
        self.target.synchronous.get()
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.target.meters
    }

    pub(super) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Writes what comes through the queue until the reader's end is closed, and leaves
    /// everything durable.
    pub(super) fn run(mut self, queue: QueueReceiver) -> Result<(), DiskError> {
        // Also after a panic: nobody may wait for a writer that is gone.
        let _end = PublishEnd(Arc::clone(&self.positions));
        self.spares.start(&self.target, &self.positions);
        let way = self.target.inspection.take();
        let mut handover = way.map(|way| Handover::begin(way, self.timeline, self.position));
        let result = self.serve(&queue, handover.as_mut()).and_then(|()| self.flush());
        if let Some(handover) = handover {
            handover.finish(std::mem::replace(&mut self.batch, Batch::new()), self.pins.take());
        }
        drop(queue);
        // Before the end is published: to leave no spare behind takes its time too.
        drop(self);
        result
    }

    fn serve(
        &mut self,
        queue: &QueueReceiver,
        mut handover: Option<&mut Handover>,
    ) -> Result<(), DiskError> {
        while let Some(first) = self.next_job(queue, &mut handover) {
            self.target.meters.work();
            let mut finished = Finished::default();
            let mut flush = self.target.synchronous.get();
            let mut errand = None;
            let mut next = Some(first);
            while let Some(queued) = next {
                finished.add(&queued);
                match queued.job {
                    Job::Wal(piece) => self.batch.push(piece),
                    Job::Flush => flush = true,
                    Job::Errand(conversation, counter) => errand = Some((conversation, counter)),
                }
                next = if self.batch.is_full() { None } else { queue.take() };
            }
            self.write_patiently(queue)?;
            // Before the flush: while the disk is busy, the queue fills, and the next batch is
            // flushed as a whole. That is how commits group.
            self.keep(queue.done(finished));
            match &mut handover {
                Some(handover) if self.batch.is_worth_a_look() => {
                    self.pass_on(handover);
                }
                Some(_) => {}
                None => self.let_go(),
            }
            if flush {
                self.flush()?;
            }
            self.target.meters.rest();
            if let Some((conversation, counter)) = errand {
                self.go_on_errand(conversation, &counter, queue, &mut handover)?;
            }
        }
        Ok(())
    }

    /// The next job. What was written and not looked at waits for more of its kind, but not
    /// for long.
    fn next_job(
        &mut self,
        queue: &QueueReceiver,
        handover: &mut Option<&mut Handover>,
    ) -> Option<Queued> {
        while let Some(handover) = handover
            && self.pins.is_some()
        {
            match queue.wait_for(UNSEEN_MAX) {
                Wait::Job(job) => return Some(job),
                Wait::Nothing => self.pass_on(handover),
                Wait::End => return None,
            }
        }
        queue.wait()
    }

    /// Gives what was written to the inspector.
    pub(super) fn pass_on(&mut self, handover: &mut Handover) {
        handover.hand_over(&mut self.batch, &mut self.pins);
    }

    pub(super) fn keep(&mut self, new: Pins) {
        match &mut self.pins {
            Some(pins) => pins.absorb(new),
            None => self.pins = Some(new),
        }
    }

    pub(super) fn let_go(&mut self) {
        self.batch.clear();
        self.pins = None;
    }

    /// Writes the batch; where there is no room, waits for it if that is wanted and the reader
    /// is there. A failed write has claimed nothing, so that to try again is right; after a
    /// failed sync it would not be.
    pub(super) fn write_patiently(&mut self, queue: &QueueReceiver) -> Result<(), DiskError> {
        loop {
            match self.write_batch() {
                Err(error) if error.is_full() && !error.is_of_sync() => {
                    match self.target.when_full {
                        WhenFull::Wait(retry) if !queue.is_closed() => {
                            self.positions.publish_stall(true);
                            self.target.meters.set_full(true);
                            // A writer that tries again is alive, however long it has to.
                            self.target.meters.work();
                            std::thread::park_timeout(retry);
                        }
                        WhenFull::Wait(_) | WhenFull::Fail => return Err(error),
                    }
                }
                result => {
                    self.positions.publish_stall(false);
                    self.target.meters.set_full(false);
                    return result;
                }
            }
        }
    }

    /// Adds to what [`Writer::write_batch`] writes. Pieces come in order.
    pub fn push(&mut self, start: Lsn, bytes: Bytes) {
        if self.batch.left() == 0 {
            self.let_go();
        }
        self.batch.push(Piece { start, bytes });
    }

    /// Hands the batch to the kernel, with few calls a segment.
    ///
    /// # Errors
    /// The disk refused. Unless it was a sync that failed, what is left of the batch can be
    /// tried again.
    pub fn write_batch(&mut self) -> Result<(), DiskError> {
        while let Some(start) = self.batch.position() {
            // The stream refuses gaps; bytes at a wrong place would be worse than an abort.
            assert!(start == self.position, "pieces of WAL out of order");
            let segment = match &mut self.segment {
                Some(segment) => segment,
                None => {
                    let segment = self.next_segment()?;
                    self.segment.insert(segment)
                }
            };
            let commits_wait = self.target.synchronous.get();
            let past_cache = if commits_wait { PastCache::All } else { PastCache::Long };
            let begun = Instant::now();
            let result = segment.append(&mut self.batch, past_cache, &mut self.blocks);
            self.filled.written(begun.elapsed());
            self.position = segment.written();
            self.positions.publish_written(self.position);
            result?;
            if segment.room() > 0 {
                segment.hint()?;
            } else {
                self.complete()?;
            }
        }
        // Where the last try ended between a segment's last byte and its name.
        if self.segment.as_ref().is_some_and(|segment| segment.room() == 0) {
            self.complete()?;
        }
        Ok(())
    }

    /// Makes everything durable that was written, and says so.
    ///
    /// # Errors
    /// The disk refused. The writer is of no use any more.
    pub fn flush(&mut self) -> Result<(), DiskError> {
        if let Some(segment) = &mut self.segment {
            self.filled.flushed(flush(segment, &self.target.meters)?);
        }
        self.positions.publish_flushed(self.position);
        Ok(())
    }

    /// Gives the full segment its final name. After an error it is still the current one, unless
    /// only the next one is missing.
    fn complete(&mut self) -> Result<(), DiskError> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        flush(segment, &self.target.meters)?;
        let disk = Arc::clone(&self.target.disk);
        let complete = resume::complete_path(&self.target.directory, segment.name());
        disk.rename(segment.path(), &complete)?;
        self.segment = None;
        // One sync of the directory serves both names. Without room for the second one the
        // first is complete all the same.
        let more = self.batch.left() > 0;
        let next = if more { self.next_segment_unsynced().map(Some) } else { Ok(None) };
        disk.sync_directory(&self.target.directory)?;
        self.positions.publish_flushed(self.position);
        self.target.meters.count_segment();
        if let Some(completed) = &self.target.completed {
            // Full means that a word is already waiting there; closed, that nobody cares.
            let _ = completed.try_send(());
        }
        let commits_wait = self.target.synchronous.get();
        let in_turn = self.target.preparation == Preparation::InTurn;
        self.filled.completed(Instant::now(), self.target.segment_size, commits_wait, in_turn);
        self.segment = next?;
        self.spares.prepare(self.filled.order());
        Ok(())
    }

    /// Opens the segment at `position`, which is its start. Its name is durable.
    fn next_segment(&mut self) -> Result<OpenSegment, DiskError> {
        let segment = self.next_segment_unsynced()?;
        self.target.disk.sync_directory(&self.target.directory)?;
        self.spares.prepare(self.filled.order());
        Ok(segment)
    }

    fn next_segment_unsynced(&mut self) -> Result<OpenSegment, DiskError> {
        // A file that is there already may hold bytes that were reported as durable: they are
        // received again, but must not vanish before.
        if let Some(segment) = resume::open_partial(&self.target, self.timeline, self.position)? {
            return Ok(segment);
        }
        let size = self.target.segment_size;
        let name = SegmentName::containing(self.timeline, self.position, size);
        let path = resume::partial_path(&self.target.directory, name);
        let file = self.spares.take()?;
        if let Err(error) = self.target.disk.rename(self.spares.path(), &path) {
            self.spares.give_back(file);
            return Err(error);
        }
        let end = self.position.segment(size).end(size);
        Ok(OpenSegment::new(file, path, name, (self.position, end), self.position))
    }
}

/// Makes everything durable that the segment holds, and tells what that took.
fn flush(segment: &mut OpenSegment, meters: &Meters) -> Result<Duration, DiskError> {
    let begun = Instant::now();
    let was_needed = segment.flush()?;
    let took = begun.elapsed();
    if was_needed {
        meters.record_flush(took);
    }
    Ok(took)
}

/// Says that the writer has ended, however it ended.
struct PublishEnd(Arc<Positions>);

impl Drop for PublishEnd {
    fn drop(&mut self) {
        self.0.publish_end();
    }
}

/// One direct write: long enough that the disk is busy nearly all the time.
const BUFFER_BYTES: usize = 4 << 20;
/// What a disk takes for a flush, with its write, that has time for more: no stream waits for it.
pub(super) const SHORT_FLUSH: Duration = Duration::from_millis(1);
/// How long damage may go unseen where little comes.
pub(super) const UNSEEN_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
