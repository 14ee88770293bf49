//! One backup as JSON, key for key as Barman has them.

use serde_json::{Map, Value, json};

use super::super::list_backups::lost_wal;
use super::super::size;
use super::facts::{Copy, Facts};
use super::text::{next, per_hour, percent, previous, seconds};
use crate::repository::{BackupId, BackupTime};

/// The object under the name of the server.
pub(super) fn object(facts: &Facts<'_>) -> Value {
    let backup = facts.backup;
    let mut object = Object::default();
    object.put("backup_id", json!(backup.id.as_str()));
    if let Some(name) = &backup.backup_name {
        object.put("backup_name", json!(name));
    }
    object.put("status", json!(backup.status.to_string()));
    if let Some(system) = backup.systemid {
        object.put("system_id", json!(system.to_string()));
    }
    let on_off = |value: Option<bool>| value.map(|on| if on { "on" } else { "off" });
    object.put(
        "server_information",
        json!({
            "data_checksums": on_off(backup.data_checksums),
            "summarize_wal": on_off(backup.summarize_wal),
        }),
    );
    let Some(copy) = &facts.copy else {
        if let Some(error) = &backup.error {
            object.put("error", json!(error));
        }
        return object.into_value();
    };
    object.put("backup_type", json!(facts.kind));
    object.put("postgresql_version", json!(backup.version));
    object.put("pgdata_directory", json!(backup.pgdata));
    if let Some(bytes) = backup.cluster_size {
        object.put_size("cluster_size", bytes);
    }
    let tablespaces = backup
        .tablespaces
        .iter()
        .flatten()
        .map(|space| json!({"name": space.name, "oid": space.oid, "location": space.location}));
    object.put("tablespaces", tablespaces.collect());
    object.put("base_backup_information", base(facts, copy));
    object.put("wal_information", wal(facts, copy));
    object.put("catalog_information", catalog(facts));
    object.into_value()
}

#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// A size stands there twice: for people and for programs.
    fn put_size(&mut self, key: &str, bytes: u64) {
        self.put(key, json!(size(bytes)));
        self.put(&format!("{key}_bytes"), json!(bytes));
    }

    fn put_seconds(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.put(key, json!(seconds(value)));
            self.put(&format!("{key}_seconds"), json!(value));
        }
    }

    fn put_time(&mut self, key: &str, time: Option<BackupTime>) {
        self.put(key, json!(time.map(|time| time.to_string())));
        let second = time.map(|time| time.moment().as_second().to_string());
        self.put(&format!("{key}_timestamp"), json!(second));
    }

    fn put_text(&mut self, key: &str, value: Option<impl ToString>) {
        self.put(key, json!(value.map(|value| value.to_string())));
    }

    fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

fn base(facts: &Facts<'_>, copy: &Copy) -> Value {
    let backup = facts.backup;
    let mut base = Object::default();
    base.put_text("backup_method", backup.mode.as_ref());
    base.put_size("backup_size", copy.size);
    base.put_size("backup_size_with_wals", copy.size_with_wals);
    base.put_text("begin_lsn", backup.begin_xlog);
    base.put("begin_offset", json!(backup.begin_offset));
    base.put_time("begin_time", backup.begin_time);
    base.put_text("begin_wal", backup.begin_wal);
    base.put_text("compression", backup.compression.as_ref());
    base.put("encryption", json!(backup.encryption));
    base.put_text("end_lsn", backup.end_xlog);
    base.put("end_offset", json!(backup.end_offset));
    base.put_time("end_time", backup.end_time);
    base.put_text("end_wal", backup.end_wal);
    base.put("timeline", json!(backup.timeline.map(|timeline| timeline.id())));
    if let Some(stats) = &backup.copy_stats {
        base.put_seconds("analysis_time", stats.analysis_time());
        base.put_seconds("copy_time", stats.copy_time());
        base.put("number_of_workers", json!(stats.workers()));
    }
    if let Some(rate) = copy.throughput {
        base.put("throughput", json!(format!("{}/s", size(rate))));
        base.put("throughput_bytes", json!(rate));
    }
    if let Some((bytes, share)) = copy.saved {
        base.put_size("resources_saved", bytes);
        base.put("resources_saved_percentage", json!(percent(share)));
    }
    let usage = copy.usage.as_ref();
    base.put("wal_num", json!(usage.map_or(0, |usage| usage.own_segments)));
    base.put_size("wal_size", usage.map_or(0, |usage| usage.own_bytes));
    if let Some(ratio) = usage.and_then(|usage| usage.own_ratio()) {
        base.put("wal_compression_ratio", json!(percent(ratio)));
    }
    base.into_value()
}

fn wal(facts: &Facts<'_>, copy: &Copy) -> Value {
    let usage = copy.usage.as_ref();
    let mut wal = Object::default();
    wal.put("no_of_files", json!(usage.map_or(0, |usage| usage.later_segments)));
    wal.put_size("disk_usage", usage.map_or(0, |usage| usage.later_bytes));
    wal.put_text("last_available", usage.and_then(|usage| usage.last));
    let timelines = facts.timelines.iter().map(|timeline| json!(timeline.to_string()));
    wal.put("timelines", timelines.collect());
    // What cannot be told is the number 0, not a text.
    let ratio = usage.and_then(|usage| usage.later_ratio());
    wal.put("compression_ratio", ratio.map_or(json!(0), |ratio| json!(percent(ratio))));
    let rate = usage.and_then(|usage| usage.segments_per_second);
    wal.put("wal_rate", rate.map_or(json!(0), |rate| json!(per_hour(rate))));
    wal.put("wal_rate_per_second", rate.map_or(json!(0), |rate| json!(rate)));
    if let Some(hole) = facts.hole {
        wal.put("lost_wal", lost_wal(hole));
    }
    if !facts.timelines.is_empty() {
        let warning = "WAL information is inaccurate due to multiple timelines interacting with \
                       this backup";
        wal.put("_WARNING", json!(warning));
    }
    wal.into_value()
}

fn catalog(facts: &Facts<'_>) -> Value {
    let mut catalog = Object::default();
    catalog.put("retention_policy", json!(facts.retention));
    catalog.put("previous_backup", json!(previous(facts)));
    catalog.put("next_backup", json!(next(facts)));
    if facts.kind == "full" || facts.kind == "incremental" {
        let children: Vec<&str> =
            facts.backup.children_backup_ids.iter().map(BackupId::as_str).collect();
        let children = (!children.is_empty()).then_some(children);
        catalog.put("children_backup_ids", json!(children));
    }
    if let Some((root, length)) = facts.chain {
        catalog.put("root_backup_id", json!(root.as_str()));
        catalog.put_text("parent_backup_id", facts.backup.parent_backup_id);
        catalog.put("chain_size", json!(length));
    }
    catalog.into_value()
}
