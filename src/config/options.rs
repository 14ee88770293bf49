//! The one table of options: name, type, default, scope, meaning.
//!
//! Parsing, defaults, warnings about unknown keys and the reference manual are all driven by
//! it. An option is named here once and read by name nowhere but in `server.rs` and `mod.rs`.

use super::value::Kind::{self, *};

/// One option of the dialect.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The key, in lower case.
    pub name: &'static str,
    /// How its text is read.
    pub kind: Kind,
    /// Its value when nobody sets it, as text; empty for unset.
    pub default: &'static str,
    /// Where it may stand.
    pub scope: Scope,
    /// What it does, in a few words.
    pub help: &'static str,
}

/// Where an option may stand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Scope {
    /// In `[barman]`, about Tapster as a whole.
    pub program: bool,
    /// In `[barman]`, inherited by servers that do not set it.
    pub inherited: bool,
    /// In the section of a server.
    pub server: bool,
    /// In the section of a model.
    pub model: bool,
}

const B: Scope = Scope { program: true, inherited: false, server: false, model: false };
const S: Scope = Scope { program: false, inherited: false, server: true, model: false };
const SM: Scope = Scope { program: false, inherited: false, server: true, model: true };
const GS: Scope = Scope { program: false, inherited: true, server: true, model: false };
const GSM: Scope = Scope { program: false, inherited: true, server: true, model: true };
const M: Scope = Scope { program: false, inherited: false, server: false, model: true };

/// The option of this name.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// A table of lines: name, type, default, scope, meaning.
macro_rules! options {
    ($($name:literal $kind:expr, $default:literal, $scope:ident, $help:literal;)*) => {
        &[$(OptionSpec {
            name: $name, kind: $kind, default: $default, scope: $scope, help: $help,
        },)*]
    };
}

/// The words for a compression level.
pub const LEVEL_WORDS: &[&str] = &["low", "medium", "high"];
const WAL_COMPRESSIONS: &[&str] = &[
    "none", "gzip", "bzip2", "pigz", "xz", "zstd", "lz4", "snappy", "pygzip", "pybzip2", "custom",
];
const BACKUP_METHODS: &[&str] = &["postgres", "rsync", "local-rsync", "snapshot", "local-to-cloud"];
const CHECKSUMS: &[&str] = &["none", "crc32c", "sha224", "sha256", "sha384", "sha512"];
const BACKUP_OPTIONS: &[&str] =
    &["concurrent_backup", "exclusive_backup", "external_configuration"];

