//! One backup in lines, column for column as Barman prints it.

use std::fmt::Display;
use std::time::Duration;

use super::super::{duration, size};
use super::facts::{Copy, Facts};
use crate::repository::BackupInfo;

/// The lines, without newlines.
pub(super) fn lines(facts: &Facts<'_>) -> Vec<String> {
    let backup = facts.backup;
    let mut page = Page { lines: vec![format!("Backup {}:", backup.id)] };
    head(&mut page, facts);
    page.section("Server information");
    page.row("Checksums", on_off(backup.data_checksums));
    page.some_row("WAL summarizer", backup.summarize_wal.map(|on| on_off(Some(on))));
    let Some(copy) = &facts.copy else {
        if let Some(error) = &backup.error {
            page.lines.push(String::new());
            page.top("Error", error);
        }
        return page.lines;
    };
    if let Some(tablespaces) = backup.tablespaces.as_ref().filter(|list| !list.is_empty()) {
        page.section("Tablespaces");
        for space in tablespaces {
            page.row(&space.name, format_args!("{} (oid: {})", space.location, space.oid));
        }
    }
    copied(&mut page, facts, copy);
    wal(&mut page, facts, copy);
    catalog(&mut page, facts);
    if !facts.timelines.is_empty() {
        page.lines.push(String::new());
        page.lines.push(
            "WARNING: WAL information is inaccurate due to multiple timelines interacting with \
             this backup"
                .to_owned(),
        );
    }
    if let Some(hole) = facts.hole {
        page.lines.push(String::new());
        page.lines
            .push(format!("WARNING: the backup cannot be restored past {}: {hole}", hole.from));
    }
    page.lines
}

struct Page {
    lines: Vec<String>,
}

impl Page {
    fn top(&mut self, name: &str, value: impl Display) {
        self.lines.push(format!("  {name:23}: {value}"));
    }

    fn section(&mut self, name: &str) {
        self.lines.push(String::new());
        self.lines.push(format!("  {name}:"));
    }

    fn row(&mut self, name: &str, value: impl Display) {
        self.lines.push(format!("    {name:21}: {value}"));
    }

    fn some_row(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.row(name, value);
        }
    }
}

fn on_off(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "on",
        Some(false) => "off",
        None => "None",
    }
}

/// `None`, as Python prints what is not there.
fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| value.to_string())
}

fn head(page: &mut Page, facts: &Facts<'_>) {
    let backup = facts.backup;
    if let Some(name) = &backup.backup_name {
        page.top("Backup Name", name);
    }
    page.top("Server Name", facts.server);
    if let Some(system) = backup.systemid {
        page.top("System Id", system);
    }
    page.top("Status", &backup.status);
    if facts.copy.is_some() {
        page.top("PostgreSQL Version", or_none(backup.version));
        page.top("PGDATA directory", or_none(backup.pgdata.as_ref()));
        if let Some(bytes) = backup.cluster_size {
            page.top("Estimated Cluster Size", size(bytes));
        }
    }
}

fn copied(page: &mut Page, facts: &Facts<'_>, copy: &Copy) {
    let backup = facts.backup;
    page.section("Base backup information");
    page.row("Backup Method", or_none(backup.mode.as_ref()));
    page.some_row("Encryption", backup.encryption.as_ref());
    if facts.kind != "rsync" {
        page.row("Backup Type", facts.kind);
    }
    let with_wals = size(copy.size_with_wals);
    page.row("Backup Size", format_args!("{} ({with_wals} with WALs)", size(copy.size)));
    page.some_row("Backup Compression", backup.compression.as_ref());
    let usage = copy.usage.as_ref();
    page.row("WAL Size", size(usage.map_or(0, |usage| usage.own_bytes)));
    let saved = copy.saved.map(|(bytes, share)| format!("{} ({})", size(bytes), percent(share)));
    page.some_row("Resources saved", saved);
    page.row("Timeline", or_none(backup.timeline));
    page.row("Begin WAL", or_none(backup.begin_wal));
    page.row("End WAL", or_none(backup.end_wal));
    page.row("Number of WALs", usage.map_or(0, |usage| usage.own_segments));
    page.some_row("WAL compression ratio", usage.and_then(|usage| usage.own_ratio()).map(percent));
    page.row("Begin time", or_none(backup.begin_time));
    page.row("End time", or_none(backup.end_time));
    copy_time(page, backup, copy);
    page.row("Begin Offset", or_none(backup.begin_offset));
    page.row("End Offset", or_none(backup.end_offset));
    page.row("Begin LSN", or_none(backup.begin_xlog));
    page.row("End LSN", or_none(backup.end_xlog));
}

fn copy_time(page: &mut Page, backup: &BackupInfo, copy: &Copy) {
    let Some(stats) = &backup.copy_stats else { return };
    if let Some(time) = stats.copy_time() {
        let startup = stats.analysis_time().filter(|seconds| *seconds >= 1.0);
        let startup = startup.map(|time| format!(" + {} startup", seconds(time)));
        page.row("Copy time", format_args!("{}{}", seconds(time), startup.unwrap_or_default()));
    }
    if let Some(rate) = copy.throughput {
        let jobs = match stats.workers() {
            0 | 1 => String::new(),
            jobs => format!(" ({jobs} jobs)"),
        };
        page.row("Estimated throughput", format_args!("{}/s{jobs}", size(rate)));
    }
}

fn wal(page: &mut Page, facts: &Facts<'_>, copy: &Copy) {
    let usage = copy.usage.as_ref();
    page.section("WAL information");
    page.row("Number of files", usage.map_or(0, |usage| usage.later_segments));
    page.row("Disk usage", size(usage.map_or(0, |usage| usage.later_bytes)));
    let rate = usage.and_then(|usage| usage.segments_per_second);
    page.some_row("WAL rate", rate.map(per_hour));
    page.some_row("Compression ratio", usage.and_then(|usage| usage.later_ratio()).map(percent));
    page.row("Last available", or_none(usage.and_then(|usage| usage.last)));
    if !facts.timelines.is_empty() {
        let timelines: Vec<String> = facts.timelines.iter().map(ToString::to_string).collect();
        page.row("Reachable timelines", timelines.join(", "));
    }
}

fn catalog(page: &mut Page, facts: &Facts<'_>) {
    page.section("Catalog information");
    page.row("Retention Policy", facts.retention);
    page.row("Previous Backup", previous(facts));
    page.row("Next Backup", next(facts));
    if let Some((root, length)) = facts.chain {
        page.row("Root Backup", root);
        page.some_row("Parent Backup", facts.backup.parent_backup_id);
        page.row("Backup chain size", length);
    }
    let children: Vec<&str> =
        facts.backup.children_backup_ids.iter().map(|id| id.as_str()).collect();
    if !children.is_empty() {
        page.row("Children Backup(s)", children.join(", "));
    }
}

/// The backup before, or that there is none.
pub(super) fn previous(facts: &Facts<'_>) -> String {
    match facts.previous {
        Some(id) => id.to_string(),
        None => "- (this is the oldest base backup)".to_owned(),
    }
}

/// The backup behind, or that there is none.
pub(super) fn next(facts: &Facts<'_>) -> String {
    match facts.next {
        Some(id) => id.to_string(),
        None => "- (this is the latest base backup)".to_owned(),
    }
}

/// `99.90%`
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.2}%", ratio * 100.0)
}

/// `2322.58/hour`
pub(super) fn per_hour(per_second: f64) -> String {
    format!("{:.2}/hour", per_second * 3600.0)
}

/// Seconds as copy_stats has them; what makes no sense counts as nothing.
pub(super) fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}
