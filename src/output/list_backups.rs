//! `list-backups`: a line a backup, or the same as JSON.

use serde_json::{Map, Value, json};

use super::{OutputFormat, Reporter, ctime, size};
use crate::catalog::{Catalog, WalUsage};
use crate::repository::{BackupInfo, BackupMode, BackupStatus, Hole};
use crate::retention::Standing;

/// What a policy says of a backup; `None` when it is not asked or has no say.
pub type StandingOf<'a> = &'a dyn Fn(&BackupInfo) -> Option<Standing>;

/// How a backup was made, as one letter and as one word.
pub(super) fn kind(backup: &BackupInfo) -> (&'static str, &'static str) {
    match &backup.mode {
        Some(BackupMode::RsyncConcurrent | BackupMode::RsyncExclusive) => ("R", "rsync"),
        Some(BackupMode::Snapshot) => ("S", "snapshot"),
        _ if backup.is_incremental() => ("I", "incremental"),
        _ => ("F", "full"),
    }
}

/// Prints the backups of a server, newest first.
pub fn list_backups(
    out: &mut Reporter,
    catalog: &Catalog,
    standing: StandingOf<'_>,
    minimal: bool,
) {
    let newest_first = || catalog.backups().iter().rev();
    match out.format() {
        OutputFormat::Json => {
            let items = newest_first().map(|backup| object(catalog, backup, standing)).collect();
            out.member(catalog.server().as_str(), Value::Array(items));
        }
        OutputFormat::Console => {
            for backup in newest_first() {
                match minimal {
                    true => out.info(backup.id),
                    false => out.info(line(catalog, backup, standing)),
                }
            }
            for hole in catalog.holes().iter().filter(|_| !minimal) {
                let before = catalog.copied().filter(|b| catalog.hole_behind(b) == Some(hole));
                let ids: Vec<&str> = before.map(|backup| backup.id.as_str()).collect();
                if !ids.is_empty() {
                    let (server, from, ids) = (catalog.server(), hole.from, ids.join(", "));
                    out.warning(format_args!("{server}: no restore past {from} of {ids}: {hole}"));
                }
            }
        }
    }
}

/// Sizes of a copied backup: all of it with the WAL it needs, and the WAL behind it.
fn sizes(backup: &BackupInfo, usage: Option<&WalUsage>) -> (u64, u64) {
    let own = usage.map_or(0, |usage| usage.own_bytes);
    (backup.size.unwrap_or(0) + own, usage.map_or(0, |usage| usage.later_bytes))
}

fn line(catalog: &Catalog, backup: &BackupInfo, standing: StandingOf<'_>) -> String {
    let (letter, _) = kind(backup);
    let name = backup.backup_name.as_ref().map(|name| format!("'{name}' ")).unwrap_or_default();
    let head = format!("{} {} {name}- {letter} - ", catalog.server(), backup.id);
    let Some(end) = backup.end_time.filter(|_| backup.is_copied()) else {
        return format!("{head}{}", backup.status);
    };
    let (whole, later) = sizes(backup, catalog.usage(backup).as_ref());
    let (end, whole, later) = (ctime(end.moment()), size(whole), size(later));
    let waiting = match backup.status {
        BackupStatus::WaitingForWals => " - WAITING_FOR_WALS",
        _ => "",
    };
    let word = match standing(backup) {
        None | Some(Standing::Valid) => String::new(),
        Some(other) => format!(" - {}", other.word()),
    };
    format!("{head}{end} - Size: {whole} - WAL Size: {later}{waiting}{word}")
}

/// Our own key, where a backup cannot be restored past lost WAL.
pub(super) fn lost_wal(hole: &Hole) -> Value {
    json!({
        "timeline": hole.timeline.id(),
        "from_lsn": hole.from.to_string(),
        "to_lsn": hole.to.to_string(),
        "since": hole.since.to_string(),
        "why": hole.why.word(),
    })
}

fn object(catalog: &Catalog, backup: &BackupInfo, standing: StandingOf<'_>) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    put("backup_id", json!(backup.id.as_str()));
    if let Some(name) = &backup.backup_name {
        put("backup_name", json!(name));
    }
    put("backup_type", json!(kind(backup).1));
    put("status", json!(backup.status.to_string()));
    if let Some(end) = backup.end_time.filter(|_| backup.is_copied()) {
        let (whole, later) = sizes(backup, catalog.usage(backup).as_ref());
        let end = end.moment();
        put("end_time", json!(ctime(end)));
        put("end_time_timestamp", json!(end.as_second().to_string()));
        put("size", json!(size(whole)));
        put("size_bytes", json!(whole));
        put("wal_size", json!(size(later)));
        put("wal_size_bytes", json!(later));
        // VALID is a dash here, as when there is no policy: a trap that users have learnt.
        let word = standing(backup).filter(|standing| *standing != Standing::Valid);
        put("retention_status", json!(word.map_or("-", Standing::word)));
        if let Some(hole) = catalog.hole_behind(backup) {
            put("lost_wal", lost_wal(hole));
        }
    }
    Value::Object(object)
}
