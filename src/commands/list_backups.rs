//! `list-backups`: what is there to restore from.

use clap::Args;

use super::{Outcome, Site, standings};
use crate::catalog::Catalog;
use crate::output::{Failure, Reporter, list_backups};
use crate::repository::ServerLayout;

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
        let layout = ServerLayout::new(server);
        let catalog = Catalog::load(site.disk.as_ref(), &layout).map_err(|error| {
            let what = format!("cannot read the catalogue of server {}", server.name);
            Failure::because(what, &error).hint(error.hint())
        })?;
        super::report_damaged(&catalog, out);
        let standings = standings(server, &catalog, out);
        list_backups(out, &catalog, &|backup| standings.get(&backup.id).copied(), args.minimal);
    }
    Ok(0)
}
