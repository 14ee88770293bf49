//! The rules themselves.

use std::fmt;

use super::source::Source;

/// How the files begin whose speed is the product's.
pub const HOT_PATH_LINE: &str =
    "//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.";

/// Past this a file holds more than one noun.
pub const LINES_MAX: usize = 450;

/// Rooms that see bytes and facts only: a test drives them without a socket, file or clock.
const PURE_ROOMS: [&str; 6] = ["wire", "wal", "tar", "manifest", "pages", "retention"];

/// Pure files in rooms that are not.
const PURE_FILES: [&str; 3] =
    ["src/restore/plan.rs", "src/receive/feedback.rs", "src/backup/plan.rs"];

/// Words that lead out of a pure room.
const OUTSIDE: [&str; 11] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "rand",
    "rustix",
];

/// Calls that change a file system.
const WRITES: [&str; 19] = [
    "fs::rename",
    "fs::remove_file",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::write",
    "fs::copy",
    "fs::hard_link",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::set_permissions",
    "fs::symlink",
    "fs::DirBuilder",
    "File::create",
    "File::create_new",
    "fs::fsync",
    "fs::fdatasync",
    "fs::unlink",
    "fs::renameat",
    "fs::ftruncate",
];

/// What a hot path must not do, and what it costs.
const HOT_PATH: [(&str, &str); 18] = [
    ("to_vec", "copies the payload"),
    ("to_owned", "copies the payload"),
    ("to_string", "allocates for every frame"),
    ("String::from", "allocates for every frame"),
    ("format!", "allocates for every frame"),
    ("println!", "prints for every frame"),
    ("eprintln!", "prints for every frame"),
    ("trace!", "logs for every frame"),
    ("debug!", "logs for every frame"),
    ("info!", "logs for every frame"),
    ("warn!", "logs for every frame"),
    ("tracing", "logs for every frame"),
    ("Command", "starts a program"),
    ("tokio::fs", "sends every call to a pool of threads"),
    ("spawn_blocking", "sends every call to a pool of threads"),
    ("sleep", "waits while the server sends"),
    ("Mutex", "waits for another thread"),
    ("RwLock", "waits for another thread"),
];

/// One place that breaks one rule.
#[derive(Debug)]
pub struct Breach {
    pub path: String,
    /// From 1.
    pub line: usize,
    pub rule: &'static str,
    pub reason: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.reason)
    }
}

/// The rooms in the order of `lib.rs`.
#[derive(Debug)]
pub struct Rooms(Vec<String>);

impl Rooms {
    pub fn parse(lib: &str) -> Rooms {
        let names = lib.lines().filter_map(|line| {
            let name = line.trim().strip_prefix("pub mod ")?.strip_suffix(';')?;
            Some(name.to_owned())
        });
        Rooms(names.collect())
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|room| room == name)
    }
}

/// Rules for every text file.
pub fn every_file(path: &str, text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    let machine = concat!("/wo", "rk/");
    for (number, line) in text.lines().enumerate() {
        let mut add = |rule, reason: String| {
            found.push(Breach { path: path.to_owned(), line: number + 1, rule, reason });
        };
        let starts_there =
            |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "-_.*}".contains(c));
        if line.match_indices(machine).any(|(at, _)| starts_there(at)) {
            add("no machine's paths", format!("{machine} exists on one machine only"));
        }
        if path.ends_with(".rs") {
            for mark in unfinished_marks() {
                if line.contains(mark) {
                    add("finished work", format!("`{mark}` marks work that is not done"));
                }
            }
        }
    }
    found
}

/// Put together here, so that this file does not hold them.
pub fn unfinished_marks() -> [&'static str; 6] {
    [
        concat!("todo", "!"),
        concat!("unimplemented", "!"),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("not yet ", "implemented"),
    ]
}

/// Rules for Rust files.
pub fn rust(source: &Source<'_>, rooms: &Rooms) -> Vec<Breach> {
    let mut found = shape(source);
    if source.path.starts_with("src/") && !source.is_test() {
        found.extend(purity(source));
        found.extend(doors(source));
        found.extend(hot_path(source));
        found.extend(order_of_rooms(source, rooms));
    }
    found
}

fn breach(source: &Source<'_>, line: usize, rule: &'static str, reason: String) -> Breach {
    Breach { path: source.path.to_owned(), line, rule, reason }
}

fn shape(source: &Source<'_>) -> Vec<Breach> {
    let mut found = Vec::new();
    if !source.text.starts_with("//!") {
        let reason = "a file's first line (`//!`) says what it is for".to_owned();
        found.push(breach(source, 1, "purpose first", reason));
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        let reason = format!("{lines} lines hold more than one noun; {LINES_MAX} are the limit");
        found.push(breach(source, lines, "one noun, one file", reason));
    }
    found
}

