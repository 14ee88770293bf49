//! What may be typed.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

use crate::Outcome;

/// Measures WAL reception and base backups beside pg_receivewal and pg_basebackup, in turn, and
/// prints medians.
#[derive(Debug, Parser)]
#[command(name = "throughput")]
pub struct Options {
    /// What to measure; everything unless named
    #[arg(value_enum, value_name = "SCENARIO")]
    scenarios: Vec<Scenario>,
    /// A tapster to measure; twice or more to compare them. The one just built unless given
    #[arg(long, value_name = "[LABEL=]PATH")]
    tapster: Vec<Binary>,
    /// Leave pg_receivewal and pg_basebackup out
    #[arg(long)]
    pub without_pg_receivewal: bool,
    /// The programs of PostgreSQL, 15 or later; the newest in /usr/lib/postgresql unless given
    #[arg(long, value_name = "FOLDER")]
    pub bindir: Option<PathBuf>,
    /// On which disk to measure: everything is put into a folder below, and removed
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    pub dir: PathBuf,
    /// How much WAL to drain
    #[arg(long, value_name = "MIB", default_value = "2048")]
    pub size: u64,
    /// How much WAL to drain and compress
    #[arg(long, value_name = "MIB", default_value = "512")]
    pub compressed_size: u64,
    /// What to compress with
    #[arg(long, value_name = "METHOD", value_delimiter = ',', default_value = "zstd,lz4,gzip")]
    pub compression: Vec<String>,
    /// How much data to back up as one archive; a quarter of it for each compressed one
    #[arg(long, value_name = "MIB", default_value = "4096")]
    pub backup_size: u64,
    /// How many small tables to back up as a directory
    #[arg(long, value_name = "NUMBER", default_value = "20000")]
    pub backup_tables: u32,
    /// How many clients commit at once
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_value = "1,8,32")]
    pub clients: Vec<u32>,
    /// How long clients commit
    #[arg(long, value_name = "SECONDS", default_value = "4")]
    pub seconds: u32,
    /// How often each contender runs
    #[arg(long, value_name = "NUMBER", default_value = "6", value_parser = at_least_one)]
    pub runs: usize,
    /// Append the JSON lines to a file in place of printing them
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// A server of your own, for SQL: in place of the benchmark's cluster
    #[arg(long, value_name = "CONNINFO", requires = "slot")]
    conninfo: Option<String>,
    /// The same server for replication; like --conninfo unless given
    #[arg(long, value_name = "CONNINFO", requires = "conninfo")]
    streaming_conninfo: Option<String>,
    /// A slot of that server that holds WAL. It is copied, and stays as it is
    #[arg(long, value_name = "NAME", requires = "conninfo")]
    slot: Option<String>,
    /// That server may be read from as fast as it can, and may hold a second slot meanwhile
    #[arg(long)]
    allow_load: bool,
    /// Cargo says so to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    if number == 0 { Err("nothing is the median of no run".to_owned()) } else { Ok(number) }
}

/// One comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Scenario {
    /// WAL that a slot has held, received as fast as it goes
    Drain,
    /// The same, compressed
    Compressed,
    /// Commits that wait for the receiver
    Synchronous,
    /// Commits that wait for the receiver while somebody loads a table
    Bulk,
    /// Base backups as archives: as they are, gzip, lz4 and zstd
    Backup,
    /// Base backups of many small tables as a directory
    Tables,
}

/// A tapster, and what it is called in the table.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Its row.
    pub label: String,
    /// The program.
    pub path: PathBuf,
}

impl FromStr for Binary {
    type Err = String;

    fn from_str(text: &str) -> Result<Binary, String> {
        let (label, path) = text.split_once('=').unwrap_or((text, text));
        let path =
            PathBuf::from(path).canonicalize().map_err(|error| format!("{path}: {error}"))?;
        Ok(Binary { label: label.to_owned(), path })
    }
}

/// A server of the user's own.
#[derive(Clone, Debug)]
pub struct Own {
    /// For SQL.
    pub conninfo: String,
    /// For replication.
    pub streaming: String,
    /// What holds the WAL.
    pub slot: String,
}

impl Options {
    /// The scenarios in the order in which they are run.
    pub fn scenarios(&self) -> Vec<Scenario> {
        let all = Scenario::value_variants().iter().copied();
        all.filter(|one| self.scenarios.is_empty() || self.scenarios.contains(one)).collect()
    }

    /// The programs that are measured.
    pub fn tapsters(&self) -> Vec<Binary> {
        if !self.tapster.is_empty() {
            return self.tapster.clone();
        }
        let path = PathBuf::from(env!("CARGO_BIN_EXE_tapster"));
        vec![Binary { label: "tapster".to_owned(), path }]
    }

    /// The user's own server, if one is named and may be used.
    pub fn own(&self) -> Outcome<Option<Own>> {
        let (Some(conninfo), Some(slot)) = (&self.conninfo, &self.slot) else { return Ok(None) };
        if !self.allow_load {
            return Err(
                "a server of your own is measured only with --allow-load: its WAL is read \
                        as fast as it goes, again and again, and a copy of the slot keeps WAL \
                        there until the end"
                    .into(),
            );
        }
        let streaming = self.streaming_conninfo.as_ref().unwrap_or(conninfo).clone();
        Ok(Some(Own { conninfo: conninfo.clone(), streaming, slot: slot.clone() }))
    }
}
