//! `switch-wal`: has the server close its current WAL segment.

use std::time::{Duration, Instant};

use clap::Args;

use super::{Outcome, Site, archive_settings, connect, is_workable, runtime};
use crate::archive::Archiver;
use crate::config::ServerConfig;
use crate::disk::LockFile;
use crate::net::{NetError, SqlClient};
use crate::output::{Failure, Reporter};
use crate::repository::{Lock, ServerLayout};
use crate::wal::{Lsn, SegmentName, WalFileName};

/// Arguments of `switch-wal`.
#[derive(Args, Clone, Debug)]
pub struct SwitchWalArgs {
    /// The servers, or `all`
    #[arg(required = true, value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Have the server make a checkpoint first, so that there is something to close
    #[arg(long)]
    pub force: bool,
    /// Wait until the closed segment is in the archive
    #[arg(long)]
    pub archive: bool,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub archive_timeout: u64,
}

/// Closes the current segment of each server.
pub fn run(args: &SwitchWalArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let runtime = runtime()?;
    for server in site.servers(&args.servers)? {
        if !is_workable(server, out) {
            continue;
        }
        // One server's trouble is not the next one's.
        match runtime.block_on(switch(server, args.force)) {
            Ok(switched) => {
                switched.report(server, out);
                if let (true, Switched::Closed(segment)) = (args.archive, switched) {
                    wait_for(segment, server, site, args, out)?;
                }
            }
            Err(failure) => out.failure(&failure),
        }
    }
    Ok(0)
}

/// What became of the wish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Switched {
    Closed(SegmentName),
    NothingWritten,
    Standby,
}

impl Switched {
    fn report(self, server: &ServerConfig, out: &mut Reporter) {
        let name = &server.name;
        match self {
            Switched::Closed(segment) => {
                out.info(format_args!("The WAL file {segment} has been closed on server '{name}'"))
            }
            Switched::NothingWritten => {
                out.info(format_args!("No switch required for server '{name}'"));
            }
            Switched::Standby => {
                out.info(format_args!("No switch performed because server '{name}' is a standby."))
            }
        }
    }
}

async fn switch(server: &ServerConfig, force: bool) -> Result<Switched, Failure> {
    let sql = connect::sql(server).await?;
    ask(&sql, force).await.map_err(|error| {
        let name = &server.name;
        Failure::because(
            format_args!("Unable to perform pg_switch_wal for server '{name}'."),
            &error,
        )
        .hint(error.hint())
    })
}

async fn ask(sql: &SqlClient, force: bool) -> Result<Switched, NetError> {
    const WHAT: &str = "switch the WAL segment";
    if sql.value(WHAT, "SELECT pg_catalog.pg_is_in_recovery()").await? == "t" {
        return Ok(Switched::Standby);
    }
    if force {
        sql.rows("make a checkpoint", "CHECKPOINT").await?;
    }
    let before = sql.value(WHAT, "SELECT pg_catalog.pg_current_wal_insert_lsn()").await?;
    // The position behind the switch record; where nothing was written since the last switch,
    // the start of the current segment. Manual, "Backup Control Functions".
    let after = sql.value(WHAT, "SELECT pg_catalog.pg_switch_wal()").await?;
    let parse = |text: &str| text.parse::<Lsn>().map_err(|_| sql.missing(WHAT, "position"));
    let (before, after) = (parse(&before)?, parse(&after)?);
    if after <= before {
        return Ok(Switched::NothingWritten);
    }
    // pg_walfile_name counts an exact boundary to the segment before, which is the closed one.
    let statement = format!("SELECT pg_catalog.pg_walfile_name('{after}')");
    let name = sql.value(WHAT, &statement).await?;
    name.parse().map(Switched::Closed).map_err(|_| sql.missing(WHAT, "segment name"))
}

fn wait_for(
    segment: SegmentName,
    server: &ServerConfig,
    site: &Site,
    args: &SwitchWalArgs,
    out: &mut Reporter,
) -> Result<(), Failure> {
    let (name, seconds) = (&server.name, args.archive_timeout);
    out.info(format_args!(
        "Waiting for the WAL file {segment} from server '{name}' (max: {seconds} seconds)"
    ));
    let layout = ServerLayout::new(server);
    layout
        .create_directories(&*site.disk)
        .map_err(|error| Failure::of(&error).hint(error.hint()))?;
    let path = layout.wal(WalFileName::Segment(segment));
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut archiver = Archiver::new(site.disk.clone(), layout.clone(), archive_settings(server)?);
    loop {
        // With a receiver the segment arrives by itself; a sweep does for one that was left.
        if receiver_runs(&layout).is_none()
            && let Err(error) = archiver.sweep()
            && !error.is_busy()
        {
            let what = format_args!("cannot archive WAL of server {name}");
            return Err(Failure::because(what, &error).hint(error.hint()));
        }
        let there = site.disk.stat(&path).map_err(|error| Failure::of(&error))?;
        if there.is_some() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let what = format!("The WAL file {segment} has not been received in {seconds} seconds");
            out.failure(&Failure::new(what).hint(match receiver_runs(&layout) {
                Some(_) => format!("look at the log of receive-wal; tapster check {name}"),
                None => format!("no receiver runs: tapster receive-wal {name}"),
            }));
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
}

/// The process of the server's receiver, if one runs.
fn receiver_runs(layout: &ServerLayout) -> Option<u32> {
    LockFile::holder(&layout.lock(Lock::ReceiveWal)).ok().flatten()
}

const POLL: Duration = Duration::from_millis(100);
