//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! The writer's thread talks to the server itself.
//!
//! What comes here is little, and copied once, out of the buffer of the read.

use std::io::{ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{Conversation, Counter, Found};
use crate::disk::DiskError;
use crate::net::is_no_fault;
use crate::receive::batch::Batch;
use crate::receive::inspection::Handover;
use crate::receive::queue::{Finished, Piece, QueueReceiver};
use crate::receive::reader::{Fault, status};
use crate::receive::writer::Writer;
use crate::wire::copy_both::WalEvent;

/// What a read brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Heard {
    /// Nothing, in the time that was given to it.
    Nothing,
    /// Little enough to go on like this.
    Little,
    /// The same, and the rest of a message is about to follow: no commit is flushed twice for a
    /// message that came in two.
    Part,
    /// A bulk load: reading and writing at the same time is better now.
    Much,
}

/// Tells a bulk load from commits that come in groups.
#[derive(Clone, Copy, Debug, Default)]
struct LongReads(u32);

impl LongReads {
    /// Takes note of a read into a buffer of `room` bytes. Whether it is of a bulk load.
    fn add(&mut self, read: usize, room: usize) -> bool {
        self.0 = if read >= LONG_READ { self.0 + 1 } else { 0 };
        read == room || self.0 >= BULK
    }
}

/// How long the rest of a message is waited for before the first part is made durable.
#[derive(Clone, Copy, Debug, Default)]
struct Rest(Option<Instant>);

impl Rest {
    /// A read has ended within a message, or not. Whether to read on before anything else.
    fn is_worth_waiting_for(&mut self, is_part: bool, now: Instant) -> bool {
        let wait = is_part && now < *self.0.get_or_insert(now + REST);
        if !wait {
            self.0 = None;
        }
        wait
    }
}

impl Conversation {
    /// Waits for the socket, and takes what it gives into the batch. `Break`: the reader has to
    /// go on.
    fn listen(
        &mut self,
        scratch: &mut [u8],
        long: &mut LongReads,
        batch: &mut Batch,
    ) -> ControlFlow<(), Heard> {
        let read = match self.socket.read(scratch) {
            Ok(0) => return self.leave(Found::Fault(Fault::Closed)),
            Ok(read) => read,
            Err(error) if is_no_fault(&error) => {
                return ControlFlow::Continue(Heard::Nothing);
            }
            Err(error) => return self.leave(Found::Fault(Fault::Socket(error))),
        };
        self.feedback.handle_heard(Instant::now());
        self.input.extend_from_slice(&scratch[..read]);
        loop {
            match self.stream.next(&mut self.input) {
                Ok(None) => break,
                Ok(Some(WalEvent::Wal { start, bytes })) => batch.push(Piece { start, bytes }),
                Ok(Some(WalEvent::Keepalive(keepalive))) if keepalive.reply_now => {
                    self.feedback.handle_request();
                }
                Ok(Some(WalEvent::Keepalive(_))) => {}
                Ok(Some(event)) => return self.leave(Found::Event(event)),
                Err(error) => return self.leave(Found::Fault(Fault::Wire(error))),
            }
        }
        ControlFlow::Continue(match long.add(read, scratch.len()) {
            true => Heard::Much,
            false if self.stream.is_within_message() => Heard::Part,
            false => Heard::Little,
        })
    }

    fn leave<T>(&mut self, found: Found) -> ControlFlow<(), T> {
        self.found = Some(found);
        ControlFlow::Break(())
    }

    /// Sends the report that is due. `Break`: the reader has to go on.
    fn answer(&mut self, writer: &Writer) -> ControlFlow<()> {
        let (now, progress) = (Instant::now(), writer.progress());
        let (received, server) = (self.stream.received(), self.stream.server_end());
        writer.meters().set_positions(received, server, progress);
        let Some(report) = self.feedback.poll(progress, true, now) else {
            if self.feedback.is_dead(now) {
                let silence = now - self.feedback.heard_at();
                return self.leave(Found::Fault(Fault::Silent(silence)));
            }
            return ControlFlow::Continue(());
        };
        status(report).encode(&mut self.output);
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(sent) => drop(self.output.split_to(sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The reader sends the rest, and has more patience.
                Err(error) if is_no_fault(&error) => return ControlFlow::Break(()),
                Err(error) => return self.leave(Found::Fault(Fault::Socket(error))),
            }
        }
        ControlFlow::Continue(())
    }
}

