//! The scripted server: who it listens to, and when which script is played.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::heard::Heard;
use super::talk::{Step, Talk, Then};
use super::{Message, answers};
use crate::real_server::Cluster;
use crate::real_server::scratch::wait_until;
use crate::wire::backend;

type Forger = Box<dyn FnMut(u32, Message) -> Vec<Forged> + Send>;

/// What goes out in place of a message of the real server.
#[derive(Clone, Debug)]
pub enum Forged {
    /// A message.
    Message(Message),
    /// Bytes that need not be one.
    Bytes(Vec<u8>),
    /// Nothing more, ever: the connection stays open.
    Silence,
    /// The end of the connection.
    Close,
}

/// A server on a port of its own. Dropping it ends all its connections.
pub struct FakeServer {
    port: u16,
    state: Arc<State>,
    listener: Option<JoinHandle<()>>,
}

/// What a server is to do.
#[derive(Default)]
pub struct Builder {
    upstream: Option<PathBuf>,
    at_connect: Option<Vec<Step>>,
    at_startup: Option<Vec<Step>>,
    scripts: Vec<Script>,
    forger: Option<Forger>,
}

struct Script {
    /// How the command begins.
    command: &'static str,
    steps: Vec<Step>,
    /// `None`: as often as the command comes.
    times: Option<u32>,
}

/// What the threads of a server share.
pub struct State {
    upstream: Option<PathBuf>,
    at_connect: Option<Vec<Step>>,
    at_startup: Option<Vec<Step>>,
    scripts: Mutex<Vec<Script>>,
    forger: Mutex<Option<Forger>>,
    heard: Mutex<Vec<Heard>>,
    open: Mutex<Vec<TcpStream>>,
    relays: AtomicU32,
    ends: AtomicBool,
}

impl FakeServer {
    /// A server of version 17 that is not there.
    pub fn alone() -> Builder {
        Builder::default()
    }

    /// A server between the program and this cluster.
    pub fn before(cluster: &Cluster) -> Builder {
        let socket = cluster.socket().join(format!(".s.PGSQL.{}", cluster.port()));
        Builder { upstream: Some(socket), ..Builder::default() }
    }

    /// A connection string for replication.
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=streaming_barman connect_timeout=20", self.port)
    }

    /// Its port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All that was heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.state.heard).clone()
    }

    /// The commands that were heard so far.
    pub fn commands(&self) -> Vec<String> {
        let heard = self.heard().into_iter();
        heard
            .filter_map(|heard| if let Heard::Query(text) = heard { Some(text) } else { None })
            .collect()
    }

    /// Waits until something has been heard.
    pub fn wait_to_hear(&self, what: &str, fits: impl Fn(&Heard) -> bool) {
        wait_until(
            what,
            Duration::from_secs(60),
            || self.heard().iter().any(&fits).then_some(()),
            || format!("{:#?}", self.heard()),
        );
    }
}

impl Builder {
    /// Speaks as soon as somebody connects, and does nothing else.
    pub fn at_connect(mut self, steps: Vec<Step>) -> Builder {
        self.at_connect = Some(steps);
        self
    }

    /// Answers the startup packet with this instead of a login.
    pub fn at_startup(mut self, steps: Vec<Step>) -> Builder {
        self.at_startup = Some(steps);
        self
    }

    /// Answers every command that begins so with a script.
    pub fn on(mut self, command: &'static str, steps: Vec<Step>) -> Builder {
        self.scripts.push(Script { command, steps, times: None });
        self
    }

    /// Answers the first command that begins so with a script; scripts for the same command
    /// apply one after the other.
    pub fn once(mut self, command: &'static str, steps: Vec<Step>) -> Builder {
        self.scripts.push(Script { command, steps, times: Some(1) });
        self
    }

    /// Gives every message of the real server on a replication connection to a forger, and
    /// sends on what it makes of it.
    pub fn forge(
        self,
        mut forger: impl FnMut(Message) -> Vec<Message> + Send + 'static,
    ) -> Builder {
        self.tamper(move |_, message| forger(message).into_iter().map(Forged::Message).collect())
    }

    /// The same, for a forger who also breaks the form, and who knows by its number which
    /// connection it is.
    pub fn tamper(
        mut self,
        forger: impl FnMut(u32, Message) -> Vec<Forged> + Send + 'static,
    ) -> Builder {
        self.forger = Some(Box::new(forger));
        self
    }

