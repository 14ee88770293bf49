//! Threads that work on pieces side by side and hand them back in order.
//!
//! The pieces in flight are bounded by who submits them; their buffers go round. A piece that
//! fails, or on which a thread panics, is handed back as an error in its turn. Dropping the
//! crew ends the threads: what is queued is not worked on any more.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A piece, plain and packed, of which one side is to be made from the other.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) plain: Vec<u8>,
    pub(super) packed: Vec<u8>,
    /// Where the packed side stands in its file.
    pub(super) at: u64,
    /// Bytes of the packed side, where it is still to be read.
    pub(super) packed_length: usize,
    /// Bytes of the plain side, where it is still to be made.
    pub(super) plain_length: usize,
}

/// What a thread does with each piece.
pub(super) type Worker = Box<dyn FnMut(&mut Piece) -> io::Result<()> + Send>;

/// A piece under its number, or why there is none.
type Finished = (u64, io::Result<Piece>);

/// The threads, and what they are at.
pub(super) struct Crew {
    jobs: Option<SyncSender<(u64, Piece)>>,
    finished: Receiver<Finished>,
    /// Finished ahead of their turn; the first place is that of `next`.
    early: VecDeque<Option<io::Result<Piece>>>,
    next: u64,
    submitted: u64,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts a thread for each worker. No more than `limit` pieces may be in flight.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(
        name: &'static str,
        workers: Vec<Worker>,
        limit: usize,
    ) -> io::Result<Crew> {
        let (jobs, queue) = mpsc::sync_channel(limit);
        let (sender, finished) = mpsc::sync_channel(limit);
        let queue = Arc::new(Mutex::new(queue));
        let stop = Arc::new(AtomicBool::new(false));
        let mut crew = Crew {
            jobs: Some(jobs),
            finished,
            early: VecDeque::with_capacity(limit),
            next: 0,
            submitted: 0,
            stop: Arc::clone(&stop),
            threads: Vec::with_capacity(workers.len()),
        };
        for worker in workers {
            let (queue, sender, stop) = (Arc::clone(&queue), sender.clone(), Arc::clone(&stop));
            let thread = std::thread::Builder::new().name(name.to_owned());
            crew.threads.push(thread.spawn(move || work(worker, &queue, &sender, &stop))?);
        }
        Ok(crew)
    }

    /// Hands a piece to the threads.
    ///
    /// # Errors
    /// All threads have ended: each has panicked.
    pub(super) fn submit(&mut self, piece: Piece) -> io::Result<()> {
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send((self.submitted, piece)).map_err(|_| gone())?;
        self.submitted += 1;
        Ok(())
    }

    /// How many pieces were submitted and not handed back.
    pub(super) fn in_flight(&self) -> u64 {
        self.submitted - self.next
    }

    /// The next piece in order; waits for it. `None` when none is in flight.
    pub(super) fn wait(&mut self) -> io::Result<Option<Piece>> {
        while self.in_flight() > 0 {
            if let Some(piece) = self.first() {
                return piece.map(Some);
            }
            let finished = self.finished.recv().map_err(|_| gone())?;
            self.put(finished);
        }
        Ok(None)
    }

    /// The next piece in order, if it is finished.
    pub(super) fn poll(&mut self) -> io::Result<Option<Piece>> {
        loop {
            match self.finished.try_recv() {
                Ok(finished) => self.put(finished),
                Err(TryRecvError::Empty) => return self.first().transpose(),
                Err(TryRecvError::Disconnected) => {
                    return match self.first() {
                        Some(piece) => piece.map(Some),
                        None if self.in_flight() > 0 => Err(gone()),
                        None => Ok(None),
                    };
                }
            }
        }
    }

    fn put(&mut self, (number, piece): Finished) {
        let place = (number - self.next) as usize;
        while self.early.len() <= place {
            self.early.push_back(None);
        }
        self.early[place] = Some(piece);
    }

    fn first(&mut self) -> Option<io::Result<Piece>> {
        let piece = self.early.front_mut()?.take()?;
        self.early.pop_front();
        self.next += 1;
        Some(piece)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was handed on with the piece that it happened on.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crew({} threads, {} pieces)", self.threads.len(), self.in_flight())
    }
}

fn work(
    mut worker: Worker,
    queue: &Mutex<Receiver<(u64, Piece)>>,
    finished: &SyncSender<Finished>,
    stop: &AtomicBool,
) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, mut piece)) = job else { return };
        if stop.load(Ordering::Acquire) {
            return;
        }
        let worked = catch_unwind(AssertUnwindSafe(|| worker(&mut piece)));
        let panicked = worked.is_err();
        let outcome = match worked {
            Ok(result) => result.map(|()| piece),
            Err(_) => Err(io::Error::other("a thread that compresses has panicked")),
        };
        // What it keeps from piece to piece may be broken after a panic.
        if finished.send((number, outcome)).is_err() || panicked {
            return;
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("every thread that compresses has panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubling() -> Worker {
        Box::new(|piece| {
            // Odd pieces take longer, so that they are overtaken.
            let rounds = if piece.at % 2 == 1 { 200_000 } else { 1 };
            piece.plain_length =
                (0..rounds).fold(0, |_, _| std::hint::black_box(piece.at as usize));
            Ok(())
        })
    }

    #[test]
    fn pieces_come_back_in_the_order_in_which_they_went() {
        let mut crew =
            Crew::start("test", vec![doubling(), doubling(), doubling()], 5).expect("ok");
        let (mut next, mut seen) = (0, Vec::new());
        while seen.len() < 500 {
            while next < 500 && crew.in_flight() < 5 {
                crew.submit(Piece { at: next, ..Piece::default() }).expect("room");
                next += 1;
            }
            let piece = match crew.poll().expect("no panic") {
                Some(piece) => piece,
                None => crew.wait().expect("no panic").expect("one is in flight"),
            };
            assert_eq!(piece.plain_length as u64, piece.at);
            seen.push(piece.at);
        }
        assert!(seen.iter().copied().eq(0..500));
        assert!(crew.wait().expect("ok").is_none() && crew.poll().expect("ok").is_none());
    }

    #[test]
    fn an_error_or_a_panic_is_handed_back_in_its_turn_and_nobody_waits_for_ever() {
        let worker = || -> Worker {
            Box::new(|piece| match piece.at {
                1 => Err(io::Error::other("refused")),
                3 => panic!("as a defect would"),
                _ => Ok(()),
            })
        };
        let mut crew = Crew::start("test", vec![worker()], 5).expect("started");
        for at in 0..5 {
            crew.submit(Piece { at, ..Piece::default() }).expect("room");
        }
        assert_eq!(crew.wait().expect("good").expect("there").at, 0);
        assert_eq!(crew.wait().expect_err("refused").to_string(), "refused");
        assert_eq!(crew.wait().expect("good").expect("there").at, 2);
        assert!(crew.wait().expect_err("panicked").to_string().contains("panicked"));
        assert!(crew.wait().is_err(), "its only thread is gone");
    }

    #[test]
    fn a_crew_that_is_dropped_leaves_no_thread_behind() {
        let alive = Arc::new(());
        let workers = (0..3).map(|_| {
            let alive = Arc::clone(&alive);
            let worker: Worker = Box::new(move |_| {
                let _held = Arc::clone(&alive);
                Ok(())
            });
            worker
        });
        let mut crew = Crew::start("test", workers.collect(), 8).expect("started");
        for _ in 0..8 {
            crew.submit(Piece::default()).expect("room");
        }
        drop(crew);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
