//! One file a command: arguments, plan, report. No formats, no printing.
//!
//! A command gets what was typed, the [`Site`] it works on, and the [`Reporter`] that speaks for
//! it. It returns the exit code, or the [`Failure`] that ended it.

pub mod connect;
pub mod backup;
pub mod backup_options;
pub mod check;
pub mod switch_wal;
pub mod replication_status;
pub mod receive_wal;
pub mod archive_wal;
pub mod cron;
pub mod list_backups;
pub mod show_backup;
pub mod list_servers;
pub mod restore;
pub mod get_wal;
pub mod verify_backup;
pub mod list_files;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use crate::archive::ArchiveSettings;
use crate::catalog::Catalog;
use crate::config::{Config, ConfigError, ServerConfig};
use crate::disk::{Disk, RealDisk};
use crate::output::{Failure, Reporter};
use crate::repository::{BackupId, BackupInfo, ServerLayout};
use crate::retention::Standing;
use crate::service;

/// What a command works on: the configuration, and the disk that the repositories are on.
#[derive(Debug)]
pub struct Site {
    /// What the files say.
    pub config: Config,
    /// The real disk, unless a test puts a model in its place.
    pub disk: Arc<dyn Disk>,
    /// Options of the command line that are also meant for whatever the command starts.
    pub options: Vec<OsString>,
}

/// The exit code, or what ended the command.
pub type Outcome = Result<u8, Failure>;

impl Site {
    /// The site that a configuration describes, on the real disk.
    pub fn new(config: Config) -> Site {
        Site { config, disk: Arc::new(RealDisk), options: Vec::new() }
    }

    /// The one server of this name.
    pub fn server(&self, name: &str) -> Result<&ServerConfig, Failure> {
        self.config.server(name).map_err(|error| refused(&error))
    }

    /// Several servers, or `all`.
    pub fn servers(&self, names: &[String]) -> Result<Vec<&ServerConfig>, Failure> {
        self.config.servers_named(names).map_err(|error| refused(&error))
    }
}

fn refused(error: &ConfigError) -> Failure {
    Failure::of(error).hint(error.hint())
}

/// Whether work on the server goes on. An inactive, passive or disabled one is skipped with a
/// line, and that is a success, as in Barman.
pub fn is_workable(server: &ServerConfig, out: &mut Reporter) -> bool {
    let name = &server.name;
    if server.disabled {
        out.info(format_args!("Skipping temporarily disabled server '{name}'"));
        for reason in &server.errors {
            out.warning(format_args!("server {name} is disabled: {reason}"));
        }
    } else if !server.active {
        out.info(format_args!("Skipping inactive server '{name}'"));
    } else if server.is_passive() {
        out.info(format_args!("Skipping passive server '{name}'"));
    } else {
        return true;
    }
    false
}

/// How WAL of the server is archived, or why not as its configuration says.
fn archive_settings(server: &ServerConfig) -> Result<ArchiveSettings, Failure> {
    ArchiveSettings::of(server).map_err(|error| {
        let what = format_args!("cannot archive WAL of server {}", server.name);
        Failure::because(what, &error).hint(Some(error.hint()))
    })
}

/// What the server's retention policy says of each complete backup; nothing without a policy.
fn standings(
    server: &ServerConfig,
    catalog: &Catalog,
    out: &mut Reporter,
) -> BTreeMap<BackupId, Standing> {
    let Some(text) = &server.retention_policy else { return BTreeMap::new() };
    match text.parse() {
        Ok(policy) => catalog.standings(policy, server.minimum_redundancy, service::now()),
        Err(error) => {
            out.warning(format_args!("retention_policy of server {}: {error}", server.name));
            BTreeMap::new()
        }
    }
}

/// Says which backups cannot be understood; the others are listed all the same.
fn report_damaged(catalog: &Catalog, out: &mut Reporter) {
    for (id, error) in catalog.damaged() {
        let server = catalog.server();
        let what = format!("backup {id} of server {server} is left out");
        out.warning(Failure::because(what, error).hint(error.hint()));
    }
}

/// What the server's repository holds. Backups that cannot be understood are said to be left out.
fn catalog(server: &ServerConfig, site: &Site, out: &mut Reporter) -> Result<Catalog, Failure> {
    let layout = ServerLayout::new(server);
    let catalog = Catalog::load(site.disk.as_ref(), &layout).map_err(|error| {
        let what = format!("cannot read the catalogue of server {}", server.name);
        Failure::because(what, &error).hint(error.hint())
    })?;
    report_damaged(&catalog, out);
    Ok(catalog)
}

/// The backup that an argument names, by id or by one of Barman's words.
fn named_backup<'c>(catalog: &'c Catalog, name: &str) -> Result<&'c BackupInfo, Failure> {
    catalog.find(name).map_err(|error| Failure::of(&error).hint(error.hint()))
}

/// The one runtime of a command: sockets and timers on the calling thread.
pub fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start the runtime", &error))
}
