//! The receiver's plan from the configuration, at the start and again at each SIGHUP.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::super::{Site, archive_settings, connect};
use super::slot_name;
use crate::archive::ArchiveSettings;
use crate::config::{Config, ConfigSource, CreateSlot, ReceiveSynchronous, ServerConfig};
use crate::conninfo::Purpose;
use crate::output::Failure;
use crate::receive::{Acknowledgement, Meters, Plan};
use crate::repository::ServerLayout;
use crate::service::{Hangups, Manager};

/// What does not come from the configuration, or stays.
#[derive(Debug)]
pub(super) struct Fixed<'a> {
    pub(super) site: &'a Site,
    pub(super) meters: Arc<Meters>,
    /// `--status-file`, which counts more than the option.
    pub(super) status_file: Option<PathBuf>,
}

impl Fixed<'_> {
    /// What the receiver of this server works with.
    pub(super) fn plan(&self, server: &ServerConfig, connection: u64) -> Result<Plan, Failure> {
        Ok(Plan {
            disk: Arc::clone(&self.site.disk),
            layout: ServerLayout::new(server),
            streaming: connect::options(server, Purpose::Replication)?,
            // Without it a slot of a server before 15 is used without a look at it first.
            sql: connect::options(server, Purpose::Sql).ok(),
            application_name: server.streaming_archiver_name.clone(),
            slot: slot_name(server)?,
            create_slot: server.create_slot == CreateSlot::Auto,
            slot_wal_limit: server.slot_wal_limit,
            archive: ArchiveSettings {
                recycle: true,
                keep_pace: true,
                ..archive_settings(server)?
            },
            look_again: Plan::LOOK_AGAIN,
            meters: Arc::clone(&self.meters),
            status_file: self.status_file.clone().or_else(|| server.status_file.clone()),
            queue_bytes: server.receive_queue_size,
            acknowledgement: match server.receive_synchronous {
                ReceiveSynchronous::Auto => Acknowledgement::Auto,
                ReceiveSynchronous::On => Acknowledgement::Always,
                ReceiveSynchronous::Off => Acknowledgement::Relaxed,
            },
            connection,
        })
    }

    /// Reads the configuration again whenever a SIGHUP asks for it. What cannot be read or used
    /// leaves things as they are.
    pub(super) async fn follow(
        &self,
        mut hangups: Hangups,
        server: &ServerConfig,
        plans: watch::Sender<Arc<Plan>>,
        manager: &Manager,
    ) -> Infallible {
        let mut known = (server.clone(), self.site.config.clone());
        loop {
            hangups.next().await;
            manager.reloading();
            // Not in the match: the plan would stay borrowed while it is replaced.
            let connection = plans.borrow().connection;
            match self.read_again(&known, connection) {
                Ok((server, config, plan)) => {
                    info!(server = %server.name, "configuration was read again");
                    known = (server, config);
                    plans.send_replace(Arc::new(plan));
                }
                Err(failure) => {
                    let text = failure.one_line();
                    error!(server = %server.name, error = %text, "configuration stays as it was");
                }
            }
            manager.reloaded();
        }
    }

    fn read_again(
        &self,
        (known, config): &(ServerConfig, Config),
        connection: u64,
    ) -> Result<(ServerConfig, Config, Plan), Failure> {
        let source = ConfigSource::from_command_line(Some(config.file.clone()));
        let loaded = Config::load(&source).map_err(|error| Failure::of(&error))?;
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        let server =
            loaded.config.server(known.name.as_str()).map_err(|error| Failure::of(&error))?;
        for reason in reasons_to_stop(server) {
            warn!(server = %server.name, "{reason}; this receiver goes on until it is stopped");
        }
        for option in needs_restart((known, config), (server, &loaded.config)) {
            warn!(server = %server.name, "{option} has changed: that counts from the next start on");
        }
        let anew = u64::from(needs_connection(known, server));
        let mut plan = self.plan(server, connection + anew)?;
        // Files that are open stay where they are.
        plan.layout = ServerLayout::new(known);
        let kept = ServerConfig { directories: known.directories.clone(), ..server.clone() };
        Ok((kept, loaded.config.clone(), plan))
    }
}

/// Where this path is, whatever the working directory.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::because(format!("cannot use {}", path.display()), &error))
}

fn reasons_to_stop(server: &ServerConfig) -> Vec<&'static str> {
    let reasons = [
        (server.disabled, "the server is disabled now"),
        (!server.active, "the server is not active now"),
        (!server.streaming_archiver, "streaming_archiver is off now"),
    ];
    reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
}

/// Options that count only on another connection.
fn needs_connection(old: &ServerConfig, new: &ServerConfig) -> bool {
    old.streaming_conninfo != new.streaming_conninfo
        || old.conninfo != new.conninfo
        || old.streaming_archiver_name != new.streaming_archiver_name
        || old.slot_name != new.slot_name
        || old.receive_queue_size != new.receive_queue_size
}

/// Options that count only for another process.
fn needs_restart(
    (old, old_config): (&ServerConfig, &Config),
    (new, new_config): (&ServerConfig, &Config),
) -> Vec<&'static str> {
    let compression =
        old.compression != new.compression || old.compression_level != new.compression_level;
    let changes = [
        (old.directories != new.directories, "a directory of the server"),
        (compression, "compression"),
        (old_config.log_file != new_config.log_file, "log_file"),
        (old_config.log_level != new_config.log_level, "log_level"),
    ];
    changes.into_iter().filter(|(holds, _)| *holds).map(|(_, option)| option).collect()
}
