//! What a server says when it refuses, warns or remarks.

use std::fmt;
use std::ops::Deref;

/// Whether, and how soon, trying again can help.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Retry {
    /// At once: the cause was a passing conflict.
    Now,
    /// Soon, with growing pauses (0.1 s to some seconds): the server is starting, stopping,
    /// full, or out of reach.
    AfterBackoff,
    /// Every now and then, with an alarm: somebody must change something on the server.
    Slowly,
    /// Not at all: the same would happen again.
    Never,
}

/// How bad the server thinks it is: field `V`, which is not translated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The command failed; the session lives.
    Error,
    /// The session ends.
    Fatal,
    /// All sessions end.
    Panic,
    /// A warning.
    Warning,
    /// A remark.
    Notice,
    /// Debugging output.
    Debug,
    /// Information that the user asked for.
    Info,
    /// A line for the log.
    Log,
}

impl Severity {
    pub(super) fn parse(text: &str) -> Option<Severity> {
        Some(match text {
            "ERROR" => Severity::Error,
            "FATAL" => Severity::Fatal,
            "PANIC" => Severity::Panic,
            "WARNING" => Severity::Warning,
            "NOTICE" => Severity::Notice,
            "DEBUG" => Severity::Debug,
            "INFO" => Severity::Info,
            "LOG" => Severity::Log,
            _ => return None,
        })
    }
}

/// A five-character error code. Source: manual, appendix "PostgreSQL Error Codes".
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// What an error without a readable code has.
    pub const UNKNOWN: SqlState = SqlState(*b"?????");
    /// No pg_hba.conf entry, an unknown role, or trouble with channel binding.
    pub const INVALID_AUTHORIZATION: SqlState = SqlState(*b"28000");
    /// The password is wrong.
    pub const INVALID_PASSWORD: SqlState = SqlState(*b"28P01");
    /// The role lacks a right, such as REPLICATION.
    pub const INSUFFICIENT_PRIVILEGE: SqlState = SqlState(*b"42501");
    /// A parameter or a slot that does not exist.
    pub const UNDEFINED_OBJECT: SqlState = SqlState(*b"42704");
    /// A slot of this name exists.
    pub const DUPLICATE_OBJECT: SqlState = SqlState(*b"42710");
    /// The slot is in use by another session.
    pub const OBJECT_IN_USE: SqlState = SqlState(*b"55006");
    /// Something that must be so is not: wal_level, an invalidated slot, a promoted standby.
    pub const PREREQUISITE: SqlState = SqlState(*b"55000");
    /// A setting cannot be changed now.
    pub const CANNOT_CHANGE_NOW: SqlState = SqlState(*b"55P02");
    /// No free walsender or connection.
    pub const TOO_MANY_CONNECTIONS: SqlState = SqlState(*b"53300");
    /// No free replication slot.
    pub const LIMIT_EXCEEDED: SqlState = SqlState(*b"53400");
    /// A file or a WAL segment is gone.
    pub const UNDEFINED_FILE: SqlState = SqlState(*b"58P01");
    /// The server starts, stops, or is not yet consistent.
    pub const CANNOT_CONNECT_NOW: SqlState = SqlState(*b"57P03");
    /// An administrator ended the session, or the server shuts down.
    pub const ADMIN_SHUTDOWN: SqlState = SqlState(*b"57P01");
    /// Another process of the server crashed.
    pub const CRASH_SHUTDOWN: SqlState = SqlState(*b"57P02");
    /// The session was idle for too long.
    pub const IDLE_SESSION_TIMEOUT: SqlState = SqlState(*b"57P05");
    /// The command was cancelled.
    pub const QUERY_CANCELED: SqlState = SqlState(*b"57014");
    /// Data checksums did not match.
    pub const DATA_CORRUPTED: SqlState = SqlState(*b"XX001");
    /// An error without a code of its own.
    pub const INTERNAL: SqlState = SqlState(*b"XX000");
    /// The server does not know the command's words.
    pub const SYNTAX_ERROR: SqlState = SqlState(*b"42601");
    /// The server cannot do this here.
    pub const FEATURE_NOT_SUPPORTED: SqlState = SqlState(*b"0A000");

    /// Five upper-case letters or digits.
    pub fn new(text: &str) -> Option<SqlState> {
        let code: [u8; 5] = text.as_bytes().try_into().ok()?;
        let valid = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        code.iter().all(valid).then_some(SqlState(code))
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }

    /// Its class, the first two characters.
    pub fn class(&self) -> &str {
        &self.as_str()[..2]
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The fields of an ErrorResponse or a NoticeResponse.
///
/// Text is in the server's language; decide by `code`, `severity` and `routine` only. Control
/// characters were taken out and long texts cut, because the peer may be anyone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerMessage {
    /// Field `V`, or `S` where a server or pooler sends no `V`.
    pub severity: Severity,
    /// Field `C`.
    pub code: SqlState,
    /// Field `M`.
    pub message: String,
    /// Field `D`.
    pub detail: Option<String>,
    /// Field `H`.
    pub hint: Option<String>,
    /// Field `W`, "where".
    pub context: Option<String>,
    /// Field `R`: the function of the server that reported it; not translated.
    pub routine: Option<String>,
}

