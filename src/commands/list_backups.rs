//! `list-backups`: what is there to restore from.

use clap::Args;

use super::{Outcome, Site, catalog, standings};
use crate::output::{Reporter, list_backups};

/// Arguments of `list-backups`.
#[derive(Args, Clone, Debug)]
pub struct ListBackupsArgs {
    /// Print backup ids only
    #[arg(long)]
    pub minimal: bool,
    /// Names of servers, or `all`
    #[arg(value_name = "SERVER", required = true)]
    pub servers: Vec<String>,
}

/// Lists the backups of each server, newest first.
pub fn run(args: &ListBackupsArgs, site: &Site, out: &mut Reporter) -> Outcome {
    for server in site.servers(&args.servers)? {
        let catalog = catalog(server, site, out)?;
        let standings = standings(server, &catalog, out);
        list_backups(out, &catalog, &|backup| standings.get(&backup.id).copied(), args.minimal);
    }
    Ok(0)
}