/// Every option that Barman 3.19 knows, and a few of our own, of which Barman warns and no more.
pub static OPTIONS: &[OptionSpec] = options! {
    // Tapster as a whole.
    "barman_home" Path, "", B, "root of all repositories; required";
    "barman_user" Text, "barman", B, "the account that owns the repositories";
    "barman_lock_directory" Path, "", B, "where lock files stand; barman_home unless set";
    "lock_directory_cleanup" Flag, "true", B, "remove free lock files at the end of cron";
    "config_changes_queue" Path, "", B, "pending work of config-update";
    "configuration_files_directory" Path, "", B, "further files, *.conf, in order of name";
    "log_file" Path, "", B, "where the log goes; standard error unless set";
    "log_level" Text, "INFO", B, "DEBUG, INFO, WARNING, ERROR or CRITICAL";
    "log_format" Text, "", B, "accepted for compatibility; lines are tapster's own";

    // The server and how it is reached.
    "active" Flag, "true", SM, "false: only listing and diagnosis";
    "disabled" Flag, "false", SM, "true: nothing but listing";
    "description" Text, "", SM, "free text";
    "cluster" Text, "", SM, "which models apply; the server's name unless set";
    "model" Flag, "false", M, "true: this section is a model";
    "conninfo" Secret, "", SM, "connection string for SQL";
    "streaming_conninfo" Secret, "", SM, "connection string for replication; conninfo unless set";
    "wal_conninfo" Secret, "", SM, "SQL on the node that WAL is streamed from";
    "wal_streaming_conninfo" Secret, "", SM, "replication on the node that WAL is streamed from";
    "primary_conninfo" Secret, "", SM, "the primary, when conninfo is a standby";
    "primary_checkpoint_timeout" Number, "0", SM, "seconds without WAL before a checkpoint there";
    "ssh_command" Text, "", SM, "how to run commands on the database host";
    "primary_ssh_command" Text, "", GSM, "set: this server is a passive copy";
    "forward_config_path" Flag, "false", GSM, "pass -c to the other side";
    "path_prefix" Text, "", GSM, "directories put before PATH";
    "check_timeout" Number, "30", GSM, "seconds for all checks of a server; 0 for no limit";
    "streaming_archiver_name" Text, "barman_receive_wal", GSM, "application_name of receive-wal";
    "streaming_backup_name" Text, "barman_streaming_backup", GSM, "application_name of backup";
    "network_compression" Flag, "false", GSM, "compress what rsync sends";
    "bandwidth_limit" Number, "", GSM, "kB/s for backup and restore";
    "tablespace_bandwidth_limit" Text, "", GSM, "name:kB/s pairs for tablespaces; pg_default is the data directory";
    "parallel_jobs" Number, "1", GSM, "copy workers";
    "parallel_jobs_start_batch_size" Number, "10", GSM, "workers started in one period";
    "parallel_jobs_start_batch_period" Number, "1", GSM, "length of that period in seconds";
    "keepalive_interval" Number, "60", GSM, "seconds between pings during an rsync backup";
    "keepalive_internval" Number, "60", GSM, "a misspelling that Barman reads";

    // Where things stand.
    "backup_directory" Path, "", S, "barman_home/<server> unless set";
    "basebackups_directory" Path, "", S, "backup_directory/base unless set";
    "wals_directory" Path, "", S, "backup_directory/wals unless set";
    "incoming_wals_directory" Path, "", S, "backup_directory/incoming unless set";
    "streaming_wals_directory" Path, "", S, "backup_directory/streaming unless set";
    "errors_directory" Path, "", S, "backup_directory/errors unless set";
    "xlogdb_directory" Path, "", GS, "wals_directory unless set";

    // Base backups.
    "backup_method" Choice(BACKUP_METHODS), "rsync", GSM, "how base backups are taken";
    "backup_options" Words(BACKUP_OPTIONS), "", GSM, "details of taking a backup";
    "immediate_checkpoint" Flag, "false", GSM, "begin with a fast checkpoint";
    "backup_compression" Choice(&["gzip", "lz4", "zstd", "none"]), "", GSM, "set: a tar backup";
    "backup_compression_format" Choice(&["plain", "tar"]), "", GSM, "tar with compression";
    "backup_compression_level" Number, "", GSM, "depends on the algorithm";
    "backup_compression_location" Choice(&["client", "server"]), "", GSM, "client unless set";
    "backup_compression_workers" Number, "", GSM, "threads of zstd";
    "reuse_backup" Choice(&["copy", "link", "off"]), "", GSM, "unchanged files, rsync method";
    "basebackup_retry_times" Number, "0", GSM, "further attempts of a copy";
    "basebackup_retry_sleep" Number, "30", GSM, "seconds between them";
    "manifest_checksums" Choice(CHECKSUMS), "crc32c", GSM,
        "how the server sums files up for backup_manifest (own option)";
    "autogenerate_manifest" Flag, "false", GSM, "backup_manifest for the rsync method";
    "worm_mode" Flag, "off", GSM, "storage that is written once";
    "encryption" Choice(&["none", "gpg"]), "none", GSM, "encryption of backups and WAL";
    "encryption_key_id" Text, "", GSM, "the key";
    "encryption_passphrase_command" Secret, "", GSM, "prints the passphrase";

    // WAL.
    "archiver" Flag, "off", GSM, "process incoming/";
    "streaming_archiver" Flag, "off", GSM, "receive WAL over the replication protocol";
    "archiver_batch_size" Number, "0", GSM, "files of one run; 0 for all";
    "streaming_archiver_batch_size" Number, "0", GSM, "files of one run; 0 for all";
    "slot_name" Slot, "", GSM, "the replication slot of receive-wal";
    "create_slot" Choice(&["auto", "manual"]), "manual", GSM, "who creates it";
    "compression" Choice(WAL_COMPRESSIONS), "", GSM, "compression of archived WAL";
    "compression_level" Level, "", GSM, "low, medium, high or a number; unset: fast";
    "custom_compression_filter" Text, "", GSM, "a shell filter";
    "custom_decompression_filter" Text, "", GSM, "a shell filter";
    "custom_compression_magic" Text, "", GSM, "first bytes of its output, as 0x…";
    "max_incoming_wals_queue" Number, "", GSM, "check fails above this many waiting files";
    "last_wal_maximum_age" Interval, "", GSM, "check fails when WAL is older";

    // WAL: Tapster's own.
    "receive_synchronous" Choice(&["auto", "on", "off"]), "auto", GSM,
        "acknowledge each commit at once; auto: when synchronous_standby_names asks (own option)";
    "receive_queue_size" Size, "8Mi", GSM, "memory for WAL between socket and disk (own option)";
    "slot_wal_limit" Size, "", GSM, "give the slot up when it keeps more WAL (own option)";
    "status_file" Path, "", S, "where receive-wal says how it is, as JSON (own option)";

    // Retention and restore.
    "retention_policy" Text, "", GSM, "REDUNDANCY n or RECOVERY WINDOW OF n DAYS|WEEKS|MONTHS";
    "retention_policy_mode" Choice(&["auto"]), "auto", GSM, "accepted for compatibility";
    "wal_retention_policy" Choice(&["main"]), "main", GSM, "accepted for compatibility";
    "minimum_redundancy" Number, "0", GSM, "backups that are never deleted";
    "last_backup_maximum_age" Interval, "", GSM, "check fails when the last backup is older";
    "last_backup_minimum_size" Size, "", GSM, "check fails when the last backup is smaller";
    "recovery_options" Words(&["get-wal", "delta-restore"]), "", GSM, "defaults of restore";
    "staging_path" Path, "", GSM, "room for unpacking; /tmp at use";
    "staging_location" Choice(&["local", "remote"]), "local", GSM, "where staging_path is";
    "recovery_staging_path" Path, "", GSM, "older name of staging_path, remote";
    "local_staging_path" Path, "", GSM, "older name of staging_path, local";
    "combine_mode" Choice(&["copy", "link", "clone", "copy-file-range"]), "copy", GSM,
        "how chains of backups are joined";

    // Hook scripts.
    "pre_backup_script" Text, "", GS, "before a backup";
    "pre_backup_retry_script" Text, "", GS, "before a backup, until it succeeds";
    "post_backup_script" Text, "", GS, "after a backup";
    "post_backup_retry_script" Text, "", GS, "after a backup, until it succeeds";
    "pre_archive_script" Text, "", GS, "before a WAL file is archived";
    "pre_archive_retry_script" Text, "", GS, "before a WAL file is archived, until it succeeds";
    "post_archive_script" Text, "", GS, "after a WAL file was archived";
    "post_archive_retry_script" Text, "", GS, "after a WAL file was archived, until it succeeds";
    "pre_delete_script" Text, "", GS, "before a backup is deleted";
    "pre_delete_retry_script" Text, "", GS, "before a backup is deleted, until it succeeds";
    "post_delete_script" Text, "", GS, "after a backup was deleted";
    "post_delete_retry_script" Text, "", GS, "after a backup was deleted, until it succeeds";
    "pre_wal_delete_script" Text, "", GS, "before a WAL file is deleted";
    "pre_wal_delete_retry_script" Text, "", GS, "before a WAL file is deleted, until it succeeds";
    "post_wal_delete_script" Text, "", GS, "after a WAL file was deleted";
    "post_wal_delete_retry_script" Text, "", GS, "after that, until it succeeds";
    "pre_recovery_script" Text, "", GS, "before a restore";
    "pre_recovery_retry_script" Text, "", GS, "before a restore, until it succeeds";
    "post_recovery_script" Text, "", GS, "after a restore";
    "post_recovery_retry_script" Text, "", GS, "after a restore, until it succeeds";

    // Snapshots and object storage, which Tapster reads and does not act on.
    "snapshot_provider" Text, "", GSM, "disk snapshots";
    "snapshot_instance" Text, "", SM, "disk snapshots";
    "snapshot_disks" Text, "", SM, "disk snapshots";
    "snapshot_zone" Text, "", GSM, "disk snapshots";
    "snapshot_gcp_project" Text, "", GSM, "disk snapshots";
    "gcp_project" Text, "", GSM, "disk snapshots";
    "gcp_zone" Text, "", GSM, "disk snapshots";
    "azure_credential" Text, "", GSM, "disk snapshots";
    "azure_resource_group" Text, "", GSM, "disk snapshots";
    "azure_subscription_id" Text, "", GSM, "disk snapshots";
    "aws_await_snapshots_timeout" Number, "3600", GSM, "disk snapshots";
    "aws_check_object_lock" Flag, "off", GSM, "object storage";
    "aws_encryption" Text, "", GSM, "object storage";
    "aws_profile" Text, "", GSM, "object storage";
    "aws_read_timeout" Number, "", GSM, "object storage";
    "aws_region" Text, "", GSM, "object storage";
    "aws_snapshot_lock_cool_off_period" Number, "", GSM, "disk snapshots";
    "aws_snapshot_lock_duration" Number, "", GSM, "disk snapshots";
    "aws_snapshot_lock_expiration_date" Text, "", GSM, "disk snapshots";
    "aws_snapshot_lock_mode" Text, "", GSM, "disk snapshots";
    "aws_sse_kms_key_id" Text, "", GSM, "object storage";
    "cloud_delete_batch_size" Number, "", GSM, "object storage";
    "cloud_staging_directory" Path, "/tmp/barman/cloud-staging", GSM, "object storage";
    "cloud_staging_max_size" Size, "30Gi", GSM, "object storage";
    "cloud_upload_max_archive_size" Size, "100Gi", SM, "object storage";
    "cloud_upload_min_chunk_size" Size, "", GSM, "object storage";
    "cloud_wal_archive_parallel" Number, "0", GSM, "object storage";
    "cloud_wal_restore_parallel" Number, "0", GSM, "object storage";
    "warehousepg_dbid" Number, "", SM, "segment of a WarehousePG cluster";
};
