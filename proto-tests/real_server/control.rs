//! Starting, stopping and killing one server.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::scratch::{self, server_command};
use super::sql::Session;

/// How a server ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Waits for nobody, but sends all WAL to its receivers first (SIGINT).
    Fast,
    /// Without a checkpoint; recovers at the next start (SIGQUIT).
    Immediate,
    /// All its processes at once, without a word (SIGKILL).
    Crash,
}

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The first process of a server, and what is needed to start it again.
#[derive(Debug)]
pub struct Postmaster {
    postgres: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    port: Port,
    /// `Some` from a start to the end that we saw.
    child: Option<Child>,
}

impl Postmaster {
    pub fn new(programs: &Path, data: &Path, socket: &Path, log: &Path) -> Postmaster {
        Postmaster {
            postgres: programs.join("postgres"),
            data: data.to_owned(),
            socket: socket.to_owned(),
            log: log.to_owned(),
            port: Port::free(),
            child: None,
        }
    }

    pub fn port(&self) -> u16 {
        self.port.0
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub fn start(&mut self) {
        if let Err(log) = self.try_start() {
            panic!("the server did not start\n{log}");
        }
    }

    /// Starts the server and waits until it takes connections; the log's end when it ends.
    pub fn try_start(&mut self) -> Result<(), String> {
        assert!(!self.is_running(), "the server runs already");
        for attempt in 1.. {
            let log_before = fs::metadata(&self.log).map_or(0, |metadata| metadata.len());
            self.spawn();
            if self.wait_for_connections() {
                break;
            }
            let log = fs::read(&self.log).unwrap_or_default();
            let new = String::from_utf8_lossy(&log[log_before as usize..]).into_owned();
            // Somebody else took the port between our look and the server's.
            if attempt < 5 && new.contains("could not create any TCP/IP sockets") {
                self.port = Port::free();
                continue;
            }
            return Err(scratch::tail(&self.log, 30));
        }
        Ok(())
    }

    fn spawn(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("its log");
        let mut command = server_command(&self.postgres);
        command.arg("-D").arg(&self.data);
        for (name, value) in [
            ("port", self.port.0.to_string()),
            ("unix_socket_directories", self.socket.display().to_string()),
            ("logging_collector", "off".into()),
            // Files in the data directory instead of /dev/shm: nothing to leave behind there.
            ("dynamic_shared_memory_type", "mmap".into()),
        ] {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().expect("its log")).stderr(log);
        self.child = Some(command.spawn().expect("postgres is there"));
    }

    /// False when the server ended instead.
    fn wait_for_connections(&mut self) -> bool {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let answer = Session::connect(&self.socket, self.port.0, "postgres", "postgres");
            let Err(error) = answer else { return true };
            if !self.is_running() {
                self.child = None;
                return false;
            }
            assert!(
                Instant::now() < deadline,
                "the server takes no connections after {} s: {error}\n{}",
                START_LIMIT.as_secs(),
                scratch::tail(&self.log, 30)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn stop(&mut self, how: Stop) {
        let Some(child) = self.child.as_mut() else { panic!("the server does not run") };
        let pid = Pid::from_child(child);
        match how {
            Stop::Fast => send(pid, Signal::INT),
            Stop::Immediate => send(pid, Signal::QUIT),
            Stop::Crash => kill_with_children(pid),
        }
        if !wait_for_end(child, STOP_LIMIT) {
            let tail = scratch::tail(&self.log, 30);
            self.end();
            panic!("the server did not stop within {} s\n{tail}", STOP_LIMIT.as_secs());
        }
        self.child = None;
    }

    /// The last stop, which must not fail: quick, then by force, and without a trace.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = Pid::from_child(&child);
            send(pid, Signal::QUIT);
            if !wait_for_end(&mut child, Duration::from_secs(10)) {
                kill_with_children(pid);
                let _ = child.wait();
            }
        }
        self.free_shared_memory();
    }

    /// A killed server leaves its System V segment behind; its last two numbers name it.
    fn free_shared_memory(&self) {
        let Ok(text) = fs::read_to_string(self.data.join("postmaster.pid")) else { return };
        if let Some(id) = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
            let mut command = Command::new("ipcrm");
            let _ = command.args(["-m", id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

fn send(pid: Pid, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(pid, signal);
}

fn wait_for_end(child: &mut Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(_)) => return true,
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("cannot wait for a child: {error}"),
        }
    }
    false
}

/// The postmaster first: otherwise it would see a child die, and log, and recover.
fn kill_with_children(postmaster: Pid) {
    let children = children_of(postmaster);
    send(postmaster, Signal::KILL);
    for child in &children {
        send(*child, Signal::KILL);
    }
    let gone = || children.iter().all(|child| has_ended(*child));
    scratch::wait_until(
        "the server's processes to end",
        STOP_LIMIT,
        || gone().then_some(()),
        || format!("{children:?}"),
    );
}

/// Gone, or nothing but an entry that its new parent has not looked at yet, which some take a
/// second or two for.
fn has_ended(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    // pid (name) state …
    stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

/// A server's processes have sessions of their own, so only their parent tells them.
fn children_of(parent: Pid) -> Vec<Pid> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(number) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // pid (name) state ppid …: the name may hold anything, parentheses too.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        if after_name.split_whitespace().nth(1) == Some(&parent.as_raw_nonzero().to_string()) {
            children.extend(Pid::from_raw(number));
        }
    }
    children
}

/// A TCP port that nobody listens on, kept from the other tests of this process.
#[derive(Debug)]
pub struct Port(pub u16);

static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

impl Port {
    /// Below the range from which the kernel gives ports to outgoing connections, so that a
    /// stopped server finds its port free when it comes back.
    pub fn free() -> Port {
        const FIRST: u32 = 15_000;
        const COUNT: u32 = 15_000;
        let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let taken = taken.get_or_insert_default();
        // Test binaries that run at the same time begin at different places.
        let start = std::process::id().wrapping_mul(7919).wrapping_add(taken.len() as u32);
        for step in 0..COUNT {
            let port = (FIRST + start.wrapping_add(step * 13) % COUNT) as u16;
            if !taken.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
                taken.insert(port);
                return Port(port);
            }
        }
        panic!("no free port from {FIRST} on");
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Ok(mut taken) = TAKEN.lock()
            && let Some(taken) = taken.as_mut()
        {
            taken.remove(&self.0);
        }
    }
}

/// The right to run servers: as many tests as the machine bears have it at once. A test that
/// has it may run several.
#[derive(Debug)]
pub struct Permit;

static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Permit {
    pub fn get() -> Arc<Permit> {
        thread_local! {
            static MINE: RefCell<Weak<Permit>> = const { RefCell::new(Weak::new()) };
        }
        MINE.with_borrow_mut(|mine| {
            if let Some(permit) = mine.upgrade() {
                return permit;
            }
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            while *running > cores {
                running = FREED.wait(running).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            *running += 1;
            let permit = Arc::new(Permit);
            *mine = Arc::downgrade(&permit);
            permit
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}
