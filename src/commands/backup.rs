//! `backup`: a base backup of each server, with the WAL that makes it consistent.

use std::time::Duration;

use clap::Args;

use super::backup_options::CopyOptions;
use super::{Outcome, Site, archive_settings, connect, is_workable, runtime};
use crate::backup::{self, BackupError, ClusterSize, Limits, Plan, Wait, wishes};
use crate::catalog::parse_backup_name;
use crate::config::ServerConfig;
use crate::conninfo::{ConnectOptions, Purpose};
use crate::net;
use crate::output::{self, Failure, NoProgress, Progress, ProgressForm, Reporter, ShownProgress};
use crate::repository::{BackupInfo, ServerLayout, backup_info};
use crate::service::Shutdown;
use crate::wire::{Checkpoint, SlotName};

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
    /// Take the backup even if pages of the cluster are damaged; they are put on record
    #[arg(long)]
    pub allow_damaged_pages: bool,
    /// Receive no more than this many KiB a second; 0 for no limit
    #[arg(long, value_name = "KBPS")]
    pub bwlimit: Option<u32>,
    /// Pack archives with so many threads; by default as many as there are processors, up to 8
    #[arg(short, long, value_name = "NUMBER")]
    pub jobs: Option<u32>,
    /// How it is taken
    #[command(flatten)]
    pub copy: CopyOptions,
    /// Back up only what has changed since this backup: an id, a name, latest or last-full
    #[arg(long, value_name = "BACKUP")]
    pub incremental: Option<String>,
}

/// Backs each server up. One server's trouble is not the next one's.
pub fn run(args: &BackupArgs, site: &Site, out: &mut Reporter) -> Outcome {
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
    let mut plan = plan(args, site, server)?;
    plan.size = size(args, &plan, out);
    for sentence in wishes::without_effect(server) {
        out.warning(format_args!("server {name}: {sentence}"));
    }
    if args.copy.dry_run {
        output::rehearsal(out, name, &backup::rehearse(&plan).await);
        return Ok(());
    }
    let what = format!("backup of {name}");
    let progress: Box<dyn Progress> = match shown(args, out) {
        ProgressForm::None => Box::new(NoProgress),
        form => Box::new(ShownProgress::start_as(form, &what)),
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
    let refuse = |error: BackupError| {
        let what = format!("cannot back up server {}", server.name);
        Failure::because(what, &error).hint(error.hint())
    };
    let method = args.copy.method(server).map_err(refuse)?;
    wishes::check(server, method).map_err(refuse)?;
    let immediate = match (args.immediate_checkpoint, args.no_immediate_checkpoint) {
        (true, _) => true,
        (_, true) => false,
        _ => server.immediate_checkpoint,
    };
    let (max_rate_kib, limits) = Limits::choose(server, args.bwlimit).map_err(refuse)?;
    let slot = server.slot_name.as_deref().filter(|_| server.streaming_archiver);
    Ok(Plan {
        disk: site.disk.clone(),
        layout: ServerLayout::new(server),
        streaming: connect::options(server, Purpose::Replication)?,
        sql: connect::options(server, Purpose::Sql)?,
        primary: primary(server)?,
        application_name: server.streaming_backup_name.clone(),
        name: args.name.clone(),
        form: wishes::form(server, args.jobs).map_err(refuse)?,
        checkpoint: if immediate { Checkpoint::Fast } else { Checkpoint::Spread },
        max_rate_kib,
        incremental: args.incremental.clone(),
        allow_damaged_pages: args.allow_damaged_pages,
        limits,
        checksums: args.copy.checksums(server),
        label: args.copy.label.clone(),
        receiver_slot: slot.and_then(|name| SlotName::new(name).ok()),
        size: ClusterSize::default(),
        retries: args.copy.retries(server),
        continues_wal: server.streaming_archiver,
        archive: archive_settings(server)?,
        wait: Wait {
            asked: args.wait || args.wait_timeout.is_some(),
            timeout: args.wait_timeout.map(Duration::from_secs),
        },
        silence: backup::SILENCE,
    })
}

/// How progress is shown.
fn shown(args: &BackupArgs, out: &Reporter) -> ProgressForm {
    match args.copy.progress {
        ProgressForm::Auto if out.quiet() => ProgressForm::None,
        form => form,
    }
}

/// Where the size of the cluster is to come from. It costs the server a look at every file: only
/// what is shown is asked for, and only when no backup before tells.
fn size(args: &BackupArgs, plan: &Plan, out: &Reporter) -> ClusterSize {
    if args.copy.dry_run {
        return ClusterSize::Asked;
    }
    if shown(args, out) == ProgressForm::None {
        return ClusterSize::Unknown;
    }
    let disk = plan.disk.as_ref();
    let ids = backup_info::list_ids(disk, &plan.layout).unwrap_or_default();
    let known = ids.into_iter().rev().find_map(|id| {
        let info = BackupInfo::read(disk, &plan.layout, id).ok()?;
        info.cluster_size.filter(|_| info.is_copied())
    });
    known.map_or(ClusterSize::Asked, ClusterSize::Known)
}

/// The primary of a standby, if it is configured.
fn primary(server: &ServerConfig) -> Result<Option<ConnectOptions>, Failure> {
    let Some(conninfo) = &server.primary_conninfo else { return Ok(None) };
    net::resolve(conninfo.expose(), Purpose::Sql).map(Some).map_err(|error| {
        let what = format!("cannot use primary_conninfo of server {}", server.name);
        Failure::because(what, &error).hint(error.hint())
    })
}
