//! `archive-wal`: archives what was left in `streaming/` and what came to `incoming/`.

use clap::Args;

use super::{Outcome, Site, archive_settings, is_workable};
use crate::archive::{ArchiveError, Archiver, Inbox};
use crate::output::{Failure, Reporter};
use crate::repository::ServerLayout;

/// Arguments of `archive-wal`.
#[derive(Args, Clone, Debug)]
pub struct ArchiveWalArgs {
    /// The server
    #[arg(value_name = "SERVER")]
    pub server: String,
}

/// Archives both, as far as the configuration wants them archived.
pub fn run(args: &ArchiveWalArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let server = site.server(&args.server)?;
    if !is_workable(server, out) {
        return Ok(0);
    }
    let name = &server.name;
    let layout = ServerLayout::new(server);
    layout.create_directories(site.disk.as_ref()).map_err(|error| {
        Failure::because(format_args!("cannot use the repository of server {name}"), &error)
            .hint(error.hint())
    })?;
    let mut archiver = Archiver::new(site.disk.clone(), layout, archive_settings(server)?);
    let failed = |error: ArchiveError| {
        Failure::because(format_args!("cannot archive WAL of server {name}"), &error)
            .hint(error.hint())
    };
    let _lock = match archiver.lock() {
        Err(error) if error.is_busy() => {
            out.info(format_args!(
                "Another archive-wal process is already running on server {name}. Skipping to \
                 the next server"
            ));
            return Ok(0);
        }
        result => result.map_err(failed)?,
    };
    if server.streaming_archiver {
        let at_most = server.streaming_archiver_batch_size;
        archive(&mut archiver, Inbox::Streaming, at_most, out).map_err(failed)?;
    }
    if server.archiver {
        archive(&mut archiver, Inbox::Incoming, server.archiver_batch_size, out).map_err(failed)?;
    }
    Ok(0)
}

/// One inbox, in Barman's words.
fn archive(
    archiver: &mut Archiver,
    inbox: Inbox,
    at_most: Option<usize>,
    out: &mut Reporter,
) -> Result<(), ArchiveError> {
    let server = archiver.layout().server().clone();
    let batch = archiver.batch(inbox, at_most)?;
    let from = match inbox {
        Inbox::Streaming => "streaming",
        Inbox::Incoming => "file archival",
    };
    let size = batch.names.len();
    let part = match size {
        1.. if batch.is_part => format!(" (batch size: {size})"),
        _ => String::new(),
    };
    out.info(format_args!("Processing xlog segments from {from} for {server}{part}"));
    if size == 0 {
        out.info("\tno file found");
    }
    for name in &batch.names {
        out.info(format_args!("\t{name}"));
    }
    let swept = archiver.archive_batch(batch)?;
    for (name, path) in swept.duplicates {
        let path = path.display();
        tracing::error!(%server, %name, %path, "another file is archived under this name; moved aside");
    }
    for error in swept.refused {
        let failure = Failure::of(&error).hint(error.hint());
        match error {
            // Mostly it comes whole a moment later.
            ArchiveError::Unfinished { .. } => out.warning(failure),
            _ => out.failure(&failure),
        }
    }
    let unknown = archiver.put_unknown_aside(inbox)?;
    if !unknown.is_empty() {
        out.info(format_args!(
            "Some unknown objects have been found while processing xlog segments for {server}. \
             Objects moved to errors directory:"
        ));
        for name in unknown {
            tracing::warn!(%server, name, "no WAL: moved to the errors directory");
            out.info(format_args!("\t{name}"));
        }
    }
    Ok(())
}
