//! `show-backup`: everything that is known of one backup.

use clap::Args;

use super::{Outcome, Site, catalog, named_backup, standings};
use crate::output::{Failure, Reporter, show_backup};
use crate::repository::{KnownDamage, KnownLimits, ServerLayout};

/// Arguments of `show-backup`.
#[derive(Args, Clone, Debug)]
pub struct ShowBackupArgs {
    /// Name of the server
    #[arg(value_name = "SERVER")]
    pub server: String,
    /// Backup id, name, or one of latest, oldest, latest-full, last-failed
    #[arg(value_name = "BACKUP")]
    pub backup: String,
}

/// Shows one backup.
pub fn run(args: &ShowBackupArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let server = site.server(&args.server)?;
    let catalog = catalog(server, site, out)?;
    let backup = named_backup(&catalog, &args.backup)?;
    let retention = match &server.retention_policy {
        None => "not enforced",
        // A backup that takes no part in the policy has a dash.
        Some(_) => standings(server, &catalog, out).get(&backup.id).map_or("-", |own| own.word()),
    };
    show_backup(out, &catalog, backup, retention);
    let layout = ServerLayout::new(server);
    let damage = KnownDamage::read(site.disk.as_ref(), &layout, backup.id)
        .map_err(|error| Failure::of(&error).hint(error.hint()))?;
    if let Some(damage) = damage {
        out.warning(format_args!("the backup holds damage of its cluster: {damage}"));
    }
    // Where others took it, Barman's own output stays as it is: restore says what is not known.
    let limits = KnownLimits::on_record(site.disk.as_ref(), &layout, backup.id)
        .map_err(|error| Failure::of(&error).hint(error.hint()))?;
    if let Some(KnownLimits::Unknown(why)) = limits {
        out.warning(format_args!(
            "it is not known where tables were cut off since the parent of this backup: {why}"
        ));
    }
    Ok(0)
}
