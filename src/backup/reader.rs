//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! From the socket to the queue: cuts archives and manifest out of the stream.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::errand::{self, Conversation, Found, Loan};
use super::error::BackupError;
use super::limits;
use super::pace::{self, Pace};
use super::queue::{Job, QueueSender, WriterGone};
use crate::net::{Lend, NetError, Walsender};
use crate::output::Progress;
use crate::wal::{Lsn, Timeline};
use crate::wire::base_backup::{BackupEvent, BackupStream};
use crate::wire::{Notice, ServerError, Tablespace, WireError};

/// Rare events of a copy.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The checkpoint is done: this is where the backup begins.
    Start(Position),
    /// What will come, as the server saw it when the backup began.
    Tablespaces(&'a [Tablespace]),
    /// An archive begins.
    Archive(&'a str),
    /// The manifest begins.
    Manifest,
    /// All data has come; the server checks what it has to check.
    End,
    /// The server has found damaged pages of its own.
    Damaged(ServerError),
    /// The server remarks something.
    Notice(&'a Notice),
}

/// A place in the WAL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Position {
    pub(super) lsn: Lsn,
    pub(super) timeline: Timeline,
}

/// What a copy spans.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) start: Position,
    pub(super) end: Position,
}

/// What ended a copy before its time.
#[derive(Debug)]
pub(super) enum Fault {
    Wire(WireError),
    Socket(io::Error),
    Closed,
    Silent,
    WriterGone,
    Refused(BackupError),
}

/// Told of rare events; what it refuses ends the copy.
pub(super) type Observer<'a> = &'a mut dyn FnMut(Event<'_>) -> Result<(), BackupError>;

/// One read; larger ones make bursts that hurt when the disk syncs.
const READ_BUFFER: usize = 256 << 10;
/// As many as the queue pins when it is full, and some.
const READ_BUFFERS: usize = 80;
/// When the server pauses for so long, the writer gets what there is.
const PAUSE: Duration = Duration::from_millis(5);
/// Below this much room a buffer is given up for a new one.
const READ_MIN: usize = 16 << 10;

/// How a copy is to go.
#[derive(Debug)]
pub(super) struct Manner<'a> {
    /// A server that has begun to send and then says nothing for so long is given up.
    pub(super) silence: Duration,
    /// How fast it may come.
    pub(super) pace: Pace,
    /// Whether archives are stored as they come: then the writer may read them for itself.
    pub(super) as_it_comes: bool,
    /// Of an incremental backup: what to ask the server when it has said where the copy begins.
    pub(super) limits: Option<limits::Question<'a>>,
}

/// Reads until the server vouches for the backup. `None` when the writer ended first: it has
/// the reason.
pub(super) async fn copy(
    session: &mut Walsender,
    mut stream: BackupStream,
    queue: QueueSender,
    manner: Manner<'_>,
    progress: &dyn Progress,
    observe: Observer<'_>,
) -> Result<Option<Span>, BackupError> {
    let silence = manner.silence;
    let mut reading = Reading {
        session,
        stream: &mut stream,
        queue,
        manner,
        progress,
        observe,
        buffers: Buffers::default(),
        open: Open::default(),
        done: 0,
        is_in_archive: false,
    };
    let fault = match reading.run().await {
        Ok(span) => return Ok(Some(span)),
        Err(fault) => fault,
    };
    let error = match fault {
        Fault::WriterGone => return Ok(None),
        Fault::Refused(error) => return Err(error),
        Fault::Wire(error) => session.command_error("BASE_BACKUP", error),
        Fault::Socket(error) => session.lost(error),
        Fault::Closed => NetError::Closed {
            endpoint: session.endpoint().into(),
            waiting_for: stream.waits_for(),
        },
        Fault::Silent => NetError::Silent {
            endpoint: session.endpoint().into(),
            command: "BASE_BACKUP".into(),
            after: silence,
        },
    };
    Err(error.into())
}

/// A copy that is under way.
struct Reading<'a> {
    session: &'a mut Walsender,
    stream: &'a mut BackupStream,
    queue: QueueSender,
    manner: Manner<'a>,
    progress: &'a dyn Progress,
    observe: Observer<'a>,
    buffers: Buffers,
    open: Open,
    /// Bytes of archives that have come.
    done: u64,
    is_in_archive: bool,
}

