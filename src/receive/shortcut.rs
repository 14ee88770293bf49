//! The short way of a synchronous stream: one thread reads, writes, flushes and answers.
//!
//! A commit that crosses two threads waits for two of them to wake up, which on a fast disk is a
//! tenth of its time. So the reader lends the conversation to the writer's thread when all that
//! came is durable; and takes it back from the counter, where it lies during each call to the
//! disk, when the disk does not answer: requests of the server never wait for it.

mod bulk;
mod errand;
mod priority;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::feedback::Feedback;
use super::queue::Job;
use super::reader::{Event, Farewell, Fault, Reader};
use super::target::Synchronous;
use crate::net::{Lend, Lent};
use crate::service::{Shutdown, Urgency};
use crate::wal::Lsn;
use crate::wire::copy_both::{WalEvent, WalStream};

/// All that a talk with the server needs.
#[derive(Debug)]
pub(super) struct Conversation {
    socket: Lent,
    /// What was read and not yet understood.
    input: BytesMut,
    stream: WalStream,
    feedback: Feedback,
    output: BytesMut,
    /// What the writer leaves to the reader, and the reason why it gives the conversation back.
    found: Option<Found>,
}

/// What only the reader can deal with.
#[derive(Debug)]
pub(super) enum Found {
    Event(WalEvent),
    Fault(Fault),
}

/// Where the conversation changes hands.
#[derive(Debug, Default)]
pub(super) struct Counter {
    /// Locked for a few instructions, and wanted by two at once only when it is taken away.
    place: Mutex<Place>,
    /// Rings when the conversation is back.
    back: Notify,
    /// The reader wants it back.
    recalled: AtomicBool,
    /// Why the writer may not come first at the processor, as the system numbers errors; 0 when
    /// there is nothing to tell.
    refusal: AtomicI32,
}

#[derive(Debug, Default)]
enum Place {
    /// Somebody has it.
    #[default]
    Empty,
    /// It lies here while the writer is at the disk, since then.
    Lying(Box<Conversation>, Instant),
    /// The writer wants no more of it.
    Back(Box<Conversation>),
}

impl Counter {
    fn place(&self) -> MutexGuard<'_, Place> {
        // No step leaves it half done.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer goes to the disk.
    fn lay_down(&self, conversation: Box<Conversation>) {
        *self.place() = Place::Lying(conversation, Instant::now());
    }

    /// The writer comes from the disk. `None`: the reader could not wait.
    fn pick_up(&self) -> Option<Box<Conversation>> {
        let mut place = self.place();
        match std::mem::take(&mut *place) {
            Place::Lying(conversation, _) => Some(conversation),
            other => {
                *place = other;
                None
            }
        }
    }

    /// The writer wants no more of it.
    fn give_back(&self, conversation: Box<Conversation>) {
        *self.place() = Place::Back(conversation);
        self.back.notify_one();
    }

    /// The reader asks: it gets what was given back, and what has lain here for longer than
    /// `patience`.
    fn reclaim(&self, patience: Duration) -> Option<Box<Conversation>> {
        let mut place = self.place();
        match std::mem::take(&mut *place) {
            Place::Back(conversation) => Some(conversation),
            Place::Lying(conversation, since) if since.elapsed() >= patience => Some(conversation),
            other => {
                *place = other;
                None
            }
        }
    }

    /// Whether the writer is at the disk, and has left the conversation here.
    #[cfg(test)]
    pub(super) fn is_laid_down(&self) -> bool {
        matches!(*self.place(), Place::Lying(..))
    }

    fn is_recalled(&self) -> bool {
        self.recalled.load(Ordering::Acquire)
    }

    /// The writer may not come first at the processor: for the reader to say.
    fn refused(&self, refusal: &io::Error) {
        self.refusal.store(refusal.raw_os_error().unwrap_or_default(), Ordering::Relaxed);
    }

    /// Told once.
    fn take_refusal(&self) -> Option<io::Error> {
        let refusal = self.refusal.swap(0, Ordering::Relaxed);
        (refusal != 0).then(|| io::Error::from_raw_os_error(refusal))
    }
}

/// The reader's side.
#[derive(Debug)]
pub(super) struct Shortcut {
    counter: Arc<Counter>,
    synchronous: Synchronous,
    /// Nothing is lent before: what ended the last loan may go on.
    not_before: Instant,
    /// Where the stream stood at the end of the last loan: a quiet server needs none.
    quiet_at: Lsn,
}

