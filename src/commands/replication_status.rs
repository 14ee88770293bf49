//! `replication-status`: who receives WAL from servers, and how far.

use clap::{Args, ValueEnum};

use super::{Outcome, Site, connect, is_workable, runtime};
use crate::config::ServerConfig;
use crate::net::StreamingClients;
use crate::output::{ClientKind, Failure, Reporter, replication_status};

/// Arguments of `replication-status`.
#[derive(Args, Clone, Debug)]
pub struct ReplicationStatusArgs {
    /// One line a client
    #[arg(long)]
    pub minimal: bool,
    /// Which clients: those that replay WAL, those that only store it, or all
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Target::All)]
    pub target: Target,
    /// Whom to ask: the server of conninfo, or that of wal_conninfo, which WAL is streamed from
    #[arg(long, value_name = "HOST", value_enum, default_value_t = Source::BackupHost)]
    pub source: Source,
    /// The servers, or `all`
    #[arg(required = true, value_name = "SERVER")]
    pub servers: Vec<String>,
}

/// Which clients are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Target {
    /// All of them.
    All,
    /// Those that replay WAL.
    HotStandby,
    /// Those that only store it.
    WalStreamer,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Source {
    /// The server of `conninfo`.
    BackupHost,
    /// The server of `wal_conninfo`, where that is set.
    WalHost,
}

/// Shows the clients of each server.
pub fn run(args: &ReplicationStatusArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let kind = match args.target {
        Target::All => ClientKind::All,
        Target::HotStandby => ClientKind::HotStandby,
        Target::WalStreamer => ClientKind::WalStreamer,
    };
    let runtime = runtime()?;
    for server in site.servers(&args.servers)? {
        if !is_workable(server, out) {
            continue;
        }
        // One server's trouble is not the next one's.
        match runtime.block_on(ask(server, args.source)) {
            Ok(status) => {
                let name = server.name.as_str();
                replication_status(out, name, &status, kind, args.minimal);
                warn_of_the_unseen(server, &status, out);
            }
            Err(failure) => out.failure(&failure),
        }
    }
    Ok(0)
}

async fn ask(server: &ServerConfig, source: Source) -> Result<StreamingClients, Failure> {
    let client = match source {
        Source::BackupHost => connect::sql(server).await?,
        Source::WalHost => connect::wal_sql(server).await?,
    };
    client.streaming_clients().await.map_err(|error| {
        let what = format!("cannot see the streaming clients of server {}", server.name);
        Failure::because(what, &error).hint(error.hint())
    })
}

/// Without the right to see it, a row has a process and a role, and nothing else.
fn warn_of_the_unseen(server: &ServerConfig, status: &StreamingClients, out: &mut Reporter) {
    if status.clients.iter().any(|client| client.state.is_none()) {
        out.warning(format_args!(
            "the role of server {} may not see the state of its streaming clients; grant it \
             pg_monitor",
            server.name
        ));
    }
}
