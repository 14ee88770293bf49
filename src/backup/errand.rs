//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! The short way of an archive that is stored as it comes: the writer's thread reads the socket
//! itself, each byte to where the disk takes it from.
//!
//! The reader lends socket and stream while the data of an archive comes, and gets them back
//! with the first thing that is not data. An encrypted socket is not lent.

use std::io::{IoSliceMut, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::archive_file::ArchiveFile;
use super::error::BackupError;
use super::member::Members;
use super::reader::Fault;
use crate::net::{Lent, is_no_fault};
use crate::wire::base_backup::{BackupEvent, BackupStream};

/// What the writer's thread needs to read for itself.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) socket: Lent,
    /// What was read and not yet understood.
    pub(super) input: BytesMut,
    pub(super) stream: BackupStream,
    /// Why it comes back.
    pub(super) found: Option<Found>,
}

/// What only the reader can deal with.
#[derive(Debug)]
pub(super) enum Found {
    Event(BackupEvent),
    Fault(Fault),
}

/// The conversation on its way to the writer.
#[derive(Debug)]
pub(super) struct Errand {
    conversation: Box<Conversation>,
    back: oneshot::Sender<Box<Conversation>>,
    passed: Arc<AtomicU64>,
    silence: Duration,
}

/// How the reader knows of a conversation that it has lent.
#[derive(Debug)]
pub(super) struct Loan {
    back: oneshot::Receiver<Box<Conversation>>,
    passed: Arc<AtomicU64>,
}

/// How long the thread waits for the socket without a look at anything else.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How often the reader looks how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Room for the head of a message.
const SCRATCH: usize = 16;
/// Messages of less than this are looked at together.
const LOOK_BYTES: usize = 32 << 10;

impl Loan {
    /// Lends a conversation, for a server that may be silent for so long.
    pub(super) fn new(conversation: Conversation, silence: Duration) -> (Errand, Loan) {
        let (sender, back) = oneshot::channel();
        let passed = Arc::new(AtomicU64::new(0));
        let loan = Loan { back, passed: Arc::clone(&passed) };
        (Errand { conversation: Box::new(conversation), back: sender, passed, silence }, loan)
    }

    /// Waits for the conversation to come back, and tells `progress` of the bytes that passed
    /// since it was lent. `None`: the writer has ended, and has the reason.
    pub(super) async fn wait(
        mut self,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Option<Box<Conversation>> {
        loop {
            let back = tokio::time::timeout(LOOK_EVERY, &mut self.back).await;
            progress(self.passed.load(Ordering::Acquire));
            if let Ok(back) = back {
                return back.ok();
            }
        }
    }
}

impl Errand {
    /// Stores what comes until something else than data does, or nobody waits for it any more.
    pub(super) fn go(
        mut self,
        archive: &mut ArchiveFile,
        members: &mut Members,
    ) -> Result<(), BackupError> {
        let mut heard = Instant::now();
        let mut scratch = [0; SCRATCH];
        while !self.back.is_closed() {
            match self.step(archive, members, &mut scratch) {
                Ok(Step::Read) => heard = Instant::now(),
                Ok(Step::Nothing) if heard.elapsed() < self.silence => {}
                Ok(Step::Nothing) => self.leave(Found::Fault(Fault::Silent)),
                Ok(Step::Leave(found)) => self.leave(found),
                Err(error) => return Err(error),
            }
            if self.conversation.found.is_some() {
                archive.look(members)?;
                // Who waits no more does not miss it.
                let _ = self.back.send(self.conversation);
                return Ok(());
            }
        }
        Ok(())
    }

    fn leave(&mut self, found: Found) {
        self.conversation.found = Some(found);
    }

    /// One read, and what it brought.
    fn step(
        &mut self,
        archive: &mut ArchiveFile,
        members: &mut Members,
        scratch: &mut [u8; SCRATCH],
    ) -> Result<Step, BackupError> {
        let Conversation { socket, input, stream, .. } = &mut *self.conversation;
        let due = stream.archive_data_due() as usize;
        let room: &mut [u8] = match archive.room(members)? {
            Some(room) if input.is_empty() => room,
            _ => &mut [],
        };
        let wanted = room.len().min(due);
        // No further than the head of the next message: what stands behind it has its own place.
        let behind = match wanted == due || wanted == 0 {
            true => stream.data_head().min(SCRATCH),
            false => 0,
        };
        let mut slices =
            [IoSliceMut::new(&mut room[..wanted]), IoSliceMut::new(&mut scratch[..behind])];
        let read = match socket.read_vectored(&mut slices) {
            Ok(0) => return Ok(Step::Leave(Found::Fault(Fault::Closed))),
            Ok(read) => read,
            Err(error) if is_no_fault(&error) => return Ok(Step::Nothing),
            Err(error) => return Ok(Step::Leave(Found::Fault(Fault::Socket(error)))),
        };
        let placed = read.min(wanted);
        archive.fill(placed);
        // No more than were due, which is a u32.
        stream.pass(placed as u32);
        self.passed.fetch_add(placed as u64, Ordering::AcqRel);
        input.extend_from_slice(&scratch[..read - placed]);
        if archive.unseen() >= LOOK_BYTES {
            archive.look(members)?;
        }
        if input.is_empty() {
            return Ok(Step::Read);
        }
        loop {
            match stream.next(input) {
                Ok(None) => return Ok(Step::Read),
                Ok(Some(BackupEvent::ArchiveData(bytes))) => {
                    self.passed.fetch_add(bytes.len() as u64, Ordering::AcqRel);
                    archive.take(bytes, members)?;
                }
                Ok(Some(BackupEvent::Progress(_))) => {}
                Ok(Some(event)) => return Ok(Step::Leave(Found::Event(event))),
                Err(error) => return Ok(Step::Leave(Found::Fault(Fault::Wire(error)))),
            }
        }
    }
}

/// What a look at the socket brought.
enum Step {
    Read,
    /// Nothing yet.
    Nothing,
    Leave(Found),
}
