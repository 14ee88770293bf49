//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! From the queue to segment files: the only place that decides what is durable.
//!
//! A segment gets its final name after its bytes are durable, and a position is published as
//! flushed after the bytes before it and the names that lead to them are. An error ends the
//! writer: nothing that was not published may be believed afterwards.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use bytes::{Buf, Bytes};

use super::positions::{Positions, Progress};
use super::queue::{Finished, Job, Piece, QueueReceiver, Queued};
use super::resume;
use super::segment::OpenSegment;
use super::spare::{Filling, Preparation, Spares};
use crate::disk::{Disk, DiskError};
use crate::wal::{Lsn, SegmentName, SegmentSize, Timeline};

/// Where segments are written, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The directory of the segment files; it exists.
    pub directory: PathBuf,
    /// The segment size of the server.
    pub segment_size: SegmentSize,
    /// Whether everything is made durable as soon as it is written, because commits wait for
    /// it. Otherwise at the end of a segment and when asked.
    pub synchronous: Synchronous,
    /// Where the next segment is made ready.
    pub preparation: Preparation,
    /// Gets a word when a segment is complete; a word that is still unread is enough.
    pub completed: Option<SyncSender<()>>,
}

/// Whether commits wait. Clones are one value, which may change while a writer runs.
#[derive(Clone, Debug)]
pub struct Synchronous(Arc<AtomicBool>);

impl Synchronous {
    /// The first answer.
    pub fn new(synchronous: bool) -> Synchronous {
        Synchronous(Arc::new(AtomicBool::new(synchronous)))
    }

    /// The answer now.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Another answer, which counts from the next write on. Returns the one before.
    pub fn set(&self, synchronous: bool) -> bool {
        self.0.swap(synchronous, Ordering::Relaxed)
    }
}

