//! Connections: hosts, sockets, TLS by the rules of libpq, walsender sessions, SQL sessions.
//!
//! Knows PostgreSQL servers and nothing of the repository. One dialler, one TLS policy, one login
//! and one style of errors serve both kinds of session; [`Walsender`] speaks the replication
//! protocol, [`SqlClient`] hands the opened session to tokio-postgres.

mod stream;
mod endpoint;
mod dial;
mod peer;
pub mod tls;
mod encrypt;
mod login;
mod target;
mod connect;
mod cancel;
mod walsender;
mod sql;
mod facts;
mod error;
mod hint;

pub use cancel::Canceller;
pub use error::NetError;
pub use facts::ServerFacts;
pub use sql::{
    SlotRow, SqlClient, Standing, StreamingClient, StreamingClients, TextRow, quote_identifier,
    quote_literal,
};
pub use stream::{Lend, Lent, Stream, is_no_fault};
pub use walsender::Walsender;

use crate::conninfo::{ConnectOptions, ConninfoError, Purpose, RealEnvironment};

/// Works out a connection string as the configuration has it, with this machine's environment
/// and files, and logs what libpq would warn of.
///
/// # Errors
/// A string, a variable or a file that cannot be used; see [`ConninfoError`].
pub fn resolve(conninfo: &str, purpose: Purpose) -> Result<ConnectOptions, ConninfoError> {
    let options = ConnectOptions::resolve(conninfo, purpose, &RealEnvironment)?;
    for warning in &options.warnings {
        tracing::warn!("{warning}");
    }
    Ok(options)
}
