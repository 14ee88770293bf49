//! Options of `backup` beside those that say which and when.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::backup::{BackupError, Retries};
use crate::config::{BackupMethod, ServerConfig};
use crate::manifest::Algorithm;
use crate::output::ProgressForm;

/// How a copy is taken, in words of Barman's and of our own.
#[derive(Args, Clone, Debug)]
pub struct CopyOptions {
    /// How to take it: postgres, or rsync (not in this release)
    #[arg(long, value_name = "METHOD")]
    pub method: Option<Method>,
    /// Stands in backup_label instead of our own words: one line
    #[arg(long, value_name = "TEXT", value_parser = parse_label)]
    pub label: Option<String>,
    /// How the server sums files up for its manifest: none, crc32c, sha224, sha256, sha384, sha512
    #[arg(long, value_name = "ALGORITHM", value_parser = parse_algorithm)]
    pub manifest_checksums: Option<Algorithm>,
    /// Try a copy that fails so many times again
    #[arg(long, value_name = "NUMBER", conflicts_with = "no_retry")]
    pub retry_times: Option<u64>,
    /// Wait so many seconds before each further try
    #[arg(long, value_name = "SECONDS")]
    pub retry_sleep: Option<u64>,
    /// Try once only, whatever the configuration says
    #[arg(long)]
    pub no_retry: bool,
    /// Say what would be done, how large it is and what stands in the way; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Show how far it is: auto (a bar, or a line every ten seconds), json (a line a second), none
    #[arg(long, value_name = "FORM", default_value = "auto")]
    pub progress: ProgressForm,
    /// Accepted for Barman's sake: only the rsync method has a connection to keep alive
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub keepalive_interval: Option<u64>,
    /// Accepted for Barman's sake: servers from 13 on always send a manifest
    #[arg(long, hide = true, overrides_with = "no_manifest")]
    pub manifest: bool,
    /// Accepted for Barman's sake, of the rsync method only
    #[arg(long, hide = true, overrides_with = "manifest")]
    pub no_manifest: bool,
    /// Accepted for Barman's sake: nothing is checked beforehand that the backup does not find
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub check_timeout: Option<u64>,
    /// Accepted for Barman's sake, of the rsync method only
    #[arg(long, value_name = "NUMBER", hide = true)]
    pub jobs_start_batch_size: Option<u32>,
    /// Accepted for Barman's sake, of the rsync method only
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub jobs_start_batch_period: Option<u32>,
    /// Share files with the backup before, of the rsync method only
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "link",
        value_parser = ["copy", "link", "off"], hide = true)]
    pub reuse_backup: Option<String>,
}

/// Methods that can be typed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Method {
    /// BASE_BACKUP over the replication protocol.
    Postgres,
    /// rsync over ssh.
    Rsync,
}

/// What a server's `backup_label` takes. Source: MAXPGPATH, `src/backend/backup/basebackup.c`.
const LABEL_BYTES_MAX: usize = 1024;

fn parse_label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LABEL_BYTES_MAX || text.contains(char::is_control) {
        return Err(format!("expected one line of 1 to {LABEL_BYTES_MAX} bytes"));
    }
    Ok(text.to_owned())
}

fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(text)
        .ok_or_else(|| "expected none, crc32c, sha224, sha256, sha384 or sha512".to_owned())
}

impl CopyOptions {
    /// The method that counts, or why it cannot be used.
    pub fn method(&self, server: &ServerConfig) -> Result<BackupMethod, BackupError> {
        if let Some(how) = self.reuse_backup.as_deref().filter(|how| *how != "off") {
            return Err(BackupError::Unsupported {
                option: "--reuse-backup",
                value: how.to_owned(),
                instead: "take a full backup; it belongs to the rsync method, which comes in a \
                          later release",
            });
        }
        Ok(match self.method {
            None => server.backup_method,
            Some(Method::Postgres) => BackupMethod::Postgres,
            Some(Method::Rsync) => BackupMethod::Rsync,
        })
    }

    /// How often and when to try again.
    pub fn retries(&self, server: &ServerConfig) -> Retries {
        let times = if self.no_retry { Some(0) } else { self.retry_times };
        let pause = self.retry_sleep.map(Duration::from_secs);
        Retries {
            times: times.unwrap_or(server.retry_times),
            pause: pause.unwrap_or(server.retry_sleep),
        }
    }

    /// How the server is to sum up.
    pub fn checksums(&self, server: &ServerConfig) -> Algorithm {
        let configured = || Algorithm::from_name(&server.manifest_checksums);
        self.manifest_checksums.or_else(configured).unwrap_or_default()
    }
}
