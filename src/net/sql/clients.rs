//! Who receives WAL from a server: `pg_stat_replication`.

use super::{NetError, SqlClient};
use crate::wal::Lsn;

/// All clients, and where the server stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StreamingClients {
    /// Whether the server is a standby itself.
    pub in_recovery: bool,
    /// How far its WAL goes.
    pub position: Option<Lsn>,
    /// Synchronous ones first.
    pub clients: Vec<StreamingClient>,
}

/// A row of `pg_stat_replication`. What the role may not see is absent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StreamingClient {
    /// The walsender.
    pub pid: i32,
    /// The role.
    pub user: String,
    /// As it calls itself.
    pub application_name: String,
    /// Its address; `None` over a Unix socket.
    pub address: Option<String>,
    /// Its port.
    pub port: Option<i32>,
    /// Its name, where the server looks names up.
    pub host: Option<String>,
    /// Since when, in UTC: `2026-11-23 06:24:58.603526+00:00`.
    pub started: Option<String>,
    /// The oldest transaction that it holds back.
    pub xmin: Option<String>,
    /// `startup`, `catchup`, `streaming`, `backup`, `stopping`.
    pub state: Option<String>,
    /// How far WAL was sent to it.
    pub sent: Option<Lsn>,
    /// How far it has written.
    pub written: Option<Lsn>,
    /// How far that is durable.
    pub flushed: Option<Lsn>,
    /// How far it has replayed; `None` for one that replays nothing.
    pub replayed: Option<Lsn>,
    /// Its place in the list of synchronous standbys; 0 for none.
    pub sync_priority: i32,
    /// `async`, `potential`, `sync` or `quorum`.
    pub sync_state: Option<String>,
    /// The slot that it uses.
    pub slot: Option<String>,
}

const WHAT: &str = "look at the streaming clients";

/// The columns in the order of [`StreamingClient`], with the server's own position before them.
const STATEMENT: &str = "\
    SELECT pg_catalog.pg_is_in_recovery(), \
    CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn() \
    ELSE pg_catalog.pg_current_wal_lsn() END, \
    r.pid, r.usename, r.application_name, pg_catalog.host(r.client_addr), r.client_port, \
    r.client_hostname, \
    pg_catalog.to_char(r.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') \
    || '+00:00', \
    r.backend_xmin, r.state, r.sent_lsn, r.write_lsn, r.flush_lsn, r.replay_lsn, \
    r.sync_priority, r.sync_state, s.slot_name \
    FROM (SELECT 1) AS one \
    LEFT JOIN pg_catalog.pg_stat_replication AS r ON true \
    LEFT JOIN pg_catalog.pg_replication_slots AS s ON r.pid = s.active_pid \
    ORDER BY r.sync_state DESC, r.sync_priority, r.pid";

impl SqlClient {
    /// Who receives WAL from the server now.
    ///
    /// # Errors
    /// Those of [`SqlClient::rows`].
    pub async fn streaming_clients(&self) -> Result<StreamingClients, NetError> {
        let mut found =
            StreamingClients { in_recovery: false, position: None, clients: Vec::new() };
        for row in self.rows(WHAT, STATEMENT).await? {
            let mut values = row.into_iter();
            let mut next = || values.next().flatten();
            found.in_recovery = next().as_deref() == Some("t");
            found.position = next().and_then(|lsn| lsn.parse().ok());
            // The row of a server without clients has nothing but its own position.
            let Some(pid) = next().and_then(|pid| pid.parse().ok()) else { continue };
            let mut client = StreamingClient {
                pid,
                user: next().unwrap_or_default(),
                application_name: next().unwrap_or_default(),
                address: next(),
                port: next().and_then(|port| port.parse().ok()),
                host: next(),
                started: next(),
                xmin: next(),
                state: next(),
                ..StreamingClient::default()
            };
            let mut position = || next().and_then(|lsn| lsn.parse().ok());
            client.sent = position();
            client.written = position();
            client.flushed = position();
            client.replayed = position();
            client.sync_priority = next().and_then(|place| place.parse().ok()).unwrap_or(0);
            client.sync_state = next();
            client.slot = next();
            found.clients.push(client);
        }
        Ok(found)
    }
}
