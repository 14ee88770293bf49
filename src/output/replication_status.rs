//! `replication-status`: who receives WAL, in Barman's words, or as JSON.

use serde_json::{Map, Value, json};

use super::{OutputFormat, Reporter, size};
use crate::net::{StreamingClient, StreamingClients};
use crate::wal::Lsn;

/// Which clients are asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientKind {
    /// All of them.
    #[default]
    All,
    /// Those that replay WAL.
    HotStandby,
    /// Those that only store it.
    WalStreamer,
}

impl ClientKind {
    fn title(self) -> &'static str {
        match self {
            ClientKind::All => "streaming clients",
            ClientKind::HotStandby => "hot standby servers",
            ClientKind::WalStreamer => "WAL streamers",
        }
    }

    fn includes(self, client: &StreamingClient) -> bool {
        match self {
            ClientKind::All => true,
            ClientKind::HotStandby => client.replayed.is_some(),
            ClientKind::WalStreamer => client.replayed.is_none(),
        }
    }
}

/// Prints who receives WAL from a server.
pub fn replication_status(
    out: &mut Reporter,
    server: &str,
    status: &StreamingClients,
    kind: ClientKind,
    minimal: bool,
) {
    let clients: Vec<&StreamingClient> =
        status.clients.iter().filter(|client| kind.includes(client)).collect();
    match out.format() {
        OutputFormat::Json => {
            let object = object(status, &clients, kind, minimal);
            out.member(server, Value::Object(object));
        }
        OutputFormat::Console => {
            for line in lines(server, status, &clients, kind, minimal) {
                out.info(line);
            }
        }
    }
}

/// The server's position, where it is a primary.
fn master(status: &StreamingClients) -> Option<Lsn> {
    status.position.filter(|_| !status.in_recovery)
}

fn lines(
    server: &str,
    status: &StreamingClients,
    clients: &[&StreamingClient],
    kind: ClientKind,
    minimal: bool,
) -> Vec<String> {
    let title = kind.title();
    let mut lines = Vec::new();
    match (minimal, master(status)) {
        (true, Some(lsn)) => {
            lines.push(format!("{} for master '{server}' (LSN @ {lsn}):", capitalized(title)))
        }
        (true, None) => lines.push(format!("{} for slave '{server}':", capitalized(title))),
        (false, lsn) => {
            lines.push(format!("Status of {title} for server '{server}':"));
            lines.extend(lsn.map(|lsn| format!("  Current LSN on master: {lsn}")));
        }
    }
    if clients.is_empty() {
        lines.push(format!("  No {title} attached"));
        return lines;
    }
    if !minimal {
        lines.push(format!("  Number of {title}: {}", clients.len()));
    }
    for (number, client) in (1..).zip(clients) {
        if minimal {
            lines.push(format!("  {number}. {}", short(client)));
        } else {
            lines.push(String::new());
            lines.push(format!("  {number}. {}", name(client)));
            lines.extend(details(client, status.position));
        }
    }
    lines
}

fn details(client: &StreamingClient, current: Option<Lsn>) -> Vec<String> {
    let mut lines = vec![
        field("Application name", &client.application_name),
        field("Sync stage", stage(client, current)),
    ];
    match (&client.address, client.port) {
        (Some(address), port) => {
            let (port, host) = (port.unwrap_or(0), client.host.as_deref().unwrap_or("-"));
            lines.push(field("Communication", "TCP/IP"));
            lines.push(field("IP Address", format!("{address} / Port: {port} / Host: {host}")));
        }
        (None, _) => lines.push(field("Communication", "Unix domain socket")),
    }
    lines.push(field("User name", &client.user));
    let state = client.state.as_deref().unwrap_or("-");
    lines.push(field("Current state", format!("{state} ({})", sync_state(client))));
    lines.extend(client.slot.as_ref().map(|slot| field("Replication slot", slot)));
    lines.push(field("WAL sender PID", client.pid));
    lines.push(field("Started at", client.started.as_deref().unwrap_or("-")));
    lines.extend(client.xmin.as_ref().map(|xmin| field("Standby's xmin", xmin)));
    for (label, _, lsn) in positions(client) {
        if let Some(lsn) = lsn {
            let difference = difference(lsn, current).map_or("-".to_owned(), signed);
            let label = format!("{label} LSN");
            lines.push(format!("     {label:<11}: {lsn} (diff: {difference})"));
        }
    }
    lines
}

fn field(label: &str, value: impl std::fmt::Display) -> String {
    format!("     {label:<16}: {value}")
}

fn positions(client: &StreamingClient) -> [(&'static str, &'static str, Option<Lsn>); 4] {
    [
        ("Sent", "sent_lsn", client.sent),
        ("Write", "write_lsn", client.written),
        ("Flush", "flush_lsn", client.flushed),
        ("Replay", "replay_lsn", client.replayed),
    ]
}

