//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//!
//! The WAL stream: START_REPLICATION and the CopyBoth phase that follows.
//!
//! Knows the wire only. Splits the stream into WAL and keepalives, holds the server to
//! continuity, and knows every way in which a stream begins and ends.
//! Source: manual, "Streaming Replication Protocol", START_REPLICATION.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    BackendMessage, Frame, FrameReader, NextTimeline, Notice, ParameterStatus, ResultSet, Tag,
    WireError, frontend,
};
use crate::wal::{Lsn, PgTimestamp};

/// The client's half of a physical replication stream, from START_REPLICATION on.
///
/// Feed it with [`WalStream::next`] until [`WalEvent::Finished`], [`WalEvent::Shutdown`] or an
/// error. After [`WireError::Refused`] with a severity of ERROR the session lives on: `next`
/// then gives `Finished` at ReadyForQuery.
#[derive(Debug)]
pub struct WalStream {
    reader: FrameReader,
    phase: Phase,
    /// `Some` from the head of a CopyData until its own head, kind and positions, is read.
    head_due: Option<u32>,
    /// Position of the next byte. All before it was handed out.
    received: Lsn,
    /// The largest position that the server has named as the end of what it has.
    server_end: Lsn,
    /// When the server sent its last message, by its clock.
    sent_at: PgTimestamp,
    started: bool,
    /// Whether our CopyDone is out.
    done: bool,
    result: Option<ResultSet>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The command is out; CopyBoth, a result set or an error is due.
    Requested,
    /// Both sides send.
    Streaming,
    /// The server has sent CopyDone: results and ReadyForQuery are due, once ours is out.
    Results,
    /// An error came; only ReadyForQuery is due.
    Failed,
    /// Nothing more is due.
    Ended,
}

/// What happened in the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum WalEvent {
    /// CopyBoth has begun. An error may still follow at once: WAL that is gone, or not there yet.
    Started,
    /// WAL, in order, without gaps; a message arrives in as many pieces as reads of the socket.
    Wal {
        /// Position of the first byte.
        start: Lsn,
        /// A slice of the read buffer.
        bytes: Bytes,
    },
    /// The server is alive.
    Keepalive(Keepalive),
    /// The server remarks something.
    Notice(Notice),
    /// A setting changed.
    Parameter(ParameterStatus),
    /// The server has sent its last WAL of this timeline. Answer with
    /// [`WalStream::finish`], perhaps after a last status.
    EndOfTimeline,
    /// The server shuts down in an orderly way: everything that it has was sent, the shutdown
    /// checkpoint included. The connection is at its end.
    Shutdown,
    /// The stream is over and the session ready for another command.
    Finished {
        /// What follows the timeline, if it has ended.
        next: Option<NextTimeline>,
    },
}

/// Primary keepalive message: `k`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keepalive {
    /// How far the server has sent; never a proof that anything is durable here.
    pub end: Lsn,
    /// By the server's clock.
    pub sent_at: PgTimestamp,
    /// Whether a status is wanted at once: without one the server hangs up, and its shutdown
    /// waits.
    pub reply_now: bool,
}

impl Keepalive {
    /// Kind, end, time, flag.
    pub const LEN: usize = 1 + 8 + 8 + 1;
}
const _: () = assert!(Keepalive::LEN == 18);

/// XLogData: `w`, start, end of the server's WAL, time; WAL follows.
const WAL_HEAD_LEN: usize = 1 + 8 + 8 + 8;
const _: () = assert!(WAL_HEAD_LEN == 25);

/// Standby status update: `r`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StatusUpdate {
    /// Last byte + 1 that was written.
    pub written: Lsn,
    /// Last byte + 1 that survives a power cut; 0/0 is "unknown". A slot follows it, backwards
    /// too: never report less than before.
    pub flushed: Lsn,
    /// Last byte + 1 that was applied; 0/0 for an archive, which applies nothing.
    pub applied: Lsn,
    /// By our clock.
    pub sent_at: PgTimestamp,
    /// Whether the server is to answer with a keepalive at once.
    pub reply_now: bool,
}

impl StatusUpdate {
    /// Kind, three positions, time, flag: the payload of the CopyData.
    pub const LEN: usize = 1 + 8 + 8 + 8 + 8 + 1;

