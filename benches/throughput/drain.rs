//! A backlog that a slot has held, received as fast as it goes.
//!
//! The clock runs from the start of the program to the moment at which the last segment, and
//! each before it, is durable under its final name. It is found by looking for the names once a
//! millisecond, for every contender alike: all of them give a final name only to what is synced.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tapster::wal::SegmentName;

use crate::Outcome;
use crate::contender::{Contender, Contenders, Running, Source};
use crate::data::Backlog;
use crate::limits;
use crate::machine::Usage;
use crate::options::Options;
use crate::report::Report;
use crate::site::{RUN, Site};
use crate::sql::Sql;
use crate::table::{Row, Run, order};
use crate::unpack;

/// A contender that is not through by then has hung.
const LIMIT: Duration = Duration::from_secs(180);

/// Of WAL that is stored as it is.
pub fn plain(
    options: &Options,
    site: &Site,
    contenders: &Contenders,
    report: &mut Report,
) -> Outcome<()> {
    written(options.size, options, site, &contenders.plain(), "drain", report)
}

/// Of WAL that is compressed.
pub fn compressed(
    options: &Options,
    site: &Site,
    contenders: &Contenders,
    report: &mut Report,
) -> Outcome<()> {
    let all = contenders.compressed(&options.compression);
    written(options.compressed_size, options, site, &all, "compressed", report)
}

/// Drains a backlog that is written before, and forgotten behind.
fn written(
    mib: u64,
    options: &Options,
    site: &Site,
    contenders: &[Contender],
    scenario: &str,
    report: &mut Report,
) -> Outcome<()> {
    eprintln!("writing {mib} MiB of WAL");
    let sql = site.sql()?;
    let backlog = Backlog::write(&sql, mib << 20)?;
    measure(scenario, options, site, &backlog, contenders, report)?;
    backlog.release(&sql)
}

/// Measures all contenders in turn, and the limits beside them.
pub fn measure(
    scenario: &str,
    options: &Options,
    site: &Site,
    backlog: &Backlog,
    contenders: &[Contender],
    report: &mut Report,
) -> Outcome<()> {
    let sql = site.sql()?;
    let mut bench = Bench { sql, site, backlog, known: HashMap::new() };
    let mut rows: Vec<Row> = contenders.iter().map(|one| Row::of(&one.name)).collect();
    let mut failed = vec![false; rows.len()];
    let mut limits = Limits::default();
    for turn in 0..options.runs {
        for place in order(turn, contenders.len()) {
            let (contender, row, failed) =
                (&contenders[place], &mut rows[place], &mut failed[place]);
            if *failed {
                continue;
            }
            eprintln!("{scenario}, {} of {}: {}", turn + 1, options.runs, contender.name);
            match bench.drain(contender, turn == 0) {
                Ok(run) => row.runs.push(run),
                Err(error) => {
                    report.failed(&format!("{scenario}, {}", contender.name), &error.to_string());
                    *failed = true;
                }
            }
        }
        if scenario == "drain" {
            limits.measure(&bench)?;
        }
    }
    rows.extend(limits.rows());
    report.drain(scenario, backlog.bytes(), "WAL", &rows)
}

/// What no contender can beat.
struct Limits {
    away: Row,
    direct: Row,
    buffered: Row,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            away: Row::limit("limit: stream thrown away"),
            direct: Row::limit("limit: disk alone, direct"),
            buffered: Row::limit("limit: disk alone, cached"),
        }
    }
}

impl Limits {
    fn measure(&mut self, bench: &Bench<'_>) -> Outcome<()> {
        bench.settled()?;
        self.away.runs.push(limits::thrown_away(bench.site, bench.backlog)?);
        for (row, direct) in [(&mut self.direct, true), (&mut self.buffered, false)] {
            match limits::disk(&bench.settled()?, bench.backlog, direct) {
                Ok(run) => row.runs.push(run),
                Err(error) => eprintln!("{}: {error}", row.name),
            }
        }
        Ok(())
    }

