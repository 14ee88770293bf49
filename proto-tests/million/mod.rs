//! A million files are no reason to take more memory than a small machine has.
//!
//! A list that is held twice, or a text that is held beside what it says, is not noticed with a
//! thousand files; with a million the restore is killed on the machine that was to take the place
//! of the one that burned. (A backup is measured where it is made, in `src/backup/tests`.)

mod backups;
mod made_up;

use std::path::Path;

use jiff::Timestamp;
use tapster::output::{NoProgress, Progress};
use tapster::restore::chain::ancestors;
use tapster::restore::plan::Wishes;
use tapster::restore::target::Goal;
use tapster::restore::{Job, Observer, Step, restore};
use tapster::verify::verify;

use backups::{Backup, layout};
use made_up::{DRAIN, Repository};

/// A quarter of a million: a debug build takes a minute over all of them.
const FILES: u32 = 250_000;
/// For the whole process: the program, its buffers, and what is known of each file.
const LIMIT_KIB: u64 = 256 << 10;
/// Tells the process that it is the one to be measured.
const MEASURED: &str = "TAPSTER_TEST_MEASURED";

struct Silent;

impl Observer for Silent {
    fn step(&mut self, _step: &Step<'_>) {}
    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }
    fn interrupted(&self) -> bool {
        false
    }
    fn progress(&self) -> &dyn Progress {
        &NoProgress
    }
}

/// The most that this process ever had in memory, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Does the work in a process of its own, because the other tests have their memory, and holds
/// what a million files would have taken against the limit: lists double their room when it is
/// used up, so that the whole takes four times as much as a quarter, and no more.
/// What the program and its buffers take is known from a few files.
#[track_caller]
fn measured(test: &str, work: fn(u32)) {
    if std::env::var_os(MEASURED).is_some() {
        work(FILES / 1000);
        let program = peak_kib();
        work(FILES);
        let peak = program + 4 * (peak_kib() - program);
        assert!(peak < LIMIT_KIB, "{peak} KiB would be in memory");
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(program)
        .args(["--exact", &format!("million::{test}"), "--nocapture"])
        .env(MEASURED, "1")
        .output()
        .expect("it runs again");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn restore_newest(backups: &[Backup]) {
    let mut repository = Repository::new();
    backups.iter().for_each(|backup| backup.store(&mut repository));
    let newest = backups.last().expect("a backup");
    let get = |id| backups.iter().map(|backup| &backup.info).find(|info| info.id == id);
    let ancestors = ancestors(&newest.info, get).expect("a chain");
    let destination = Path::new(DRAIN).join("restored");
    let wishes = Wishes { destination, relocations: Vec::new(), goal: Goal::default() };
    let layout = layout();
    let job = Job {
        repository: &repository,
        target: &repository,
        layout: &layout,
        info: &newest.info,
        ancestors: &ancestors,
        wishes: &wishes,
    };
    restore(&job, &mut Silent, Timestamp::UNIX_EPOCH).expect("restored");
}

#[test]
fn to_verify_a_backup_of_a_million_files_takes_less_than_256_mib() {
    measured("to_verify_a_backup_of_a_million_files_takes_less_than_256_mib", |files| {
        let backup = Backup::full(3, files);
        let mut repository = Repository::new();
        backup.store(&mut repository);
        let found = verify(&repository, &layout(), &backup.info, 2, &NoProgress);
        let found = found.expect("it can be read");
        assert_eq!(found.findings, []);
        assert_eq!(found.files, u64::from(files) + 2);
    });
}

#[test]
fn to_restore_a_backup_of_a_million_files_takes_less_than_256_mib() {
    measured("to_restore_a_backup_of_a_million_files_takes_less_than_256_mib", |files| {
        restore_newest(&[Backup::full(3, files)]);
    });
}

#[test]
fn to_restore_a_chain_of_a_million_files_takes_less_than_256_mib() {
    measured("to_restore_a_chain_of_a_million_files_takes_less_than_256_mib", |files| {
        let full = Backup::full(3, files);
        let incremental = Backup::incremental(4, &full);
        restore_newest(&[full, incremental]);
    });
}
