//! Every way in which a peer can be wrong, by name.

use std::fmt;

use super::{CommandError, LoginError, ParseVersionError, Retry, ServerError};
use crate::wal::{Lsn, Timeline};

/// The first byte of a message.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Tag(pub u8);

impl Tag {
    /// The manual's name of the message, if a walsender may send it.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            b'R' => "Authentication",
            b'S' => "ParameterStatus",
            b'K' => "BackendKeyData",
            b'v' => "NegotiateProtocolVersion",
            b'Z' => "ReadyForQuery",
            b'T' => "RowDescription",
            b'D' => "DataRow",
            b'C' => "CommandComplete",
            b'E' => "ErrorResponse",
            b'N' => "NoticeResponse",
            b'A' => "NotificationResponse",
            b'G' => "CopyInResponse",
            b'H' => "CopyOutResponse",
            b'W' => "CopyBothResponse",
            b'd' => "CopyData",
            b'c' => "CopyDone",
            _ => return None,
        })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "a message of the unknown type 0x{:02x}", self.0),
        }
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What went wrong between the server and us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The protocol does not allow this message here.
    #[error("server sent {got} while {expected} was due")]
    Unexpected {
        /// What came.
        got: Tag,
        /// What the protocol allows.
        expected: &'static str,
    },

    /// A length that does not even cover itself.
    #[error("{tag} announces a length of {length}; 4 is the least")]
    TooShort {
        /// The message.
        tag: Tag,
        /// The length field as sent.
        length: i32,
    },

    /// A length beyond what the message can sensibly have.
    #[error("{tag} announces {length} bytes; at most {max} are accepted")]
    TooLong {
        /// The message.
        tag: Tag,
        /// The length field as sent, which counts itself.
        length: u32,
        /// The bound.
        max: u32,
    },

    /// The body does not have the layout that the manual gives.
    #[error("malformed {tag}: {what}")]
    Malformed {
        /// The message.
        tag: Tag,
        /// What is wrong with it.
        what: &'static str,
    },

    /// A value of a result that cannot be what it should.
    #[error("server sent {value:?} as {what}")]
    Value {
        /// The column or field.
        what: &'static str,
        /// What came, cut to a printable length.
        value: String,
    },

    /// A result with other rows or columns than the command gives.
    #[error("result of {command} has no {what}")]
    Result {
        /// The command.
        command: &'static str,
        /// What is missing.
        what: &'static str,
    },

    /// More rows than any command of the protocol gives.
    #[error("result is longer than {max} bytes")]
    ResultTooLong {
        /// The bound.
        max: usize,
    },

    /// The file of another timeline than the one asked for.
    #[error("server sent {name:?} as history of timeline {timeline}")]
    OtherHistory {
        /// The timeline that was asked for.
        timeline: Timeline,
        /// The name that came.
        name: String,
    },

    /// WAL must arrive without gap or overlap; anything else would archive a hole.
    #[error("server sent WAL from {got}, but {expected} comes next")]
    Gap {
        /// The next position that is due.
        expected: Lsn,
        /// The position that came.
        got: Lsn,
    },

    /// A kind of stream message that is not known. To skip it could hide missing data.
    #[error("server sent a stream message of the unknown kind 0x{kind:02x}")]
    UnknownKind {
        /// Its first byte.
        kind: u8,
    },

    /// An archive whose name is not that of a tablespace of this backup.
    #[error("server announces an archive {name:?}, which is none of this backup")]
    Archive {
        /// The name that came.
        name: String,
    },

    /// The backup ended before all of its archives had come.
    #[error("backup ended without the archive {name}")]
    MissingArchive {
        /// The first one that is missing.
        name: String,
    },

    /// The manifest that was asked for has not come.
    #[error("backup ended without its manifest")]
    NoManifest,

    /// Text with a zero byte cannot be sent: zero ends a string in the protocol.
    #[error("{what} contains a zero byte")]
    ZeroByte {
        /// Which text.
        what: &'static str,
    },

    /// The packet that opens a session is bounded by the server.
    #[error("startup packet of {length} bytes; servers accept {max}")]
    StartupTooLong {
        /// Its length.
        length: usize,
        /// The bound.
        max: usize,
    },

    /// A `server_version` that cannot be read.
    #[error(transparent)]
    Version(#[from] ParseVersionError),

    /// Login went wrong on our side or by our rules.
    #[error(transparent)]
    Login(#[from] LoginError),

    /// A command that cannot be put to this server.
    #[error(transparent)]
    Command(#[from] CommandError),

    /// The server said no.
    #[error("server refused: {0}")]
    Refused(#[source] ServerError),
}

/// What to do about a peer that does not keep to the protocol.
const STRANGER: &str = "check that host and port lead to a PostgreSQL server, and that no proxy in \
                        between changes what it sends";

impl WireError {
    /// Whether a new connection can help. A violation of the protocol is worth one more look
    /// every now and then (a proxy in between may have been at fault); a gap is not: the same
    /// server would send the same hole.
    pub fn retry(&self) -> Retry {
        match self {
            WireError::Refused(error) => error.retry(),
            WireError::Login(error) => error.retry(),
            WireError::Unexpected { .. }
            | WireError::TooShort { .. }
            | WireError::TooLong { .. }
            | WireError::Malformed { .. }
            | WireError::UnknownKind { .. } => Retry::Slowly,
            _ => Retry::Never,
        }
    }

    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            WireError::Refused(error) => error.hint(),
            WireError::Login(error) => error.hint(),
            WireError::Command(error) => error.hint(),
            WireError::Unexpected { .. }
            | WireError::TooShort { .. }
            | WireError::TooLong { .. }
            | WireError::Malformed { .. }
            | WireError::Value { .. }
            | WireError::Result { .. }
            | WireError::ResultTooLong { .. }
            | WireError::OtherHistory { .. }
            | WireError::UnknownKind { .. } => Some(STRANGER.to_owned()),
            WireError::Gap { .. } => Some(
                "look for a proxy that loses or repeats data; what came before is kept, and the \
                 next receiver goes on behind it"
                    .to_owned(),
            ),
            WireError::Archive { .. }
            | WireError::MissingArchive { .. }
            | WireError::NoManifest => Some(format!("{STRANGER}; then take the backup again")),
            _ => None,
        }
    }

    /// The server's own words, if it refused.
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            WireError::Refused(error) => Some(error),
            _ => None,
        }
    }
}