    fn rows(self) -> [Row; 3] {
        [self.away, self.direct, self.buffered]
    }
}

struct Bench<'a> {
    sql: Sql,
    site: &'a Site,
    backlog: &'a Backlog,
    /// Checksums of segments: the server's own where they can be read, else those of the
    /// contender that was the first.
    known: HashMap<SegmentName, u32>,
}

impl Bench<'_> {
    /// An empty folder, on a machine that is ready for a run.
    fn settled(&self) -> Outcome<PathBuf> {
        let sources = self.site.pg_wal.iter().flat_map(|pg_wal| {
            self.backlog.segments.iter().map(|name| pg_wal.join(name.to_string()))
        });
        self.site.settled(&sources.collect::<Vec<_>>(), self.backlog.bytes())
    }

    /// One contender, once.
    fn drain(&mut self, contender: &Contender, verify: bool) -> Outcome<Run> {
        let folder = self.settled()?;
        let copy = format!("pg_copy_physical_replication_slot('{}', '{RUN}')", self.backlog.slot);
        self.site.make_slot(&self.sql, &copy)?;
        let source = Source { site: self.site, synchronous: false };
        let began = Instant::now();
        let mut running = contender.start(&source, &folder)?;
        let run = self.wait(&mut running, began).and_then(|wall| self.read(&running, wall));
        let run = match run {
            Ok(run) if verify => self.verify(contender, &running).map(|()| run),
            run => run,
        };
        running.stop()?;
        self.site.drop_slot(&self.sql)?;
        run
    }

    /// The time to the last final name.
    fn wait(&self, running: &mut Running, began: Instant) -> Outcome<Duration> {
        let mut missing = self.backlog.segments.as_slice();
        loop {
            while let Some((first, rest)) = missing.split_first()
                && running.has(*first)
            {
                missing = rest;
            }
            let elapsed = began.elapsed();
            let Some(first) = missing.first() else { return Ok(elapsed) };
            running.check()?;
            if elapsed > LIMIT {
                let text = format!("{first} is not there after {LIMIT:?}\n{}", running.said());
                return Err(text.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What it has cost, while client and walsender still live.
    fn read(&self, running: &Running, wall: Duration) -> Outcome<Run> {
        let usage = running.usage()?;
        let server = match &self.site.pg_wal {
            Some(_) => {
                let pid = "SELECT active_pid FROM pg_replication_slots WHERE slot_name";
                Some(Usage::of(self.sql.value(&format!("{pid} = '{RUN}'"))?)?.processor)
            }
            None => None,
        };
        let stored = self.backlog.segments.iter().map(|name| running.path(*name).metadata());
        let stored: std::io::Result<u64> = stored.map(|one| one.map(|file| file.len())).sum();
        Ok(Run {
            wall,
            client: usage.processor,
            server,
            peak: Some(usage.peak),
            written: Some(usage.written),
            stored: Some(stored?),
            first: None,
        })
    }

    /// A fast receiver of something else would not be fast.
    fn verify(&mut self, contender: &Contender, running: &Running) -> Outcome<()> {
        for name in &self.backlog.segments {
            let path = running.path(*name);
            let Some(received) = unpack::segment(&path)? else {
                eprintln!("{}: not compared: cannot be decompressed here", contender.name);
                return Ok(());
            };
            if received.len() as u64 != u64::from(self.backlog.size.bytes()) {
                return Err(format!("{name} has a wrong length").into());
            }
            let received = crc32c::crc32c(&received);
            let expected = match (self.known.get(name), &self.site.pg_wal) {
                (Some(known), _) => *known,
                (None, Some(pg_wal)) => {
                    crc32c::crc32c(&std::fs::read(pg_wal.join(name.to_string()))?)
                }
                (None, None) => received,
            };
            self.known.insert(*name, expected);
            if received != expected {
                return Err(format!("{name} is not what the server has").into());
            }
            if contender.compression.is_some() && !unpack::is_packed(&path)? {
                return Err(format!("{name} is not compressed").into());
            }
        }
        Ok(())
    }
}
