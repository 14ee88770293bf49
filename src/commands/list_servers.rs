//! `list-servers`: the servers that the configuration knows.

use clap::Args;
use serde_json::json;

use super::{Outcome, Site};
use crate::config::ServerConfig;
use crate::output::{OutputFormat, Reporter};

/// Arguments of `list-servers`.
#[derive(Args, Clone, Debug)]
pub struct ListServersArgs {
    /// Print names only
    #[arg(long)]
    pub minimal: bool,
}

/// Lists every server with its description.
pub fn run(args: &ListServersArgs, site: &Site, out: &mut Reporter) -> Outcome {
    for server in site.config.servers() {
        let name = &server.name;
        let description = description(server);
        match (out.format(), args.minimal) {
            (OutputFormat::Json, _) => {
                out.member(name.to_string(), json!({ "description": description }));
            }
            (OutputFormat::Console, true) => out.info(name),
            (OutputFormat::Console, false) => out.info(format_args!("{name} - {description}")),
        }
    }
    Ok(0)
}

fn description(server: &ServerConfig) -> String {
    let text = server.description.clone().unwrap_or_default();
    let state = if server.disabled {
        " (WARNING: disabled)"
    } else if !server.active {
        " (inactive)"
    } else if server.is_passive() {
        " (Passive)"
    } else {
        ""
    };
    format!("{text}{state}")
}
