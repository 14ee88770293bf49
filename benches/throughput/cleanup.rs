//! What has to go when the program ends, however it ends.

use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use tokio::signal::unix::{SignalKind, signal};

use crate::sql::Sql;
use crate::{Outcome, site};

#[derive(Debug, Default)]
struct Kept {
    /// The server whose slot has to be dropped: it would keep WAL there for ever.
    slot: Option<String>,
    /// Ended in the reverse order of their start.
    processes: Vec<(Pid, Signal)>,
    folders: Vec<PathBuf>,
}

static KEPT: Mutex<Kept> =
    Mutex::new(Kept { slot: None, processes: Vec::new(), folders: Vec::new() });

/// Set by a signal: from then on nothing is begun that would have to be ended.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn locked() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with<T>(change: impl FnOnce(&mut Kept) -> T) -> T {
    let mut kept = locked();
    if INTERRUPTED.load(Ordering::Relaxed) {
        drop(kept);
        // The thread of the signals ends the program.
        loop {
            std::thread::park();
        }
    }
    change(&mut kept)
}

/// A process that has to be ended, and the signal that does it.
pub fn process(pid: Pid, signal: Signal) {
    with(|kept| kept.processes.push((pid, signal)));
}

/// A process that is gone.
pub fn forget(pid: Pid) {
    with(|kept| kept.processes.retain(|(one, _)| *one != pid));
}

/// A folder that has to be removed.
pub fn folder(path: PathBuf) {
    with(|kept| kept.folders.push(path));
}

/// Makes a run's slot on a server; a signal waits until it is made or not.
pub fn slot(conninfo: &str, make: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    with(|kept| {
        kept.slot = Some(conninfo.to_owned());
        make()
    })
}

/// The slot is gone.
pub fn forget_slot() {
    with(|kept| kept.slot = None);
}

/// Removes what a benchmark that was killed has left in a folder.
pub fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix("tapster-bench-") else { continue };
        let pid = rest.trim_end_matches(".socket");
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            // A server that still runs there ends when its files are gone.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Ends and removes all of it.
pub fn everything() {
    let Kept { slot, mut processes, folders } = std::mem::take(&mut *locked());
    // The server is the first process, if it is ours: its slots go with it.
    let server =
        (!processes.is_empty() && processes[0].1 == Signal::QUIT).then(|| processes.remove(0));
    processes.into_iter().rev().for_each(end);
    if let (Some(conninfo), None) = (slot, server) {
        let dropped = Sql::connect(&conninfo).and_then(|sql| site::drop_slot(&sql));
        if let Err(error) = dropped {
            eprintln!(
                "slot {} is left on the server: {error}\nDrop it, or the server keeps all \
                       WAL from there on.",
                site::RUN
            );
        }
    }
    server.into_iter().for_each(end);
    for folder in folders {
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn end((pid, signal): (Pid, Signal)) {
    let _ = kill_process(pid, signal);
    let deadline = Instant::now() + Duration::from_secs(20);
    while test_kill_process(pid).is_ok() && Instant::now() < deadline {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// From now on SIGINT and SIGTERM clean up before they end the program.
pub fn on_signals() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
        eprintln!("interrupted; cleaning up");
        everything();
        exit(130);
    })?;
    Ok(())
}
