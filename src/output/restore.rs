//! What `restore` says, in Barman's words.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{OutputFormat, Reporter, duration};
use crate::repository::{BackupTime, ServerName};
use crate::restore::plan::RestorePlan;
use crate::restore::settings::SettingLine;
use crate::restore::target::RecoveryTarget;
use crate::restore::{Restored, Step};

/// A step that has begun.
pub fn restore_step(out: &mut Reporter, server: &ServerName, step: &Step<'_>) {
    match step {
        Step::Starting { backup, destination } => {
            out.info(format_args!(
                "Starting local restore for server {server} using backup {backup}"
            ));
            out.info(format_args!("Destination directory: {}", destination.display()));
        }
        Step::Planned(plan) => {
            if plan.goal.is_point_in_time() {
                out.info(format_args!("Doing PITR. Recovery target {}", targets(plan)));
            }
        }
        Step::CopyingBase => out.info("Copying the base backup."),
        Step::CopyingTablespace(placed) => out.info(format_args!(
            "\t{}, {}, {}",
            placed.oid,
            placed.name,
            placed.location.display()
        )),
        Step::CopyingWal => out.info("Copying required WAL segments."),
        Step::MarkingArchived => out.info("Generating archive status files"),
        Step::WritingSettings => out.info("Generating recovery configuration"),
        Step::Reviewing => {
            out.info("Identify dangerous settings in destination directory.");
        }
    }
}

/// `time: '2026-11-23 06:33:03+00:00', timeline: '1'`
fn targets(plan: &RestorePlan) -> String {
    let mut words = Vec::new();
    match &plan.goal.target {
        Some(RecoveryTarget::Immediate) => words.push("immediate: True".to_owned()),
        Some(target) => words.push(format!("{}: '{target}'", target.word())),
        None => {}
    }
    if plan.goal.timeline.is_some() {
        words.push(format!("timeline: '{}'", plan.wal.timeline));
    }
    words.join(", ")
}

/// The report of a restore that is done; `elapsed` since its start.
pub fn restore_done(out: &mut Reporter, restored: &Restored, elapsed: Duration) {
    match out.format() {
        OutputFormat::Console => done_console(out, restored, elapsed),
        OutputFormat::Json => done_json(out, restored, elapsed),
    }
}

fn done_console(out: &mut Reporter, restored: &Restored, elapsed: Duration) {
    let found = &restored.configuration;
    if !found.changed.is_empty() {
        out.info("\nIMPORTANT\nThese settings have been modified to prevent data losses\n");
        found.changed.iter().for_each(|line| out.info(setting(line)));
    }
    if !found.dangerous.is_empty() {
        out.info(
            "\nWARNING\nYou are required to review the following options as potentially dangerous\n",
        );
        found.dangerous.iter().for_each(|line| out.info(setting(line)));
    }
    if !found.missing.is_empty() {
        out.info(
            "\nWARNING\nThe following configuration files are not in the backup: the server kept \
             them elsewhere.\nPut them in place before you start the restored server.\n",
        );
        found.missing.iter().for_each(|file| out.info(format_args!("    {file}")));
    }
    out.info(format_args!(
        "\nRestore operation completed (start time: {}, elapsed time: {})",
        local(restored.started),
        duration(elapsed)
    ));
    out.info("Your PostgreSQL server has been successfully prepared for recovery!");
}

fn done_json(out: &mut Reporter, restored: &Restored, elapsed: Duration) {
    let found = &restored.configuration;
    let started = restored.started;
    out.member("changes", found.changed.iter().map(setting_json).collect());
    out.member("warnings", found.dangerous.iter().map(setting_json).collect());
    out.member("missing_files", json!(found.missing));
    out.member("recovery_start_time", json!(local(started)));
    out.member("recovery_start_time_timestamp", json!(started.as_second().to_string()));
    out.member("recovery_elapsed_time", json!(duration(elapsed)));
    out.member("recovery_elapsed_time_seconds", json!(elapsed.as_secs_f64()));
}

fn setting(line: &SettingLine) -> String {
    format!("{} line {}: {} = {}", line.file, line.line, line.name, line.value)
}

fn setting_json(line: &SettingLine) -> Value {
    json!({
        "filename": line.file, "line": line.line, "key": line.name, "value": line.value,
    })
}

fn local(time: Timestamp) -> String {
    BackupTime::from_zoned(&time.to_zoned(TimeZone::system())).to_string()
}
