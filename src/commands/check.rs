//! `check`: is everything in place to take backups and to receive WAL?

use std::time::Duration;

use clap::Args;

use super::{Outcome, Site, runtime};
use crate::check::{self, Facts};
use crate::config::ServerConfig;
use crate::output::{CheckLine, NagiosServer, Reporter, print_check, print_nagios};
use crate::service;

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The servers, or `all`
    #[arg(required = true, value_name = "SERVER")]
    pub servers: Vec<String>,
    /// Print one line for Nagios, and leave with 2 if something is wrong
    #[arg(long)]
    pub nagios: bool,
    /// Time for all checks of one server, in seconds; 0 is no limit
    #[arg(long, value_name = "SECONDS")]
    pub check_timeout: Option<u64>,
}

/// Checks each server; leaves with 1, or 2 for Nagios, when a check failed.
pub fn run(args: &CheckArgs, site: &Site, out: &mut Reporter) -> Outcome {
    let runtime = runtime()?;
    let mut checked = Vec::new();
    let mut ignored = Vec::new();
    for server in site.servers(&args.servers)? {
        if args.nagios && (server.disabled || !server.active) {
            ignored.push(server.name.to_string());
            continue;
        }
        let limit = match args.check_timeout {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => server.check_timeout,
        };
        checked.push(runtime.block_on(check_one(server, site, limit)));
    }
    if args.nagios {
        let servers: Vec<NagiosServer<'_>> = checked.iter().map(Checked::for_nagios).collect();
        return Ok(print_nagios(out, &servers, &ignored));
    }
    let mut ok = true;
    for server in &checked {
        let lines = server.lines();
        print_check(out, &server.name, server.state, &lines);
        ok &= lines.iter().all(|line| line.ok);
    }
    Ok(u8::from(!ok))
}

/// One server and what was found.
#[derive(Debug)]
struct Checked {
    name: String,
    state: &'static str,
    outcomes: Vec<check::Outcome>,
    backup_bytes: u64,
    wal_bytes: u64,
}

async fn check_one(server: &ServerConfig, site: &Site, limit: Option<Duration>) -> Checked {
    let state = if server.disabled {
        " (WARNING: disabled)"
    } else if !server.active {
        " (inactive)"
    } else {
        ""
    };
    let gathering = check::gather(server, &*site.disk, service::now());
    let facts: Option<Facts> = match limit {
        Some(limit) => tokio::time::timeout(limit, gathering).await.ok(),
        None => Some(gathering.await),
    };
    let outcomes = match &facts {
        Some(facts) => check::judge(facts),
        None => vec![check::Outcome {
            name: "check timeout".to_owned(),
            ok: false,
            hint: "barman check command timed out".to_owned(),
        }],
    };
    let stored = facts.map(|facts| facts.stored).unwrap_or_default();
    Checked {
        name: server.name.to_string(),
        state,
        outcomes,
        backup_bytes: stored.newest_backup.map_or(0, |(bytes, _)| bytes),
        wal_bytes: stored.wal_since_backup,
    }
}

impl Checked {
    fn lines(&self) -> Vec<CheckLine<'_>> {
        self.outcomes
            .iter()
            .map(|outcome| CheckLine { name: &outcome.name, ok: outcome.ok, hint: &outcome.hint })
            .collect()
    }

    fn for_nagios(&self) -> NagiosServer<'_> {
        NagiosServer {
            name: &self.name,
            lines: self.lines(),
            backup_bytes: self.backup_bytes,
            wal_bytes: self.wal_bytes,
        }
    }
}