    /// Listens.
    pub fn start(self) -> FakeServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State {
            upstream: self.upstream,
            at_connect: self.at_connect,
            at_startup: self.at_startup,
            scripts: Mutex::new(self.scripts),
            forger: Mutex::new(self.forger),
            heard: Mutex::default(),
            open: Mutex::default(),
            relays: AtomicU32::new(0),
            ends: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let listener = thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.ends.load(Ordering::SeqCst) {
                    return;
                }
                lock(&shared.open).extend(client.try_clone().ok());
                let shared = Arc::clone(&shared);
                // A client that vanishes is no error here.
                thread::spawn(move || Talk::new(client, shared).and_then(serve).ok());
            }
        });
        FakeServer { port, state, listener: Some(listener) }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        for connection in lock(&self.state.open).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl State {
    pub fn note(&self, heard: Heard) {
        lock(&self.heard).push(heard);
    }

    /// The script for a command, if there is one (left).
    fn script(&self, command: &str) -> Option<Vec<Step>> {
        let mut scripts = lock(&self.scripts);
        let script = scripts
            .iter_mut()
            .find(|script| command.starts_with(script.command) && script.times != Some(0))?;
        script.times = script.times.map(|times| times - 1);
        Some(script.steps.clone())
    }
}

fn serve(mut talk: Talk) -> io::Result<()> {
    let state = Arc::clone(&talk.state);
    if let Some(steps) = &state.at_connect {
        talk.play("", steps)?;
        return talk.client.shutdown(Shutdown::Both);
    }
    let Some((packet, parameters)) = talk.startup()? else {
        return talk.client.shutdown(Shutdown::Both);
    };
    if let Some(steps) = &state.at_startup {
        talk.play("", steps)?;
        return talk.client.shutdown(Shutdown::Both);
    }
    match &state.upstream {
        Some(path) => {
            let mut upstream = UnixStream::connect(path)?;
            upstream.write_all(&packet)?;
            let replicates = parameters.iter().any(|(name, _)| name == "replication");
            let (from, to) = (upstream.try_clone()?, talk.client.try_clone()?);
            let relay_state = Arc::clone(&state);
            thread::spawn(move || relay(from, to, replicates.then_some(relay_state)).ok());
            let end = converse(&mut talk, |_, bytes| upstream.write_all(bytes));
            let _ = upstream.shutdown(Shutdown::Both);
            end
        }
        None if !parameters.iter().any(|(name, _)| name == "replication") => {
            talk.client.write_all(&backend::error("FATAL", "57P03", "no SQL here"))
        }
        None => {
            talk.client.write_all(&answers::login())?;
            converse(&mut talk, |client, bytes| match Heard::parse(bytes[0], &bytes[5..]) {
                Heard::Query(command) => client.write_all(&answers::to(&command)),
                _ => Ok(()),
            })
        }
    }?;
    let _ = talk.client.shutdown(Shutdown::Both);
    Ok(())
}

/// Plays scripts where they apply; what they do not answer goes to `other`.
fn converse(
    talk: &mut Talk,
    mut other: impl FnMut(&mut TcpStream, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    while let Some((bytes, heard)) = talk.message()? {
        let script = match &heard {
            Heard::Query(command) => talk.state.script(command).map(|steps| (command, steps)),
            _ => None,
        };
        match script {
            Some((command, steps)) if talk.play(command, &steps)? == Then::Over => return Ok(()),
            Some(_) => {}
            None => other(&mut talk.client, &bytes)?,
        }
    }
    Ok(())
}

/// Passes on what the real server says, through the forger if there is a state.
fn relay(mut from: UnixStream, mut to: TcpStream, state: Option<Arc<State>>) -> io::Result<()> {
    let number = state.as_ref().map_or(0, |state| state.relays.fetch_add(1, Ordering::SeqCst));
    let (mut chunk, mut input) = ([0; 1 << 16], Vec::new());
    loop {
        let count = from.read(&mut chunk)?;
        if count == 0 {
            return to.shutdown(Shutdown::Both);
        }
        input.extend_from_slice(&chunk[..count]);
        while let Some(length) = whole_message(&input) {
            let bytes: Vec<u8> = input.drain(..length).collect();
            let message = (bytes[0], bytes[5..].to_vec());
            let forged = match state.as_ref().map(|state| lock(&state.forger)).as_deref_mut() {
                Some(Some(forger)) => forger(number, message),
                _ => vec![Forged::Message(message)],
            };
            for forged in forged {
                match forged {
                    Forged::Message((tag, body)) => to.write_all(&backend::message(tag, &body))?,
                    Forged::Bytes(bytes) => to.write_all(&bytes)?,
                    // The real server may say what it likes, so that it can end.
                    Forged::Silence => return io::copy(&mut from, &mut io::sink()).map(|_| ()),
                    // What the client says goes on being read, lest the kernel reset the
                    // connection and what was sent be lost.
                    Forged::Close => return to.shutdown(Shutdown::Write),
                }
            }
        }
    }
}

fn whole_message(input: &[u8]) -> Option<usize> {
    let length = input.get(1..5)?.try_into().expect("four bytes");
    let whole = 1 + u32::from_be_bytes(length) as usize;
    (input.len() >= whole).then_some(whole)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