impl Reading<'_> {
    async fn run(&mut self) -> Result<Span, Fault> {
        loop {
            let before = self.done;
            while let Some(event) = self.next()? {
                if let Some(span) = self.handle(event).await? {
                    return Ok(span);
                }
            }
            self.progress.done(self.done);
            let moved = self.done - before;
            if let Some(until) = self.manner.pace.moved(moved, Instant::now()) {
                pace::rest(until).await;
            }
            match self.lend().await? {
                Some(event) => {
                    if let Some(span) = self.handle(event).await? {
                        return Ok(span);
                    }
                }
                None => self.hear().await?,
            }
        }
    }

    fn next(&mut self) -> Result<Option<BackupEvent>, Fault> {
        let (_, input) = self.session.parts();
        self.stream.next(input).map_err(Fault::Wire)
    }

    /// Passes an event on. The span, once the server vouches for it.
    async fn handle(&mut self, event: BackupEvent) -> Result<Option<Span>, Fault> {
        match event {
            BackupEvent::ArchiveData(bytes) => {
                self.done += bytes.len() as u64;
                self.queue.push(Job::Data(bytes)).await?;
            }
            BackupEvent::ManifestData(bytes) => self.queue.push(Job::Manifest(bytes)).await?,
            BackupEvent::ArchiveBegin { name, tablespace, .. } => {
                self.is_in_archive = true;
                (self.observe)(Event::Archive(&name)).map_err(Fault::Refused)?;
                self.manner.pace.begin(tablespace, Instant::now());
                self.queue.push(Job::Archive { name, tablespace }).await?;
            }
            BackupEvent::ArchiveEnd => {
                self.is_in_archive = false;
                self.queue.push(Job::ArchiveEnd).await?;
            }
            BackupEvent::Start { lsn, timeline } => {
                self.queue.push(Job::Start(lsn)).await?;
                self.open.handle(event, self.observe)?;
                if let Some(question) = self.manner.limits.take() {
                    // Before the first file comes; the server waits as long with the rest.
                    let limits = question.ask(Position { lsn, timeline }).await;
                    self.queue.push(Job::Limits(Box::new(limits))).await?;
                }
            }
            event => return self.open.handle(event, self.observe),
        }
        Ok(None)
    }

    /// Reads what the socket has, or lets the writer have what there is.
    async fn hear(&mut self) -> Result<(), Fault> {
        let (socket, input) = self.session.parts();
        if input.capacity() - input.len() < READ_MIN {
            self.buffers.renew(input);
        }
        let reading = socket.read_buf(input);
        let count = if self.queue.is_holding_back() {
            match tokio::time::timeout(PAUSE, reading).await {
                Ok(count) => count,
                Err(_) => {
                    self.queue.send()?;
                    return Ok(());
                }
            }
        } else if self.open.start.is_some() {
            let silence = self.manner.silence;
            tokio::time::timeout(silence, reading).await.map_err(|_| Fault::Silent)?
        } else {
            reading.await
        };
        match count.map_err(Fault::Socket)? {
            0 => Err(Fault::Closed),
            _ => Ok(()),
        }
    }

    /// Lends socket and stream to the writer where that is possible, and waits until they are
    /// back. What came then that is not data.
    async fn lend(&mut self) -> Result<Option<BackupEvent>, Fault> {
        let wanted = self.is_in_archive && self.manner.as_it_comes && self.manner.pace.is_free();
        if !wanted {
            return Ok(None);
        }
        let (socket, input) = self.session.parts();
        let Some(socket) = socket.lend(errand::PATIENCE).map_err(Fault::Socket)? else {
            // It is encrypted.
            self.manner.as_it_comes = false;
            return Ok(None);
        };
        let conversation = Conversation {
            socket,
            input: std::mem::take(input),
            stream: std::mem::replace(self.stream, BackupStream::ended()),
            found: None,
        };
        let (errand, loan) = Loan::new(conversation, self.manner.silence);
        self.queue.push(Job::Errand(errand)).await?;
        self.queue.send()?;
        let (mut passed, done, progress) = (0, self.done, self.progress);
        let mut tell = |bytes| {
            passed = bytes;
            progress.done(done + bytes);
        };
        let back = loan.wait(&mut tell).await.ok_or(Fault::WriterGone)?;
        self.done += passed;
        let (socket, input) = self.session.parts();
        socket.give_back(back.socket).map_err(Fault::Socket)?;
        (*input, *self.stream) = (back.input, back.stream);
        match back.found {
            Some(Found::Event(event)) => Ok(Some(event)),
            Some(Found::Fault(fault)) => Err(fault),
            None => Ok(None),
        }
    }
}

