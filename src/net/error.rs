//! What can go wrong between us and a server.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::hint;
use super::stream::Stream;
use super::tls::TlsError;
use crate::conninfo::{ConnectOptions, Host, PasswordSource, Purpose};
use crate::wire::{Retry, SqlState, WireError};

/// A connection that could not be made, or was lost, or a command that failed on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The name of the host leads nowhere.
    #[error("cannot look up host {host}")]
    LookUp {
        /// The name.
        host: String,
        /// What the system said.
        source: io::Error,
    },

    /// Nobody answers at the address, or the way to it is closed.
    #[error("cannot connect to {endpoint}")]
    Dial {
        /// Where.
        endpoint: String,
        /// What the system said.
        source: io::Error,
    },

    /// The server did not come through with connection and login in time.
    #[error("no session with {endpoint} within {}", seconds(.after))]
    ConnectTimeout {
        /// Where.
        endpoint: String,
        /// `connect_timeout`, or our own bound.
        after: Duration,
    },

    /// Another user's process listens on the socket.
    #[error("{endpoint} belongs to {found}, but requirepeer is {wanted}")]
    Peer {
        /// Where.
        endpoint: String,
        /// The user asked for.
        wanted: String,
        /// The user whose process listens.
        found: String,
    },

    /// `sslmode` wants encryption and the server has none.
    #[error("server at {endpoint} does not offer TLS, which sslmode requires")]
    NoTls {
        /// Where.
        endpoint: String,
    },

    /// The server answered the request for TLS with an error, whose text nobody vouches for.
    #[error("server at {endpoint} refused even to talk about TLS")]
    TlsRefused {
        /// Where.
        endpoint: String,
    },

    /// Something else listens there.
    #[error(
        "{endpoint} answers 0x{byte:02x} to a request for TLS, which no PostgreSQL server does"
    )]
    NotPostgres {
        /// Where.
        endpoint: String,
        /// The answer.
        byte: u8,
    },

    /// No encrypted connection came about.
    #[error("cannot use TLS{}", .endpoint.as_deref().map_or(String::new(), |at| format!(" with {at}")))]
    Tls {
        /// Where; absent when our own files are at fault.
        endpoint: Option<String>,
        /// Why.
        source: Box<TlsError>,
    },

    /// The login did not succeed.
    #[error("cannot log in to {} as {}", .context.endpoint, .context.user)]
    Login {
        /// Who and where.
        context: Box<LoginContext>,
        /// Why.
        source: Box<WireError>,
    },

    /// The server is none of those that `target_session_attrs` admits.
    #[error("server at {endpoint} is {found}, but target_session_attrs is {wanted}")]
    NotTheTarget {
        /// Where.
        endpoint: String,
        /// What is wanted.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },

    /// Several hosts or addresses were tried, none with success.
    #[error("{}", several(.attempts))]
    NoneOfSeveral {
        /// What happened at each.
        attempts: Vec<NetError>,
    },

    /// The connection broke.
    #[error("connection to {endpoint} was lost")]
    Lost {
        /// Where.
        endpoint: String,
        /// What the system said.
        source: io::Error,
    },

    /// The server closed the connection without a word.
    #[error("server at {endpoint} closed the connection before the {waiting_for}")]
    Closed {
        /// Where.
        endpoint: String,
        /// What was due.
        waiting_for: &'static str,
    },

    /// The server does not answer any more.
    #[error("server at {endpoint} has not answered {command} for {}", seconds(.after))]
    Silent {
        /// Where.
        endpoint: String,
        /// The command.
        command: String,
        /// How long it was waited for.
        after: Duration,
    },

    /// The server refused a command, or its answer makes no sense.
    #[error("{command} did not succeed on {endpoint}")]
    Command {
        /// Where.
        endpoint: String,
        /// The command.
        command: String,
        /// Whose session it was, for the hint.
        user: String,
        /// Why.
        source: Box<WireError>,
    },

    /// An SQL statement failed.
    #[error("{what} did not succeed on {endpoint}")]
    Sql {
        /// Where.
        endpoint: String,
        /// What the statement was for: `query of replication slots`.
        what: &'static str,
        /// Why.
        source: SqlError,
    },

    /// An SQL result without what it must have.
    #[error("{what} on {endpoint} gave no {missing}")]
    SqlResult {
        /// Where.
        endpoint: String,
        /// What the statement was for.
        what: &'static str,
        /// What is missing or unreadable.
        missing: String,
    },
}

/// Who logs in, where, and with what: the facts from which a hint is made.
#[derive(Debug)]
pub struct LoginContext {
    /// Where.
    pub endpoint: String,
    /// The role.
    pub user: String,
    /// The database, on SQL connections.
    pub dbname: Option<String>,
    /// Where the password came from, if there was one.
    pub password: Option<PasswordSource>,
    /// Our own address as the server sees it; absent on a Unix-domain socket.
    pub own_address: Option<std::net::IpAddr>,
    /// Whether the connection was encrypted.
    pub encrypted: bool,
}

