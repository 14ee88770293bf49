//! `check` on paper: lines, JSON, or what Nagios reads.

use serde_json::{Map, Value, json};

use super::{OutputFormat, Reporter};

/// One line of a check.
#[derive(Clone, Debug)]
pub struct CheckLine<'a> {
    /// Barman's name of the check.
    pub name: &'a str,
    /// Whether all is well.
    pub ok: bool,
    /// May be empty.
    pub hint: &'a str,
}

impl CheckLine<'_> {
    fn verdict(&self) -> String {
        let word = if self.ok { "OK" } else { "FAILED" };
        match self.hint {
            "" => word.to_owned(),
            hint => format!("{word} ({hint})"),
        }
    }

    /// The name as a key of the JSON object.
    fn key(&self) -> String {
        let lower = self.name.to_lowercase();
        lower
            .chars()
            .filter(|c| *c != '.')
            .map(|c| if " -".contains(c) { '_' } else { c })
            .collect()
    }
}

/// The checks of one server, for people or programs. `state` follows the name: ` (inactive)`.
pub fn print_check(out: &mut Reporter, server: &str, state: &str, lines: &[CheckLine<'_>]) {
    if out.format() == OutputFormat::Json {
        let verdict = |line: &CheckLine<'_>| {
            let status = if line.ok { "OK" } else { "FAILED" };
            (line.key(), json!({ "hint": line.hint, "status": status }))
        };
        let members: Map<String, Value> = lines.iter().map(verdict).collect();
        out.member(server, Value::Object(members));
        return;
    }
    out.info(format_args!("Server {server}{state}:"));
    for line in lines {
        out.info(format_args!("\t{}: {}", line.name, line.verdict()));
    }
}

/// The checks of one server, for Nagios.
#[derive(Debug)]
pub struct NagiosServer<'a> {
    /// The server's name.
    pub name: &'a str,
    /// All its checks.
    pub lines: Vec<CheckLine<'a>>,
    /// Size of the newest backup in bytes.
    pub backup_bytes: u64,
    /// WAL archived since, in bytes.
    pub wal_bytes: u64,
}

/// Prints the summary line and the failures; returns the exit code, 0 or 2.
pub fn print_nagios(out: &mut Reporter, servers: &[NagiosServer<'_>], ignored: &[String]) -> u8 {
    let figures: Vec<String> = servers
        .iter()
        .map(|server| {
            let (name, backup, wal) = (server.name, server.backup_bytes, server.wal_bytes);
            format!("{name}={backup}B {name}_wals={wal}B")
        })
        .collect();
    let figures = figures.join(" ");
    let ignoring = match ignored {
        [] => String::new(),
        names => format!(" * IGNORING: {}", names.join(" * IGNORING: ")),
    };
    let failing: Vec<&NagiosServer<'_>> =
        servers.iter().filter(|server| server.lines.iter().any(|line| !line.ok)).collect();
    if failing.is_empty() {
        out.info(format_args!("BARMAN OK - {}{ignoring}{}", ready(servers), bar(&figures)));
        return 0;
    }
    let issues = match (failing.as_slice(), servers.len()) {
        ([one], 1) => format!("server {} has issues", one.name),
        (several, all) => format!("{} server out of {all} have issues", several.len()),
    };
    let details: String = failing
        .iter()
        .map(|server| {
            let names: Vec<&str> =
                server.lines.iter().filter(|line| !line.ok).map(|line| line.name).collect();
            format!(" * {} FAILED: {}", server.name, names.join(", "))
        })
        .collect();
    out.info(format_args!("BARMAN CRITICAL - {issues}{details}{ignoring}{}", bar(&figures)));
    for server in failing {
        for line in server.lines.iter().filter(|line| !line.ok) {
            out.info(format_args!("{}.{}: {}", server.name, line.name, line.verdict()));
        }
    }
    2
}

fn ready(servers: &[NagiosServer<'_>]) -> String {
    match servers {
        [] => "No server configured".to_owned(),
        [one] => format!("Ready to serve the Espresso backup for {}", one.name),
        several => {
            let names: Vec<&str> = several.iter().map(|server| server.name).collect();
            let (count, names) = (several.len(), names.join(" * "));
            format!("Ready to serve the Espresso backup for {count} servers * {names}")
        }
    }
}

fn bar(figures: &str) -> String {
    if figures.is_empty() { String::new() } else { format!("|{figures}") }
}