/// Writes the WAL of one timeline, in order.
#[derive(Debug)]
pub struct Writer {
    target: Target,
    timeline: Timeline,
    /// The next byte to come.
    position: Lsn,
    /// `Some` exactly while `position` is inside a segment, or at the start of one whose file
    /// was there before.
    segment: Option<OpenSegment>,
    spares: Spares,
    positions: Arc<Positions>,
    batch: Vec<Piece>,
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
        let mut spares = Spares::new(
            Arc::clone(&target.disk),
            &target.directory,
            target.segment_size,
            filling,
            target.preparation,
        );
        let segment = resume::open_partial(&target, timeline, position)?;
        // What stands before `position` will be reported as durable: its name is to be.
        target.disk.sync_directory(&target.directory)?;
        if segment.is_none() {
            // A full disk is found out before the server is asked for anything.
            spares.make_first()?;
        }
        Ok(Writer {
            target,
            timeline,
            position,
            segment,
            spares,
            positions: Arc::new(Positions::new(position)),
            batch: Vec::with_capacity(BATCH_PIECES),
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

    /// Writes what comes through the queue until the reader's end is closed, and leaves
    /// everything durable.
    pub(super) fn run(mut self, queue: QueueReceiver) -> Result<(), DiskError> {
        // Also after a panic: nobody may wait for a writer that is gone.
        let _end = PublishEnd(Arc::clone(&self.positions));
        let result = self.serve(&queue).and_then(|()| self.flush());
        drop(queue);
        // Before the end is published: to leave no spare behind takes its time too.
        drop(self);
        result
    }

    fn serve(&mut self, queue: &QueueReceiver) -> Result<(), DiskError> {
        while let Some(first) = queue.wait() {
            let mut finished = Finished::default();
            let mut flush = self.target.synchronous.get();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(queued) = next {
                finished.add(&queued);
                bytes += self.accept(queued, &mut flush);
                let full = bytes >= BATCH_BYTES || self.batch.len() >= BATCH_PIECES;
                next = if full { None } else { queue.take() };
            }
            self.write_batch()?;
            // Before the flush: while the disk is busy, the queue fills, and the next batch is
            // flushed as a whole. That is how commits group.
            queue.done(finished);
            if flush {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn accept(&mut self, queued: Queued, flush: &mut bool) -> usize {
        match queued.job {
            Job::Wal(piece) => {
                let length = piece.bytes.len();
                self.batch.push(piece);
                length
            }
            Job::Flush => {
                *flush = true;
                0
            }
        }
    }

    /// Adds to what [`Writer::write_batch`] writes. Pieces come in order.
    pub fn push(&mut self, start: Lsn, bytes: Bytes) {
        self.batch.push(Piece { start, bytes });
    }

    /// Hands the batch to the kernel: one call a segment, and a call more for each
    /// 128 pieces.
    ///
    /// # Errors
    /// The disk refused. The writer is of no use any more.
    pub fn write_batch(&mut self) -> Result<(), DiskError> {
        let mut batch = std::mem::take(&mut self.batch);
        let mut rest = batch.as_mut_slice();
        while let Some(piece) = rest.first() {
            // The stream refuses gaps; bytes at a wrong place would be worse than an abort.
            assert!(piece.start == self.position, "pieces of WAL out of order");
            let mut segment = match self.segment.take() {
                Some(segment) => segment,
                None => self.next_segment()?,
            };
            let (pieces, cut) = append(&mut segment, rest)?;
            self.position = segment.written();
            self.positions.publish_written(self.position);
            rest = &mut rest[pieces..];
            if cut > 0 {
                let piece = &mut rest[0];
                piece.bytes.advance(cut);
                piece.start = piece.start + cut as u64;
            }
            if segment.room() == 0 {
                self.complete(segment, !rest.is_empty())?;
            } else {
                segment.hint()?;
                self.segment = Some(segment);
            }
        }
        batch.clear();
        self.batch = batch;
        Ok(())
    }

    /// Makes everything durable that was written, and says so.
    ///
    /// # Errors
    /// The disk refused. The writer is of no use any more.
    pub fn flush(&mut self) -> Result<(), DiskError> {
        if let Some(segment) = &mut self.segment {
            segment.flush()?;
        }
        self.positions.publish_flushed(self.position);
        Ok(())
    }

    fn complete(&mut self, mut segment: OpenSegment, more: bool) -> Result<(), DiskError> {
        segment.flush()?;
        let disk = Arc::clone(&self.target.disk);
        let complete = resume::complete_path(&self.target.directory, segment.name());
        disk.rename(segment.path(), &complete)?;
        // One sync of the directory serves both names. Without room for the second one the
        // first is complete all the same.
        let next = if more { self.next_segment_unsynced().map(Some) } else { Ok(None) };
        disk.sync_directory(&self.target.directory)?;
        self.positions.publish_flushed(self.position);
        if let Some(completed) = &self.target.completed {
            // Full means that a word is already waiting there; closed, that nobody cares.
            let _ = completed.try_send(());
        }
        self.segment = next?;
        self.spares.prepare();
        Ok(())
    }

    /// Opens the segment at `position`, which is its start. Its name is durable.
    fn next_segment(&mut self) -> Result<OpenSegment, DiskError> {
        let segment = self.next_segment_unsynced()?;
        self.target.disk.sync_directory(&self.target.directory)?;
        self.spares.prepare();
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
        self.target.disk.rename(self.spares.path(), &path)?;
        let end = self.position.segment(size).end(size);
        Ok(OpenSegment::new(file, path, name, (self.position, end), self.position))
    }
}

/// Says that the writer has ended, however it ended.
struct PublishEnd(Arc<Positions>);

impl Drop for PublishEnd {
    fn drop(&mut self) {
        self.0.publish_end();
    }
}

/// Appends as much of the pieces as fits and as one call takes. Returns how many went whole,
/// and how many bytes of the one behind them.
fn append(segment: &mut OpenSegment, pieces: &[Piece]) -> Result<(usize, usize), DiskError> {
    let mut room = segment.room();
    let (mut whole, mut cut, mut length) = (0, 0, 0);
    for piece in pieces.iter().take(SLICES) {
        let bytes = piece.bytes.len() as u64;
        if bytes > room {
            cut = room as usize;
            length += room;
            break;
        }
        whole += 1;
        room -= bytes;
        length += bytes;
    }
    let slices: [IoSlice<'_>; SLICES] = std::array::from_fn(|index| match pieces.get(index) {
        Some(piece) if index < whole => IoSlice::new(&piece.bytes),
        Some(piece) if index == whole => IoSlice::new(&piece.bytes[..cut]),
        _ => IoSlice::new(&[]),
    });
    segment.append(&slices[..whole + usize::from(cut > 0)], length)?;
    Ok((whole, cut))
}

/// What one drain takes at most: enough to keep the disk busy, little enough that a flush that
/// is due does not wait long.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_PIECES: usize = 512;
const SLICES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ModelDisk;
    use crate::receive::queue::queue;

    #[test]
    fn nobody_waits_for_a_writer_that_has_panicked() {
        let disk = ModelDisk::new(1);
        disk.put_directory(std::path::Path::new("/streaming"));
        let target = Target {
            disk: Arc::new(disk),
            directory: PathBuf::from("/streaming"),
            segment_size: SegmentSize::new(1 << 20).expect("a size"),
            synchronous: Synchronous::new(false),
            preparation: Preparation::InTurn,
            completed: None,
        };
        let start = Lsn(1 << 20);
        let writer = Writer::open(target, Timeline::FIRST, start).expect("opened");
        let positions = writer.positions();
        let (mut sender, receiver) = queue(1 << 20);
        sender.push(start + 8, Bytes::from_static(b"behind a gap")).expect("queued");
        sender.end_read().expect("queued");
        let thread = std::thread::spawn(move || writer.run(receiver));
        thread.join().expect_err("a gap was written");
        assert!(positions.has_ended(), "the reader would wait for ever");
    }
}
