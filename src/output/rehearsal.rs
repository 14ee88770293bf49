//! `backup --dry-run`: what would be done, and what stands in the way.

use serde_json::{Value, json};

use super::{OutputFormat, Reporter, size};
use crate::backup::{Rehearsal, ServerSeen, WalSource};
use crate::repository::ServerName;

/// Prints it; each obstacle is an error.
pub fn rehearsal(out: &mut Reporter, server: &ServerName, seen: &Rehearsal) {
    match out.format() {
        OutputFormat::Json => members(out, server, seen),
        OutputFormat::Console => lines(out, server, seen),
    }
    for obstacle in &seen.obstacles {
        out.failure(obstacle);
    }
    if seen.obstacles.is_empty() {
        out.info("Nothing stands in the way.");
    }
}

fn lines(out: &mut Reporter, server: &ServerName, seen: &Rehearsal) {
    let mut row = |name: &str, value: String| out.info(format_args!("  {name:<23}: {value}"));
    if let Some(found) = &seen.server {
        row("PostgreSQL Version", found.version.to_string());
        row("Role", role(found).to_owned());
        row("Checksums", if found.data_checksums { "on" } else { "off" }.to_owned());
        let name = |tablespace: &crate::repository::Tablespace| {
            format!("{} (oid: {})", tablespace.name, tablespace.oid)
        };
        let names: Vec<String> = found.tablespaces.iter().map(name).collect();
        row("Tablespaces", if names.is_empty() { "-".to_owned() } else { names.join(", ") });
    }
    row(
        "Type",
        seen.parent.map_or_else(
            || kind(seen).to_owned(),
            |id| format!("{}, continues backup {id}", kind(seen)),
        ),
    );
    row("Format", seen.form.to_string());
    row("Directory", seen.base.display().to_string());
    row(
        "WAL",
        match seen.wal {
            WalSource::Receiver(Some(pid)) => format!("through the receiver, process {pid}"),
            WalSource::Receiver(None) => "through the receiver".to_owned(),
            WalSource::Own => "received beside the copy, kept by a temporary slot".to_owned(),
        },
    );
    row("Estimated Size", shown(seen.bytes));
    row("Free Space", shown(seen.free));
    out.info(format_args!("Dry run: no backup of server {server} was taken."));
}

fn role(server: &ServerSeen) -> &'static str {
    if server.in_recovery { "standby" } else { "primary" }
}

fn kind(seen: &Rehearsal) -> &'static str {
    if seen.incremental { "incremental" } else { "full" }
}

fn shown(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".to_owned(), size)
}

fn members(out: &mut Reporter, server: &ServerName, seen: &Rehearsal) {
    let (wal, receiver) = match seen.wal {
        WalSource::Receiver(pid) => ("receiver", pid),
        WalSource::Own => ("own", None),
    };
    let found = seen.server.as_ref().map(|found| {
        let pair = |tablespace: &crate::repository::Tablespace| {
            json!({"name": tablespace.name, "oid": tablespace.oid})
        };
        json!({
            "version": found.version.number(),
            "role": role(found),
            "checksums": found.data_checksums,
            "tablespaces": found.tablespaces.iter().map(pair).collect::<Vec<Value>>(),
        })
    });
    out.member(server.as_str(), json!({
        "server": found,
        "type": kind(seen),
        "parent": seen.parent.map(|id| id.to_string()),
        "format": seen.form.format(),
        "compression": seen.form.codec().map(|codec| codec.to_string()),
        "compression_location": seen.form.location(),
        "directory": seen.base.display().to_string(),
        "wal": wal,
        "receiver": receiver,
        "estimated_bytes": seen.bytes,
        "free_bytes": seen.free,
        "obstacles": seen.obstacles.iter().map(|obstacle| obstacle.one_line()).collect::<Vec<_>>(),
    }));
}
