//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! From the socket to the queue, and the conversation with the server beside it.
//!
//! Never waits for the disk: while the queue is full the socket is left alone, and reports go
//! on with what is durable.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{timeout, timeout_at};

use super::feedback::{Feedback, Report};
use super::meters::Meters;
use super::positions::Positions;
use super::queue::{QueueSender, WriterGone};
use super::shortcut::Shortcut;
use crate::net::Lend;
use crate::service::{self, Shutdown, Urgency};
use crate::wal::{Lsn, PgTimestamp};
use crate::wire::copy_both::{StatusUpdate, WalEvent, WalStream};
use crate::wire::{NextTimeline, Notice, WireError};

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// We were told to end. Everything received is durable.
    Stopped,
    /// The wanted position was reached. Everything received is durable.
    Reached,
    /// The timeline has ended on the server.
    Timeline(Option<NextTimeline>),
    /// The server shuts down in an orderly way, and everything that it had was sent.
    Shutdown,
}

/// Rare events, for the log.
#[derive(Debug)]
pub enum Event<'a> {
    /// The server begins to send.
    Started,
    /// The server remarks something.
    Notice(&'a Notice),
    /// The disk is full: reception stands still, and the connection lives.
    DiskFull,
    /// There is room again.
    DiskHasRoom,
    /// A bulk load goes on, and the system does not let commits come first at the processor.
    NotFirst(io::Error),
}

/// What ended a stream that had not come to its end.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server refused, or broke the protocol.
    Wire(WireError),
    /// The socket failed.
    Socket(io::Error),
    /// The server closed the connection without a word.
    Closed,
    /// The server does not answer any more.
    Silent(Duration),
    /// The writer has failed; its thread has the reason.
    WriterGone,
}

impl From<WriterGone> for Fault {
    fn from(_: WriterGone) -> Fault {
        Fault::WriterGone
    }
}

/// One stream of WAL, from the request to its end.
#[derive(Debug)]
pub(super) struct Reader<'a, S> {
    pub(super) socket: &'a mut S,
    /// What was read and not yet understood.
    pub(super) input: &'a mut BytesMut,
    pub(super) stream: WalStream,
    pub(super) queue: QueueSender,
    pub(super) positions: Arc<Positions>,
    pub(super) feedback: Feedback,
    /// Stop when everything before is durable.
    pub(super) until: Option<Lsn>,
    pub(super) output: BytesMut,
    /// A flush was asked for up to here.
    pub(super) flush_asked: Lsn,
    pub(super) farewell: Farewell,
    /// The writer was last seen to wait for room on the disk.
    pub(super) stalled: bool,
    /// What is to be seen from outside.
    pub(super) meters: Arc<Meters>,
    /// Past the queue, where commits wait.
    pub(super) shortcut: Option<Shortcut>,
    /// What the writer's thread came upon and left to us.
    pub(super) left_over: Option<WalEvent>,
}

/// The steps in which we end a stream by our own will.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Farewell {
    /// We do not.
    None,
    /// What was received is being made durable.
    Flushing { end: End, target: Lsn },
    /// CopyDone is out; the server's own is due before the deadline.
    Said { end: End, deadline: Instant },
}

enum Turn {
    Read(io::Result<usize>),
    Stop,
    Other,
}

