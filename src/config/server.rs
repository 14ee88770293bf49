//! One server, as configured: typed, with the defaults that depend on other options.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::name::ServerName;
use super::settings::Settings;
use super::value::{CompressionLevel, SecretText};

/// How base backups are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BackupMethod {
    /// BASE_BACKUP over the replication protocol.
    Postgres,
    /// rsync over ssh.
    Rsync,
    /// rsync on the same host.
    LocalRsync,
    /// Snapshots of cloud disks.
    Snapshot,
    /// Straight to object storage.
    LocalToCloud,
}

impl BackupMethod {
    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            BackupMethod::Postgres => "postgres",
            BackupMethod::Rsync => "rsync",
            BackupMethod::LocalRsync => "local-rsync",
            BackupMethod::Snapshot => "snapshot",
            BackupMethod::LocalToCloud => "local-to-cloud",
        }
    }

    fn from_word(word: &str) -> BackupMethod {
        match word {
            "postgres" => BackupMethod::Postgres,
            "local-rsync" => BackupMethod::LocalRsync,
            "snapshot" => BackupMethod::Snapshot,
            "local-to-cloud" => BackupMethod::LocalToCloud,
            _ => BackupMethod::Rsync,
        }
    }
}

/// Who creates the replication slot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CreateSlot {
    /// The operator, with `receive-wal --create-slot`.
    Manual,
    /// `receive-wal` and `cron`, when it is missing.
    Auto,
}

/// When `receive-wal` makes WAL durable and acknowledges it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReceiveSynchronous {
    /// At once, while the server's `synchronous_standby_names` asks for it.
    Auto,
    /// At once.
    On,
    /// At the end of a segment, and when the server asks.
    Off,
}

/// The directories of one server. Absolute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directories {
    /// `backup_directory`: the server's part of the repository.
    pub backup: PathBuf,
    /// `basebackups_directory`.
    pub base: PathBuf,
    /// `wals_directory`.
    pub wals: PathBuf,
    /// `incoming_wals_directory`.
    pub incoming: PathBuf,
    /// `streaming_wals_directory`.
    pub streaming: PathBuf,
    /// `errors_directory`.
    pub errors: PathBuf,
    /// `xlogdb_directory`.
    pub xlogdb: PathBuf,
    /// `barman_lock_directory`, which all servers share.
    pub locks: PathBuf,
}

/// One server. Connection strings are kept as written; `conninfo` reads them.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The section.
    pub name: ServerName,
    /// Free text.
    pub description: Option<String>,
    /// `false`: only listing and diagnosis.
    pub active: bool,
    /// Whether the user disabled the server, or contradictions did; see [`ServerConfig::errors`].
    pub disabled: bool,
    /// Contradictions between options, each a sentence.
    pub errors: Vec<String>,
    /// Remarks for the log and `check`; nothing stops because of them.
    pub notices: Vec<String>,
    /// Which models apply; the server's name unless set.
    pub cluster: String,
    /// The model that is switched on.
    pub active_model: Option<String>,
    /// Where everything stands.
    pub directories: Directories,
    /// Ordinary connections.
    pub conninfo: Option<SecretText>,
    /// Replication connections; `conninfo` unless set.
    pub streaming_conninfo: Option<SecretText>,
    /// Ordinary connections to the server that WAL is streamed from, where that is another one.
    pub wal_conninfo: Option<SecretText>,
    /// The primary, when `conninfo` is a standby.
    pub primary_conninfo: Option<SecretText>,
    /// Set: this server is a passive copy of one of another repository.
    pub primary_ssh_command: Option<String>,
    /// How to run commands on the database host.
    pub ssh_command: Option<String>,
    /// Time for all checks of the server; `None` for no limit.
    pub check_timeout: Option<Duration>,
    /// `application_name` of the receiver.
    pub streaming_archiver_name: String,
    /// `application_name` of base backups.
    pub streaming_backup_name: String,
    /// How base backups are taken.
    pub backup_method: BackupMethod,
    /// `gzip`, `lz4`, `zstd`, `none`: a tar backup of that compression. `None`: not said.
    pub backup_compression: Option<String>,
    /// Level of `backup_compression`.
    pub backup_compression_level: Option<u64>,
    /// Threads of `backup_compression`.
    pub backup_compression_workers: Option<u64>,
    /// Whether a base backup begins with a fast checkpoint.
    pub immediate_checkpoint: bool,
    /// Limit of backup and restore, in bytes per second.
    pub bandwidth_limit: Option<u64>,
    /// Further attempts after a failed copy.
    pub retry_times: u64,
    /// Time between them.
    pub retry_sleep: Duration,
    /// How the server sums files up for its manifest: a word of MANIFEST_CHECKSUMS.
    pub manifest_checksums: String,
    /// Whether `incoming/` is processed.
    pub archiver: bool,
    /// Whether WAL is received over the replication protocol.
    pub streaming_archiver: bool,
    /// The slot of the receiver.
    pub slot_name: Option<String>,
    /// Who creates it.
    pub create_slot: CreateSlot,
    /// When `receive-wal` acknowledges WAL.
    pub receive_synchronous: ReceiveSynchronous,
    /// What `receive-wal` keeps in memory at most between socket and disk, in bytes.
    pub receive_queue_size: usize,
    /// How much WAL the slot may keep before `receive-wal` gives it up, in bytes.
    pub slot_wal_limit: Option<u64>,
    /// Where `receive-wal` says how it is.
    pub status_file: Option<PathBuf>,
    /// Compression of archived WAL; `None` and `none` are the same.
    pub compression: Option<String>,
    /// Level of `compression`.
    pub compression_level: Option<CompressionLevel>,
    /// Files of `incoming/` that one run archives at most; `None` for all.
    pub archiver_batch_size: Option<usize>,
    /// The same of `streaming/`.
    pub streaming_archiver_batch_size: Option<usize>,
    /// Most files that may wait in `incoming/` or `streaming/`.
    pub max_incoming_wals_queue: Option<u64>,
    /// Oldest acceptable WAL.
    pub last_wal_maximum_age: Option<Duration>,
    /// Oldest acceptable last backup.
    pub last_backup_maximum_age: Option<Duration>,
    /// Smallest acceptable last backup, in bytes.
    pub last_backup_minimum_size: Option<u64>,
    /// Backups that are never deleted.
    pub minimum_redundancy: u64,
    /// `REDUNDANCY n` or `RECOVERY WINDOW OF …`, as written.
    pub retention_policy: Option<String>,
    /// Defaults of restore: `get-wal`, `delta-restore`.
    pub recovery_options: Vec<String>,
    /// Room for unpacking.
    pub staging_path: PathBuf,
    /// Every option of the dialect, by name.
    pub settings: Settings,
}

