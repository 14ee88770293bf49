//! The rules of the house that a compiler cannot hold.
//!
//! Each rule is a function from the text of one file to its breaches, so that it can be shown to
//! catch one. A breach names the file, the line, the rule and the reason.

mod rules;
mod source;
mod walk;

use rules::{Breach, Rooms};
use source::Source;

/// Every rule over every file of the project.
#[test]
fn the_house_is_tidy() {
    let rooms = Rooms::parse(&walk::read("src/lib.rs"));
    let mut breaches = Vec::new();
    for path in walk::files() {
        let text = walk::read(&path);
        breaches.extend(rules::every_file(&path, &text));
        if path.ends_with(".rs") {
            breaches.extend(rules::rust(&Source::new(&path, &text), &rooms));
        }
    }
    let list: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(breaches.is_empty(), "{} breaches:\n{}", list.len(), list.join("\n"));
}

#[test]
fn the_rules_look_at_the_files_that_matter() {
    let files = walk::files();
    for path in ["src/lib.rs", "src/wal/lsn.rs", "proto-tests/main.rs", "Makefile", ".ci/run"] {
        assert!(files.iter().any(|file| file == path), "{path} is not looked at");
    }
    assert!(files.iter().all(|file| !file.starts_with("target/")));
}

/// What the rules say of a file with this text.
fn breaches(path: &str, text: &str) -> Vec<Breach> {
    let rooms = Rooms::parse(
        "pub mod wal;\npub mod disk;\npub mod net;\npub mod commands;\npub mod output;",
    );
    let text = format!("//! A purpose.\n{text}");
    let mut all = rules::every_file(path, &text);
    all.extend(rules::rust(&Source::new(path, &text), &rooms));
    all
}

#[track_caller]
fn refused(path: &str, text: &str, rule: &str) {
    let found = breaches(path, text);
    assert!(
        found.iter().any(|breach| breach.rule == rule && breach.line == 2),
        "{path}: {text:?} breaks {rule:?}, but was found to: {found:?}"
    );
}

#[track_caller]
fn accepted(path: &str, text: &str) {
    let found = breaches(path, text);
    assert!(found.is_empty(), "{path}: {text:?} breaks nothing, but was found to: {found:?}");
}

#[test]
fn a_pure_room_that_names_the_outside_is_refused() {
    for text in [
        "use tokio::net::TcpStream;",
        "use std::{fs, io};",
        "let file = std::fs::read(path)?;",
        "use std::net::IpAddr;",
        "let now = SystemTime::now();",
        "let now = Instant::now();",
        "let home = std::env::var(\"HOME\");",
        "std::thread::sleep(pause);",
    ] {
        refused("src/wal/page.rs", text, "pure room");
        refused("src/restore/plan.rs", text, "pure room");
    }
    accepted("src/wal/page.rs", "/// Where tokio would call Instant::now().\nuse std::fmt;");
    accepted("src/wal/page.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}");
    accepted("src/wal/page.rs", "const TEXT: &str = \"std::fs is not used\";");
    accepted("src/net/dial.rs", "use tokio::net::TcpStream;");
}

#[test]
fn a_write_past_the_disk_is_refused() {
    for text in [
        "std::fs::rename(from, to)?;",
        "fs::remove_file(path)?;",
        "fs::write(path, text)?;",
        "let file = File::create(path)?;",
        "rustix::fs::fsync(&file)?;",
        "use std::fs::{File, rename};",
        "std::os::unix::fs::symlink(to, from)?;",
    ] {
        refused("src/archive/mod.rs", text, "only disk writes");
        accepted("src/disk/real.rs", text);
    }
    accepted("src/archive/mod.rs", "disk.rename(from, to)?;\nfile.sync_data()?;");
}

#[test]
fn a_program_started_outside_process_is_refused() {
    refused("src/commands/backup.rs", "Command::new(\"ssh\").status()", "only process starts");
    refused("src/commands/backup.rs", "use std::process::Command;", "only process starts");
    accepted("src/process/ssh.rs", "use std::process::Command;");
    accepted("src/commands/backup.rs", "use crate::wal::Command;");
}

