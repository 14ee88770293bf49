//! `restore`: a stored backup becomes a data directory.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use jiff::tz::TimeZone;

use super::{Outcome, Site, named_backup, runtime};
use crate::catalog::Catalog;
use crate::config::ServerConfig;
use crate::disk::lock::{LockError, LockFile};
use crate::output::{
    Failure, NoProgress, OutputFormat, Progress, Reporter, ShownProgress, restore_done,
    restore_step,
};
use crate::repository::{BackupInfo, Lock, ServerLayout, ServerName};
use crate::restore::chain;
use crate::restore::choose::newest_before;
use crate::restore::plan::Wishes;
use crate::restore::target::{Goal, TargetAction, TargetTimeline, TargetWords};
use crate::restore::{Job, Observer, Restored, Step, restore};
use crate::service::{Shutdown, now};
use crate::wal::Lsn;

/// Arguments of `restore`.
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// The server in the configuration
    #[arg(value_name = "SERVER")]
    pub server: String,
    /// An id or a name, latest, oldest, or auto: the newest that reaches the target
    #[arg(value_name = "BACKUP")]
    pub backup: String,
    /// The data directory to be made: absent, or empty
    #[arg(value_name = "DIRECTORY")]
    pub destination: PathBuf,
    /// Recover up to this time, as in '2026-11-23 06:33:03+00'
    #[arg(long, value_name = "TIME")]
    pub target_time: Option<String>,
    /// Recover up to this transaction
    #[arg(long, value_name = "XID")]
    pub target_xid: Option<String>,
    /// Recover up to this position in the WAL, as in 0/33CFBD8
    #[arg(long, value_name = "LSN")]
    pub target_lsn: Option<Lsn>,
    /// Recover up to this restore point
    #[arg(long, value_name = "NAME")]
    pub target_name: Option<String>,
    /// Recover no further than consistency needs
    #[arg(long)]
    pub target_immediate: bool,
    /// Recover along this timeline: a number, latest or current
    #[arg(long, value_name = "TIMELINE")]
    pub target_tli: Option<TargetTimeline>,
    /// Stop just before the target time, transaction or position
    #[arg(long)]
    pub exclusive: bool,
    /// What the server does at the target: pause, promote or shutdown
    #[arg(long, value_name = "ACTION")]
    pub target_action: Option<TargetAction>,
    /// Put a tablespace elsewhere (may be given more than once)
    #[arg(long, value_name = "NAME:LOCATION")]
    pub tablespace: Vec<String>,
    /// Come up as a standby that waits for more WAL
    #[arg(long)]
    pub standby_mode: bool,
}

/// Scripts that Barman runs around a restore.
const HOOKS: [&str; 4] = [
    "pre_recovery_script",
    "pre_recovery_retry_script",
    "post_recovery_script",
    "post_recovery_retry_script",
];

/// Restores, and reports what was done.
pub fn run(args: &RestoreArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let server = site.server(&args.server)?;
    if server.disabled {
        let why = server.errors.join("; ");
        return Err(Failure::new(format_args!("server {} is disabled: {why}", server.name)));
    }
    name_what_is_not_done(server, out);
    let clock = Instant::now();
    let wishes = wishes(args, out)?;
    let layout = ServerLayout::new(server);
    let chain = find(args, site, &layout, &wishes.goal, out)?;
    let restored = guarded(site, server, &layout, &chain, &wishes, out)?;
    restore_done(out, &restored, clock.elapsed());
    if restored.plan.tablespaces.iter().any(|tablespace| tablespace.in_place) {
        out.warning(
            "there are in-place tablespaces: start the server with \
             allow_in_place_tablespaces = on until its recovery has ended, or it refuses them",
        );
    }
    if rustix::process::geteuid().is_root() {
        out.warning(
            "the restored files belong to root: give them, tablespaces included, to the user who \
             runs the server before you start it",
        );
    }
    Ok(0)
}

/// Options of Barman that ask for something this version does not do.
fn name_what_is_not_done(server: &ServerConfig, out: &mut Reporter) {
    for option in server.recovery_options.iter().filter(|option| *option == "get-wal") {
        out.warning(format_args!(
            "recovery_options has {option}: WAL is copied into the restored directory instead"
        ));
    }
    for hook in HOOKS.into_iter().filter(|hook| server.settings.get(hook).is_some()) {
        out.warning(format_args!("{hook} is set, and is not run"));
    }
}

fn wishes(args: &RestoreArgs, out: &mut Reporter) -> Result<Wishes, Failure> {
    let words = TargetWords {
        time: args.target_time.clone(),
        xid: args.target_xid.clone(),
        lsn: args.target_lsn,
        name: args.target_name.clone(),
        immediate: args.target_immediate,
    };
    let (target, zone_assumed) =
        words.resolve(&TimeZone::system()).map_err(|error| Failure::of(&error))?;
    if zone_assumed {
        out.warning(
            "No time zone has been specified through '--target-time' command-line option. \
             Tapster assumed the same time zone from the Tapster host.",
        );
    }
    let goal = Goal {
        target,
        timeline: args.target_tli,
        exclusive: args.exclusive,
        action: args.target_action,
        standby: args.standby_mode,
    };
    let destination = absolute(&args.destination)?;
    Ok(Wishes { destination, relocations: args.tablespace.clone(), goal })
}