impl<S: AsyncRead + AsyncWrite + Lend + Unpin> Reader<'_, S> {
    /// Receives until the stream ends.
    pub(super) async fn run(
        &mut self,
        shutdown: &Shutdown,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<End, Fault> {
        let mut listening = true;
        loop {
            if let Some(end) = self.take_events(observe)? {
                return Ok(end);
            }
            if self.positions.has_ended() {
                return Err(Fault::WriterGone);
            }
            self.tell_of_stalls(observe);
            if let Some(end) = self.say_farewell(shutdown)? {
                return Ok(end);
            }
            let now = Instant::now();
            self.show();
            // A pause of ours is none of the server's.
            if listening && self.quiet_at().is_some_and(|at| now >= at) {
                self.ask_for_flush()?;
            }
            self.report(listening, now)?;
            self.send().await?;
            if self.feedback.is_dead(now) {
                return Err(Fault::Silent(now - self.feedback.heard_at()));
            }
            let has_room = self.queue.has_room();
            if has_room && !listening {
                // The pause was ours: what the server did meanwhile is still in the socket.
                self.feedback.handle_heard(now);
            }
            listening = has_room;
            if self.go_the_short_way(shutdown, observe).await? {
                continue;
            }
            match self.turn(listening, shutdown).await {
                Turn::Read(Ok(0)) => return Err(Fault::Closed),
                Turn::Read(Ok(_)) => self.feedback.handle_heard(Instant::now()),
                Turn::Read(Err(error)) => return Err(Fault::Socket(error)),
                Turn::Stop => self.begin_farewell(End::Stopped)?,
                Turn::Other => {}
            }
        }
    }

    /// Waits for whatever comes first.
    async fn turn(&mut self, listening: bool, shutdown: &Shutdown) -> Turn {
        let mut deadline = self.feedback.deadline(listening);
        if let Farewell::Said { deadline: last, .. } = self.farewell {
            deadline = deadline.min(last);
        }
        if listening && let Some(at) = self.quiet_at() {
            deadline = deadline.min(at);
        }
        if listening && self.input.capacity() - self.input.len() < READ_MIN {
            self.input.reserve(READ_BUFFER);
            self.queue.turn_buffer(self.input.capacity());
        }
        let stops = self.farewell == Farewell::None;
        let turn = async {
            tokio::select! {
                biased;
                () = shutdown.reaches(Urgency::Finish), if stops => Turn::Stop,
                () = shutdown.reaches(Urgency::Now), if !stops => Turn::Other,
                () = self.positions.changed() => Turn::Other,
                () = self.queue.drained(), if !listening => Turn::Other,
                read = self.socket.read_buf(self.input), if listening => Turn::Read(read),
            }
        };
        timeout_at(deadline.into(), turn).await.unwrap_or(Turn::Other)
    }

    /// Takes everything out of the input that is whole.
    fn take_events(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Option<End>, Fault> {
        let mut asked = false;
        while let Some(event) = self.next_event()? {
            match event {
                WalEvent::Wal { start, bytes } => self.queue.push(start, bytes)?,
                WalEvent::Keepalive(keepalive) => {
                    asked |= keepalive.reply_now;
                }
                WalEvent::Started => {
                    self.meters.confirm_stream();
                    observe(Event::Started);
                    if matches!(self.farewell, Farewell::Said { .. }) {
                        // We wanted to leave before the stream began; only now it can be said.
                        self.stream.finish(&mut self.output);
                    }
                }
                WalEvent::Notice(notice) => observe(Event::Notice(&notice)),
                WalEvent::Parameter(_) => {}
                WalEvent::EndOfTimeline => self.stream.finish(&mut self.output),
                WalEvent::Shutdown => {
                    self.queue.end_read()?;
                    return Ok(Some(End::Shutdown));
                }
                WalEvent::Finished { next } => {
                    self.queue.end_read()?;
                    return Ok(Some(match self.farewell {
                        Farewell::Said { end, .. } | Farewell::Flushing { end, .. } => end,
                        Farewell::None => End::Timeline(next),
                    }));
                }
            }
        }
        self.queue.end_read()?;
        if asked {
            // A server that shuts down waits until everything is durable here. Once a read,
            // however often it asks: jobs would fill the queue.
            self.feedback.handle_request();
            self.ask_for_flush()?;
        }
        Ok(None)
    }

    fn next_event(&mut self) -> Result<Option<WalEvent>, Fault> {
        match self.left_over.take() {
            Some(event) => Ok(Some(event)),
            None => self.stream.next(self.input).map_err(Fault::Wire),
        }
    }

    fn tell_of_stalls(&mut self, observe: &mut dyn FnMut(Event<'_>)) {
        let stalled = self.positions.is_stalled();
        if std::mem::replace(&mut self.stalled, stalled) != stalled {
            observe(if stalled { Event::DiskFull } else { Event::DiskHasRoom });
        }
    }

    fn show(&self) {
        let (received, server) = (self.stream.received(), self.stream.server_end());
        self.meters.set_positions(received, server, self.positions.read());
        self.meters.set_queue(self.queue.pinned());
    }

    /// Asks for what was received to be made durable, once.
    fn ask_for_flush(&mut self) -> Result<(), Fault> {
        if self.owes_flush() {
            self.queue.flush()?;
            self.flush_asked = self.stream.received();
        }
        Ok(())
    }

    /// Whether something was received that is not durable, and no flush asked for.
    fn owes_flush(&self) -> bool {
        let received = self.stream.received();
        received > self.flush_asked && received > self.positions.read().flushed
    }

    /// When a stream that has paused is made durable: commits may wait for it since a moment of
    /// which nobody has told us yet.
    fn quiet_at(&self) -> Option<Instant> {
        self.owes_flush().then(|| self.feedback.heard_at() + QUIET)
    }

    fn begin_farewell(&mut self, end: End) -> Result<(), Fault> {
        self.ask_for_flush()?;
        self.farewell = Farewell::Flushing { end, target: self.stream.received() };
        Ok(())
    }

    /// Goes on with leaving, if we leave. Returns the end when the server takes too long over
    /// its part, or a second signal came: what was received is durable or will be received
    /// again.
    fn say_farewell(&mut self, shutdown: &Shutdown) -> Result<Option<End>, Fault> {
        match self.farewell {
            Farewell::None => {
                let wanted = self.until.filter(|wanted| *wanted <= self.stream.received());
                if wanted.is_some() {
                    self.begin_farewell(End::Reached)?;
                    return self.say_goodbye_if_durable();
                }
                Ok(None)
            }
            Farewell::Flushing { end, .. } if shutdown.urgency() == Urgency::Now => Ok(Some(end)),
            // What does not fit now will be received again: nothing was said of it.
            Farewell::Flushing { end, .. } if self.stalled => Ok(Some(end)),
            Farewell::Flushing { .. } => self.say_goodbye_if_durable(),
            Farewell::Said { end, deadline } => {
                let over = Instant::now() >= deadline || shutdown.urgency() == Urgency::Now;
                Ok(over.then_some(end))
            }
        }
    }

    fn say_goodbye_if_durable(&mut self) -> Result<Option<End>, Fault> {
        let Farewell::Flushing { end, target } = self.farewell else { return Ok(None) };
        if self.positions.read().flushed < target {
            return Ok(None);
        }
        let now = Instant::now();
        // The last report goes before: the slot is to stand where we do.
        self.feedback.handle_request();
        self.report(true, now)?;
        self.stream.finish(&mut self.output);
        self.farewell = Farewell::Said { end, deadline: now + FAREWELL };
        Ok(None)
    }

    /// Adds the report that is due to the output.
    fn report(&mut self, listening: bool, now: Instant) -> Result<(), Fault> {
        if !self.stream.accepts_status() {
            self.feedback.pass_over(listening, now);
            return Ok(());
        }
        let progress = self.positions.read();
        let Some(report) = self.feedback.poll(progress, listening, now) else { return Ok(()) };
        status(report).encode(&mut self.output);
        // What is reported next time is to be durable by then.
        self.ask_for_flush()
    }

    async fn send(&mut self) -> Result<(), Fault> {
        if self.output.is_empty() {
            return Ok(());
        }
        let sending = async {
            self.socket.write_all(&self.output).await?;
            self.socket.flush().await
        };
        match timeout(SEND, sending).await {
            Ok(result) => result.map_err(Fault::Socket)?,
            Err(_) => return Err(Fault::Silent(SEND)),
        }
        self.output.clear();
        Ok(())
    }
}

/// The message that says it.
pub(super) fn status(report: Report) -> StatusUpdate {
    let now = service::now().as_microsecond();
    StatusUpdate {
        written: report.written,
        flushed: report.flushed,
        // An archive applies nothing.
        applied: Lsn::INVALID,
        sent_at: PgTimestamp::from_unix_micros(now).unwrap_or_default(),
        reply_now: report.ask,
    }
}

/// What is read in one go: beyond this the gain is small, and bursts hurt the disk.
const READ_BUFFER: usize = 256 << 10;
/// With less room than this a read would be too short to be worth a call.
const READ_MIN: usize = 32 << 10;
/// What was received is made durable after a pause of this length: ten times a second at most.
const QUIET: Duration = Duration::from_millis(100);
/// How long a server may take to end a stream that we want to leave.
const FAREWELL: Duration = Duration::from_secs(5);
/// A report is 39 bytes; a server that takes none for so long is gone.
const SEND: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