impl ServerConfig {
    /// Types the settings of a server below `home`.
    pub(super) fn new(
        name: ServerName,
        settings: Settings,
        home: &Path,
        locks: &Path,
    ) -> ServerConfig {
        let conninfo = settings.secret("conninfo");
        let zero_is_none = |limit: Duration| (!limit.is_zero()).then_some(limit);
        let mut server = ServerConfig {
            description: settings.text("description"),
            active: settings.flag("active"),
            disabled: settings.flag("disabled"),
            errors: Vec::new(),
            notices: Vec::new(),
            cluster: settings.text("cluster").unwrap_or_else(|| name.to_string()),
            active_model: None,
            directories: directories(&name, &settings, home, locks),
            streaming_conninfo: settings.secret("streaming_conninfo").or_else(|| conninfo.clone()),
            conninfo,
            wal_conninfo: settings.secret("wal_conninfo"),
            primary_conninfo: settings.secret("primary_conninfo"),
            primary_ssh_command: settings.text("primary_ssh_command"),
            ssh_command: settings.text("ssh_command"),
            check_timeout: settings.seconds("check_timeout").and_then(zero_is_none),
            streaming_archiver_name: settings.text("streaming_archiver_name").unwrap_or_default(),
            streaming_backup_name: settings.text("streaming_backup_name").unwrap_or_default(),
            backup_method: BackupMethod::from_word(
                &settings.text("backup_method").unwrap_or_default(),
            ),
            backup_compression: settings.text("backup_compression"),
            backup_compression_level: settings.number("backup_compression_level"),
            backup_compression_workers: settings.number("backup_compression_workers"),
            immediate_checkpoint: settings.flag("immediate_checkpoint"),
            bandwidth_limit: settings
                .number("bandwidth_limit")
                .filter(|&limit| limit > 0)
                .map(|kilobytes| kilobytes.saturating_mul(1024)),
            retry_times: settings.number("basebackup_retry_times").unwrap_or(0),
            retry_sleep: settings.seconds("basebackup_retry_sleep").unwrap_or_default(),
            manifest_checksums: settings.text("manifest_checksums").unwrap_or_default(),
            archiver: settings.flag("archiver"),
            streaming_archiver: settings.flag("streaming_archiver"),
            slot_name: settings.text("slot_name"),
            create_slot: match settings.text("create_slot").as_deref() {
                Some("auto") => CreateSlot::Auto,
                _ => CreateSlot::Manual,
            },
            receive_synchronous: match settings.text("receive_synchronous").as_deref() {
                Some("on") => ReceiveSynchronous::On,
                Some("off") => ReceiveSynchronous::Off,
                _ => ReceiveSynchronous::Auto,
            },
            receive_queue_size: queue_size(settings.number("receive_queue_size")),
            slot_wal_limit: settings.number("slot_wal_limit").filter(|&limit| limit > 0),
            status_file: settings.path("status_file"),
            compression: settings.text("compression"),
            compression_level: settings.level("compression_level"),
            archiver_batch_size: batch_size(settings.number("archiver_batch_size")),
            streaming_archiver_batch_size: batch_size(
                settings.number("streaming_archiver_batch_size"),
            ),
            max_incoming_wals_queue: settings.number("max_incoming_wals_queue"),
            last_wal_maximum_age: settings.seconds("last_wal_maximum_age"),
            last_backup_maximum_age: settings.seconds("last_backup_maximum_age"),
            last_backup_minimum_size: settings.number("last_backup_minimum_size"),
            minimum_redundancy: settings.number("minimum_redundancy").unwrap_or(0),
            retention_policy: settings.text("retention_policy"),
            recovery_options: settings.words("recovery_options").to_vec(),
            staging_path: ["staging_path", "local_staging_path", "recovery_staging_path"]
                .iter()
                .find_map(|option| settings.path(option))
                .unwrap_or_else(|| "/tmp".into()),
            settings,
            name,
        };
        server.settle();
        server
    }

