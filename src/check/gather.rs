//! Asks the server and looks into the repository, for the checks to judge.
//!
//! Changes nothing: unlike Barman's, this check forces no WAL switch and archives nothing.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::facts::{Facts, SlotFacts, SqlFacts, StoredFacts, StreamingFacts, Trouble, Wanted};
use crate::catalog;
use crate::config::{BackupMethod, SecretText, ServerConfig};
use crate::conninfo::{ConnectOptions, Purpose};
use crate::disk::{Disk, DiskError, FileKind, LockFile};
use crate::net::{self, NetError, SqlClient, Walsender};
use crate::output::one_line;
use crate::repository::{
    self, BackupInfo, BackupStatus, Hole, Holes, Identity, Lock, RepositoryError, ServerLayout,
    XlogDb,
};
use crate::wal::{Lsn, WalFileName};
use crate::wire::SlotName;

/// Everything that the checks of `server` need. Connections that fail are facts, not errors.
/// Must be called on a tokio runtime.
pub async fn gather(server: &ServerConfig, disk: &dyn Disk, now: Timestamp) -> Facts {
    let wanted = wanted(server);
    let sql = match wanted.active {
        true => Some(ask_sql(server).await),
        false => None,
    };
    let streams = wanted.streaming_archiver || wanted.postgres_method;
    let streaming = match wanted.active && streams {
        true => Some(ask_walsender(server).await),
        false => None,
    };
    let stored = look(server, disk, now);
    Facts { server: server.name.to_string(), wanted, sql, streaming, stored }
}

fn wanted(server: &ServerConfig) -> Wanted {
    Wanted {
        active: server.active && !server.disabled && !server.is_passive(),
        streaming_archiver: server.streaming_archiver,
        archiver: server.archiver,
        postgres_method: matches!(server.backup_method, BackupMethod::Postgres),
        slot_name: server.slot_name.clone(),
        retention_policy: server.retention_policy.clone(),
        minimum_redundancy: server.minimum_redundancy,
        backup_maximum_age: server.last_backup_maximum_age,
        backup_minimum_size: server.last_backup_minimum_size,
        wal_maximum_age: server.last_wal_maximum_age,
        maximum_queue: server.max_incoming_wals_queue,
        unsupported_compression: unsupported_compression(server),
        contradictions: server.errors.clone(),
    }
}

fn unsupported_compression(server: &ServerConfig) -> Vec<String> {
    let set = |option: &str, value: &Option<String>| {
        let value = value.as_deref().filter(|value| *value != "none")?;
        Some(format!("{option} = {value} is not carried out by this version of tapster"))
    };
    [set("compression", &server.compression), set("backup_compression", &server.backup_compression)]
        .into_iter()
        .flatten()
        .collect()
}

fn options(text: Option<&SecretText>, purpose: Purpose) -> Result<ConnectOptions, Trouble> {
    let text = text.ok_or_else(|| Trouble {
        cause: "no connection string".to_owned(),
        remedy: Some("set conninfo".to_owned()),
    })?;
    net::resolve(text.expose(), purpose).map_err(|error| {
        let remedy = error.hint();
        Trouble { cause: one_line(&error), remedy }
    })
}

fn trouble(error: &NetError) -> Trouble {
    Trouble { cause: one_line(error), remedy: error.hint() }
}

async fn ask_sql(server: &ServerConfig) -> Result<SqlFacts, Trouble> {
    let options = options(server.conninfo.as_ref(), Purpose::Sql)?;
    let sql = SqlClient::connect(&options, APPLICATION_NAME).await.map_err(|e| trouble(&e))?;
    sql_facts(server, &sql).await.map_err(|error| trouble(&error))
}

