//! Connections of commands, with errors that name the server and the option.

use crate::config::{SecretText, ServerConfig};
use crate::conninfo::{ConnectOptions, Purpose};
use crate::net::{self, SqlClient, Walsender};
use crate::output::Failure;

/// What `conninfo` or `streaming_conninfo` means on this machine.
pub fn options(server: &ServerConfig, purpose: Purpose) -> Result<ConnectOptions, Failure> {
    let (option, text): (_, Option<&SecretText>) = match purpose {
        Purpose::Sql => ("conninfo", server.conninfo.as_ref()),
        Purpose::Replication => ("streaming_conninfo", server.streaming_conninfo.as_ref()),
    };
    let name = &server.name;
    let Some(text) = text else {
        return Err(Failure::new(format_args!("server {name} has no {option}"))
            .hint(format!("set {option} in section [{name}]")));
    };
    net::resolve(text.expose(), purpose).map_err(|error| {
        Failure::because(format_args!("cannot use {option} of server {name}"), &error)
            .hint(error.hint())
    })
}

/// An SQL session. Must be called on the command's runtime.
pub async fn sql(server: &ServerConfig) -> Result<SqlClient, Failure> {
    let options = options(server, Purpose::Sql)?;
    SqlClient::connect(&options, APPLICATION_NAME).await.map_err(|error| {
        Failure::because(format_args!("cannot connect to server {}", server.name), &error)
            .hint(error.hint())
    })
}

/// An SQL session with the server that WAL is streamed from, where that is another one.
pub async fn wal_sql(server: &ServerConfig) -> Result<SqlClient, Failure> {
    let Some(text) = &server.wal_conninfo else { return sql(server).await };
    let name = &server.name;
    let options = net::resolve(text.expose(), Purpose::Sql).map_err(|error| {
        Failure::because(format_args!("cannot use wal_conninfo of server {name}"), &error)
            .hint(error.hint())
    })?;
    SqlClient::connect(&options, APPLICATION_NAME).await.map_err(|error| {
        Failure::because(format_args!("cannot connect to the WAL host of server {name}"), &error)
            .hint(error.hint())
    })
}

/// A replication session.
pub async fn walsender(server: &ServerConfig) -> Result<Walsender, Failure> {
    let options = options(server, Purpose::Replication)?;
    Walsender::connect(&options, APPLICATION_NAME).await.map_err(|error| {
        Failure::because(format_args!("cannot connect to server {}", server.name), &error)
            .hint(error.hint())
    })
}

const APPLICATION_NAME: &str = "tapster";