/// The destination without symbolic links and dots: what is written into the configuration
/// must mean the same wherever the server is started from.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let fails = |error: std::io::Error| {
        Failure::because(format_args!("cannot use the destination {}", path.display()), &error)
    };
    let path = std::path::absolute(path).map_err(fails)?;
    for existing in path.ancestors() {
        match std::fs::canonicalize(existing) {
            Ok(real) => {
                let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
                if rest.components().any(|part| part == std::path::Component::ParentDir) {
                    let shown = path.display();
                    return Err(Failure::new(format_args!("{shown} leads through nothing")));
                }
                return Ok(real.components().chain(rest.components()).collect());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(fails(error)),
        }
    }
    Ok(path)
}

fn find(
    args: &RestoreArgs,
    site: &Site,
    layout: &ServerLayout,
    goal: &Goal,
    out: &mut Reporter,
) -> Result<Chain, Failure> {
    let catalog = Catalog::load(site.disk.as_ref(), layout)
        .map_err(|error| Failure::of(&error).hint(error.hint()))?;
    // Metadata that nobody understands must not silently make another backup the latest.
    for (id, error) in catalog.damaged() {
        if *id.as_str() == *args.backup {
            return Err(Failure::of(error).hint(error.hint()));
        }
        out.warning(format_args!("backup {id} is passed over: {error}"));
    }
    let found = if args.backup == "auto" {
        newest_before(catalog.copied(), goal)
            .map_err(|error| Failure::of(&error).hint(error.hint()))?
    } else {
        named_backup(&catalog, &args.backup)?
    };
    let ancestors = chain::ancestors(found, |id| catalog.get(id))
        .map_err(|error| Failure::of(&error).hint(error.hint()))?;
    Ok(Chain { backup: found.clone(), ancestors })
}

/// A backup, and those that it stands on, its parent first.
struct Chain {
    backup: BackupInfo,
    ancestors: Vec<BackupInfo>,
}

/// Restores in a thread of its own, so that this one can hear signals, and under Barman's
/// lock, so that nobody deletes the backup, or one that it stands on, meanwhile.
fn guarded(
    site: &Site,
    server: &ServerConfig,
    layout: &ServerLayout,
    chain: &Chain,
    wishes: &Wishes,
    out: &mut Reporter,
) -> Result<Restored, Failure> {
    let Chain { backup: info, ancestors } = chain;
    let mut locks = Vec::new();
    for backup in [info].into_iter().chain(ancestors) {
        let taken = lock(&layout.lock(Lock::OneBackup(backup.id)));
        locks.push(taken.map_err(|error| Failure::of(&error).hint(error.hint()))?);
    }
    let runtime = runtime()?;
    let shutdown = runtime
        .block_on(async { Shutdown::listen() })
        .map_err(|error| Failure::because("cannot listen to signals", &error))?;
    let disk = site.disk.as_ref();
    let job = Job { repository: disk, target: disk, layout, info, ancestors, wishes };
    let mut voice = Voice { server: &server.name, out, shutdown, progress: None };
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    let started = now();
    let outcome = std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("restore".to_owned())
            .spawn_scoped(scope, || {
                let outcome = restore(&job, &mut voice, started);
                drop(done);
                outcome
            })
            .map_err(|error| Failure::because("cannot start a thread", &error))?;
        // The sender says nothing; that it is gone is the message.
        let _ = runtime.block_on(is_done);
        worker.join().map_err(|_| Failure::new("the restore ended with a defect of Tapster"))
    })?;
    outcome.map_err(|error| Failure::of(&error).hint(error.hint()))
}

/// Takes the lock. A repository that is mounted read-only, perhaps because it is the last copy,
/// takes no lock file, and nobody can delete a backup from it either.
fn lock(path: &Path) -> Result<Option<LockFile>, LockError> {
    match LockFile::acquire(path) {
        Err(LockError::Disk(error)) if error.is_read_only() => {
            tracing::info!(path = %path.display(), "no lock is taken on a read-only file system");
            Ok(None)
        }
        taken => taken.map(Some),
    }
}

/// What the user hears while a restore runs.
struct Voice<'v> {
    server: &'v ServerName,
    out: &'v mut Reporter,
    shutdown: Shutdown,
    progress: Option<ShownProgress>,
}

impl Observer for Voice<'_> {
    fn step(&mut self, step: &Step<'_>) {
        // The bar must be gone before a line is printed.
        self.progress = None;
        restore_step(self.out, self.server, step);
        if self.out.format() == OutputFormat::Console && !self.out.quiet() {
            self.progress = Some(ShownProgress::start(&format!("restore of {}", self.server)));
        }
    }

    fn warning(&mut self, text: &str) {
        self.progress = None;
        self.out.warning(text);
    }

    fn interrupted(&self) -> bool {
        self.shutdown.requested()
    }

    fn progress(&self) -> &dyn Progress {
        match &self.progress {
            Some(progress) => progress,
            None => &NoProgress,
        }
    }
}