    /// Appends the whole CopyData message.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(5 + Self::LEN);
        out.put_slice(&frontend::copy_data_head(Self::LEN as u32));
        out.put_u8(b'r');
        out.put_u64(self.written.0);
        out.put_u64(self.flushed.0);
        out.put_u64(self.applied.0);
        out.put_i64(self.sent_at.0);
        out.put_u8(u8::from(self.reply_now));
    }
}
const _: () = assert!(StatusUpdate::LEN == 34);

impl WalStream {
    /// A stream that was asked for from `start` on.
    pub fn new(start: Lsn) -> WalStream {
        WalStream {
            reader: FrameReader::new(),
            phase: Phase::Requested,
            head_due: None,
            received: start,
            server_end: Lsn::INVALID,
            sent_at: PgTimestamp::default(),
            started: false,
            done: false,
            result: None,
        }
    }

    /// The next event, or `None` when more bytes are needed. What is then left in `input` is
    /// shorter than a head, unless a control message is under way.
    ///
    /// # Errors
    /// [`WireError::Refused`] when the server gives an error, before or after the stream began;
    /// [`WireError::Gap`] when WAL does not follow on what came before; any violation of the
    /// protocol. Nothing that was handed out before an error is made wrong by it.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<WalEvent>, WireError> {
        loop {
            if let Some(length) = self.head_due {
                match self.head(length, input)? {
                    Head::Incomplete => return Ok(None),
                    Head::Keepalive(keepalive) => return Ok(Some(WalEvent::Keepalive(keepalive))),
                    Head::Wal => {}
                }
            }
            match self.reader.next(input)? {
                None => return Ok(None),
                Some(Frame::CopyPiece(bytes)) => {
                    let start = self.received;
                    // `head` made sure that the whole message fits below 2^64.
                    self.received = start + bytes.len() as u64;
                    return Ok(Some(WalEvent::Wal { start, bytes }));
                }
                Some(Frame::CopyData { length }) => {
                    if self.phase != Phase::Streaming {
                        return Err(self.unexpected(Tag(b'd')));
                    }
                    self.head_due = Some(length);
                }
                Some(Frame::Message { tag, body }) => {
                    let message = BackendMessage::parse(tag, body)?;
                    if let Some(event) = self.control(tag, message)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// Appends our CopyDone: the answer to [`WalEvent::EndOfTimeline`], or our wish to stop.
    /// WAL that was under way still comes; then [`WalEvent::Finished`].
    pub fn finish(&mut self, out: &mut BytesMut) {
        if !self.done && matches!(self.phase, Phase::Streaming | Phase::Results) {
            frontend::copy_done(out);
            self.done = true;
        }
    }

    /// Position of the next byte; all before it was handed out.
    pub fn received(&self) -> Lsn {
        self.received
    }

    /// Whether the rest of a message is on its way: a server writes each in one go.
    pub fn is_within_message(&self) -> bool {
        self.reader.copy_left() > 0
    }

    /// The largest position that the server has named as the end of its WAL.
    pub fn server_end(&self) -> Lsn {
        self.server_end
    }

    /// When the server sent its last WAL or keepalive, by its own clock.
    pub fn sent_at(&self) -> PgTimestamp {
        self.sent_at
    }

    /// Whether CopyBoth had begun: tells "not in this server's history" (no) from "ahead of
    /// its WAL" and "already removed" (yes).
    pub fn started(&self) -> bool {
        self.started
    }

    /// Whether status updates may be sent.
    pub fn accepts_status(&self) -> bool {
        !self.done && (self.phase == Phase::Streaming || self.awaits_finish())
    }

    /// Whether the server has ended the timeline and waits for [`WalStream::finish`].
    pub fn awaits_finish(&self) -> bool {
        self.phase == Phase::Results && self.started && !self.done
    }

    fn head(&mut self, length: u32, input: &mut BytesMut) -> Result<Head, WireError> {
        let malformed = |what| WireError::Malformed { tag: Tag(b'd'), what };
        if length == 0 {
            return Err(malformed("stream message without a kind"));
        }
        let Some(kind) = self.reader.peek(input) else { return Ok(Head::Incomplete) };
        let head_length = match kind {
            b'w' if length < WAL_HEAD_LEN as u32 => return Err(malformed("XLogData ends early")),
            b'w' => WAL_HEAD_LEN as u32,
            b'k' if length != Keepalive::LEN as u32 => {
                return Err(malformed("keepalive is not 18 bytes long"));
            }
            b'k' => Keepalive::LEN as u32,
            kind => return Err(WireError::UnknownKind { kind }),
        };
        let Some(mut head) = self.reader.take(input, head_length) else {
            return Ok(Head::Incomplete);
        };
        self.head_due = None;
        head.advance(1);
        let position = Lsn(head.get_u64());
        if kind == b'k' {
            let sent_at = PgTimestamp(head.get_i64());
            self.note(position, sent_at);
            let reply_now = head.get_u8() != 0;
            return Ok(Head::Keepalive(Keepalive { end: position, sent_at, reply_now }));
        }
        if position != self.received {
            return Err(WireError::Gap { expected: self.received, got: position });
        }
        if position.checked_add(u64::from(length - head_length)).is_none() {
            return Err(malformed("WAL beyond the last position"));
        }
        let end = Lsn(head.get_u64());
        self.note(end, PgTimestamp(head.get_i64()));
        Ok(Head::Wal)
    }

    fn note(&mut self, end: Lsn, sent_at: PgTimestamp) {
        self.server_end = self.server_end.max(end);
        self.sent_at = sent_at;
    }

    fn control(
        &mut self,
        tag: Tag,
        message: BackendMessage,
    ) -> Result<Option<WalEvent>, WireError> {
        match (self.phase, message) {
            (Phase::Ended, _) => return Err(self.unexpected(tag)),
            (_, BackendMessage::Notice(notice)) => return Ok(Some(WalEvent::Notice(notice))),
            (_, BackendMessage::ParameterStatus(status)) => {
                return Ok(Some(WalEvent::Parameter(status)));
            }
            (_, BackendMessage::Error(error)) => {
                self.phase = if error.is_fatal() { Phase::Ended } else { Phase::Failed };
                return Err(WireError::Refused(error));
            }
            (Phase::Requested, BackendMessage::CopyBoth) => {
                self.phase = Phase::Streaming;
                self.started = true;
                return Ok(Some(WalEvent::Started));
            }
            // A timeline that ends exactly where we wanted to start: its result, no stream.
            (Phase::Requested | Phase::Results, BackendMessage::RowDescription(columns))
                if self.result.is_none() =>
            {
                self.phase = Phase::Results;
                self.result = Some(ResultSet { columns, rows: Vec::new() });
            }
            (Phase::Results, BackendMessage::DataRow(row)) => match &mut self.result {
                Some(result) if result.rows.is_empty() => result.rows.push(row),
                _ => return Err(self.unexpected(tag)),
            },
            (Phase::Results, BackendMessage::CommandComplete(_)) => {}
            (Phase::Streaming, BackendMessage::CopyDone) => {
                self.phase = Phase::Results;
                if !self.done {
                    return Ok(Some(WalEvent::EndOfTimeline));
                }
            }
            (Phase::Streaming, BackendMessage::CommandComplete(_)) => {
                self.phase = Phase::Ended;
                return Ok(Some(WalEvent::Shutdown));
            }
            (Phase::Results, BackendMessage::ReadyForQuery(_)) if !self.awaits_finish() => {
                self.phase = Phase::Ended;
                let next = self.result.take().map(|result| NextTimeline::try_from(&result));
                return Ok(Some(WalEvent::Finished { next: next.transpose()? }));
            }
            (Phase::Failed, BackendMessage::ReadyForQuery(_)) => {
                self.phase = Phase::Ended;
                return Ok(Some(WalEvent::Finished { next: None }));
            }
            _ => return Err(self.unexpected(tag)),
        }
        Ok(None)
    }

    fn unexpected(&self, got: Tag) -> WireError {
        let expected = match self.phase {
            Phase::Requested => "the start of the stream",
            Phase::Streaming => "WAL",
            Phase::Results => "the end of the stream",
            Phase::Failed => "ReadyForQuery after an error",
            Phase::Ended => "nothing more",
        };
        WireError::Unexpected { got, expected }
    }
}

/// What the head of a CopyData was.
enum Head {
    Incomplete,
    Keepalive(Keepalive),
    Wal,
}
