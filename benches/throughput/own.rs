//! A server of the user's own: its WAL is received, and nothing is written there but a slot,
//! which is dropped at the end.

use crate::Outcome;
use crate::contender::Contenders;
use crate::data::Backlog;
use crate::drain;
use crate::options::{Options, Own, Scenario};
use crate::report::Report;
use crate::site::Site;

/// Drains what the slot holds, once for each run.
pub fn run(
    own: &Own,
    options: &Options,
    contenders: &Contenders,
    report: &mut Report,
) -> Outcome<()> {
    let site = Site {
        folder: Site::folder(&options.dir)?,
        conninfo: own.conninfo.clone(),
        streaming: own.streaming.clone(),
        pg_wal: None,
    };
    let sql = site.sql()?;
    let version: u32 = sql.value("SHOW server_version_num")?.parse()?;
    if version < 150_000 {
        return Err("the server has to be of version 15 or later: before, pg_receivewal does not \
                    begin at its slot"
            .into());
    }
    let backlog = Backlog::held_by(&sql, &own.slot)?;
    for scenario in options.scenarios() {
        match scenario {
            Scenario::Drain => {
                drain::measure("drain", options, &site, &backlog, &contenders.plain(), report)?;
            }
            Scenario::Compressed => {
                let all = contenders.compressed(&options.compression);
                drain::measure("compressed", options, &site, &backlog, &all, report)?;
            }
            Scenario::Synchronous => report.skipped("synchronous", "it writes to the server"),
            Scenario::Bulk => report.skipped("bulk", "it writes to the server"),
            Scenario::Backup => report.skipped("backup", "it fills the server"),
            Scenario::Tables => report.skipped("tables", "it fills the server"),
        }
    }
    Ok(())
}
