//! Clients whose commits wait for the receiver: it is the synchronous standby.
//!
//! pgbench commits small transactions; each one's time is in its log. With a bulk load beside
//! it the question is how long a small commit waits behind somebody else's WAL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::contender::{Contender, Contenders, Running, STANDBY, Source};
use crate::options::Options;
use crate::report::Report;
use crate::server::Programs;
use crate::site::{RUN, Site};
use crate::sql::Sql;
use crate::table::{CommitRow, Commits, order};

/// Before what counts: caches, prepared statements, the first touch of each page.
const WARM_UP: u32 = 1;
/// How many commit beside a bulk load.
const BESIDE_BULK: u32 = 4;

/// The scenarios with commits.
#[derive(Debug)]
pub struct Bench<'a> {
    options: &'a Options,
    site: &'a Site,
    contenders: Vec<Contender>,
    pgbench: Option<PathBuf>,
}

impl<'a> Bench<'a> {
    /// Of all contenders, without compression.
    pub fn new(
        options: &'a Options,
        programs: &Programs,
        site: &'a Site,
        contenders: &Contenders,
    ) -> Bench<'a> {
        let pgbench = programs.client("pgbench");
        Bench { options, site, contenders: contenders.plain(), pgbench }
    }

    /// All numbers of clients; or one, beside a bulk load.
    pub fn run(&self, bulk: bool, report: &mut Report) -> Outcome<()> {
        let name = if bulk { "bulk" } else { "synchronous" };
        let Some(pgbench) = &self.pgbench else {
            report.skipped(name, "pgbench is not installed with the server");
            return Ok(());
        };
        let sql = self.site.sql()?;
        prepare(pgbench, self.site, &sql)?;
        let numbers = if bulk { vec![BESIDE_BULK] } else { self.options.clients.clone() };
        for clients in numbers {
            let contenders: Vec<_> = self.contenders.iter().map(Some).chain([None]).collect();
            let of = |contender: Option<&Contender>| CommitRow {
                name: contender.map_or("limit: no standby", |contender| &contender.name).to_owned(),
                runs: Vec::new(),
                is_limit: contender.is_none(),
            };
            let mut rows: Vec<CommitRow> = contenders.iter().copied().map(of).collect();
            for turn in 0..self.options.runs {
                for place in order(turn, contenders.len()) {
                    let (contender, row) = (contenders[place], &mut rows[place]);
                    let runs = self.options.runs;
                    eprintln!("{name}, {clients} clients, {} of {runs}: {}", turn + 1, row.name);
                    let load = Load { pgbench, clients, bulk };
                    let measured = match contender {
                        Some(contender) => self.measure(contender, &load, &sql),
                        None => self.measure_limit(&load, &sql),
                    };
                    match measured {
                        Ok(run) => row.runs.push(run),
                        Err(error) => {
                            report.failed(&format!("{name}, {}", row.name), &error.to_string());
                        }
                    }
                }
            }
            report.commits(name, clients, self.options.runs, &rows)?;
        }
        Ok(())
    }

    /// One contender, once.
    fn measure(&self, contender: &Contender, load: &Load<'_>, sql: &Sql) -> Outcome<Commits> {
        // What an earlier run has written is not this contender's to receive.
        sql.run("CHECKPOINT")?;
        let folder = self.site.settled(&[], load.memory(self.options.seconds))?;
        self.site.make_slot(sql, &format!("pg_create_physical_replication_slot('{RUN}', true)"))?;
        // Before it connects: a receiver asks then whether commits wait for it.
        wait_for_standby(sql, STANDBY)?;
        let source = Source { site: self.site, synchronous: true };
        let mut running = contender.start(&source, &folder)?;
        let run = wait_until_synchronous(&mut running, sql)
            .and_then(|()| load.run(Some(&running), self.site, &folder, self.options.seconds));
        // Else the bulk load and the next contender's preparations would wait for nobody.
        wait_for_standby(sql, "")?;
        running.stop()?;
        self.site.drop_slot(sql)?;
        run
    }

    /// Commits that wait for nobody: what is left are the server and the clients.
    fn measure_limit(&self, load: &Load<'_>, sql: &Sql) -> Outcome<Commits> {
        // A contender that failed may have left its name there.
        wait_for_standby(sql, "")?;
        sql.run("CHECKPOINT")?;
        let folder = self.site.settled(&[], load.memory(self.options.seconds))?;
        load.run(None, self.site, &folder, self.options.seconds)
    }
}

