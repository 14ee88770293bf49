//! WAL reception and base backups from end to end, side by side with pg_receivewal and
//! pg_basebackup, in one run: `make bench`.
//!
//! Contenders are real programs against a real server, in turn (A B, B A), and what counts is the
//! median. The limits stand beside them: the same stream thrown away, and the disk alone.
//! docs/benchmark.md says how to read it and how to point it at a server of one's own.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod backups;
mod cleanup;
mod contender;
mod data;
mod drain;
mod limits;
mod machine;
mod options;
mod own;
mod report;
mod server;
mod site;
mod sql;
mod standby;
mod table;
mod unpack;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use contender::Contenders;
use options::{Options, Scenario};
use report::Report;
use server::Programs;

/// What a scenario may end with: an error is for the reader of the terminal alone.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let options = Options::parse();
    let end = run(&options);
    cleanup::everything();
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    cleanup::on_signals()?;
    let programs = Programs::find(options.bindir.as_deref());
    let mut report = Report::new(options.json.as_deref())?;
    let contenders = Contenders::find(options, programs.as_ref().ok(), &mut report);
    if let Some(own) = options.own()? {
        own::run(&own, options, &contenders, &mut report)?;
    } else {
        let programs = programs?;
        eprintln!("PostgreSQL {} from {}", programs.version(), programs.folder().display());
        let site = server::start(&programs, &options.dir)?;
        for scenario in options.scenarios() {
            match scenario {
                Scenario::Drain => drain::plain(options, &site, &contenders, &mut report)?,
                Scenario::Compressed => {
                    drain::compressed(options, &site, &contenders, &mut report)?;
                }
                Scenario::Backup => backups::archives(options, &programs, &site, &mut report)?,
                Scenario::Tables => backups::tables(options, &programs, &site, &mut report)?,
                Scenario::Synchronous | Scenario::Bulk => {
                    let bench = standby::Bench::new(options, &programs, &site, &contenders);
                    bench.run(scenario == Scenario::Bulk, &mut report)?;
                }
            }
        }
    }
    report.finish();
    Ok(())
}
