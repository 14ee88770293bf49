//! `list-files`: what a backup consists of, one path a line.

use clap::{Args, ValueEnum};

use super::{Outcome, Site, catalog, named_backup};
use crate::catalog::{base_files, required_wal};
use crate::output::{Failure, Reporter};
use crate::repository::ServerLayout;

/// Arguments of `list-files`.
#[derive(Args, Clone, Debug)]
pub struct ListFilesArgs {
    /// Which files: those of the copy (data), with the WAL that it needs (standalone), the WAL up
    /// to the next backup (wal), or the copy and all that WAL (full)
    #[arg(long, value_name = "TARGET", default_value = "standalone")]
    pub target: FileTarget,
    /// List empty directories too
    #[arg(long)]
    pub list_empty_directories: bool,
    /// Name of the server
    #[arg(value_name = "SERVER")]
    pub server: String,
    /// Backup id, name, or one of latest, oldest, latest-full, last-failed
    #[arg(value_name = "BACKUP")]
    pub backup: String,
}

/// Barman's words for parts of a backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum FileTarget {
    /// The copy and the WAL that makes it consistent.
    Standalone,
    /// The copy.
    Data,
    /// WAL from its begin to the end of the next backup.
    Wal,
    /// The copy and that WAL.
    Full,
}

/// Lists the files.
pub fn run(args: &ListFilesArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let server = site.server(&args.server)?;
    let catalog = catalog(server, site, out)?;
    let backup = named_backup(&catalog, &args.backup)?;
    let layout = ServerLayout::new(server);
    if args.target != FileTarget::Wal {
        let disk = site.disk.as_ref();
        let files = base_files(disk, &layout, backup.id, args.list_empty_directories);
        let files = files.map_err(|error| {
            let what = format!("cannot list the files of backup {}", backup.id);
            Failure::because(what, &error).hint(error.hint())
        })?;
        files.iter().for_each(|file| out.info(file.display()));
    }
    let wal = match args.target {
        FileTarget::Data => Vec::new(),
        FileTarget::Standalone => required_wal(backup),
        FileTarget::Wal | FileTarget::Full => catalog.wal_until_next(backup),
    };
    wal.into_iter().for_each(|name| out.info(layout.wal(name).display()));
    Ok(0)
}