fn purity(source: &Source<'_>) -> Vec<Breach> {
    let pure = source.room().is_some_and(|room| PURE_ROOMS.contains(&room))
        || PURE_FILES.contains(&source.path);
    if !pure {
        return Vec::new();
    }
    let mut found = Vec::new();
    let why = "a pure room is driven by tests without sockets, files, clocks or chance";
    for word in OUTSIDE {
        for line in source.lines_with(word) {
            found.push(breach(source, line, "pure room", format!("`{word}`: {why}")));
        }
    }
    // `use std::{fs, io};`
    for (line, names) in grouped(source, "std::{") {
        for name in
            names.iter().filter(|name| ["fs", "net", "env", "thread"].contains(&name.as_str()))
        {
            found.push(breach(source, line, "pure room", format!("`std::{name}`: {why}")));
        }
    }
    found
}

/// Things that only one room may do.
fn doors(source: &Source<'_>) -> Vec<Breach> {
    let mut found = Vec::new();
    let room = source.room().unwrap_or_default();
    let mut refuse = |words: &[&str], rule: &'static str, why: &str| {
        for word in words {
            for line in source.lines_with(word) {
                found.push(breach(source, line, rule, format!("`{word}`: {why}")));
            }
        }
    };
    if room != "disk" {
        let why = "every write goes through the Disk trait, where a test can make it fail";
        refuse(&WRITES, "only disk writes", why);
        refuse(&["std::os::unix::fs::symlink"], "only disk writes", why);
    }
    if room != "process" {
        let words = ["Command::new", "std::process::Command", "process::Command"];
        refuse(&words, "only process starts", "programs are started in one place, with deadlines");
    }
    if room != "output" {
        let words =
            ["println!", "print!", "eprintln!", "eprint!", "dbg!", "io::stdout", "io::stderr"];
        // Logs are not output: `service` hands standard error to the subscriber.
        let words = if room == "service" { &words[..6] } else { &words[..] };
        refuse(words, "only output prints", "a closed pipe is success, and JSON stays JSON");
    }
    if source.path != "src/sys.rs" {
        refuse(&["unsafe"], "unsafe in one file", "src/sys.rs is the only door to it");
    }
    if room != "disk" {
        let imports = grouped(source, "std::fs::{");
        let writers = ["rename", "remove_file", "remove_dir", "write", "copy", "create_dir"];
        for (line, names) in imports {
            for name in names.iter().filter(|name| writers.contains(&name.as_str())) {
                let reason = format!("`std::fs::{name}`: every write goes through the Disk trait");
                found.push(breach(source, line, "only disk writes", reason));
            }
        }
    }
    found
}

fn hot_path(source: &Source<'_>) -> Vec<Breach> {
    if !source.text.starts_with(HOT_PATH_LINE) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (word, cost) in HOT_PATH {
        for line in source.lines_with(word) {
            found.push(breach(source, line, "hot path", format!("`{word}` {cost}")));
        }
    }
    found
}

fn order_of_rooms(source: &Source<'_>, rooms: &Rooms) -> Vec<Breach> {
    let Some(own) = source.room().and_then(|room| rooms.position(room)) else { return Vec::new() };
    let mut used: Vec<(usize, String)> = Vec::new();
    for (number, line) in source.code.lines().enumerate() {
        for (at, prefix) in line.match_indices("crate::") {
            let rest = &line[at + prefix.len()..];
            let name: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            used.push((number + 1, name));
        }
    }
    for (line, names) in grouped(source, "crate::{") {
        used.extend(names.into_iter().map(|name| (line, name)));
    }
    used.into_iter()
        .filter(|(_, name)| name != "disk" && name != "output")
        .filter(|(_, name)| rooms.position(name).is_some_and(|position| position > own))
        .map(|(line, name)| {
            let reason = format!("`crate::{name}` lies below this room in lib.rs");
            breach(source, line, "order of rooms", reason)
        })
        .collect()
}

/// The names at the first level of every group that begins with `prefix`, with its line.
fn grouped(source: &Source<'_>, prefix: &str) -> Vec<(usize, Vec<String>)> {
    let code = &source.code;
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let mut depth = 0usize;
        let mut names = vec![String::new()];
        for c in code[at + prefix.len()..].chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => names.push(String::new()),
                c if depth == 0 => names.last_mut().expect("never empty").push(c),
                _ => {}
            }
        }
        let first = |name: &String| name.trim().split("::").next().unwrap_or_default().to_owned();
        let line = code[..at].matches('\n').count() + 1;
        found.push((line, names.iter().map(first).collect()));
    }
    found
}
