//! What the scripted server says when it stands alone and no script applies.

use tapster::wal::Lsn;

use crate::wire::backend;

/// The system identifier of the cluster that is not there.
pub const IDENTIFIER: u64 = 7_711_249_317_654_332_226;
/// Where its WAL ends.
pub const POSITION: Lsn = Lsn(0x500_0000);

/// Settings of a version 17 as initdb leaves them.
const SETTINGS: [(&str, &str); 17] = [
    ("server_version_num", "170004"),
    ("wal_segment_size", "16MB"),
    ("data_directory_mode", "0700"),
    ("data_checksums", "off"),
    ("block_size", "8192"),
    ("wal_block_size", "8192"),
    ("segment_size", "1GB"),
    ("in_hot_standby", "off"),
    ("transaction_read_only", "off"),
    ("default_transaction_read_only", "off"),
    ("synchronous_standby_names", ""),
    ("wal_sender_timeout", "1min"),
    ("wal_level", "replica"),
    ("archive_mode", "off"),
    ("summarize_wal", "off"),
    ("max_wal_senders", "10"),
    ("max_replication_slots", "10"),
];

/// Login without a question.
pub fn login() -> Vec<u8> {
    backend::trust("17.4")
}

/// The answer to a command.
pub fn to(command: &str) -> Vec<u8> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let done = |tag: &str| [backend::complete(tag), backend::ready()].concat();
    match words[..] {
        ["IDENTIFY_SYSTEM"] => backend::identify_system(IDENTIFIER, 1, POSITION),
        ["SHOW", name] => match SETTINGS.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => backend::show(name, value),
            None => refusal("42704", &format!("unrecognized configuration parameter {name:?}")),
        },
        ["CREATE_REPLICATION_SLOT", name, ..] => {
            let row = [
                ("slot_name", name.trim_matches('"')),
                ("consistent_point", "0/0"),
                ("snapshot_name", ""),
                ("output_plugin", ""),
            ];
            [backend::one_row(&row, "CREATE_REPLICATION_SLOT"), backend::ready()].concat()
        }
        ["READ_REPLICATION_SLOT", _] => {
            let row =
                [("slot_type", "physical"), ("restart_lsn", "0/5000000"), ("restart_tli", "1")];
            [backend::one_row(&row, "READ_REPLICATION_SLOT"), backend::ready()].concat()
        }
        ["DROP_REPLICATION_SLOT", ..] => done("DROP_REPLICATION_SLOT"),
        ["TIMELINE_HISTORY", _] => refusal("58P01", "could not open the history file"),
        _ => refusal("42601", "this server has no script for it"),
    }
}

/// An error that leaves the session usable.
pub fn refusal(code: &str, text: &str) -> Vec<u8> {
    [backend::error("ERROR", code, text), backend::ready()].concat()
}
