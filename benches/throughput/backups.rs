//! Base backups beside pg_basebackup: archives of a large cluster, and a cluster of many files.
//!
//! The clock runs from the start of the program to its end, at which everything is synced: both
//! contenders end no sooner. Both take the WAL of the backup along. What Tapster checks on the way
//! it checks here too.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::contender::tapster_config;
use crate::machine::Usage;
use crate::options::Options;
use crate::report::Report;
use crate::server::Programs;
use crate::site::Site;
use crate::sql::Sql;
use crate::table::{Row, Run, order};
use crate::{Outcome, cleanup, data};

/// A program and what it makes.
struct Contender {
    name: String,
    path: PathBuf,
    is_tapster: bool,
    form: Form,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Directory,
    Archive,
    Packed(&'static str),
}

impl Form {
    fn word(self) -> &'static str {
        match self {
            Form::Directory => "directory",
            Form::Archive => "tar",
            Form::Packed(codec) => codec,
        }
    }
}

/// Nothing that is measured takes longer.
const LIMIT: Duration = Duration::from_secs(1200);
/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Archives of a cluster of `backup_size` MiB; compressed ones of an eighth of it.
pub fn archives(
    options: &Options,
    programs: &Programs,
    site: &Site,
    report: &mut Report,
) -> Outcome<()> {
    let sql = site.sql()?;
    let packed = [Form::Packed("gzip"), Form::Packed("lz4"), Form::Packed("zstd")];
    let sizes = [(options.backup_size / 4, &packed[..]), (options.backup_size, &[Form::Archive])];
    for (mib, forms) in sizes {
        eprintln!("filling a database with {mib} MiB");
        data::fill(&sql, mib << 20)?;
        for form in forms {
            measure("backup", *form, options, programs, site, &sql, report)?;
        }
    }
    data::empty(&sql)
}

/// Directories of a cluster of `backup_tables` small tables.
pub fn tables(
    options: &Options,
    programs: &Programs,
    site: &Site,
    report: &mut Report,
) -> Outcome<()> {
    let sql = site.sql()?;
    eprintln!("making {} tables", options.backup_tables);
    data::small_tables(&sql, options.backup_tables)?;
    let measured = measure("tables", Form::Directory, options, programs, site, &sql, report);
    site.forget_runs()?;
    measured?;
    data::drop_small_tables(&sql)
}

fn measure(
    scenario: &str,
    form: Form,
    options: &Options,
    programs: &Programs,
    site: &Site,
    sql: &Sql,
    report: &mut Report,
) -> Outcome<()> {
    sql.run("CHECKPOINT")?;
    let size = "SELECT sum(pg_database_size(oid))::int8 FROM pg_database";
    let bytes: u64 = sql.value(size)?.parse()?;
    let contenders = contenders(form, options, programs, report);
    let mut rows: Vec<Row> = contenders.iter().map(|one| Row::of(&one.name)).collect();
    for turn in 0..options.runs {
        for place in order(turn, contenders.len()) {
            let (contender, row) = (&contenders[place], &mut rows[place]);
            eprintln!("{scenario}, {} of {}: {}", turn + 1, options.runs, contender.name);
            match contender.run(site, bytes) {
                Ok(run) => row.runs.push(run),
                Err(error) => {
                    report.failed(&format!("{scenario}, {}", contender.name), &error.to_string());
                }
            }
        }
    }
    report.drain(&format!("{scenario}, {}", form.word()), bytes, "data", &rows)
}

/// The rival comes first.
fn contenders(
    form: Form,
    options: &Options,
    programs: &Programs,
    report: &mut Report,
) -> Vec<Contender> {
    let mut all = Vec::new();
    match programs.client("pg_basebackup").filter(|_| !options.without_pg_receivewal) {
        Some(path) => {
            let name = format!("pg_basebackup {}, {}", programs.version(), form.word());
            all.push(Contender { name, path, is_tapster: false, form });
        }
        None => report.skipped("pg_basebackup", "it is not installed, or not wanted"),
    }
    for binary in options.tapsters() {
        let name = format!("{}, {}", binary.label, form.word());
        all.push(Contender { name, path: binary.path, is_tapster: true, form });
    }
    all
}

