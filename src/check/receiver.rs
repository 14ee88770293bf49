//! Does the WAL arrive?

use super::{Facts, Outcome, connection};

/// `replication slot`.
pub(super) fn replication_slot(facts: &Facts) -> Vec<Outcome> {
    let (name, server) = ("replication slot", &facts.server);
    let Some(slot_name) = facts.wanted.slot_name.as_ref().filter(|_| facts.wanted.active) else {
        return Vec::new();
    };
    let sql = match &facts.sql {
        Some(Ok(sql)) => sql,
        // Nobody knows whether it exists: to say that it does not would send people to create it.
        Some(Err(_)) | None => {
            let hint = format!("slot '{slot_name}' unknown: the server cannot be reached");
            return vec![Outcome::failed(name, hint)];
        }
    };
    let needed = facts.wanted.streaming_archiver;
    let outcome = match &sql.slot {
        None if !needed => return Vec::new(),
        None => Outcome::failed(
            name,
            format!(
                "replication slot '{slot_name}' doesn't exist. Please execute 'tapster \
                 receive-wal --create-slot {server}'"
            ),
        ),
        Some(slot) if !slot.physical => {
            Outcome::failed(name, format!("slot '{slot_name}' is a logical one"))
        }
        Some(slot) if slot.lost => Outcome::failed(
            name,
            format!(
                "slot '{slot_name}' lost its WAL: drop and create it again with 'tapster \
                 receive-wal --drop-slot {server}' and '--create-slot', then take a new backup"
            ),
        ),
        Some(slot) if !needed && slot.active => Outcome::ok_with(
            name,
            format!("WARNING: slot '{slot_name}' is active but not required by the current config"),
        ),
        Some(_) if !needed => Outcome::ok(name),
        Some(slot) if slot.restart.is_none() => Outcome::failed(
            name,
            format!("slot '{slot_name}' not initialised: is 'receive-wal' running?"),
        ),
        Some(slot) if !slot.active => Outcome::failed(
            name,
            format!("slot '{slot_name}' not active: is 'receive-wal' running?"),
        ),
        Some(_) => Outcome::ok(name),
    };
    vec![outcome]
}

/// The two lines about `pg_receivexlog`: whether this program can stream from this version.
pub(super) fn client(facts: &Facts) -> Vec<Outcome> {
    if !facts.wanted.streaming_archiver || !facts.wanted.active {
        return Vec::new();
    }
    vec![Outcome::ok("pg_receivexlog"), connection::compatible("pg_receivexlog", facts)]
}

/// `receive-wal running`: whether the receiver of exactly this server holds its lock.
pub(super) fn running(facts: &Facts) -> Vec<Outcome> {
    if !facts.wanted.streaming_archiver || !facts.wanted.active {
        return Vec::new();
    }
    let name = "receive-wal running";
    if facts.stored.receiver_running {
        return vec![Outcome::ok(name)];
    }
    vec![Outcome::failed(name, format!("start it with 'tapster receive-wal {}'", facts.server))]
}
