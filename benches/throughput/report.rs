//! Medians as a table for people, and JSON lines for everything else.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::Outcome;
use crate::table::{CommitRow, Commits, Row, pairs};

/// Where results go.
#[derive(Debug)]
pub struct Report {
    json: Option<File>,
    /// What was not measured, and why.
    skipped: Vec<String>,
}

impl Report {
    /// JSON lines are appended to `json`, or printed.
    pub fn new(json: Option<&Path>) -> Outcome<Report> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Report { json: json.map(open).transpose()?, skipped: Vec::new() })
    }

    /// Something is not measured.
    pub fn skipped(&mut self, what: &str, why: &str) {
        eprintln!("skipping {what}: {why}");
        self.skipped.push(format!("skipped {what}: {why}"));
    }

    /// A contender has not done what was asked of it.
    pub fn failed(&mut self, what: &str, why: &str) {
        eprintln!("FAILED: {what}: {why}");
        let first = why.lines().next().unwrap_or_default();
        self.skipped.push(format!("FAILED {what}: {first}"));
    }

    /// The end: what is missing is said once more.
    pub fn finish(&self) {
        println!();
        for line in &self.skipped {
            println!("{line}");
        }
        println!(
            "To compare builds: make bench BENCH=\"drain --tapster old=PATH --tapster new=PATH\""
        );
    }

    /// The table of a transfer of that many bytes of something, and the lines.
    pub fn drain(&mut self, scenario: &str, bytes: u64, what: &str, rows: &[Row]) -> Outcome<()> {
        let rows: Vec<&Row> = rows.iter().filter(|row| !row.runs.is_empty()).collect();
        let runs = rows.iter().map(|row| row.runs.len()).max().unwrap_or(0);
        println!("\n{scenario}: {:.2} GB of {what}, medians of {runs} in turn", bytes as f64 / 1e9);
        println!(
            "{:<27} {:>7} {:>6} {:>11} {:>11} {:>11} {:>8} {:>7} {:>6} {:>8}",
            "",
            "wall s",
            "MB/s",
            "slow…fast",
            "client s/GB",
            "server s/GB",
            "peak MiB",
            "written",
            "stored",
            "first ms"
        );
        for row in &rows {
            let summary = row.summary(bytes);
            let range = format!("{:.0}…{:.0}", summary.slowest, summary.fastest);
            println!(
                "{:<27} {} {} {range:>11} {} {} {} {} {} {}",
                row.name,
                cell(summary.wall, 7, 2),
                cell(summary.rate, 6, 0),
                cell(summary.client, 11, 3),
                cell(summary.server, 11, 3),
                cell(summary.peak, 8, 1),
                cell(summary.written, 7, 2),
                cell(summary.stored, 6, 2),
                cell(summary.first, 8, 0),
            );
        }
        drain_ratios(bytes, &rows);
        rows.iter().try_for_each(|row| self.drain_lines(scenario, bytes, row))
    }

    /// A line for each run, and one for their median.
    fn drain_lines(&mut self, scenario: &str, bytes: u64, row: &Row) -> Outcome<()> {
        for (number, run) in row.runs.iter().enumerate() {
            self.line(&json!({
                "scenario": scenario, "contender": row.name, "limit": row.is_limit,
                "run": number + 1, "bytes": bytes,
                "wall_s": run.wall.as_secs_f64(),
                "client_cpu_s": run.client.as_secs_f64(),
                "server_cpu_s": run.server.map(|time| time.as_secs_f64()),
                "peak_bytes": run.peak, "written_bytes": run.written, "stored_bytes": run.stored,
                "first_byte_s": run.first.map(|time| time.as_secs_f64()),
            }))?;
        }
        let summary = row.summary(bytes);
        self.line(&json!({
            "scenario": scenario, "contender": row.name, "limit": row.is_limit,
            "median_of": row.runs.len(), "bytes": bytes,
            "wall_s": summary.wall, "mb_per_s": summary.rate,
            "client_cpu_s_per_gb": summary.client, "server_cpu_s_per_gb": summary.server,
            "peak_mib": summary.peak, "written_per_byte": summary.written,
            "stored_per_byte": summary.stored, "first_byte_ms": summary.first,
        }))
    }

    /// The table of clients that wait for their commits, and the lines.
    pub fn commits(
        &mut self,
        scenario: &str,
        clients: u32,
        turns: usize,
        rows: &[CommitRow],
    ) -> Outcome<()> {
        let runs = rows.iter().map(|row| row.runs.len()).max().unwrap_or(0);
        println!("\n{scenario}, {clients} clients: medians of {runs} in turn");
        println!(
            "{:<27} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7} {:>8} {:>8}",
            "",
            "tps",
            "p50 ms",
            "p99 ms",
            "p99.9",
            "max ms",
            "client %",
            "written",
            "peak MiB",
            "WAL MB/s"
        );
        for row in rows {
            let Some(median) = row.median() else { continue };
            println!(
                "{:<27} {:>8.0} {:>8.2} {:>8.2} {:>8.2} {:>8.1} {} {} {} {:>8.1}",
                row.name,
                median.tps,
                median.p50,
                median.p99,
                median.p999,
                median.longest,
                cell(median.client.map(|share| share * 100.0), 9, 1),
                cell(median.written, 7, 2),
                cell(median.peak, 8, 1),
                median.wal,
            );
        }
        commit_ratios(turns, rows);
        for row in rows {
            for (number, run) in row.runs.iter().enumerate() {
                let count = ("run", number + 1);
                self.line(&commit_line(scenario, clients, row, count, run))?;
            }
            if let Some(median) = row.median() {
                let count = ("median_of", row.runs.len());
                self.line(&commit_line(scenario, clients, row, count, &median))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, value: &Value) -> Outcome<()> {
        match &mut self.json {
            Some(file) => writeln!(file, "{value}")?,
            None => println!("{value}"),
        }
        Ok(())
    }
}

fn commit_line(
    scenario: &str,
    clients: u32,
    row: &CommitRow,
    (count, number): (&str, usize),
    run: &Commits,
) -> Value {
    json!({
        "scenario": scenario, "contender": row.name, "limit": row.is_limit, "clients": clients,
        count: number,
        "tps": run.tps, "p50_ms": run.p50, "p99_ms": run.p99, "p999_ms": run.p999,
        "max_ms": run.longest,
        "client_cpu_s_per_s": run.client, "written_per_byte": run.written,
        "peak_mib": run.peak, "wal_mb_per_s": run.wal,
    })
}

fn cell(value: Option<f64>, width: usize, digits: usize) -> String {
    match value {
        Some(value) => format!("{value:>width$.digits$}"),
        None => format!("{:>width$}", "–"),
    }
}

fn ratio(mine: Option<f64>, its: Option<f64>) -> String {
    match (mine, its) {
        (Some(mine), Some(its)) if its > 0.0 => format!("{:.2}", mine / its),
        _ => "–".to_owned(),
    }
}

/// Each contender against the first: absolute figures are the machine's, ratios are ours.
fn drain_ratios(bytes: u64, rows: &[&Row]) {
    let mut contenders = rows.iter().filter(|row| !row.is_limit);
    let Some(first) = contenders.next() else { return };
    let base = first.summary(bytes);
    for row in contenders {
        let summary = row.summary(bytes);
        println!(
            "{} : {} = {} × the rate, {} × the processor time, {} × the bytes written",
            row.name,
            first.name,
            ratio(summary.rate, base.rate),
            ratio(summary.client, base.client),
            ratio(summary.written, base.written),
        );
    }
}

/// Pairs only where no run has failed: else runs of different turns would stand side by side.
fn commit_ratios(turns: usize, rows: &[CommitRow]) {
    let Some((first, others)) = rows.split_first() else { return };
    let Some(base) = first.median() else { return };
    for row in others {
        let Some(median) = row.median() else { continue };
        let sure = |figure: fn(&Commits) -> f64| {
            let all = |row: &CommitRow| row.runs.iter().map(figure).collect::<Vec<f64>>();
            let of = ratio(Some(figure(&median)), Some(figure(&base)));
            let are_whole = row.runs.len() == turns && first.runs.len() == turns;
            let pairs = if are_whole { pairs(&all(row), &all(first)) } else { None };
            let Some((mean, doubt)) = pairs else { return of };
            format!("{of} (pairs {mean:.2} ± {:.0} %)", doubt * 100.0)
        };
        println!(
            "{} : {} = {} × the transactions, {} × the 99th percentile, {} × the bytes written",
            row.name,
            first.name,
            sure(|run| run.tps),
            sure(|run| run.p99),
            ratio(median.written, base.written),
        );
    }
}