fn object(
    status: &StreamingClients,
    clients: &[&StreamingClient],
    kind: ClientKind,
    minimal: bool,
) -> Map<String, Value> {
    let mut object = Map::new();
    let items: Vec<Value> = clients
        .iter()
        .map(|client| match minimal {
            true => short_item(client),
            false => item(client, status.position),
        })
        .collect();
    let lsn = master(status).map(|lsn| lsn.to_string());
    object.insert("server_lsn".to_owned(), json!(lsn));
    if items.is_empty() {
        object.insert("standby_info".to_owned(), json!(format!("No {} attached", kind.title())));
    }
    object.insert(kind.title().to_lowercase().replace(' ', "_"), Value::Array(items));
    object
}

fn item(client: &StreamingClient, current: Option<Lsn>) -> Value {
    let mut item = json!({
        "name": name(client),
        "application_name": client.application_name,
        "sync_stage": stage(client, current),
        "communication": "Unix domain socket",
        "user_name": client.user,
        "current_state": client.state,
        "current_sync_state": sync_state(client),
        "wal_sender_pid": client.pid,
        "started_at": client.started,
    });
    if let Some(address) = &client.address {
        item["communication"] = json!("TCP/IP");
        item["ip_address"] = json!(address);
        item["port"] = json!(client.port);
        item["host"] = json!(client.host);
    }
    if let Some(slot) = &client.slot {
        item["replication_slot"] = json!(slot);
    }
    if let Some(xmin) = &client.xmin {
        item["standby_xmin"] = json!(xmin);
    }
    for (_, key, lsn) in positions(client) {
        let Some(lsn) = lsn else { continue };
        item[key] = json!(lsn.to_string());
        if let Some(bytes) = difference(lsn, current) {
            item[format!("{key}_diff")] = json!(signed(bytes));
            item[format!("{key}_diff_bytes")] = json!(bytes);
        }
    }
    item
}

fn short_item(client: &StreamingClient) -> Value {
    let mut item = json!({
        "user_name": client.user,
        "client_addr": client.address.as_deref().unwrap_or("socket"),
        "sent_lsn": text(client.sent),
        "sync_priority": client.sync_priority,
        "application_name": client.application_name,
    });
    match client.replayed {
        None => item["write_lsn"] = json!(text(client.written)),
        Some(replayed) => {
            item["sync_state"] = json!(letter(client));
            item["flush_lsn"] = json!(text(client.flushed));
            item["replay_lsn"] = json!(replayed.to_string());
        }
    }
    item
}

/// One line: `W) streaming_barman@10.0.0.2 S:0/1 W:0/1 P:0 AN:barman_receive_wal`.
fn short(client: &StreamingClient) -> String {
    let from = client.address.as_deref().unwrap_or("socket");
    let (user, sent) = (&client.user, text(client.sent));
    let (place, name) = (client.sync_priority, &client.application_name);
    match client.replayed {
        None => {
            let written = text(client.written);
            format!("W) {user}@{from} S:{sent} W:{written} P:{place} AN:{name}")
        }
        Some(replayed) => {
            let (letter, flushed) = (letter(client), text(client.flushed));
            format!("{letter}) {user}@{from} S:{sent} F:{flushed} R:{replayed} P:{place} AN:{name}")
        }
    }
}

/// `Async WAL streamer`, `#1 Sync standby`.
fn name(client: &StreamingClient) -> String {
    let kind = if client.replayed.is_some() { "standby" } else { "WAL streamer" };
    let state = capitalized(sync_state(client));
    match client.sync_priority {
        0 => format!("{state} {kind}"),
        place => format!("#{place} {state} {kind}"),
    }
}

/// How safe a commit is with this client, in Barman's steps.
fn stage(client: &StreamingClient, current: Option<Lsn>) -> String {
    let reached = |lsn: Option<Lsn>| lsn.is_some() && lsn == current;
    let most = if client.replayed.is_some() { 5 } else { 3 };
    match () {
        () if reached(client.replayed) => "5/5 Hot standby (max)".to_owned(),
        () if client.replayed.is_some() && reached(client.flushed) => "4/5 2-safe".to_owned(),
        () if reached(client.written) => format!("3/{most} Remote write"),
        () if reached(client.sent) => format!("2/{most} WAL Sent (min)"),
        () => format!("1/{most} 1-safe"),
    }
}

fn sync_state(client: &StreamingClient) -> &str {
    client.sync_state.as_deref().unwrap_or("async")
}

fn letter(client: &StreamingClient) -> String {
    sync_state(client).chars().take(1).flat_map(char::to_uppercase).collect()
}

fn text(lsn: Option<Lsn>) -> String {
    lsn.map_or("None".to_owned(), |lsn| lsn.to_string())
}

/// From where the server stands to the client's position: 0 or below, as Barman has it.
fn difference(lsn: Lsn, current: Option<Lsn>) -> Option<i64> {
    let current = current?;
    i64::try_from(i128::from(lsn.0) - i128::from(current.0)).ok()
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "" };
    format!("{sign}{}", size(bytes.unsigned_abs()))
}

