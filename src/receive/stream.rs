//! One stream: a writer in its thread, a reader in the calling task, and what became of them.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::ReceiveError;
use super::feedback::{Feedback, Rhythm};
use super::meters::Meters;
use super::positions::Progress;
use super::queue::{QueueSender, queue};
use super::reader::{End, Event, Farewell, Fault, Reader};
use super::shortcut::Shortcut;
use super::target::Target;
use super::writer::Writer;
use crate::net::{NetError, Walsender};
use crate::service::{Shutdown, Urgency};
use crate::wal::{Lsn, Timeline};
use crate::wire::copy_both::WalStream;
use crate::wire::{SlotName, SqlState, WireError};

/// What to stream.
#[derive(Clone, Debug)]
pub struct Request {
    /// The slot that keeps WAL for us.
    pub slot: Option<SlotName>,
    /// The timeline to ask for.
    pub timeline: Timeline,
    /// The first byte: a segment's start, or inside a segment whose beginning is stored.
    pub start: Lsn,
    /// Stop when everything before is durable.
    pub until: Option<Lsn>,
    /// The highest position that the server may have been told to be flushed.
    pub floor: Lsn,
    /// Intervals of the conversation.
    pub rhythm: Rhythm,
}

/// What became of a stream.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub result: Result<End, ReceiveError>,
    /// How far it came.
    pub progress: Progress,
    /// The highest position that the server has been told to be flushed.
    pub floor: Lsn,
}

/// Streams WAL into segment files until the stream ends, `until` is reached or `shutdown` asks
/// for the end. At its return the writer has ended too, and what it could write is durable.
pub async fn stream(
    session: &mut Walsender,
    request: &Request,
    target: &Target,
    shutdown: &Shutdown,
    observe: &mut dyn FnMut(Event<'_>),
) -> Outcome {
    let nothing = |error| Outcome {
        result: Err(error),
        progress: Progress { written: request.start, flushed: request.start },
        floor: request.floor,
    };
    // First the disk, then the request: a server that streams wants to be listened to.
    let writer = match Writer::open(target.clone(), request.timeline, request.start) {
        Ok(writer) => writer,
        Err(error) => return nothing(error.into()),
    };
    let slot = request.slot.as_ref();
    let wal = match session.start_replication(slot, request.start, request.timeline).await {
        Ok(wal) => wal,
        Err(error) => return nothing(error.into()),
    };
    let meters = &target.meters;
    meters.set_queue_limit(target.queue_bytes);
    meters.begin_stream(request.timeline, request.start);
    let outcome = run(session, request, (writer, meters), wal, shutdown, observe).await;
    meters.end_stream(outcome.progress);
    outcome
}

async fn run(
    session: &mut Walsender,
    request: &Request,
    (writer, meters): (Writer, &Arc<Meters>),
    wal: WalStream,
    shutdown: &Shutdown,
    observe: &mut dyn FnMut(Event<'_>),
) -> Outcome {
    let positions = writer.positions();
    let queue_bytes = writer.queue_bytes();
    let synchronous = writer.synchronous();
    let (sender, receiver) = queue(queue_bytes);
    let spawned = std::thread::Builder::new()
        .name("wal-writer".to_owned())
        .spawn(move || writer.run(receiver));
    let thread = match spawned {
        Ok(thread) => thread,
        Err(error) => {
            let progress = positions.read();
            let result = Err(ReceiveError::Thread(error));
            return Outcome { result, progress, floor: request.floor };
        }
    };
    let (socket, input) = session.parts();
    let mut reader = Reader {
        socket,
        input,
        stream: wal,
        queue: sender,
        positions: positions.clone(),
        feedback: Feedback::new(request.rhythm, request.floor, Instant::now()),
        until: request.until,
        output: BytesMut::new(),
        flush_asked: Lsn::INVALID,
        farewell: Farewell::None,
        stalled: false,
        meters: Arc::clone(meters),
        shortcut: Some(Shortcut::new(synchronous, request.start)),
        left_over: None,
    };
    let ended = reader.run(shutdown, observe).await;
    let Reader { stream: wal, queue, feedback, .. } = reader;
    drop::<QueueSender>(queue);
    if shutdown.urgency() == Urgency::Now {
        // The server is not to wait for a disk that may never answer.
        session.hang_up().await;
    }
    // Not a blocking join: signals are still to be heard while the disk takes its time.
    while !positions.has_ended() {
        positions.changed().await;
    }
    let written = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let progress = positions.read();
    let result = match (written, ended) {
        (Err(error), _) => Err(error.into()),
        (Ok(()), Ok(end)) => Ok(end),
        (Ok(()), Err(fault)) => Err(named(session, &wal, fault)),
    };
    Outcome { result, progress, floor: feedback.floor() }
}

/// The fault with the names of those concerned.
fn named(session: &Walsender, stream: &WalStream, fault: Fault) -> ReceiveError {
    let endpoint = session.endpoint().to_owned();
    let error = match fault {
        Fault::Wire(error) => {
            let removed = is_removed(stream, &error);
            let source = session.command_error("START_REPLICATION", error);
            if removed {
                return ReceiveError::Removed { needed: stream.received(), source };
            }
            source
        }
        Fault::Socket(error) => session.lost(error),
        Fault::Silent(after) => {
            NetError::Silent { endpoint, command: "START_REPLICATION".to_owned(), after }
        }
        // A writer that ended well while its reader was there cannot be; it says more itself.
        Fault::Closed | Fault::WriterGone => {
            NetError::Closed { endpoint, waiting_for: "end of the stream" }
        }
    };
    error.into()
}

/// "requested WAL segment … has already been removed" comes after the stream has begun.
fn is_removed(stream: &WalStream, error: &WireError) -> bool {
    let code = error.server_error().map(|error| error.code);
    stream.started() && code == Some(SqlState::UNDEFINED_FILE)
}
