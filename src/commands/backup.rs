//! `backup`: a base backup of each server, with the WAL that makes it consistent.

use std::time::Duration;

use clap::Args;

use super::{Outcome, Site, connect, is_workable, runtime};
use crate::backup::{self, BackupError, Plan, Wait, wishes};
use crate::catalog::parse_backup_name;
use crate::config::ServerConfig;
use crate::conninfo::{ConnectOptions, Purpose};
use crate::net;
use crate::output::{self, Failure, NoProgress, Progress, Reporter, ShownProgress};
use crate::repository::ServerLayout;
use crate::service::Shutdown;
use crate::wire::Checkpoint;

/// Arguments of `backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// The servers, or `all`
    #[arg(required = true, value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Call the backup this, as well as by its id
    #[arg(long, value_name = "NAME", value_parser = parse_backup_name)]
    pub name: Option<String>,
    /// Wait until all WAL that the backup needs is archived
    #[arg(short, long)]
    pub wait: bool,
    /// Wait no longer than this, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub wait_timeout: Option<u64>,
    /// Begin with a checkpoint at once, instead of one at the server's pace
    #[arg(long, overrides_with = "no_immediate_checkpoint")]
    pub immediate_checkpoint: bool,
    /// Begin with a checkpoint at the server's pace
    #[arg(long, overrides_with = "immediate_checkpoint")]
    pub no_immediate_checkpoint: bool,
    /// Receive no more than this many KiB a second
    #[arg(long, value_name = "KBPS")]
    pub bwlimit: Option<u32>,
    /// Accepted for Barman's sake: one stream carries everything
    #[arg(short, long, value_name = "NUMBER", hide = true)]
    pub jobs: Option<u32>,
    /// Back up only what changed since this backup (not in this release)
    #[arg(long, value_name = "BACKUP", hide = true)]
    pub incremental: Option<String>,
}

/// Backs each server up. One server's trouble is not the next one's.
pub fn run(args: &BackupArgs, site: &Site, out: &mut Reporter) -> Outcome {
    if let Some(parent) = &args.incremental {
        let error = BackupError::Unsupported {
            option: "--incremental",
            value: parent.clone(),
            instead: "take a full backup; incremental ones come in a later release",
        };
        return Err(Failure::of(&error).hint(error.hint()));
    }
    let runtime = runtime()?;
    runtime.block_on(async {
        let shutdown = Shutdown::listen()
            .map_err(|error| Failure::because("cannot listen for signals", &error))?;
        for server in site.servers(&args.servers)? {
            if !is_workable(server, out) {
                continue;
            }
            if let Err(failure) = back_up(args, site, server, &shutdown, out).await {
                out.failure(&failure);
            }
            if shutdown.requested() {
                break;
            }
        }
        Ok(0)
    })
}

async fn back_up(
    args: &BackupArgs,
    site: &Site,
    server: &ServerConfig,
    shutdown: &Shutdown,
    out: &mut Reporter,
) -> Result<(), Failure> {
    let name = &server.name;
    let plan = plan(args, site, server)?;
    for sentence in wishes::without_effect(server) {
        out.warning(format_args!("server {name}: {sentence}"));
    }
    let progress: Box<dyn Progress> = match out.quiet() {
        true => Box::new(NoProgress),
        false => Box::new(ShownProgress::start(&format!("backup of {name}"))),
    };
    let mut copied = false;
    let mut begun = false;
    let mut tell = |milestone| {
        begun |= matches!(milestone, backup::Milestone::Starting { .. });
        copied |= matches!(milestone, backup::Milestone::Stored { .. });
        output::backup_milestone(out, name, &milestone);
    };
    let taken = backup::take(&plan, shutdown, progress.as_ref(), &mut tell).await;
    // Off the screen before anything else is said.
    drop(progress);
    let report = taken.map_err(|error| {
        let what = match (begun, copied) {
            (false, _) => format!("cannot back up server {name}"),
            (true, false) => "Backup failed copying files.".to_owned(),
            (true, true) => format!("cannot secure the WAL of the backup of server {name}"),
        };
        Failure::because(what, &error).hint(error.hint())
    })?;
    output::backup(out, &report, plan.wait.timeout);
    Ok(())
}

fn plan(args: &BackupArgs, site: &Site, server: &ServerConfig) -> Result<Plan, Failure> {
    wishes::check(server).map_err(|error| {
        let what = format!("cannot back up server {}", server.name);
        Failure::because(what, &error).hint(error.hint())
    })?;
    let immediate = match (args.immediate_checkpoint, args.no_immediate_checkpoint) {
        (true, _) => true,
        (_, true) => false,
        _ => server.immediate_checkpoint,
    };
    let limit = wishes::max_rate_kib(server);
    Ok(Plan {
        disk: site.disk.clone(),
        layout: ServerLayout::new(server),
        streaming: connect::options(server, Purpose::Replication)?,
        sql: connect::options(server, Purpose::Sql)?,
        primary: primary(server)?,
        application_name: server.streaming_backup_name.clone(),
        name: args.name.clone(),
        checkpoint: if immediate { Checkpoint::Fast } else { Checkpoint::Spread },
        max_rate_kib: args.bwlimit.or(limit).filter(|limit| *limit > 0),
        continues_wal: server.streaming_archiver,
        wait: Wait {
            asked: args.wait || args.wait_timeout.is_some(),
            timeout: args.wait_timeout.map(Duration::from_secs),
        },
        silence: backup::SILENCE,
    })
}

/// The primary of a standby, if it is configured.
fn primary(server: &ServerConfig) -> Result<Option<ConnectOptions>, Failure> {
    let Some(conninfo) = &server.primary_conninfo else { return Ok(None) };
    net::resolve(conninfo.expose(), Purpose::Sql).map(Some).map_err(|error| {
        let what = format!("cannot use primary_conninfo of server {}", server.name);
        Failure::because(what, &error).hint(error.hint())
    })
}
