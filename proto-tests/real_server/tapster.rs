//! The program itself, with a repository of its own, as a user runs it.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::cluster::Cluster;
use super::scratch::{self, Scratch, wait_until};

/// A repository and the configuration that leads to it. Removed when dropped.
#[derive(Debug)]
pub struct Tapster {
    scratch: Scratch,
    spawned: std::cell::Cell<u32>,
}

/// What one run of the program did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; 128 and the signal's number when one ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    line: String,
}

impl Tapster {
    /// A repository without a server.
    pub fn new() -> Tapster {
        let tapster = Tapster { scratch: Scratch::new("t"), spawned: std::cell::Cell::new(0) };
        for folder in ["servers", "home", "repository"] {
            fs::create_dir(tapster.scratch.path().join(folder)).expect("a folder");
        }
        let home = tapster.scratch.path().display();
        let user = scratch::must(Command::new("id").arg("-un"));
        tapster.write_global(&format!(
            "barman_user = {}\nbarman_home = {home}/repository\n\
             configuration_files_directory = {home}/servers\nlog_file = {home}/tapster.log\n",
            user.trim()
        ));
        tapster
    }

    /// A repository with server `main`, which is this cluster, over its socket.
    pub fn of(cluster: &Cluster) -> Tapster {
        let tapster = Tapster::new();
        tapster.write_server("main", &Tapster::server_options(cluster));
        tapster
    }

    /// What the configuration says of a cluster that is reached over its socket.
    pub fn server_options(cluster: &Cluster) -> String {
        options(&cluster.conninfo(), &cluster.streaming_conninfo()) + "slot_name = tapster\n"
    }

    /// The same of several hosts that are one server, in this order, with further words for each
    /// of the two connection strings. The slot is not named.
    pub fn hosts_options(nodes: &[Cluster], sql: &str, streaming: &str) -> String {
        let list =
            |what: fn(&Cluster) -> String| nodes.iter().map(what).collect::<Vec<_>>().join(",");
        let hosts = list(|node| node.socket().display().to_string());
        let ports = list(|node| node.port().to_string());
        let hosts = format!("host={hosts} port={ports}");
        options(
            &format!("{hosts} user=barman dbname=postgres {sql}"),
            &format!("{hosts} user=streaming_barman {streaming}"),
        )
    }

    /// Replaces the global section of the configuration.
    pub fn write_global(&self, options: &str) {
        fs::write(self.config(), format!("[barman]\n{options}")).expect("the configuration");
    }

    /// Replaces the section of one server.
    pub fn write_server(&self, name: &str, options: &str) {
        let path = self.path().join("servers").join(format!("{name}.conf"));
        fs::write(path, format!("[{name}]\ndescription = \"{name}\"\n{options}"))
            .expect("a section");
    }