async fn sql_facts(server: &ServerConfig, sql: &SqlClient) -> Result<SqlFacts, NetError> {
    let slot_name = server.slot_name.as_ref().and_then(|name| SlotName::new(name.as_str()).ok());
    let slot = match slot_name {
        Some(name) => sql.slot(&name).await?,
        None => None,
    };
    Ok(SqlFacts {
        version: sql.version(),
        may_back_up: may_back_up(sql).await?,
        wal_level: sql.show("wal_level").await?,
        slot: slot.map(|slot| SlotFacts {
            active: slot.active,
            physical: slot.slot_type == "physical",
            restart: slot.restart_lsn,
            lost: slot.wal_status.as_deref() == Some("lost") || slot.invalidation_reason.is_some(),
        }),
    })
}

/// A superuser, or who may read the settings and call what a backup calls. Source: manual,
/// "Backup Control Functions" and "Predefined Roles".
async fn may_back_up(sql: &SqlClient) -> Result<bool, NetError> {
    let (start, stop) = match sql.version().names_backup_functions_pg_backup() {
        true => ("pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"),
        false => ("pg_start_backup(text, boolean, boolean)", "pg_stop_backup(boolean, boolean)"),
    };
    let functions = [start, stop, "pg_switch_wal()", "pg_create_restore_point(text)"];
    let may_call: Vec<String> = functions
        .iter()
        .map(|function| format!("has_function_privilege('pg_catalog.{function}', 'EXECUTE')"))
        .collect();
    let statement = format!(
        "SELECT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) \
         OR ({} AND (pg_has_role('pg_monitor', 'MEMBER') OR \
         (pg_has_role('pg_read_all_settings', 'MEMBER') AND \
         pg_has_role('pg_read_all_stats', 'MEMBER'))))",
        may_call.join(" AND ")
    );
    Ok(sql.value("look at the privileges", &statement).await? == "t")
}

async fn ask_walsender(server: &ServerConfig) -> Result<StreamingFacts, Trouble> {
    let options = options(server.streaming_conninfo.as_ref(), Purpose::Replication)?;
    let connected = Walsender::connect(&options, APPLICATION_NAME).await;
    let mut walsender = connected.map_err(|error| trouble(&error))?;
    let identified = walsender.identify_system().await.map_err(|error| trouble(&error))?;
    let version = walsender.version();
    walsender.close().await;
    Ok(StreamingFacts { system: identified.system_identifier, version })
}

fn look(server: &ServerConfig, disk: &dyn Disk, now: Timestamp) -> StoredFacts {
    let layout = ServerLayout::new(server);
    let mut facts = StoredFacts {
        bad_directories: bad_directories(disk, &layout),
        // A holder that has not yet written its number is one all the same.
        receiver_running: !matches!(LockFile::holder(&layout.lock(Lock::ReceiveWal)), Ok(None)),
        ..StoredFacts::default()
    };
    let looked = look_at_backups(disk, &layout, now, &mut facts)
        .and_then(|()| Ok(look_at_files(disk, &layout, &mut facts)?));
    if let Err(error) = looked {
        facts.unreadable = Some(one_line(&error));
    }
    facts
}

/// Missing directories are made by the first command that writes: only what stands in its way
/// is bad.
fn bad_directories(disk: &dyn Disk, layout: &ServerLayout) -> Vec<(std::path::PathBuf, String)> {
    let mut bad = Vec::new();
    for directory in layout.directories() {
        let nearest = directory.ancestors().find(|path| path.exists());
        let reason = match disk.stat(&directory) {
            Ok(Some(stat)) if stat.kind == FileKind::File => Some("is a file".to_owned()),
            Ok(_) => nearest.and_then(not_writable),
            Err(error) => Some(one_line(&error)),
        };
        bad.extend(reason.map(|reason| (directory, reason)));
    }
    bad
}

fn not_writable(path: &Path) -> Option<String> {
    use rustix::fs::{Access, access};
    match access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => None,
        Err(error) => Some(format!("{} cannot be written: {error}", path.display())),
    }
}

