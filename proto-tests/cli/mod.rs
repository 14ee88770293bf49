//! What a user types and what comes back, to the letter.
//!
//! Scripts and monitoring read these outputs: where Barman prints the same command, the expected
//! text is a capture of Barman's, and the repository below is built from files that it wrote.

mod catalogue;
mod configuration;
mod stored;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The end of a program: what it printed, and its exit code.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Outcome {
    stdout: String,
    stderr: String,
    code: i32,
}

impl Outcome {
    fn ok(stdout: &str) -> Outcome {
        Outcome { stdout: stdout.to_owned(), stderr: String::new(), code: 0 }
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-tests/fixtures/barman").join(name)
}

/// A capture of Barman: the `nth` run of `command` in a file of captures.
#[track_caller]
fn captured(file: &str, command: &str, nth: usize) -> Outcome {
    let text = fs::read_to_string(fixture("output").join(file)).expect(file);
    let begin = format!("$ {command}\n");
    let mut runs = text.split(&begin).skip(1 + nth);
    let run = runs.next().unwrap_or_else(|| panic!("{file} has no run {nth} of {command}"));
    let (printed, rest) = run.split_once("--- exit status: ").expect("an exit status");
    let code = rest.split_once(" ---").and_then(|(code, _)| code.parse().ok());
    let (stdout, stderr) = printed.split_once("--- stderr ---\n").unwrap_or((printed, ""));
    let (stdout, stderr) = (stdout.to_owned(), stderr.to_owned());
    Outcome { stdout, stderr, code: code.expect("a number") }
}

/// A home with a configuration and a repository, gone when it is dropped.
struct Site {
    home: tempfile::TempDir,
}

impl Site {
    /// A `[barman]` section for this home, and whatever else belongs into the file.
    fn new(configuration: &str) -> Site {
        let home = tempfile::tempdir().expect("a directory");
        let site = Site { home };
        let text = format!("[barman]\nbarman_home = {}\n{configuration}", site.path("").display());
        site.write("tapster.conf", &text);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        match name {
            "" => self.home.path().to_owned(),
            name => self.home.path().join(name),
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect(name);
    }

    /// A backup of `server`: a file that Barman wrote, with some lines replaced.
    fn backup(&self, server: &str, id: &str, sample: &str, changes: &[(&str, &str)]) {
        let path = fixture("backup-info").join(format!("{sample}.backup.info"));
        let mut text = String::new();
        for line in fs::read_to_string(path).expect(sample).lines() {
            let key = line.split('=').next().unwrap_or_default();
            match changes.iter().find(|(changed, _)| *changed == key) {
                Some((_, value)) => text.push_str(&format!("{key}={value}\n")),
                None => text.push_str(&format!("{line}\n")),
            }
        }
        self.write(&format!("{server}/meta/{id}-backup.info"), &text);
    }

    /// The xlog database of `server`: the lines of a sample up to and with `last`.
    fn xlogdb(&self, server: &str, sample: &str, last: &str) {
        let text = fs::read_to_string(fixture("xlogdb").join(format!("{sample}-xlog.db")));
        let kept = |line: &&str| line.split('\t').next().is_some_and(|name| name <= last);
        let text = text.expect(sample);
        let lines: Vec<&str> = text.lines().filter(kept).collect();
        self.write(&format!("{server}/wals/{server}-xlog.db"), &(lines.join("\n") + "\n"));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapster"));
        command.args(arguments).env_clear().env("HOME", self.path("")).env("TZ", "UTC");
        command.env("TAPSTER_CONFIG_FILE", self.path("tapster.conf")).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        finish(self.command(arguments))
    }
}

fn finish(mut command: Command) -> Outcome {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Outcome {
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        code: output.status.code().expect("no signal"),
    }
}
