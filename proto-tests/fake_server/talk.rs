//! One connection of the scripted server, and the steps that it can be told to take.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::heard::Heard;
use super::server::State;

/// How long a client may say nothing before the test is over.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is made of a command.
type Answer = dyn Fn(&str) -> Vec<u8> + Send + Sync;
/// Whether it was this that was waited for.
type Fits = dyn Fn(&Heard) -> bool + Send + Sync;
/// A startup packet as it came, and its parameters.
type Startup = (Vec<u8>, Vec<(String, String)>);

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes one by one, each in a packet of its own.
    Dribble(Vec<u8>),
    /// Sends what is made of the command.
    Reply(Shared<Answer>),
    /// Listens until the client has said something that fits.
    Await(Shared<Fits>),
    /// Says nothing more and listens until the client hangs up.
    Hold,
    /// Hangs up.
    Close,
}

impl Step {
    /// Sends what is made of the command.
    pub fn reply(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Step {
        Step::Reply(Shared(Arc::new(answer)))
    }

    /// Listens until the client has said something that fits.
    pub fn until(fits: impl Fn(&Heard) -> bool + Send + Sync + 'static) -> Step {
        Step::Await(Shared(Arc::new(fits)))
    }
}

/// A function that many connections may call.
pub struct Shared<F: ?Sized>(Arc<F>);

impl<F: ?Sized> Clone for Shared<F> {
    fn clone(&self) -> Shared<F> {
        Shared(Arc::clone(&self.0))
    }
}

impl<F: ?Sized> fmt::Debug for Shared<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Whether a connection goes on after a script.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Then {
    GoOn,
    Over,
}

/// The server's end of one connection.
pub struct Talk {
    pub client: TcpStream,
    pub state: Arc<State>,
    input: Vec<u8>,
}

impl Talk {
    pub fn new(client: TcpStream, state: Arc<State>) -> io::Result<Talk> {
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_nodelay(true)?;
        Ok(Talk { client, state, input: Vec::new() })
    }

    /// The startup packet, as it came and as it reads. Encryption is declined. `None` when the
    /// client hangs up or only cancels.
    pub fn startup(&mut self) -> io::Result<Option<Startup>> {
        loop {
            let Some(head) = self.take(4)? else { return Ok(None) };
            let length = u32::from_be_bytes(head[..].try_into().expect("four bytes")) as usize;
            assert!((8..=10_000).contains(&length), "a startup packet of {length} bytes");
            let Some(rest) = self.take(length - 4)? else { return Ok(None) };
            match rest[..4] {
                // SSLRequest, GSSENCRequest.
                [0x04, 0xD2, 0x16, 0x2F | 0x30] => self.client.write_all(b"N")?,
                [0x04, 0xD2, 0x16, 0x2E] => return Ok(None),
                _ => {
                    let heard = Heard::parse_startup(&rest[4..]);
                    self.state.note(heard.clone());
                    let Heard::Startup(parameters) = heard else { unreachable!("it is one") };
                    return Ok(Some(([head, rest].concat(), parameters)));
                }
            }
        }
    }

    /// The client's next message, whole; `None` when it hangs up.
    pub fn message(&mut self) -> io::Result<Option<(Vec<u8>, Heard)>> {
        let Some(head) = self.take(5)? else { return Ok(None) };
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
        let Some(body) = self.take(length - 4)? else { return Ok(None) };
        let heard = Heard::parse(head[0], &body);
        self.state.note(heard.clone());
        Ok(Some(([head, body].concat(), heard)))
    }

    /// Takes the steps of a script for a command.
    pub fn play(&mut self, command: &str, steps: &[Step]) -> io::Result<Then> {
        for step in steps {
            match step {
                Step::Send(bytes) => self.client.write_all(bytes)?,
                Step::Dribble(bytes) => {
                    for byte in bytes {
                        self.client.write_all(&[*byte])?;
                    }
                }
                Step::Reply(answer) => self.client.write_all(&answer.0(command))?,
                Step::Await(fits) => loop {
                    match self.message()? {
                        Some((_, heard)) if fits.0(&heard) => break,
                        Some(_) => {}
                        None => return Ok(Then::Over),
                    }
                },
                Step::Hold => {
                    while self.message()?.is_some() {}
                    return Ok(Then::Over);
                }
                Step::Close => {
                    // What the client says meanwhile is read: otherwise the kernel would reset
                    // the connection, and the client lose what it has not read yet.
                    self.client.shutdown(Shutdown::Write)?;
                    while self.message()?.is_some() {}
                    return Ok(Then::Over);
                }
            }
        }
        Ok(Then::GoOn)
    }

    fn take(&mut self, length: usize) -> io::Result<Option<Vec<u8>>> {
        let mut chunk = [0; 1 << 16];
        while self.input.len() < length {
            match self.client.read(&mut chunk)? {
                0 => return Ok(None),
                count => self.input.extend_from_slice(&chunk[..count]),
            }
        }
        Ok(Some(self.input.drain(..length).collect()))
    }
}