fn look_at_backups(
    disk: &dyn Disk,
    layout: &ServerLayout,
    now: Timestamp,
    facts: &mut StoredFacts,
) -> Result<(), RepositoryError> {
    if let Some(identity) = Identity::read(disk, layout)? {
        facts.system = Some(identity.system_identifier);
        facts.major = Some(identity.version);
    }
    let mut newest = None;
    for id in repository::backup_info::list_ids(disk, layout)? {
        let info = repository::backup_info::read(disk, layout, id)?;
        match info.status {
            BackupStatus::Failed => facts.failed_backups += 1,
            BackupStatus::Done | BackupStatus::WaitingForWals => {
                if info.status == BackupStatus::Done && !info.is_incremental() {
                    facts.full_backups += 1;
                }
                newest = Some(info);
            }
            _ => {}
        }
    }
    let since = newest.as_ref().and_then(|info| info.end_wal.or(info.begin_wal));
    let began = newest.as_ref().and_then(|info| info.begin_wal);
    facts.newest_backup = newest
        .as_ref()
        .and_then(|info| Some((info.size.unwrap_or(0), age(info.end_time?.moment(), now))));
    let mut newest_change: Option<f64> = None;
    for line in XlogDb::read(disk, layout)?.lines {
        let WalFileName::Segment(segment) = line.name else { continue };
        facts.archived_segments += 1;
        if since.is_none_or(|since| segment > since) {
            facts.wal_since_backup += line.size;
        }
        if began.is_some_and(|began| segment >= began) {
            newest_change = Some(newest_change.map_or(line.modified, |old| old.max(line.modified)));
        }
    }
    if let Some(newest) = &newest {
        facts.lost_wal = lost_wal(disk, layout, newest)?;
    }
    let unix_now = now.as_microsecond() as f64 / 1e6;
    facts.newest_wal_age =
        newest_change.map(|then| Duration::from_secs_f64((unix_now - then).max(0.0)));
    Ok(())
}

/// Holes behind the beginning of a backup. Those that were filled are forgotten by the way: where
/// that may not be written, they are looked at again the next time.
fn lost_wal(
    disk: &dyn Disk,
    layout: &ServerLayout,
    backup: &BackupInfo,
) -> Result<Vec<Hole>, RepositoryError> {
    let holes = Holes::read(disk, layout)?;
    let filled = catalog::filled(disk, layout, &holes, backup.xlog_segment_size)?;
    if !filled.is_empty() {
        let _ = Holes::forget(disk, layout, &filled);
    }
    let begin = backup.begin_xlog.unwrap_or(Lsn::INVALID);
    // Of an older timeline only what lies behind the beginning can matter, and does.
    let matters = |hole: &&Hole| hole.to > begin && !filled.contains(hole);
    Ok(holes.iter().filter(matters).copied().collect())
}

fn age(moment: Timestamp, now: Timestamp) -> Duration {
    let since_epoch = |time: Timestamp| -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(u64::try_from(time.as_microsecond()).unwrap_or(0))
    };
    since_epoch(now).duration_since(since_epoch(moment)).unwrap_or_default()
}

fn look_at_files(
    disk: &dyn Disk,
    layout: &ServerLayout,
    facts: &mut StoredFacts,
) -> Result<(), DiskError> {
    let names = |directory: &Path| -> Result<Vec<String>, DiskError> {
        match disk.list(directory) {
            Ok(entries) => Ok(entries
                .into_iter()
                .filter(|entry| entry.kind == FileKind::File)
                .filter_map(|entry| entry.name.into_string().ok())
                .collect()),
            Err(error) if error.is_absent() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    };
    let is_segment =
        |name: &&String| matches!(name.parse::<WalFileName>(), Ok(WalFileName::Segment(_)));
    let errors = names(layout.errors())?;
    let ending = |suffix: &str| errors.iter().filter(|name| name.ends_with(suffix)).count();
    facts.duplicates = ending(".duplicate");
    facts.unknown = ending(".unknown");
    facts.waiting_streaming = names(layout.streaming())?.iter().filter(is_segment).count();
    facts.waiting_incoming =
        names(layout.incoming())?.iter().filter(|name| !name.ends_with(".tmp")).count();
    Ok(())
}

const APPLICATION_NAME: &str = "tapster_check";