impl Shortcut {
    #[cfg(test)]
    pub(super) fn counter(&self) -> Arc<Counter> {
        Arc::clone(&self.counter)
    }

    /// The way of one stream.
    pub(super) fn new(synchronous: Synchronous, start: Lsn) -> Shortcut {
        let counter = Arc::default();
        Shortcut { counter, synchronous, not_before: Instant::now(), quiet_at: start }
    }
}

impl<S: AsyncRead + AsyncWrite + Lend + Unpin> Reader<'_, S> {
    /// Lends the conversation if this is the time for it, and waits until it is back. Whether it
    /// was away.
    pub(super) async fn go_the_short_way(
        &mut self,
        shutdown: &Shutdown,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<bool, Fault> {
        if !self.may_lend(shutdown) || !self.lend()? {
            return Ok(false);
        }
        let Some(shortcut) = &self.shortcut else { return Ok(false) };
        let counter = Arc::clone(&shortcut.counter);
        loop {
            let ending = shutdown.requested() || self.positions.has_ended();
            let patience = if ending { Duration::ZERO } else { PATIENCE };
            let reclaimed = counter.reclaim(patience);
            if let Some(refusal) = counter.take_refusal() {
                observe(Event::NotFirst(refusal));
            }
            if let Some(conversation) = reclaimed {
                return self.take_back(*conversation).map(|()| true);
            }
            if self.positions.has_ended() {
                // It panicked in the middle of the talk; the thread has the reason.
                return Err(Fault::WriterGone);
            }
            let woken = async {
                tokio::select! {
                    () = shutdown.reaches(Urgency::Finish), if !counter.is_recalled() => {
                        counter.recalled.store(true, Ordering::Release);
                    }
                    () = counter.back.notified() => {}
                }
            };
            // Else it is time to look whether the disk answers.
            let _ = timeout(PATIENCE, woken).await;
        }
    }

    /// Only when nothing is under way: the writer's thread goes on exactly here.
    fn may_lend(&self, shutdown: &Shutdown) -> bool {
        let Some(shortcut) = &self.shortcut else { return false };
        let received = self.stream.received();
        shortcut.synchronous.get()
            && self.farewell == Farewell::None
            && self.until.is_none()
            && self.stream.accepts_status()
            && !self.stream.awaits_finish()
            && self.output.is_empty()
            && received > shortcut.quiet_at
            && received == self.positions.read().flushed
            && self.queue.is_idle()
            && !self.positions.is_stalled()
            && !shutdown.requested()
            && Instant::now() >= shortcut.not_before
    }

    /// `false`: this socket cannot be lent.
    fn lend(&mut self) -> Result<bool, Fault> {
        let Some(shortcut) = &self.shortcut else { return Ok(false) };
        let Some(socket) = self.socket.lend(PATIENCE).map_err(Fault::Socket)? else {
            self.shortcut = None;
            return Ok(false);
        };
        shortcut.counter.recalled.store(false, Ordering::Release);
        let conversation = Conversation {
            socket,
            input: std::mem::take(self.input),
            stream: std::mem::replace(&mut self.stream, WalStream::new(Lsn::INVALID)),
            feedback: self.feedback.clone(),
            output: std::mem::take(&mut self.output),
            found: None,
        };
        let counter = Arc::clone(&shortcut.counter);
        self.queue.lend(Job::Errand(Box::new(conversation), counter))?;
        Ok(true)
    }

    fn take_back(&mut self, conversation: Conversation) -> Result<(), Fault> {
        let Conversation { socket, input, stream, feedback, output, found } = conversation;
        self.socket.give_back(socket).map_err(Fault::Socket)?;
        (*self.input, self.stream, self.feedback, self.output) = (input, stream, feedback, output);
        self.queue.turn_buffer(self.input.capacity());
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.not_before = Instant::now() + PAUSE;
            shortcut.quiet_at = self.stream.received();
        }
        match found {
            Some(Found::Fault(fault)) => Err(fault),
            Some(Found::Event(event)) => {
                self.left_over = Some(event);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// How long the disk may take before the reader talks to the server again, and the writer waits
/// for the socket before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two loans.
const PAUSE: Duration = Duration::from_millis(200);