/// The tables of pgbench, and one for the bulk load.
fn prepare(pgbench: &Path, site: &Site, sql: &Sql) -> Outcome<()> {
    if sql.value("SELECT to_regclass('pgbench_accounts') IS NOT NULL")? == "t" {
        return Ok(());
    }
    eprintln!("making the tables of pgbench");
    let output =
        Command::new(pgbench).args(["-i", "-q", "-s", "10"]).arg(&site.conninfo).output()?;
    if !output.status.success() {
        return Err(format!("pgbench -i: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    sql.run("CREATE TABLE bulk (number bigint, first text, second text, third text)")
}

/// Sets whose flush commits wait for.
fn wait_for_standby(sql: &Sql, name: &str) -> Outcome<()> {
    // Not in one message: it may not stand in a transaction.
    sql.run(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"))?;
    sql.run("SELECT pg_reload_conf()")?;
    let shown = "SHOW synchronous_standby_names";
    wait("the server to read its settings", || Ok(sql.value(shown)? == name))
}

fn wait_until_synchronous(running: &mut Running, sql: &Sql) -> Outcome<()> {
    let question = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' \
                    AND flush_lsn >= pg_current_wal_flush_lsn() - 8192";
    wait("the receiver to be the synchronous standby", || {
        running.check()?;
        Ok(sql.value(question)? != "0")
    })
}

fn wait(what: &str, mut is_so: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(format!("waited in vain for {what}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What goes on during a run.
struct Load<'a> {
    pgbench: &'a Path,
    clients: u32,
    bulk: bool,
}

impl Load<'_> {
    /// So many bytes of memory may be used for the first time in a run. A bulk load writes up to
    /// 200 MB/s of WAL, as much of the table, and both are in the page cache; a receiver's files
    /// may be, too.
    fn memory(&self, seconds: u32) -> u64 {
        let each_second = if self.bulk { 512 << 20 } else { 0 };
        (256 << 20) + u64::from(WARM_UP + seconds) * each_second
    }

    fn run(
        &self,
        running: Option<&Running>,
        site: &Site,
        folder: &Path,
        seconds: u32,
    ) -> Outcome<Commits> {
        let bulk = if self.bulk { Some(Bulk::start(site)?) } else { None };
        self.commit(site, &folder.join("warm"), WARM_UP)?;
        let sql = site.sql()?;
        let position = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn";
        let before = running.map(Running::usage).transpose()?;
        let wal: u64 = sql.value(position)?.parse()?;
        let began = Instant::now();
        let mut times = self.commit(site, &folder.join("commits"), seconds)?;
        let elapsed = began.elapsed().as_secs_f64();
        let wal = sql.value(position)?.parse::<u64>()? - wal;
        let after = running.map(Running::usage).transpose()?;
        let used = after.zip(before).map(|(after, before)| after - before);
        if let Some(bulk) = bulk {
            bulk.stop()?;
        }
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index.min(times.len().saturating_sub(1))).map(|time| *time as f64 / 1e3)
        };
        let none = "no transaction has ended";
        Ok(Commits {
            tps: times.len() as f64 / f64::from(seconds),
            p50: at(0.5).ok_or(none)?,
            p99: at(0.99).ok_or(none)?,
            p999: at(0.999).ok_or(none)?,
            longest: at(1.0).ok_or(none)?,
            client: used.map(|used| used.processor.as_secs_f64() / elapsed),
            written: used.map(|used| used.written as f64 / wal as f64),
            peak: used.map(|used| used.peak as f64 / f64::from(1 << 20)),
            wal: wal as f64 / 1e6 / elapsed,
        })
    }

    /// pgbench for that long; the time of each transaction, in microseconds.
    fn commit(&self, site: &Site, folder: &Path, seconds: u32) -> Outcome<Vec<u64>> {
        fs::create_dir(folder)?;
        let mut pgbench = Command::new(self.pgbench);
        pgbench.args(["--no-vacuum", "--skip-some-updates", "--protocol=prepared", "--log"]);
        pgbench.arg(format!("--client={}", self.clients));
        pgbench.arg(format!("--jobs={}", self.clients.min(2)));
        pgbench.arg(format!("--time={seconds}")).arg(&site.conninfo);
        let output = pgbench.current_dir(folder).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let mut times = Vec::new();
        for entry in fs::read_dir(folder)? {
            // client, number, microseconds, …
            let log = fs::read_to_string(entry?.path())?;
            let time = |line: &str| line.split(' ').nth(2)?.parse::<u64>().ok();
            times.extend(log.lines().filter_map(time));
        }
        Ok(times)
    }
}

/// A session that loads a table until it is stopped, as fast as it goes.
struct Bulk {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl Bulk {
    fn start(site: &Site) -> Outcome<Bulk> {
        // It does not wait for the receiver itself: the question is who waits behind it.
        let load = "SET synchronous_commit = off; TRUNCATE bulk; INSERT INTO bulk \
                    SELECT n, md5(n::text), md5((n * 7)::text), repeat(md5((n * 13)::text), 20) \
                    FROM generate_series(1, 20000) AS n";
        let (stop, conninfo) = (Arc::new(AtomicBool::new(false)), site.conninfo.clone());
        let told = Arc::clone(&stop);
        let work = move || {
            let sql = Sql::connect(&conninfo).map_err(|error| error.to_string())?;
            while !told.load(Ordering::Relaxed) {
                sql.run(load).map_err(|error| error.to_string())?;
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("bulk".into()).spawn(work)?;
        Ok(Bulk { stop, thread })
    }

    fn stop(self) -> Outcome<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the bulk load failed")??;
        Ok(())
    }
}
