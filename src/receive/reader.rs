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
use super::positions::Positions;
use super::queue::{QueueSender, WriterGone};
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

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<'_, S> {
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
            if let Some(end) = self.say_farewell(shutdown)? {
                return Ok(end);
            }
            let now = Instant::now();
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
        while let Some(event) = self.stream.next(self.input).map_err(Fault::Wire)? {
            match event {
                WalEvent::Wal { start, bytes } => self.queue.push(start, bytes)?,
                WalEvent::Keepalive(keepalive) => {
                    asked |= keepalive.reply_now;
                }
                WalEvent::Started => {
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

    /// Asks for what was received to be made durable, once.
    fn ask_for_flush(&mut self) -> Result<(), Fault> {
        let received = self.stream.received();
        if received > self.flush_asked && received > self.positions.read().flushed {
            self.queue.flush()?;
            self.flush_asked = received;
        }
        Ok(())
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

fn status(report: Report) -> StatusUpdate {
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
/// How long a server may take to end a stream that we want to leave.
const FAREWELL: Duration = Duration::from_secs(5);
/// A report is 39 bytes; a server that takes none for so long is gone.
const SEND: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use allocation_counter::measure;
    use tokio::io::{Empty, empty};

    use super::*;
    use crate::receive::feedback::Rhythm;
    use crate::receive::queue::{Finished, QueueReceiver, queue};

    /// A frame of WAL, and a keepalive behind it. Source: manual, "Streaming Replication
    /// Protocol", XLogData and Primary keepalive message.
    fn frames(start: u64, length: usize, ask: u8) -> Vec<u8> {
        let mut frame = vec![b'd'];
        frame.extend((4 + 25 + length as u32).to_be_bytes());
        frame.push(b'w');
        frame.extend([start, start + length as u64, 0].map(u64::to_be_bytes).concat());
        frame.resize(frame.len() + length, 7);
        frame.push(b'd');
        frame.extend((4_u32 + 18).to_be_bytes());
        frame.push(b'k');
        frame.extend([start + length as u64, 0].map(u64::to_be_bytes).concat());
        frame.push(ask);
        frame
    }

    fn reader<'a>(
        socket: &'a mut Empty,
        input: &'a mut BytesMut,
        start: Lsn,
    ) -> (Reader<'a, Empty>, QueueReceiver) {
        let (sender, receiver) = queue(8 << 20);
        let now = Instant::now();
        let reader = Reader {
            socket,
            input,
            stream: WalStream::new(start),
            queue: sender,
            positions: Arc::new(Positions::new(start)),
            feedback: Feedback::new(Rhythm::for_server(None), Lsn::INVALID, now),
            until: None,
            output: BytesMut::with_capacity(256),
            flush_asked: Lsn::INVALID,
            farewell: Farewell::None,
        };
        (reader, receiver)
    }

    /// What the writer would do, without a disk.
    fn drain(receiver: &QueueReceiver) -> usize {
        let (mut finished, mut jobs) = (Finished::default(), 0);
        while let Some(queued) = receiver.take() {
            finished.add(&queued);
            jobs += 1;
        }
        receiver.done(finished);
        jobs
    }

    /// CopyBothResponse without columns.
    const COPY_BOTH: [u8; 8] = [b'W', 0, 0, 0, 7, 0, 0, 0];

    #[test]
    fn a_thousand_frames_reach_the_queue_without_an_allocation_for_each() {
        let start = 1 << 24;
        let mut bytes = COPY_BOTH.to_vec();
        let mut at = start;
        for number in 0..1000 {
            let length = if number % 2 == 0 { 56 } else { 8192 };
            bytes.extend(frames(at, length, 0));
            at += length as u64;
        }
        let (mut socket, mut input) = (empty(), BytesMut::new());
        let (mut reader, receiver) = reader(&mut socket, &mut input, Lsn(start));
        let (mut rest, mut buffers, mut jobs) = (bytes.as_slice(), 0, 0);
        let info = measure(|| {
            while !rest.is_empty() {
                if reader.input.capacity() - reader.input.len() < READ_MIN {
                    reader.input.reserve(READ_BUFFER);
                    reader.queue.turn_buffer(reader.input.capacity());
                    buffers += 1;
                }
                let room = reader.input.capacity() - reader.input.len();
                let (read, more) = rest.split_at(room.min(rest.len()));
                reader.input.extend_from_slice(read);
                rest = more;
                let end = reader.take_events(&mut |_| {}).expect("good frames");
                assert_eq!(end, None);
                jobs += drain(&receiver);
            }
        });
        assert_eq!(reader.stream.received(), Lsn(at));
        assert!(jobs >= 1000, "{jobs} jobs");
        // A buffer and what counts its users, the same for gathered pieces, and a block of them.
        assert!(info.count_total <= 5 * buffers, "{} in {buffers} buffers", info.count_total);
    }

    #[test]
    fn a_server_that_asks_in_each_frame_does_not_fill_the_queue_with_flushes() {
        let mut bytes = COPY_BOTH.to_vec();
        for number in 0..4000 {
            bytes.extend(frames((1 << 24) + number, 1, 1));
        }
        let (mut socket, mut input) = (empty(), BytesMut::from(bytes.as_slice()));
        let (mut reader, receiver) = reader(&mut socket, &mut input, Lsn(1 << 24));
        reader.take_events(&mut |_| {}).expect("good frames");
        // With thousands of jobs the reader would wait for the disk.
        assert!(drain(&receiver) < 10);
    }
}
