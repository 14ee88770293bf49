//! What the clients of a scripted server have said.

use tapster::wal::Lsn;

/// One message of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// The packet that opens a session.
    Startup(Vec<(String, String)>),
    /// A command.
    Query(String),
    /// A standby status update.
    Status { written: Lsn, flushed: Lsn, applied: Lsn, reply_now: bool },
    /// CopyDone.
    CopyDone,
    /// Terminate.
    Goodbye,
    /// Anything else, by its type.
    Other(u8),
}

impl Heard {
    /// Reads a message; malformed ones are a failure of the client and of the test.
    pub fn parse(tag: u8, body: &[u8]) -> Heard {
        match (tag, body.first()) {
            (b'Q', _) => {
                let text = body.strip_suffix(&[0]).expect("a query ends with a zero byte");
                Heard::Query(String::from_utf8(text.to_vec()).expect("a query is text"))
            }
            (b'd', Some(b'r')) => {
                assert_eq!(body.len(), 34, "a status update has 34 bytes");
                let position = |at: usize| {
                    let bytes = body[at..at + 8].try_into().expect("eight bytes");
                    Lsn(u64::from_be_bytes(bytes))
                };
                Heard::Status {
                    written: position(1),
                    flushed: position(9),
                    applied: position(17),
                    reply_now: body[33] != 0,
                }
            }
            (b'c', None) => Heard::CopyDone,
            (b'X', None) => Heard::Goodbye,
            (tag, _) => Heard::Other(tag),
        }
    }

    /// Reads the body of a startup packet.
    pub fn parse_startup(body: &[u8]) -> Heard {
        let mut texts = body.split(|&byte| byte == 0);
        let mut parameters = Vec::new();
        let mut text = || String::from_utf8_lossy(texts.next().unwrap_or_default()).into_owned();
        loop {
            let name = text();
            if name.is_empty() {
                return Heard::Startup(parameters);
            }
            parameters.push((name, text()));
        }
    }
}