impl ServerMessage {
    /// Whether the session ends with it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, Severity::Fatal | Severity::Panic)
    }
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        match &self.detail {
            Some(detail) => write!(f, "; {detail}"),
            None => Ok(()),
        }
    }
}

/// An ErrorResponse: the server refused, or gave up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerError(pub Box<ServerMessage>);

/// A NoticeResponse: the server remarks, and goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice(pub Box<ServerMessage>);

impl Deref for ServerError {
    type Target = ServerMessage;
    fn deref(&self) -> &ServerMessage {
        &self.0
    }
}

impl Deref for Notice {
    type Target = ServerMessage;
    fn deref(&self) -> &ServerMessage {
        &self.0
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, f)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, f)
    }
}

impl std::error::Error for ServerError {}

impl ServerError {
    /// Whether a new attempt can help, by SQLSTATE alone.
    ///
    /// 58P01 and XX000 are `Never`: what they mean depends on positions and timelines, which
    /// the receiver compares itself; to ask for the same WAL again would loop.
    pub fn retry(&self) -> Retry {
        match self.code {
            SqlState::LIMIT_EXCEEDED | SqlState::PREREQUISITE => return Retry::Slowly,
            SqlState::INSUFFICIENT_PRIVILEGE => return Retry::Slowly,
            SqlState::OBJECT_IN_USE => return Retry::AfterBackoff,
            _ => {}
        }
        match self.code.class() {
            "40" => Retry::Now,
            // Connection trouble; no resources; ended by an operator, a crash or a shutdown.
            "08" if self.code.as_str() != "08P01" => Retry::AfterBackoff,
            "53" | "57" => Retry::AfterBackoff,
            "28" | "3D" => Retry::Slowly,
            "58" if self.code.as_str() == "58030" => Retry::AfterBackoff,
            _ => Retry::Never,
        }
    }

    /// What the operator can do, in one sentence.
    pub fn hint(&self) -> Option<String> {
        let own = match self.code {
            SqlState::INVALID_AUTHORIZATION => {
                "check that the role exists and that pg_hba.conf has an entry for it whose \
                 database is the word replication, then reload the server"
            }
            SqlState::INVALID_PASSWORD => {
                "check the password in the connection string, PGPASSWORD or the passfile"
            }
            SqlState::INSUFFICIENT_PRIVILEGE => {
                "give the role the right it lacks, for streaming: ALTER ROLE ... REPLICATION"
            }
            SqlState::TOO_MANY_CONNECTIONS => "raise max_wal_senders on the server",
            SqlState::LIMIT_EXCEEDED => "raise max_replication_slots or drop an unused slot",
            SqlState::OBJECT_IN_USE => {
                "stop the other user of the slot, or wait until wal_sender_timeout ends it"
            }
            SqlState::DATA_CORRUPTED => {
                "find the damaged files in the server's log, and repair them before they get into \
                 every backup"
            }
            SqlState::CANNOT_CONNECT_NOW => "wait until the server accepts connections",
            _ => return self.hint.clone(),
        };
        Some(self.hint.clone().unwrap_or_else(|| own.to_owned()))
    }
}