/// The first letter large, the others small, as Python's `capitalize` does.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + &letters.as_str().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver() -> StreamingClient {
        StreamingClient {
            pid: 31896,
            user: "streaming_barman".to_owned(),
            application_name: "barman_receive_wal".to_owned(),
            address: Some("127.0.0.1".to_owned()),
            port: Some(44532),
            started: Some("2026-11-23 06:24:58.603526+00:00".to_owned()),
            state: Some("streaming".to_owned()),
            sent: Some(Lsn(0x1800_00C8)),
            written: Some(Lsn(0x1800_00C8)),
            flushed: Some(Lsn(0x1800_0000)),
            sync_state: Some("async".to_owned()),
            slot: Some("barman".to_owned()),
            ..StreamingClient::default()
        }
    }

    fn status(clients: Vec<StreamingClient>) -> StreamingClients {
        StreamingClients { in_recovery: false, position: Some(Lsn(0x1800_00C8)), clients }
    }

    fn printed(status: &StreamingClients, kind: ClientKind, minimal: bool) -> String {
        let clients: Vec<&StreamingClient> =
            status.clients.iter().filter(|client| kind.includes(client)).collect();
        lines("main", status, &clients, kind, minimal).join("\n")
    }

    /// Barman 3.19 against a server with a receiver.
    const SAMPLE: &str = "\
Status of streaming clients for server 'main':
  Current LSN on master: 0/180000C8
  Number of streaming clients: 1

  1. Async WAL streamer
     Application name: barman_receive_wal
     Sync stage      : 3/3 Remote write
     Communication   : TCP/IP
     IP Address      : 127.0.0.1 / Port: 44532 / Host: -
     User name       : streaming_barman
     Current state   : streaming (async)
     Replication slot: barman
     WAL sender PID  : 31896
     Started at      : 2026-11-23 06:24:58.603526+00:00
     Sent LSN   : 0/180000C8 (diff: 0 B)
     Write LSN  : 0/180000C8 (diff: 0 B)
     Flush LSN  : 0/18000000 (diff: -200 B)";

    #[test]
    fn the_text_is_barmans_to_the_letter() {
        let status = status(vec![receiver()]);
        assert_eq!(printed(&status, ClientKind::All, false), SAMPLE);
        assert_eq!(
            printed(&status, ClientKind::All, true),
            "Streaming clients for master 'main' (LSN @ 0/180000C8):\n  1. W) \
             streaming_barman@127.0.0.1 S:0/180000C8 W:0/180000C8 P:0 AN:barman_receive_wal"
        );
        assert_eq!(
            printed(&status, ClientKind::HotStandby, false),
            "Status of hot standby servers for server 'main':\n  Current LSN on master: \
             0/180000C8\n  No hot standby servers attached"
        );
    }

    #[test]
    fn the_json_is_barmans_to_the_key() {
        let status = status(vec![receiver()]);
        let clients: Vec<&StreamingClient> = status.clients.iter().collect();
        let object = object(&status, &clients, ClientKind::WalStreamer, false);
        let sample: Value = serde_json::from_str(
            r#"{"server_lsn": "0/180000C8", "wal_streamers": [{"application_name":
            "barman_receive_wal", "communication": "TCP/IP", "current_state": "streaming",
            "current_sync_state": "async", "flush_lsn": "0/18000000", "flush_lsn_diff": "-200 B",
            "flush_lsn_diff_bytes": -200, "host": null, "ip_address": "127.0.0.1", "name":
            "Async WAL streamer", "port": 44532, "replication_slot": "barman", "sent_lsn":
            "0/180000C8", "sent_lsn_diff": "0 B", "sent_lsn_diff_bytes": 0, "started_at":
            "2026-11-23 06:24:58.603526+00:00", "sync_stage": "3/3 Remote write", "user_name":
            "streaming_barman", "wal_sender_pid": 31896, "write_lsn": "0/180000C8",
            "write_lsn_diff": "0 B", "write_lsn_diff_bytes": 0}]}"#,
        )
        .expect("JSON");
        assert_eq!(Value::Object(object), sample);
    }

    #[test]
    fn a_standby_that_replays_and_is_synchronous_is_told_from_one_that_stores() {
        let standby = StreamingClient {
            address: None,
            replayed: Some(Lsn(0x1800_00C8)),
            sync_priority: 1,
            sync_state: Some("sync".to_owned()),
            ..receiver()
        };
        let text = printed(&status(vec![standby]), ClientKind::HotStandby, false);
        for line in [
            "  1. #1 Sync standby",
            "     Sync stage      : 5/5 Hot standby (max)",
            "     Communication   : Unix domain socket",
            "     Replay LSN : 0/180000C8 (diff: 0 B)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn how_safe_a_commit_is_goes_by_the_furthest_step() {
        let at = Lsn(0x1800_00C8);
        let mut client = StreamingClient { replayed: Some(Lsn(1)), ..receiver() };
        client.flushed = Some(at);
        assert_eq!(stage(&client, Some(at)), "4/5 2-safe");
        client = receiver();
        client.written = Some(Lsn(1));
        assert_eq!(stage(&client, Some(at)), "2/3 WAL Sent (min)");
        client.sent = Some(Lsn(1));
        assert_eq!(stage(&client, Some(at)), "1/3 1-safe");
    }
}
