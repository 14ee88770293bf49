//! `backup`: its steps, to the letter of Barman.

use std::time::Duration;

use jiff::Zoned;
use serde_json::{Value, json};

use super::{OutputFormat, Reporter, duration, size};
use crate::backup::{Milestone, Report};
use crate::repository::{BackupInfo, ServerName};

/// What Barman says of a copy whose WAL is not all there. Its name stays: people search for it.
const WAITING: &str = "IMPORTANT: this backup is classified as WAITING_FOR_WALS, meaning that \
    Barman has not received yet all the required WAL files for the backup consistency.\n\
    This is a common behaviour in concurrent backup scenarios, and Barman automatically set the \
    backup as DONE once all the required WAL files have been archived.\n\
    Hint: execute the backup command with '--wait'";

/// Prints a step.
pub fn milestone(out: &mut Reporter, server: &ServerName, milestone: &Milestone) {
    match milestone {
        Milestone::Starting { directory } => out.info(format_args!(
            "Starting backup using postgres method for server {server} in {}",
            directory.display()
        )),
        Milestone::Begun { id, lsn, segment, offset } => {
            out.info(format_args!("Backup start at LSN: {lsn} ({segment}, {offset:08X})"));
            out.info(format_args!("Starting backup copy via pg_basebackup for {id}"));
        }
        Milestone::Retrying { why, number, retries } => out.warning(format_args!(
            "the copy failed: {why}; trying again in {} seconds ({number} of {})",
            retries.pause.as_secs(),
            retries.times
        )),
        Milestone::Copied { took, verified } => {
            out.info(format_args!("Copy done (time: {})", duration(*took)));
            if !verified {
                out.debug("this server sends no manifest: the copy is verified by its structure");
            }
            out.info("Finalising the backup.");
        }
        Milestone::Damaged(damage) => {
            out.warning(format_args!("The backup holds damage of its cluster: {damage}"));
        }
        Milestone::LimitsUnknown(why) => out.warning(format_args!(
            "It is not known where tables were cut off since the parent of this backup ({why}). \
             Where one has become longer again, deleted rows may come back, or new ones be missing, \
             when the backup is restored; a full backup has no such gap"
        )),
        Milestone::Kept(directory) => out.warning(format_args!(
            "The files of the failed backup are kept in {} until the next one is complete",
            directory.display()
        )),
        Milestone::First => {
            out.info(format_args!("This is the first backup for server {server}"));
        }
        Milestone::Stored { info, started, took } => stored(out, info, started, *took),
        Milestone::Waiting { segment, timeout } => {
            let limit = timeout.map(|timeout| format!(" (max: {} seconds)", timeout.as_secs()));
            let limit = limit.unwrap_or_default();
            out.info(format_args!(
                "Waiting for the WAL file {segment} from server '{server}'{limit}"
            ));
        }
        Milestone::Archived(names) => {
            out.info(format_args!(
                "Processing xlog segments from streaming for {server} (batch size: {})",
                names.len()
            ));
            for name in names {
                out.info(format_args!("\t{name}"));
            }
        }
    }
}

fn stored(out: &mut Reporter, info: &BackupInfo, started: &Zoned, took: Duration) {
    out.info(format_args!("Backup size: {}", size(info.size.unwrap_or(0))));
    if let (Some(lsn), Some(segment), Some(offset)) = (info.end_xlog, info.end_wal, info.end_offset)
    {
        out.info(format_args!("Backup end at LSN: {lsn} ({segment}, {offset:08X})"));
    }
    out.info(format_args!(
        "Backup completed (start time: {}, elapsed time: {})",
        started.strftime("%Y-%m-%d %H:%M:%S%.6f"),
        duration(took)
    ));
}

/// Prints what came of it.
pub fn backup(out: &mut Reporter, report: &Report, timeout: Option<Duration>) {
    if out.format() == OutputFormat::Json {
        members(out, &report.info);
    }
    if let (Some(segment), Some(timeout)) = (report.missed, timeout) {
        let seconds = timeout.as_secs();
        out.error(format_args!(
            "The WAL file {segment} has not been received in {seconds} seconds"
        ));
    }
    if report.info.status != crate::repository::BackupStatus::Done {
        out.warning(WAITING);
    }
}

/// The keys of `backup.info`, typed.
fn members(out: &mut Reporter, info: &BackupInfo) {
    let text = |value: Option<String>| value.map_or(Value::Null, Value::String);
    let on_off = |flag: Option<bool>| text(flag.map(|on| if on { "on" } else { "off" }.to_owned()));
    let tablespaces = info.tablespaces.as_ref().map(|list| {
        let triple =
            |t: &crate::repository::backup_info::Tablespace| json!([t.name, t.oid, t.location]);
        Value::Array(list.iter().map(triple).collect())
    });
    let pairs = [
        ("backup_id", Value::String(info.id.to_string())),
        ("backup_label", text(info.backup_label.clone())),
        ("backup_name", text(info.backup_name.clone())),
        ("begin_offset", json!(info.begin_offset)),
        ("begin_time", text(info.begin_time.map(|time| time.to_string()))),
        ("begin_wal", text(info.begin_wal.map(|name| name.to_string()))),
        ("begin_xlog", text(info.begin_xlog.map(|lsn| lsn.to_string()))),
        ("cluster_size", json!(info.cluster_size)),
        ("compression", text(info.compression.as_ref().map(ToString::to_string))),
        ("config_file", json!(info.config_file)),
        ("data_checksums", on_off(info.data_checksums)),
        ("deduplicated_size", json!(info.deduplicated_size)),
        ("encryption", json!(info.encryption)),
        ("end_offset", json!(info.end_offset)),
        ("end_time", text(info.end_time.map(|time| time.to_string()))),
        ("end_wal", text(info.end_wal.map(|name| name.to_string()))),
        ("end_xlog", text(info.end_xlog.map(|lsn| lsn.to_string()))),
        ("error", json!(info.error)),
        ("hba_file", json!(info.hba_file)),
        ("ident_file", json!(info.ident_file)),
        ("included_files", json!(info.included_files)),
        ("mode", text(info.mode.as_ref().map(ToString::to_string))),
        ("parent_backup_id", text(info.parent_backup_id.map(|id| id.to_string()))),
        ("pgdata", json!(info.pgdata)),
        ("server_name", Value::String(info.server_name.clone())),
        ("size", json!(info.size)),
        ("status", Value::String(info.status.to_string())),
        ("summarize_wal", on_off(info.summarize_wal)),
        ("systemid", text(info.systemid.map(|system| system.to_string()))),
        ("tablespaces", tablespaces.unwrap_or(Value::Null)),
        ("timeline", json!(info.timeline.map(|timeline| timeline.id()))),
        ("version", json!(info.version)),
        ("xlog_segment_size", json!(info.xlog_segment_size.bytes())),
    ];
    for (key, value) in pairs {
        out.member(key, value);
    }
}
