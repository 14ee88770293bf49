//! What the operator can do about a failed connection, in one sentence.

use std::io;
use std::net::IpAddr;

use super::error::{LoginContext, NetError};
use crate::wire::{ServerError, SqlState, WireError};

/// The hint for an error.
pub(super) fn of(error: &NetError) -> Option<String> {
    match error {
        NetError::LookUp { host, .. } => {
            Some(format!("check the spelling of host={host} and the name service of this machine"))
        }
        NetError::Dial { endpoint, source } => dial(endpoint, source),
        NetError::ConnectTimeout { .. } => {
            Some("see whether the server is overloaded or a firewall swallows packets".to_owned())
        }
        NetError::Peer { found, .. } => {
            Some(format!("find out who listens there; if it is right, set requirepeer={found}"))
        }
        NetError::NoTls { .. } | NetError::TlsRefused { .. } => {
            Some("set ssl = on and a certificate on the server, or sslmode=prefer here".to_owned())
        }
        NetError::NotPostgres { .. } => Some("check host and port".to_owned()),
        NetError::Tls { source, .. } => source.hint(),
        NetError::Login { context, source } => login(context, source),
        NetError::NotTheTarget { .. } => {
            Some("check the list of hosts, or set target_session_attrs=any".to_owned())
        }
        NetError::NoneOfSeveral { attempts } => attempts.iter().find_map(of),
        NetError::Command { source, user, .. } => command(user, source),
        NetError::Sql { source, .. } => match source.code() {
            Some("42501") => Some(
                "give the role the rights that the manual lists for a backup user, or make it a \
                 superuser"
                    .to_owned(),
            ),
            _ => None,
        },
        NetError::Silent { .. } => {
            Some("see in pg_stat_activity on the server what the session waits for".to_owned())
        }
        NetError::Lost { .. } | NetError::Closed { .. } => {
            Some("see the log of the server for why the session ended".to_owned())
        }
        NetError::SqlResult { .. } => None,
    }
}

fn dial(endpoint: &str, source: &io::Error) -> Option<String> {
    let local = endpoint.starts_with("socket ");
    Some(match source.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound if local => {
            "start the server, or give the directory of its socket with host=<directory>".to_owned()
        }
        io::ErrorKind::ConnectionRefused => {
            "start the server, and see that listen_addresses and port on it fit".to_owned()
        }
        io::ErrorKind::PermissionDenied if local => {
            "see unix_socket_permissions and unix_socket_group on the server".to_owned()
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "check the network between this machine and the server".to_owned()
        }
        _ => return None,
    })
}

fn login(context: &LoginContext, source: &WireError) -> Option<String> {
    match source {
        WireError::Refused(refused) => refused_login(context, refused),
        other => other.hint(),
    }
}

/// SQLSTATE 28000 has several causes; the function that reported it tells them apart and, other
/// than the text, is never translated.
fn refused_login(context: &LoginContext, refused: &ServerError) -> Option<String> {
    let user = &context.user;
    match refused.code {
        SqlState::INVALID_AUTHORIZATION => match refused.routine.as_deref() {
            Some("InitializeSessionUserId") => Some(match context.dbname {
                None => format!("on the server: CREATE ROLE {user} LOGIN REPLICATION"),
                Some(_) => format!("on the server: CREATE ROLE {user} LOGIN"),
            }),
            Some("auth_failed") => Some(format!(
                "the server's rule does not let this operating system user or certificate in as \
                 {user}: see pg_hba.conf and pg_ident.conf"
            )),
            _ => Some(format!(
                "add to pg_hba.conf on the server, then reload it: {}",
                hba_line(context)
            )),
        },
        SqlState::INVALID_PASSWORD => Some(match &context.password {
            Some(source) => {
                format!("the password came from {source}: compare it with the server's")
            }
            None => format!("the server has no password for {user}, or wants another method"),
        }),
        SqlState::INSUFFICIENT_PRIVILEGE if context.dbname.is_none() => {
            Some(format!("on the server: ALTER ROLE {user} REPLICATION"))
        }
        SqlState::TOO_MANY_CONNECTIONS if context.dbname.is_none() => Some(
            "raise max_wal_senders on the server, or end a walsender that nobody needs (see \
             pg_stat_replication)"
                .to_owned(),
        ),
        SqlState::TOO_MANY_CONNECTIONS => {
            Some("raise max_connections on the server, or end sessions".to_owned())
        }
        _ => refused.hint(),
    }
}

/// The line that would have let us in.
fn hba_line(context: &LoginContext) -> String {
    let database = context.dbname.as_deref().unwrap_or("replication");
    let user = &context.user;
    match context.own_address {
        None => format!("local {database} {user} peer"),
        Some(address) => {
            let kind = if context.encrypted { "hostssl" } else { "host" };
            let bits = match address {
                IpAddr::V4(_) => 32,
                IpAddr::V6(_) => 128,
            };
            format!("{kind} {database} {user} {address}/{bits} scram-sha-256")
        }
    }
}

fn command(user: &str, source: &WireError) -> Option<String> {
    match source {
        WireError::Refused(refused) if refused.code == SqlState::INSUFFICIENT_PRIVILEGE => {
            Some(format!("on the server: ALTER ROLE {user} REPLICATION"))
        }
        WireError::Refused(refused) => {
            refused.hint().or_else(|| Some("see the log of the server for what led to it".into()))
        }
        other => other.hint(),
    }
}