impl Contender {
    /// Once, into an empty folder.
    fn run(&self, site: &Site, bytes: u64) -> Outcome<Run> {
        let folder = match self.form {
            Form::Directory => site.settled_beside(bytes)?,
            Form::Archive | Form::Packed(_) => site.settled(&[], bytes)?,
        };
        let (mut command, place) = match self.is_tapster {
            true => self.tapster(site, &folder)?,
            false => self.pg_basebackup(site, &folder),
        };
        let log = File::create(folder.join("output"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.name))?;
        let pid = Pid::from_child(&child);
        cleanup::process(pid, Signal::KILL);
        let watched = watch(&mut child, began, &place);
        let status = child.wait()?;
        cleanup::forget(pid);
        let run = watched?;
        if !status.success() {
            let said = fs::read_to_string(folder.join("output")).unwrap_or_default();
            return Err(format!("it ended with {status}\n{said}").into());
        }
        Ok(Run { stored: Some(stored(&place)?), ..run })
    }

    fn pg_basebackup(&self, site: &Site, folder: &Path) -> (Command, PathBuf) {
        let place = folder.join("base");
        let mut command = Command::new(&self.path);
        command.args(["--checkpoint=fast", "--no-password", "--wal-method=stream"]);
        command.arg("--dbname").arg(&site.streaming).arg("--pgdata").arg(&place);
        match self.form {
            Form::Directory => command.arg("--format=plain"),
            Form::Archive => command.arg("--format=tar"),
            Form::Packed(codec) => command.arg("--format=tar").arg(format!("--compress={codec}")),
        };
        (command, place)
    }

    fn tapster(&self, site: &Site, folder: &Path) -> Outcome<(Command, PathBuf)> {
        let mut text = tapster_config(site, folder)?;
        match self.form {
            Form::Directory => {}
            Form::Archive => text.push_str("backup_compression = none\n"),
            Form::Packed(codec) => text.push_str(&format!("backup_compression = {codec}\n")),
        }
        let config = folder.join("tapster.conf");
        fs::write(&config, text)?;
        let mut command = Command::new(&self.path);
        command.arg("-c").arg(config).args(["backup", "--immediate-checkpoint", "bench"]);
        Ok((command, folder.join("bench/base")))
    }
}

/// Looks at a running program until it ends. It is then still to be waited for.
fn watch(child: &mut Child, began: Instant, place: &Path) -> Outcome<Run> {
    let pid = Pid::from_child(child);
    let (mut usage, mut first) = (Usage::default(), None);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), options)?.is_none() {
        if began.elapsed() > LIMIT {
            child.kill()?;
            return Err(format!("not through after {LIMIT:?}").into());
        }
        // None once it is about to end.
        usage = Usage::of(child.id()).unwrap_or(usage);
        first = first.or_else(|| has_bytes(place).then(|| began.elapsed()));
        std::thread::sleep(LOOK);
    }
    Ok(Run {
        wall: began.elapsed(),
        client: Usage::processor_of(child.id())?,
        server: None,
        peak: Some(usage.peak),
        written: Some(usage.written),
        stored: None,
        first,
    })
}

/// Whether there is a file with content.
fn has_bytes(place: &Path) -> bool {
    let Ok(entries) = fs::read_dir(place) else { return false };
    entries.flatten().any(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => has_bytes(&entry.path()),
        Ok(metadata) => metadata.len() > 0 && entry.file_name() != "backup.info",
        Err(_) => false,
    })
}

/// What is left there. The WAL that pg_basebackup puts beside does not count.
fn stored(place: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_wal = name.to_string_lossy().starts_with("pg_wal");
        let metadata = entry.metadata()?;
        sum += match metadata.is_dir() {
            _ if is_wal => 0,
            true => stored(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(sum)
}
