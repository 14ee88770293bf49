//! `cron`: once a minute, what every server needs.

use std::ffi::OsString;

use clap::Args;

use super::{Outcome, Site, is_workable, receive_wal};
use crate::backup;
use crate::config::ServerConfig;
use crate::disk::{LockError, LockFile};
use crate::output::{Failure, Reporter};
use crate::process::{Descriptors, Detached};
use crate::repository::{self, Lock, ServerLayout};

/// Arguments of `cron`.
#[derive(Args, Clone, Debug)]
pub struct CronArgs {
    /// Let the started programs keep standard output and standard error, as containers want it
    #[arg(long)]
    pub keep_descriptors: bool,
    /// Start and stop no receivers: something else, systemd for instance, looks after them
    #[arg(long)]
    pub no_receive_wal: bool,
}

/// Looks after each server in turn. One server's trouble is not the next one's.
pub fn run(args: &CronArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let servers: Vec<&ServerConfig> =
        site.config.servers().filter(|server| is_workable(server, out)).collect();
    for server in servers {
        if let Err(failure) = tend(server, args, site, out) {
            out.failure(&failure);
        }
    }
    clear_locks(site, out);
    out.debug(LEFT_OUT);
    Ok(0)
}

/// What Barman's cron does besides.
const LEFT_OUT: &str = "cron of this release does not do: config-update, delete, retention_policy, \
                        sync-info, sync-backup, sync-wals, hook scripts";

fn tend(
    server: &ServerConfig,
    args: &CronArgs,
    site: &Site,
    out: &mut Reporter,
) -> Result<(), Failure> {
    let name = &server.name;
    let failed = |error: &dyn std::error::Error, hint: Option<String>| {
        Failure::because(format_args!("cannot run cron for server {name}"), error).hint(hint)
    };
    let layout = ServerLayout::new(server);
    layout.create_directories(site.disk.as_ref()).map_err(|error| failed(&error, error.hint()))?;
    let _lock = match LockFile::acquire(&layout.lock(Lock::Cron)) {
        Err(LockError::Held { .. }) => {
            out.info(format_args!(
                "Another cron process is already running on server {name}. Skipping to the next \
                 server"
            ));
            return Ok(());
        }
        result => result.map_err(|error| failed(&error, error.hint()))?,
    };
    let is_held = |lock| match LockFile::holder(&layout.lock(lock)) {
        Ok(None) => Ok(false),
        Ok(Some(_)) | Err(LockError::Held { .. }) => Ok(true),
        Err(error) => Err(failed(&error, error.hint())),
    };
    if is_held(Lock::ArchiveWal)? {
        out.info(format_args!(
            "Another archive-wal process is already running on server {name}. Skipping to the \
             next server"
        ));
    } else {
        out.info(format_args!("Starting WAL archiving for server {name}"));
        start("archive-wal", server, args, site)?;
    }
    if !args.no_receive_wal {
        look_after_receiver(server, is_held(Lock::ReceiveWal)?, args, site, out)?;
    }
    settle_backups(server, &layout, site, out)
}

fn look_after_receiver(
    server: &ServerConfig,
    runs: bool,
    args: &CronArgs,
    site: &Site,
    out: &mut Reporter,
) -> Result<(), Failure> {
    match (server.streaming_archiver, runs) {
        (true, false) => {
            let name = &server.name;
            out.info(format_args!("Starting streaming archiver for server {name}"));
            start("receive-wal", server, args, site)?;
        }
        (false, true) => receive_wal::stop(server, out)?,
        (true, true) | (false, false) => {}
    }
    Ok(())
}

/// Unless a backup is being taken or deleted: then the next run does it.
fn settle_backups(
    server: &ServerConfig,
    layout: &ServerLayout,
    site: &Site,
    out: &mut Reporter,
) -> Result<(), Failure> {
    let name = &server.name;
    let what = format!("cannot check the backups of server {name}");
    let _lock = match LockFile::acquire(&layout.lock(Lock::Backup)) {
        Err(LockError::Held { .. }) => return Ok(()),
        result => result.map_err(|error| Failure::because(&what, &error).hint(error.hint()))?,
    };
    let settled = backup::settle(site.disk.as_ref(), layout)
        .map_err(|error| Failure::because(&what, &error).hint(error.hint()))?;
    for (id, status) in settled {
        out.info(format_args!("Starting check-backup for backup {id} of server {name}"));
        tracing::info!(server = %name, backup = %id, %status, "checked for its WAL");
    }
    Ok(())
}

/// Starts a command of our own for one server. It takes its locks itself: if another one is
/// quicker, this one ends.
fn start(
    command: &str,
    server: &ServerConfig,
    args: &CronArgs,
    site: &Site,
) -> Result<(), Failure> {
    let mut arguments: Vec<OsString> = vec!["--detached".into(), "--config".into()];
    arguments.push(site.config.file.clone().into());
    arguments.extend(site.options.iter().cloned());
    arguments.extend([command.into(), server.name.as_str().into()]);
    let descriptors = if args.keep_descriptors { Descriptors::Kept } else { Descriptors::Closed };
    let number = Detached::own_program(arguments, descriptors)
        .and_then(|program| program.start())
        .map_err(|error| {
            let what = format_args!("cannot start {command} for server {}", server.name);
            Failure::because(what, &error)
        })?;
    tracing::debug!(server = %server.name, command, process = number, "started");
    Ok(())
}

/// At the end, as in Barman. A directory that cannot be cleaned up costs nobody any WAL.
fn clear_locks(site: &Site, out: &mut Reporter) {
    if !site.config.lock_directory_cleanup {
        return;
    }
    let directory = &site.config.lock_directory;
    match repository::clear_locks(site.disk.as_ref(), directory) {
        Ok(removed) => tracing::debug!(removed, "free lock files removed"),
        Err(error) => {
            let what = format_args!("cannot clean up lock directory {}", directory.display());
            out.warning(Failure::because(what, &error).hint(error.hint()));
        }
    }
}
