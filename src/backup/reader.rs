//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! From the socket to the queue: cuts archives and manifest out of the stream.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::error::BackupError;
use super::pace::{self, Pace};
use super::queue::{Job, QueueSender, WriterGone};
use crate::net::{NetError, Walsender};
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
enum Fault {
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

/// Reads until the server vouches for the backup. `None` when the writer ended first: it has
/// the reason. A server that has begun to send and then says nothing for `silence` is given up.
pub(super) async fn copy(
    session: &mut Walsender,
    mut stream: BackupStream,
    mut queue: QueueSender,
    silence: Duration,
    mut pace: Pace,
    progress: &dyn Progress,
    observe: Observer<'_>,
) -> Result<Option<Span>, BackupError> {
    let reading = read(session, &mut stream, &mut queue, silence, &mut pace, progress, observe);
    let fault = match reading.await {
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

async fn read(
    session: &mut Walsender,
    stream: &mut BackupStream,
    queue: &mut QueueSender,
    silence: Duration,
    pace: &mut Pace,
    progress: &dyn Progress,
    observe: Observer<'_>,
) -> Result<Span, Fault> {
    let (socket, input) = session.parts();
    let mut span = Open::default();
    let mut done = 0_u64;
    let mut buffers = Buffers::default();
    loop {
        let before = done;
        while let Some(event) = stream.next(input).map_err(Fault::Wire)? {
            match event {
                BackupEvent::ArchiveData(bytes) => {
                    done += bytes.len() as u64;
                    queue.push(Job::Data(bytes)).await?;
                }
                BackupEvent::ManifestData(bytes) => queue.push(Job::Manifest(bytes)).await?,
                BackupEvent::ArchiveBegin { name, tablespace, .. } => {
                    observe(Event::Archive(&name)).map_err(Fault::Refused)?;
                    pace.begin(tablespace, Instant::now());
                    queue.push(Job::Archive { name, tablespace }).await?;
                }
                BackupEvent::ArchiveEnd => queue.push(Job::ArchiveEnd).await?,
                event => {
                    if let BackupEvent::Start { lsn, .. } = event {
                        queue.push(Job::Start(lsn)).await?;
                    }
                    if let Some(span) = span.handle(event, observe)? {
                        return Ok(span);
                    }
                }
            }
        }
        progress.done(done);
        if let Some(until) = pace.moved(done - before, Instant::now()) {
            pace::rest(until).await;
        }
        if input.capacity() - input.len() < READ_MIN {
            buffers.renew(input);
        }
        let reading = socket.read_buf(input);
        let count = if queue.is_holding_back() {
            match tokio::time::timeout(PAUSE, reading).await {
                Ok(count) => count,
                Err(_) => {
                    queue.send()?;
                    continue;
                }
            }
        } else if span.start.is_some() {
            tokio::time::timeout(silence, reading).await.map_err(|_| Fault::Silent)?
        } else {
            reading.await
        };
        if count.map_err(Fault::Socket)? == 0 {
            return Err(Fault::Closed);
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