/// Read buffers in turn. One whose bytes are all stored is filled again: fresh memory would have
/// to be found and cleared by the kernel, a page at a time.
#[derive(Debug, Default)]
struct Buffers(VecDeque<BytesMut>);

impl Buffers {
    /// Makes room in the input; what is in it stays.
    fn renew(&mut self, input: &mut BytesMut) {
        let mut oldest = self.0.pop_front();
        let is_free = oldest.as_mut().is_some_and(|buffer| buffer.try_reclaim(READ_BUFFER));
        let mut next = match oldest {
            Some(buffer) if is_free => buffer,
            // Still in use. More than this the queue does not hold: then it is one of another size.
            Some(buffer) if self.0.len() < READ_BUFFERS => {
                self.0.push_front(buffer);
                BytesMut::with_capacity(READ_BUFFER)
            }
            _ => BytesMut::with_capacity(READ_BUFFER),
        };
        next.extend_from_slice(input);
        input.clear();
        self.0.push_back(std::mem::replace(input, next));
    }
}

/// A span of which not all is known.
#[derive(Debug, Default)]
struct Open {
    start: Option<Position>,
    end: Option<Position>,
}

impl Open {
    /// Takes an event that is not payload. The span, once the server vouches for it.
    fn handle(&mut self, event: BackupEvent, observe: Observer<'_>) -> Result<Option<Span>, Fault> {
        let told = match event {
            BackupEvent::Start { lsn, timeline } => {
                let start = Position { lsn, timeline };
                self.start = Some(start);
                observe(Event::Start(start))
            }
            BackupEvent::End { lsn, timeline } => {
                self.end = Some(Position { lsn, timeline });
                observe(Event::End)
            }
            BackupEvent::Tablespaces(list) => observe(Event::Tablespaces(&list)),
            BackupEvent::ManifestBegin => observe(Event::Manifest),
            BackupEvent::Notice(notice) => observe(Event::Notice(&notice)),
            BackupEvent::Damaged(error) => observe(Event::Damaged(error)),
            BackupEvent::Ready => {
                // The stream gives both before.
                let both = self.start.zip(self.end);
                return Ok(both.map(|(start, end)| Span { start, end }));
            }
            _ => Ok(()),
        };
        told.map(|()| None).map_err(Fault::Refused)
    }
}

impl From<WriterGone> for Fault {
    fn from(_: WriterGone) -> Fault {
        Fault::WriterGone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_buffer_is_filled_again_when_its_bytes_are_stored_and_not_before() {
        let (mut buffers, mut input) = (Buffers::default(), BytesMut::with_capacity(64));
        input.extend_from_slice(b"head");
        buffers.renew(&mut input);
        assert_eq!(&input[..], b"head");
        // The first one is of another size; it is forgotten in time.
        for _ in 0..=READ_BUFFERS {
            buffers.renew(&mut input);
        }
        let first = input.as_ptr();
        input.resize(READ_BUFFER, 1);
        let stored = input.split().freeze();
        buffers.renew(&mut input);
        let mut seen_while_stored = Vec::new();
        for _ in 0..READ_BUFFERS / 2 {
            seen_while_stored.push(input.as_ptr());
            buffers.renew(&mut input);
        }
        assert!(!seen_while_stored.contains(&first));
        assert!(stored[4..].iter().all(|&byte| byte == 1));
        drop(stored);
        let mut seen = Vec::new();
        for _ in 0..2 * READ_BUFFERS {
            seen.push(input.as_ptr());
            buffers.renew(&mut input);
        }
        assert!(seen.contains(&first), "it is never used again");
        assert!(buffers.0.len() <= READ_BUFFERS + 1);
    }
}
