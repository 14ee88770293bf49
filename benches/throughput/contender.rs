//! The programs that are compared: how each is started, and where its segments appear.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tapster::wal::SegmentName;

use crate::machine::Usage;
use crate::options::Options;
use crate::report::Report;
use crate::server::Programs;
use crate::site::{RUN, Site};
use crate::{Outcome, cleanup};

/// Which program.
#[derive(Clone, Debug)]
pub enum Program {
    /// `tapster receive-wal`.
    Tapster(PathBuf),
    /// The stock receiver.
    PgReceivewal(PathBuf),
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Contender {
    /// What it is called.
    pub name: String,
    /// What is run.
    pub program: Program,
    /// What it compresses segments with, if it does.
    pub compression: Option<String>,
}

/// Everybody who may take part.
#[derive(Clone, Debug)]
pub struct Contenders {
    /// The rival comes first: the others are held against it.
    all: Vec<Contender>,
}

impl Contenders {
    /// pg_receivewal, if it is there, and each tapster.
    pub fn find(options: &Options, programs: Option<&Programs>, report: &mut Report) -> Contenders {
        let mut all = Vec::new();
        let rival = programs.and_then(|programs| programs.client("pg_receivewal"));
        if let (Some(path), false) = (rival, options.without_pg_receivewal) {
            let name = format!("pg_receivewal {}", programs.map_or("", Programs::version));
            all.push(Contender { name, program: Program::PgReceivewal(path), compression: None });
        } else {
            report.skipped("pg_receivewal", "it is not installed with the server, or not wanted");
        }
        for binary in options.tapsters() {
            let program = Program::Tapster(binary.path);
            all.push(Contender { name: binary.label, program, compression: None });
        }
        Contenders { all }
    }

    /// Without compression.
    pub fn plain(&self) -> Vec<Contender> {
        self.all.clone()
    }

    /// Everybody with every method that it knows. pg_receivewal knows gzip and lz4.
    pub fn compressed(&self, methods: &[String]) -> Vec<Contender> {
        let mut all = Vec::new();
        for contender in &self.all {
            let rival = ["gzip".to_owned(), "lz4".to_owned()];
            let known = match contender.program {
                Program::Tapster(_) => methods,
                Program::PgReceivewal(_) => rival.as_slice(),
            };
            all.extend(known.iter().map(|method| Contender {
                name: format!("{}, {method}", contender.name),
                compression: Some(method.clone()),
                ..contender.clone()
            }));
        }
        all
    }
}

/// Where a contender finds the server, and what it is there.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The server.
    pub site: &'a Site,
    /// Whether commits wait for it, by the name [`STANDBY`].
    pub synchronous: bool,
}

/// What `synchronous_standby_names` calls a contender.
pub const STANDBY: &str = "tapster_bench_standby";

/// A contender at work.
#[derive(Debug)]
pub struct Running {
    child: Child,
    folder: PathBuf,
    is_tapster: bool,
    /// What is behind the names of segments.
    suffix: &'static str,
}

impl Contender {
    /// Starts it with an empty place for WAL in `folder`.
    pub fn start(&self, source: &Source<'_>, folder: &Path) -> Outcome<Running> {
        let (mut command, is_tapster) = match &self.program {
            Program::Tapster(path) => (self.tapster(path, source, folder)?, true),
            Program::PgReceivewal(path) => (self.pg_receivewal(path, source, folder)?, false),
        };
        let suffix = match self.compression.as_deref() {
            Some("gzip") if !is_tapster => ".gz",
            Some("lz4") if !is_tapster => ".lz4",
            _ => "",
        };
        let log = File::create(folder.join("output"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("{}: {error}", self.name))?;
        cleanup::process(Pid::from_child(&child), Signal::KILL);
        Ok(Running { child, folder: folder.to_owned(), is_tapster, suffix })
    }

    fn pg_receivewal(&self, path: &Path, source: &Source<'_>, folder: &Path) -> Outcome<Command> {
        let place = folder.join("wal");
        fs::create_dir(&place)?;
        let mut command = Command::new(path);
        command.args(["--no-loop", "--no-password", "--slot", RUN]).arg("--directory").arg(place);
        let mut conninfo = source.site.streaming.clone();
        if source.synchronous {
            conninfo.push_str(&format!(" application_name={STANDBY}"));
            command.arg("--synchronous");
        }
        command.arg("--dbname").arg(conninfo);
        if let Some(method) = &self.compression {
            command.arg(format!("--compress={method}"));
        }
        Ok(command)
    }

    fn tapster(&self, path: &Path, source: &Source<'_>, folder: &Path) -> Outcome<Command> {
        let mut text = tapster_config(source.site, folder)?;
        if source.synchronous {
            text.push_str(&format!("streaming_archiver_name = {STANDBY}\n"));
        }
        if let Some(method) = &self.compression {
            text.push_str(&format!("compression = {method}\n"));
        }
        let config = folder.join("tapster.conf");
        fs::write(&config, text)?;
        let mut command = Command::new(path);
        command.arg("-c").arg(config).args(["receive-wal", "bench"]);
        Ok(command)
    }
}

/// A configuration with server `bench` and its repository in `folder`.
pub fn tapster_config(site: &Site, folder: &Path) -> Outcome<String> {
    let user = Command::new("id").arg("-un").output()?.stdout;
    let home = folder.display();
    Ok(format!(
        "[barman]\nbarman_user = {}\nbarman_home = {home}\nlog_file = {home}/tapster.log\n\n\
         [bench]\ndescription = bench\nconninfo = {}\nstreaming_conninfo = {}\n\
         backup_method = postgres\nstreaming_archiver = on\nslot_name = {RUN}\n",
        String::from_utf8_lossy(&user).trim(),
        site.conninfo,
        site.streaming,
    ))
}

impl Running {
    /// Whether a segment is durable under its final name; with tapster also archived, and
    /// entered in the catalogue.
    pub fn has(&self, segment: SegmentName) -> bool {
        self.path(segment).exists() && (!self.is_tapster || self.is_catalogued(segment))
    }

    /// Where a segment has to appear.
    pub fn path(&self, segment: SegmentName) -> PathBuf {
        if self.is_tapster {
            let wals = self.folder.join("bench/wals");
            return wals.join(segment.hash_directory()).join(segment.to_string());
        }
        self.folder.join("wal").join(format!("{segment}{}", self.suffix))
    }

    /// The xlog database has one line a segment; the newest are at its end.
    fn is_catalogued(&self, segment: SegmentName) -> bool {
        const TAIL: i64 = 16 << 10;
        let Ok(mut file) = File::open(self.folder.join("bench/wals/bench-xlog.db")) else {
            return false;
        };
        let mut text = String::new();
        if file.seek(SeekFrom::End(-TAIL)).is_err() {
            let _ = file.rewind();
        }
        let read = file.read_to_string(&mut text);
        read.is_ok() && text.contains(&segment.to_string())
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has used so far.
    pub fn usage(&self) -> Outcome<Usage> {
        Usage::of(self.pid())
    }

    /// An error with what it said, if it has ended by itself.
    pub fn check(&mut self) -> Outcome<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("it ended with {status}\n{}", self.said()).into()),
        }
    }

    /// All that it printed and logged.
    pub fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        format!("{}{}", read("output"), read("tapster.log"))
    }

    /// Asks it to end, and waits.
    pub fn stop(mut self) -> Outcome<()> {
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, Signal::INT);
        self.child.wait()?;
        cleanup::forget(pid);
        Ok(())
    }
}
