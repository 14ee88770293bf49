//! `receive-wal`: receives WAL for as long as it runs, and looks after the slot.

mod reset;
mod slot;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use super::{Outcome, Site, connect, is_workable, runtime};
use crate::config::{CreateSlot, ServerConfig};
use crate::conninfo::Purpose;
use crate::disk::{LockError, LockFile};
use crate::output::{Failure, Reporter};
use crate::receive::{Plan, ReceiveError, serve};
use crate::repository::{Lock, ServerLayout};
use crate::service::Shutdown;
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
        return stop(server, out);
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
    if args.reset { reset::run(server, site, out) } else { receive(server, site, out) }
}

fn receive(server: &ServerConfig, site: &Site, out: &mut Reporter) -> Outcome {
    let name = &server.name;
    out.info(format_args!("Starting receive-wal for server {name}"));
    let layout = ServerLayout::new(server);
    layout.create_directories(site.disk.as_ref()).map_err(|error| {
        Failure::because(format_args!("cannot use the repository of server {name}"), &error)
            .hint(error.hint())
    })?;
    let busy = format!("Another receive-wal process is already running for server {name}.");
    let _lock = lock(&layout, &busy)?;
    warn_of_compression(server, out);
    let plan = Plan {
        disk: Arc::clone(&site.disk),
        layout,
        streaming: connect::options(server, Purpose::Replication)?,
        // Without it a slot of a server before 15 is used without a look at it first.
        sql: connect::options(server, Purpose::Sql).ok(),
        application_name: server.streaming_archiver_name.clone(),
        slot: slot_name(server)?,
        create_slot: server.create_slot == CreateSlot::Auto,
        look_again: Plan::LOOK_AGAIN,
    };
    runtime()?.block_on(async {
        let shutdown = Shutdown::listen()
            .map_err(|error| Failure::because("cannot listen for signals", &error))?;
        serve(&plan, &shutdown).await.map_err(|error| failed(server, &error))
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

fn warn_of_compression(server: &ServerConfig, out: &mut Reporter) {
    let method = server.compression.as_deref().filter(|method| *method != "none");
    if let Some(method) = method {
        out.warning(format_args!(
            "compression = {method} of server {} is not done by this release: WAL is archived \
             as it is, which Barman and tapster read all the same",
            server.name
        ));
    }
}

/// Asks the process that holds the lock to end, and waits until it has.
fn stop(server: &ServerConfig, out: &mut Reporter) -> Outcome {
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
    Ok(0)
}

/// A flush of what was received may take long on a slow disk, but not for ever.
const STOP: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