    /// Whether the server mirrors one of another repository.
    pub fn is_passive(&self) -> bool {
        self.primary_ssh_command.is_some()
    }

    /// Draws the conclusions of options that depend on each other.
    fn settle(&mut self) {
        if !self.archiver && !self.streaming_archiver && !self.is_passive() {
            self.notices.push(format!(
                "no archiver is enabled for server {}: archiver = on is assumed; set archiver, \
                 streaming_archiver or both",
                self.name
            ));
            self.archiver = true;
        }
        self.errors = contradictions(self);
        self.disabled |= !self.errors.is_empty();
    }
}

/// Less than two reads of the socket would stand still between each of them.
fn queue_size(bytes: Option<u64>) -> usize {
    const LEAST: usize = 1 << 20;
    const DEFAULT: usize = 8 << 20;
    bytes.map_or(DEFAULT, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX).max(LEAST))
}

fn batch_size(files: Option<u64>) -> Option<usize> {
    files.filter(|&files| files > 0).map(|files| usize::try_from(files).unwrap_or(usize::MAX))
}

fn directories(name: &ServerName, settings: &Settings, home: &Path, locks: &Path) -> Directories {
    let own = settings.path("backup_directory");
    let backup = own.unwrap_or_else(|| home.join(name.as_str()));
    let below = |option: &str, directory: &str| {
        settings.path(option).unwrap_or_else(|| backup.join(directory))
    };
    let wals = below("wals_directory", "wals");
    Directories {
        base: below("basebackups_directory", "base"),
        incoming: below("incoming_wals_directory", "incoming"),
        streaming: below("streaming_wals_directory", "streaming"),
        errors: below("errors_directory", "errors"),
        xlogdb: settings.path("xlogdb_directory").unwrap_or_else(|| wals.clone()),
        wals,
        backup,
        locks: locks.to_owned(),
    }
}

/// Combinations that make no sense, in words for `check`.
fn contradictions(server: &ServerConfig) -> Vec<String> {
    let settings = &server.settings;
    let reuses = settings.text("reuse_backup").is_some_and(|word| word != "off");
    let rsync = matches!(server.backup_method, BackupMethod::Rsync | BackupMethod::LocalRsync);
    let method = server.backup_method.word();
    let mut found = Vec::new();
    let mut refuse = |wrong: bool, text: String| {
        if wrong {
            found.push(text);
        }
    };
    if server.backup_method == BackupMethod::Postgres {
        let with = |option: &str| format!("{option} cannot be used with backup_method = postgres");
        refuse(reuses, with("reuse_backup"));
        refuse(settings.flag("network_compression"), with("network_compression"));
    }
    let with = |option: &str| format!("{option} cannot be used with backup_method = {method}");
    refuse(rsync && server.backup_compression.is_some(), with("backup_compression"));
    let no_ssh = server.ssh_command.is_none() && !server.is_passive();
    refuse(
        server.backup_method == BackupMethod::Rsync && no_ssh,
        "backup_method = rsync needs ssh_command".into(),
    );
    refuse(server.conninfo.is_none() && !server.is_passive(), "conninfo is required".into());
    refuse(
        server.streaming_archiver && !server.archiver && server.slot_name.is_none(),
        "streaming_archiver = on without archiver = on needs slot_name".into(),
    );
    let plain = settings.text("backup_compression_format").as_deref() == Some("plain");
    let at_server = settings.text("backup_compression_location").as_deref() == Some("server");
    refuse(
        server.backup_compression.is_some() && plain && !at_server,
        "backup_compression_format = plain needs backup_compression_location = server".into(),
    );
    let zstd = server.backup_compression.as_deref() == Some("zstd");
    refuse(
        server.backup_compression_workers.is_some() && !zstd,
        "backup_compression_workers needs backup_compression = zstd".into(),
    );
    found
}
