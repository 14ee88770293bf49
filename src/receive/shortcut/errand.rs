//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! The writer's thread talks to the server itself.
//!
//! What comes here is copied out of the buffer of the read, and once more into blocks where it
//! goes past the page cache: commits are short.

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::bulk::Bulk;
use super::priority::Priority;
use super::{Conversation, Counter, Found, PATIENCE};
use crate::disk::DiskError;
use crate::net::is_no_fault;
use crate::receive::batch::Batch;
use crate::receive::inspection::Handover;
use crate::receive::queue::{Finished, Piece, QueueReceiver};
use crate::receive::reader::{Fault, status};
use crate::receive::writer::{UNSEEN_MAX, Writer};
use crate::wire::copy_both::WalEvent;

/// What a read brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Heard {
    /// Nothing, in the time that was given to it.
    Nothing,
    /// All that there was.
    Little,
    /// The same, and the rest of a message is about to follow: no commit is flushed twice for a
    /// message that came in two.
    Part,
    /// So much that there is more, for all we know.
    Long,
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
    /// Waits for the socket, and takes what there is into the batch. `Break`: the reader has to
    /// go on.
    fn gather(&mut self, scratch: &mut [u8], batch: &mut Batch) -> ControlFlow<(), Heard> {
        let read = self.socket.read_within(scratch, PATIENCE);
        let mut heard = self.take_in(read, scratch, batch)?;
        while heard == Heard::Long && batch.left() < GATHER {
            let read = self.socket.read_now(scratch);
            heard = match self.take_in(read, scratch, batch)? {
                Heard::Nothing => self.all(),
                heard => heard,
            };
        }
        ControlFlow::Continue(heard)
    }

    fn take_in(
        &mut self,
        read: io::Result<usize>,
        scratch: &[u8],
        batch: &mut Batch,
    ) -> ControlFlow<(), Heard> {
        let read = match read {
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
        ControlFlow::Continue(if read >= LONG_READ { Heard::Long } else { self.all() })
    }

    /// There was no more.
    fn all(&self) -> Heard {
        if self.stream.is_within_message() { Heard::Part } else { Heard::Little }
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
        let (mut bulk, mut rest) = (Bulk::default(), Rest::default());
        let mut priority = Priority::default();
        let mut heard_at = Instant::now();
        let mut shown_at = heard_at;
        loop {
            let listened = conversation.gather(&mut scratch, self.batch());
            let is_part = listened == ControlFlow::Continue(Heard::Part);
            if rest.is_worth_waiting_for(is_part, Instant::now()) && !self.batch().is_full() {
                continue;
            }
            if self.batch().left() > 0 {
                heard_at = Instant::now();
                if let ControlFlow::Continue(heard) = listened {
                    bulk.gathered(heard == Heard::Long);
                }
                if listened.is_break() || bulk.keeps_the_disk_busy() {
                    counter.give_back(conversation);
                    return self.make_durable(queue).map(drop);
                }
                if let Err(refusal) = priority.set(bulk.goes_on()) {
                    counter.refused(&refusal);
                }
                counter.lay_down(conversation);
                bulk.flushed(self.make_durable(queue)?);
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
            let due = quiet || self.batch().is_long() || shown_at.elapsed() >= UNSEEN_MAX;
            if due || handover.is_none() {
                self.show(handover);
                shown_at = Instant::now();
            }
            let piled_up = self.batch().is_piled_up();
            let unwanted = counter.is_recalled() || !self.is_synchronous();
            let idle = quiet && heard_at.elapsed() >= IDLE;
            if answered.is_break() || piled_up || unwanted || idle {
                counter.give_back(conversation);
                return Ok(());
            }
        }
    }

    /// Returns what the disk took.
    fn make_durable(&mut self, queue: &QueueReceiver) -> Result<Duration, DiskError> {
        let begun = Instant::now();
        self.meters().work();
        self.write_patiently(queue)?;
        self.flush()?;
        self.meters().rest();
        // None of the queue's memory, but the inspector takes nothing without.
        self.keep(queue.done(Finished::default()));
        Ok(begun.elapsed())
    }

    /// Gives what was written to whoever looks at it; one that is far behind takes it later.
    fn show(&mut self, handover: &mut Option<&mut Handover>) {
        match handover {
            Some(handover) => self.pass_on(handover),
            None => self.let_go(),
        }
    }
}

/// What one read takes.
const READ_BYTES: usize = 256 << 10;
/// What commits that were flushed together seldom reach.
const LONG_READ: usize = 64 << 10;
/// What is made durable at once, as long as there is more.
const GATHER: u64 = 256 << 10;
/// A server writes a message in one go; one that does not is not to delay commits.
const REST: Duration = Duration::from_millis(5);
/// A server that has been quiet for so long needs no thread that waits for it.
const IDLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use bytes::BytesMut;

    use super::*;
    use crate::net::Lent;
    use crate::receive::feedback::{Feedback, Rhythm};
    use crate::receive::fixture::{COPY_BOTH, frames};
    use crate::wal::Lsn;
    use crate::wire::copy_both::WalStream;

    const START: u64 = 16 << 20;

    /// A conversation in the middle of a stream, and the server's end of it.
    fn conversation() -> (Conversation, UnixStream) {
        let (server, socket) = UnixStream::pair().expect("a pair");
        let (mut input, mut stream) = (BytesMut::from(&COPY_BOTH[..]), WalStream::new(Lsn(START)));
        assert!(matches!(stream.next(&mut input), Ok(Some(WalEvent::Started))));
        let feedback = Feedback::new(Rhythm::for_server(None), Lsn::INVALID, Instant::now());
        let socket = Lent::Unix(socket);
        let output = BytesMut::new();
        (Conversation { socket, input, stream, feedback, output, found: None }, server)
    }

    #[test]
    fn what_has_gathered_is_taken_at_once_and_what_is_missing_of_a_message_is_told() {
        let (mut ours, mut server) = conversation();
        let (mut scratch, mut batch) = (vec![0; READ_BYTES], Batch::new());
        let mut hear = |ours: &mut Conversation| ours.gather(&mut scratch, &mut batch);
        assert_eq!(hear(&mut ours), ControlFlow::Continue(Heard::Nothing));
        let two = [frames(START, 500, 0), frames(START + 500, 500, 0)].concat();
        server.write_all(&two[..two.len() - 60]).expect("open");
        assert_eq!(hear(&mut ours), ControlFlow::Continue(Heard::Part));
        server.write_all(&two[two.len() - 60..]).expect("open");
        assert_eq!(hear(&mut ours), ControlFlow::Continue(Heard::Little));
        drop(server);
        assert_eq!(hear(&mut ours), ControlFlow::Break(()));
        assert!(matches!(ours.found, Some(Found::Fault(Fault::Closed))));
        assert_eq!(batch.left(), 1000);
    }

    #[test]
    fn a_connection_that_is_reset_is_a_fault_and_silence_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("open");
        let (mut server, _) = listener.accept().expect("open");
        let (mut ours, _other) = conversation();
        ours.socket = Lent::Tcp(socket);
        let (mut scratch, mut batch) = (vec![0; READ_BYTES], Batch::new());
        let mut hear = |ours: &mut Conversation| ours.gather(&mut scratch, &mut batch);
        assert_eq!(hear(&mut ours), ControlFlow::Continue(Heard::Nothing));
        server.write_all(&frames(START, 500, 0)).expect("open");
        assert_eq!(hear(&mut ours), ControlFlow::Continue(Heard::Little));
        // To close a socket with unread input resets the connection.
        ours.socket.write_all(b"unread").expect("open");
        while server.peek(&mut [0]).expect("open") == 0 {}
        drop(server);
        assert_eq!(hear(&mut ours), ControlFlow::Break(()));
        assert!(matches!(ours.found, Some(Found::Fault(Fault::Socket(_)))), "{:?}", ours.found);
        assert_eq!(batch.left(), 500);
    }

    #[test]
    fn of_a_flood_no_more_is_gathered_than_is_to_be_durable_at_once() {
        let (mut ours, mut server) = conversation();
        let flood: Vec<u8> =
            (0..64).flat_map(|at| frames(START + (at << 16), 1 << 16, 0)).collect();
        let (mut scratch, mut batch) = (vec![0; READ_BYTES], Batch::new());
        // Open until all was taken: the end would be heard with the last bytes.
        let sending = thread::spawn(move || server.write_all(&flood).map(|()| server));
        let mut taken = 0;
        while taken < 64 << 16 {
            let heard = ours.gather(&mut scratch, &mut batch);
            assert!(heard.is_continue(), "{:?}", ours.found);
            assert!(batch.left() <= GATHER + READ_BYTES as u64, "{} bytes", batch.left());
            taken += batch.left();
            batch.clear();
        }
        assert_eq!(taken, 64 << 16);
        let _open = sending.join().expect("no panic").expect("all was taken");
    }

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
}
