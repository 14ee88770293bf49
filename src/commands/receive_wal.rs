//! `receive-wal`: receives WAL for as long as it runs, and looks after the slot.

mod plan;
mod reset;
mod slot;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use self::plan::Fixed;
use super::{Outcome, Site, is_workable, runtime};
use crate::config::ServerConfig;
use crate::disk::{LockError, LockFile};
use crate::output::{Failure, Reporter};
use crate::receive::{ReceiveError, serve};
use crate::repository::{Lock, ServerLayout};
use crate::service::{Hangups, Manager, Shutdown};
use crate::wire::SlotName;

/// Arguments of `receive-wal`.
#[derive(Args, Clone, Debug)]
pub struct ReceiveWalArgs {
    /// The server
    #[arg(value_name = "SERVER")]
    pub server: String,
    /// Stop the running receiver of the server
    #[arg(long)]
    pub stop: bool,
    /// Begin anew at the slot's position, accepting a gap in the archive
    #[arg(long)]
    pub reset: bool,
    /// Create the replication slot, which keeps WAL from then on
    #[arg(long)]
    pub create_slot: bool,
    /// With --create-slot: a slot that exists is no error
    #[arg(long)]
    pub if_not_exists: bool,
    /// Drop the replication slot
    #[arg(long)]
    pub drop_slot: bool,
    /// Say in this file, as JSON, how the receiver is; replaced about once a second
    #[arg(long, value_name = "FILE")]
    pub status_file: Option<PathBuf>,
}

impl ReceiveWalArgs {
    /// Whether this is the long runner, and not one of its small services.
    pub fn receives(&self) -> bool {
        !(self.stop || self.reset || self.create_slot || self.drop_slot)
    }
}

/// Does the one thing that was asked for.
pub fn run(args: &ReceiveWalArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let server = site.server(&args.server)?;
    if args.stop && args.reset {
        return Err(Failure::new("--stop and --reset options are not compatible"));
    }
    if !is_workable(server, out) {
        return Ok(0);
    }
    if args.stop {
        return stop(server, out).map(|()| 0);
    }
    if args.create_slot {
        return slot::create(server, args.if_not_exists, out);
    }
    if args.drop_slot {
        return slot::drop(server, out);
    }
    if !server.streaming_archiver {
        return Err(Failure::new(
            "Unable to start receive-wal process: streaming_archiver option set to 'off' in \
             barman configuration file",
        ));
    }
    if args.reset { reset::run(server, site, out) } else { receive(args, server, site, out) }
}

fn receive(
    args: &ReceiveWalArgs,
    server: &ServerConfig,
    site: &Site,
    out: &mut Reporter,
) -> Outcome {
    let name = &server.name;
    out.info(format_args!("Starting receive-wal for server {name}"));
    let layout = ServerLayout::new(server);
    layout.create_directories(site.disk.as_ref()).map_err(|error| {
        Failure::because(format_args!("cannot use the repository of server {name}"), &error)
            .hint(error.hint())
    })?;
    let busy = format!("Another receive-wal process is already running for server {name}.");
    let _lock = lock(&layout, &busy)?;
    let status_file = args.status_file.as_deref().map(plan::absolute).transpose()?;
    let fixed = Fixed { site, meters: Arc::default(), status_file };
    let (sender, plans) = watch::channel(Arc::new(fixed.plan(server, 0)?));
    let manager = Manager::default();
    runtime()?.block_on(async {
        let deaf = |error| Failure::because("cannot listen for signals", &error);
        let shutdown = Shutdown::listen().map_err(deaf)?;
        let hangups = Hangups::listen().map_err(deaf)?;
        tokio::select! {
            result = serve(plans, &shutdown, &manager) => {
                result.map_err(|error| failed(server, &error))
            }
            never = fixed.follow(hangups, server, sender, &manager) => match never {},
        }
    })?;
    Ok(0)
}

/// The receiver's lock, or the sentence for when it is taken.
fn lock(layout: &ServerLayout, busy: &str) -> Result<LockFile, Failure> {
    LockFile::acquire(&layout.lock(Lock::ReceiveWal)).map_err(|error| match error {
        LockError::Held { .. } => Failure::new(busy),
        LockError::Disk(error) => Failure::of(&error).hint(error.hint()),
    })
}

fn failed(server: &ServerConfig, error: &ReceiveError) -> Failure {
    let name = &server.name;
    Failure::because(format_args!("cannot receive WAL from server {name}"), error)
        .hint(error.hint())
}

fn slot_name(server: &ServerConfig) -> Result<Option<SlotName>, Failure> {
    let Some(name) = &server.slot_name else { return Ok(None) };
    SlotName::new(name).map(Some).map_err(|error| {
        Failure::because(format_args!("cannot use slot_name of server {}", server.name), &error)
            .hint(error.hint())
    })
}

/// Asks the process that holds the lock to end, and waits until it has.
pub(super) fn stop(server: &ServerConfig, out: &mut Reporter) -> Result<(), Failure> {
    let name = &server.name;
    let path = ServerLayout::new(server).lock(Lock::ReceiveWal);
    let none = || {
        Failure::new(format_args!(
            "Termination of receive-wal failed: no such process for server {name}"
        ))
    };
    let number = LockFile::holder(&path)
        .map_err(|error| {
            Failure::because(format_args!("cannot stop receive-wal of {name}"), &error)
        })?
        .ok_or_else(none)?;
    let process = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or_else(none)?;
    match kill_process(process, Signal::TERM) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Err(none()),
        Err(error) => {
            let error = std::io::Error::from(error);
            let what = format!("cannot signal process receive-wal({number})");
            return Err(Failure::because(what, &error));
        }
    }
    let deadline = Instant::now() + STOP;
    while matches!(LockFile::holder(&path), Ok(Some(holder)) if holder == number) {
        if Instant::now() >= deadline {
            return Err(Failure::new(format_args!(
                "process receive-wal({number}) was told to stop and has not yet, after {} s",
                STOP.as_secs()
            )));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    out.info(format_args!("Stopped process receive-wal({number})"));
    Ok(())
}

/// A flush of what was received may take long on a slow disk, but not for ever.
const STOP: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