impl NetError {
    /// A login that failed, with the facts that explain it.
    pub(super) fn login(
        endpoint: &str,
        options: &ConnectOptions,
        host: &Host,
        stream: &Stream,
        source: WireError,
    ) -> NetError {
        let own = stream.tcp().and_then(|tcp| tcp.local_addr().ok());
        NetError::Login {
            context: Box::new(LoginContext {
                endpoint: endpoint.to_owned(),
                user: options.user.clone(),
                dbname: (options.purpose == Purpose::Sql).then(|| options.dbname.clone()),
                password: host.password.as_ref().map(|(_, source)| source.clone()),
                own_address: own.map(|address| address.ip()),
                encrypted: stream.is_encrypted(),
            }),
            source: Box::new(source),
        }
    }

    /// The outcome of several attempts; a single one speaks for itself.
    pub(super) fn of_attempts(mut attempts: Vec<NetError>) -> NetError {
        match attempts.len() {
            1 => attempts.remove(0),
            _ => NetError::NoneOfSeveral { attempts },
        }
    }

    /// Whether, and how soon, a new connection can help.
    pub fn retry(&self) -> Retry {
        match self {
            NetError::LookUp { .. }
            | NetError::Dial { .. }
            | NetError::ConnectTimeout { .. }
            | NetError::NotTheTarget { .. }
            | NetError::Closed { .. }
            | NetError::Silent { .. } => Retry::AfterBackoff,
            NetError::Lost { .. } => Retry::Now,
            NetError::Peer { .. }
            | NetError::NoTls { .. }
            | NetError::TlsRefused { .. }
            | NetError::NotPostgres { .. }
            | NetError::Tls { .. } => Retry::Slowly,
            NetError::Login { source, .. } | NetError::Command { source, .. } => source.retry(),
            NetError::NoneOfSeveral { attempts } => {
                attempts.iter().map(NetError::retry).min().unwrap_or(Retry::AfterBackoff)
            }
            NetError::Sql { source, .. } => source.retry(),
            NetError::SqlResult { .. } => Retry::Never,
        }
    }

    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        hint::of(self)
    }

    /// Whether the server itself refused, with this code.
    pub fn has_code(&self, code: SqlState) -> bool {
        self.server_error().is_some_and(|error| error.code == code)
    }

    /// What the server itself said, if it is the one who refused.
    pub fn server_error(&self) -> Option<&crate::wire::ServerError> {
        match self {
            NetError::Login { source, .. } | NetError::Command { source, .. } => {
                source.server_error()
            }
            NetError::NoneOfSeveral { attempts } => {
                attempts.iter().find_map(NetError::server_error)
            }
            _ => None,
        }
    }
}

/// Why an SQL statement failed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The server refused it, or the connection broke.
    #[error("{}", sql_text(.0))]
    Driver(#[source] tokio_postgres::Error),
    /// No answer in time.
    #[error("no answer within {}", seconds(.0))]
    Silent(Duration),
}

impl SqlError {
    /// The SQLSTATE, if the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            SqlError::Driver(error) => error.code().map(tokio_postgres::error::SqlState::code),
            SqlError::Silent(_) => None,
        }
    }

    fn retry(&self) -> Retry {
        match (self, self.code()) {
            (SqlError::Silent(_), _) => Retry::AfterBackoff,
            (SqlError::Driver(error), None) if error.is_closed() => Retry::Now,
            (_, Some(code)) if code.starts_with("53") || code.starts_with("57") => {
                Retry::AfterBackoff
            }
            (_, Some("42501")) => Retry::Slowly,
            _ => Retry::Never,
        }
    }
}

/// The server's words where there are any; the driver's own text says only "db error".
fn sql_text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(refused) => {
            let detail = refused.detail().map_or(String::new(), |detail| format!("; {detail}"));
            format!("server refused: {} ({}){detail}", refused.message(), refused.code().code())
        }
        None => match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    }
}

/// The attempts as one sentence, each with its cause: nobody could tell them apart in a chain.
fn several(attempts: &[NetError]) -> String {
    let mut text = String::from("no host will do");
    for attempt in attempts {
        text.push_str("; ");
        text.push_str(&attempt.to_string());
        let mut cause = attempt.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
    }
    text
}

fn seconds(duration: &Duration) -> impl fmt::Display {
    let seconds = duration.as_secs_f64();
    if seconds.fract() == 0.0 { format!("{seconds:.0} s") } else { format!("{seconds:.1} s") }
}
