//! `verify-backup`: a stored backup against its manifest; and `generate-manifest`, for backups
//! without one.

use std::num::NonZeroUsize;

use clap::Args;

use super::{Outcome, Site, catalog, named_backup};
use crate::output::{self, Failure, NoProgress, Progress, Reporter, ShownProgress};
use crate::repository::ServerLayout;
use crate::verify;

/// Arguments of `verify-backup` and of `generate-manifest`.
#[derive(Args, Clone, Debug)]
pub struct VerifyBackupArgs {
    /// Read so many files at once; by default as many as there are processors
    #[arg(short, long, value_name = "NUMBER")]
    pub jobs: Option<NonZeroUsize>,
    /// Name of the server
    #[arg(value_name = "SERVER")]
    pub server: String,
    /// Backup id, name, or one of latest, oldest, latest-full
    #[arg(value_name = "BACKUP")]
    pub backup: String,
}

/// Verifies a backup, and names everything that is wrong with it.
pub fn run(args: &VerifyBackupArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let server = site.server(&args.server)?;
    let catalog = catalog(server, site, out)?;
    let backup = named_backup(&catalog, &args.backup)?;
    output::verify_begins(out, &args.backup, &server.name);
    let layout = ServerLayout::new(server);
    let progress = progress(out, &format!("verification of {}", backup.id));
    let disk = site.disk.as_ref();
    let verified = verify::verify(disk, &layout, backup, jobs(args), progress.as_ref());
    // Off the screen before anything else is said.
    drop(progress);
    let verified = verified.map_err(|error| {
        let data = layout.data(backup.id);
        let what = format!("verify backup failure on directory '{}'", data.display());
        Failure::because(what, &error).hint(error.hint())
    })?;
    output::verified(out, &verified, &layout.data(backup.id));
    Ok(0)
}

/// Writes a manifest.
pub fn generate_manifest(args: &VerifyBackupArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let server = site.server(&args.server)?;
    let catalog = catalog(server, site, out)?;
    let backup = named_backup(&catalog, &args.backup)?;
    let layout = ServerLayout::new(server);
    let progress = progress(out, &format!("manifest of {}", backup.id));
    let disk = site.disk.as_ref();
    let histories = catalog.histories();
    let made = verify::generate(disk, &layout, backup, histories, jobs(args), progress.as_ref());
    drop(progress);
    let made = made.map_err(|error| {
        let what = format!("cannot generate a manifest for backup {}", backup.id);
        Failure::because(what, &error).hint(error.hint())
    })?;
    output::manifest_generated(out, &args.backup, &server.name, &made);
    Ok(0)
}

fn jobs(args: &VerifyBackupArgs) -> usize {
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok());
    jobs.map_or(1, NonZeroUsize::get)
}

fn progress(out: &Reporter, what: &str) -> Box<dyn Progress> {
    match out.quiet() {
        true => Box::new(NoProgress),
        false => Box::new(ShownProgress::start(what)),
    }
}