    /// The folder of everything.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// What the log that the configuration names holds so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("tapster.log")).unwrap_or_default()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path().join("tapster.conf")
    }

    /// The folder of one server in the repository.
    pub fn server(&self, name: &str) -> PathBuf {
        self.path().join("repository").join(name)
    }

    /// The program with `-c` and these arguments, cut off from the tester's own surroundings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = scratch::command(env!("CARGO_BIN_EXE_tapster"));
        command.env("HOME", self.path().join("home")).current_dir(self.path());
        command.arg("-c").arg(self.config()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let output = self.command(arguments).output().expect("the program was built");
        let code = output.status.code();
        Outcome {
            code: code.unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            line: format!("tapster {}", arguments.join(" ")),
        }
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{outcome}");
        outcome
    }

    /// Runs a command that has to fail with an error, not with a panic.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert!((1..100).contains(&outcome.code), "it was to fail: {outcome}");
        assert!(!outcome.stderr.trim().is_empty(), "a refusal says why: {outcome}");
        outcome
    }

    /// Starts a command that goes on. Killed when dropped.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        self.spawn_with(arguments, &[])
    }

    /// The same, with variables of the environment.
    pub fn spawn_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let number = self.spawned.get();
        self.spawned.set(number + 1);
        let log = self.path().join(format!("output-{number}"));
        let file = File::create(&log).expect("a file for its output");
        let child = self
            .command(arguments)
            .envs(variables.iter().copied())
            .stdout(file.try_clone().expect("the same file"))
            .stderr(file)
            .spawn()
            .expect("the program was built");
        Running { child, log, line: format!("tapster {}", arguments.join(" ")) }
    }

    /// Starts `receive-wal main`, which makes its slot, and waits until the server streams to it.
    pub fn receive(&self, cluster: &Cluster) -> Running {
        self.ok(&["receive-wal", "--create-slot", "--if-not-exists", "main"]);
        let mut receiver = self.spawn(&["receive-wal", "main"]);
        receiver.wait_until_streaming(cluster);
        receiver
    }

    /// Restores into a folder of that name and puts a running server around it. The arguments
    /// are those before the destination: options, server, backup.
    pub fn restore(&self, major: u32, folder: &str, arguments: &[&str]) -> Cluster {
        let folder = self.path().join(folder);
        let path = folder.to_str().expect("UTF-8");
        self.ok(&[&["restore"], arguments, &[path]].concat());
        let restored = Cluster::of_directory(major, &folder);
        restored.launch();
        restored
    }

    /// The archived segments and history files of a server, by name, wherever in `wals/` they
    /// are.
    pub fn archived(&self, name: &str) -> std::collections::BTreeMap<String, PathBuf> {
        let mut found = std::collections::BTreeMap::new();
        for folder in fs::read_dir(self.server(name).join("wals")).into_iter().flatten().flatten() {
            let file = folder.file_name().to_string_lossy().into_owned();
            if file.ends_with(".history") {
                found.insert(file, folder.path());
            }
            for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                found.insert(file.file_name().to_string_lossy().into_owned(), file.path());
            }
        }
        found
    }

    /// What is stored of a segment, complete or not, wherever it stands. A receiver may be about
    /// to move it on: its places are looked at in the order in which it passes them. What a
    /// timeline has left behind goes into the archive as incomplete as it is.
    pub fn stored(&self, name: &str, segment: &str) -> Option<Vec<u8>> {
        let partial = format!("{segment}.partial");
        let streaming = self.server(name).join("streaming");
        let archived = self.server(name).join("wals").join(&segment[..16]);
        let places = [
            streaming.join(&partial),
            streaming.join(segment),
            archived.join(segment),
            archived.join(&partial),
        ];
        places.iter().find_map(|path| fs::read(path).ok())
    }

    /// Waits until segments are under their final names in `wals/`.
    pub fn wait_for_archived(&self, name: &str, segments: &[String]) {
        wait_until(
            &format!("{segments:?} in wals/"),
            Duration::from_secs(60),
            || {
                let archived = self.archived(name);
                segments.iter().all(|segment| archived.contains_key(segment)).then_some(())
            },
            || format!("{:?}", self.archived(name).keys().collect::<Vec<_>>()),
        );
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ended with {}\n{}{}", self.line, self.code, self.stdout, self.stderr)
    }
}

/// A run that goes on.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
    line: String,
}

impl Running {
    /// What it has printed so far, on both channels.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it goes on.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until its output, or the log that its configuration names, holds a text.
    pub fn wait_for_log(&mut self, tapster: &Tapster, text: &str) {
        let line = self.line.clone();
        wait_until(
            &format!("{text:?} to be said by {line}"),
            Duration::from_secs(60),
            || (tapster.log() + &self.output()).contains(text).then_some(()),
            || scratch::tail(&tapster.path().join("tapster.log"), 30),
        );
    }

    /// Waits until the server lists a walsender that streams.
    pub fn wait_until_streaming(&mut self, cluster: &Cluster) {
        let question = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        let (line, log) = (self.line.clone(), self.log.clone());
        wait_until(
            "a walsender that streams",
            Duration::from_secs(60),
            || {
                assert!(self.is_running(), "{} ended: {}", self.line, self.output());
                (cluster.value(question) != "0").then_some(())
            },
            || format!("{line}\n{}\n{}", scratch::tail(&log, 30), cluster.log_tail()),
        );
    }

    /// Waits for its end; returns the exit code.
    pub fn wait(&mut self) -> i32 {
        let (line, log) = (self.line.clone(), self.log.clone());
        wait_until(
            &format!("the end of {line}"),
            Duration::from_secs(60),
            || self.child.try_wait().expect("it is our child"),
            || scratch::tail(&log, 30),
        )
        .code()
        .unwrap_or(-1)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Asks it to end (SIGINT), and returns the exit code.
    pub fn interrupt(&mut self) -> i32 {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        self.wait()
    }

    /// Ends it without a word (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    #[allow(clippy::print_stderr, reason = "a failed test shows what its programs said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.line, scratch::tail(&self.log, 30));
        }
        self.kill();
    }
}

/// What every server in these tests is configured with.
fn options(conninfo: &str, streaming_conninfo: &str) -> String {
    format!(
        "conninfo = {conninfo}\nstreaming_conninfo = {streaming_conninfo}\n\
         backup_method = postgres\nstreaming_archiver = on\nimmediate_checkpoint = true\n"
    )
}
