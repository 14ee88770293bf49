//! A peer that follows a script instead of a protocol.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One step of a conversation.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads one packet without a type, as before a login: length, body.
    Packet,
    /// Reads one message with a type.
    Message,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Says nothing until the other side goes.
    Silence,
}

/// A listener on a free port; each connection gets the next script, the last one for ever.
#[derive(Debug)]
pub struct Peer {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Peer {
    /// Starts listening.
    pub fn follow(scripts: Vec<Vec<Step>>) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&heard);
        // Ends with the test binary; a test has no more than a handful of them.
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { continue };
                let script = scripts[number.min(scripts.len() - 1)].clone();
                let record = Arc::clone(&record);
                thread::spawn(move || converse(stream, &script, &record));
            }
        });
        Peer { port, heard }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything that was said to it, on all connections.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().expect("no test panics with it").clone()
    }
}

fn converse(mut stream: TcpStream, script: &[Step], record: &Mutex<Vec<u8>>) {
    // A test that waits for nothing must end.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    for step in script {
        let gone = match step {
            Step::Packet => read(&mut stream, 0, record).is_none(),
            Step::Message => read(&mut stream, 1, record).is_none(),
            Step::Send(bytes) => stream.write_all(bytes).is_err(),
            Step::Silence => loop {
                let mut rest = [0; 1024];
                match stream.read(&mut rest) {
                    Ok(0) | Err(_) => break true,
                    Ok(length) => {
                        record.lock().expect("no panic").extend_from_slice(&rest[..length]);
                    }
                }
            },
        };
        if gone {
            return;
        }
    }
}

/// Reads `lead` bytes, a length that counts itself, and the rest.
fn read(stream: &mut TcpStream, lead: usize, record: &Mutex<Vec<u8>>) -> Option<()> {
    let mut head = vec![0; lead + 4];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(head[lead..].try_into().expect("four bytes")) as usize;
    let mut body = vec![0; length.checked_sub(4)?];
    stream.read_exact(&mut body).ok()?;
    let mut record = record.lock().expect("no panic");
    record.extend_from_slice(&head);
    record.extend_from_slice(&body);
    Some(())
}

/// A message of the server.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("short");
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

/// An ErrorResponse with these fields.
pub fn error(code: &str, text: &str) -> Vec<u8> {
    let body = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
    message(b'E', body.as_bytes())
}

/// An Authentication message of a kind.
pub fn authentication(kind: u32, data: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes(), data].concat())
}

/// What a real server sends between the end of authentication and the first command.
pub fn welcome() -> Vec<u8> {
    [
        authentication(0, b""),
        message(b'S', b"server_version\x0015.4\0"),
        message(b'S', b"integer_datetimes\0on\0"),
        message(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]),
        message(b'Z', b"I"),
    ]
    .concat()
}