impl Writer {
    /// Talks to the server, and makes durable what comes, until the reader is to go on.
    pub(in crate::receive) fn go_on_errand(
        &mut self,
        mut conversation: Box<Conversation>,
        counter: &Counter,
        queue: &QueueReceiver,
        handover: &mut Option<&mut Handover>,
    ) -> Result<(), DiskError> {
        let mut scratch = vec![0; READ_BYTES];
        let (mut long, mut rest) = (LongReads::default(), Rest::default());
        let mut heard_at = Instant::now();
        loop {
            let listened = conversation.listen(&mut scratch, &mut long, self.batch());
            let is_part = listened == ControlFlow::Continue(Heard::Part);
            if rest.is_worth_waiting_for(is_part, Instant::now()) && !self.batch().is_full() {
                continue;
            }
            if self.batch().left() > 0 {
                heard_at = Instant::now();
                if listened.is_break() || listened == ControlFlow::Continue(Heard::Much) {
                    counter.give_back(conversation);
                    return self.make_durable(queue);
                }
                counter.lay_down(conversation);
                self.make_durable(queue)?;
                match counter.pick_up() {
                    Some(back) => conversation = back,
                    // The disk took too long.
                    None => return Ok(()),
                }
            }
            let answered = match listened {
                ControlFlow::Continue(_) => conversation.answer(self),
                ControlFlow::Break(()) => ControlFlow::Break(()),
            };
            let quiet = listened == ControlFlow::Continue(Heard::Nothing);
            let piled_up = self.show(handover, quiet);
            let unwanted = counter.is_recalled() || !self.is_synchronous();
            let idle = quiet && heard_at.elapsed() >= IDLE;
            if answered.is_break() || piled_up || unwanted || idle {
                counter.give_back(conversation);
                return Ok(());
            }
        }
    }

    fn make_durable(&mut self, queue: &QueueReceiver) -> Result<(), DiskError> {
        self.meters().work();
        self.write_patiently(queue)?;
        self.flush()?;
        self.meters().rest();
        // None of the queue's memory, but the inspector takes nothing without.
        self.keep(queue.done(Finished::default()));
        Ok(())
    }

    /// Gives what was written to whoever looks at it. Whether that one is far behind.
    fn show(&mut self, handover: &mut Option<&mut Handover>, quiet: bool) -> bool {
        match handover {
            Some(handover) if quiet || self.batch().is_worth_a_look() => self.pass_on(handover),
            Some(_) => {}
            None => self.let_go(),
        }
        self.batch().is_piled_up()
    }
}

/// What one read takes.
const READ_BYTES: usize = 256 << 10;
/// What commits that were flushed together seldom reach.
const LONG_READ: usize = 64 << 10;
/// So many long reads in a row are a bulk load: full pages behind a checkpoint are not.
const BULK: u32 = 4;
/// A server writes a message in one go; one that does not is not to delay commits.
const REST: Duration = Duration::from_millis(5);
/// A server that has been quiet for so long needs no thread that waits for it.
const IDLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_message_is_waited_for_and_not_for_long_however_it_drips() {
        let mut rest = Rest::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(rest.is_worth_waiting_for(true, at(0)) && rest.is_worth_waiting_for(true, at(4)));
        assert!(!rest.is_worth_waiting_for(false, at(4)), "it has come");
        assert!(rest.is_worth_waiting_for(true, at(6)) && rest.is_worth_waiting_for(true, at(10)));
        assert!(!rest.is_worth_waiting_for(true, at(11)), "it drips");
        assert!(rest.is_worth_waiting_for(true, at(11)));
    }

    #[test]
    fn a_large_group_of_commits_is_no_bulk_load_and_long_reads_in_a_row_are() {
        let mut long = LongReads::default();
        for _ in 0..100 {
            assert!(!long.add(200 << 10, READ_BYTES) && !long.add(100 << 10, READ_BYTES));
            assert!(!long.add(LONG_READ, READ_BYTES) && !long.add(LONG_READ - 1, READ_BYTES));
        }
        assert!(long.add(READ_BYTES, READ_BYTES), "more is waiting in the socket");
        let mut long = LongReads::default();
        let told: Vec<bool> = (0..4).map(|_| long.add(LONG_READ, READ_BYTES)).collect();
        assert_eq!(told, [false, false, false, true]);
    }
}