#[test]
fn printing_outside_output_is_refused() {
    for text in ["println!(\"done\");", "eprint!(\"x\");", "let out = std::io::stdout();"] {
        refused("src/commands/backup.rs", text, "only output prints");
        accepted("src/output/console.rs", text);
    }
}

#[test]
fn a_hot_path_that_allocates_logs_locks_or_waits_is_refused() {
    let first = rules::HOT_PATH_LINE;
    for (text, word) in [
        ("let copy = piece.to_vec();", "to_vec"),
        ("let name = format!(\"{lsn}\");", "format!"),
        ("info!(\"received\");", "info!"),
        ("use tracing::debug;", "tracing"),
        ("use std::sync::Mutex;", "Mutex"),
        ("thread::sleep(pause);", "sleep"),
        ("tokio::fs::write(path).await", "tokio::fs"),
        ("let more = bytes.clone_from_slice(x).to_owned();", "to_owned"),
    ] {
        let found = rules::rust(
            &Source::new("src/receive/writer.rs", &format!("{first}\n{text}")),
            &Rooms::parse(""),
        );
        assert!(
            found.iter().any(|breach| breach.rule == "hot path" && breach.reason.contains(word)),
            "{text}: {found:?}"
        );
    }
    accepted("src/receive/start.rs", "let copy = piece.to_vec();");
}

#[test]
fn the_hot_paths_carry_their_line() {
    let sources: Vec<String> =
        walk::files().into_iter().filter(|path| path.starts_with("src/")).collect();
    for room in ["wire", "receive", "backup"] {
        let inside = format!("src/{room}/");
        let hot = sources.iter().filter(|path| path.starts_with(&inside));
        let hot = hot.filter(|path| walk::read(path).starts_with(rules::HOT_PATH_LINE)).count();
        assert!(hot > 0, "no file of {inside} begins with {:?}", rules::HOT_PATH_LINE);
    }
}

#[test]
fn a_room_that_uses_one_below_it_is_refused() {
    refused("src/wal/lsn.rs", "use crate::net::Stream;", "order of rooms");
    refused("src/wal/lsn.rs", "use crate::{disk::Disk, net::{self, Stream}};", "order of rooms");
    refused("src/net/mod.rs", "let run = crate::commands::run();", "order of rooms");
    accepted("src/net/mod.rs", "use crate::wal::Lsn;\nuse crate::output::Report;");
    accepted("src/wal/lsn.rs", "use crate::disk::Disk;");
    accepted("src/net/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::commands::run;\n}");
}

#[test]
fn a_file_without_a_purpose_or_past_its_length_is_refused() {
    let rooms = Rooms::parse("");
    let found = rules::rust(&Source::new("src/x.rs", "fn main() {}\n"), &rooms);
    assert_eq!(found[0].rule, "purpose first");
    let long = format!("//! Long.\n{}", "//\n".repeat(rules::LINES_MAX));
    let found = rules::rust(&Source::new("benches/x.rs", &long), &rooms);
    assert_eq!(found[0].rule, "one noun, one file");
}

#[test]
fn marks_of_unfinished_work_are_refused_wherever_they_stand() {
    for mark in rules::unfinished_marks() {
        refused("src/wal/lsn.rs", &format!("// {mark} later"), "finished work");
    }
    refused("src/wal/lsn.rs", concat!("// see /wo", "rk/plan"), "no machine's paths");
    refused("scripts/demo", concat!("cd /wo", "rk/main"), "no machine's paths");
    accepted("src/wal/lsn.rs", "// the network/worker");
}

#[test]
fn unsafe_code_outside_its_file_is_refused() {
    refused("src/disk/real.rs", "unsafe { libc::fsync(1) };", "unsafe in one file");
    accepted("src/sys.rs", "unsafe { libc::sync() };");
}
