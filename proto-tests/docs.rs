//! What the documents say can be done can be done.
//!
//! A newcomer copies from the manual. A command that is spelled otherwise, an option that does
//! not exist, a configuration that is not read: each costs him the first hour, and his trust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tapster::config::{Config, ConfigSource, Kind, options::OPTIONS};
use tapster::conninfo::{ConnectOptions, Purpose};

use crate::real_server::{Cluster, scratch};
use crate::tls::workshop::{Files, Home};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and the manual.
fn documents() -> Vec<PathBuf> {
    let manual = fs::read_dir(top().join("docs")).expect("the manual");
    let mut all: Vec<PathBuf> = manual.map(|entry| entry.expect("a page").path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    all.push(top().join("README.md"));
    all.sort();
    all
}

/// The fenced blocks of one language, each with its document.
fn blocks(language: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in documents() {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a document");
        let mut pieces = text.split("\n```");
        while let Some(piece) = pieces.next() {
            let Some((first, body)) = piece.split_once('\n') else { continue };
            if first == language {
                found.push((name.clone(), body.to_owned()));
                pieces.next(); // what stands between this block and the next
            }
        }
    }
    found
}

/// Completes an excerpt: a configuration has a `[barman]` section and servers.
fn completed(excerpt: &str) -> String {
    let mut text = String::new();
    if !excerpt.contains("[barman]") {
        text.push_str("[barman]\nbarman_home = /var/lib/barman\n");
    }
    if !excerpt.lines().any(|line| line.starts_with('[')) {
        text.push_str("[main]\n");
        if !excerpt.contains("conninfo") {
            text.push_str("conninfo = host=db\n");
        }
    }
    text + excerpt
}

#[track_caller]
fn is_read_without_a_warning(origin: &str, text: &str) {
    let files = Files::new();
    let path = files.put("tapster.conf", text, 0o644);
    let loaded = Config::load(&ConfigSource::File(path.into()))
        .unwrap_or_else(|error| panic!("{origin}: {error}\n{text}"));
    assert!(loaded.warnings.is_empty(), "{origin}: {:?}\n{text}", loaded.warnings);
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let purpose = match key.trim() {
            "conninfo" => Purpose::Sql,
            "streaming_conninfo" => Purpose::Replication,
            _ => continue,
        };
        let home = Home(files.path(""));
        ConnectOptions::resolve(value.trim(), purpose, &home)
            .unwrap_or_else(|error| panic!("{origin}: {error}\n{line}"));
    }
}

#[test]
fn every_configuration_in_the_documents_is_read_without_a_warning() {
    let blocks = blocks("ini");
    assert!(!blocks.is_empty(), "no configuration was found: the test is broken");
    for (origin, text) in blocks {
        is_read_without_a_warning(&origin, &completed(&text));
    }
}

#[test]
fn the_configuration_in_the_compose_file_is_read_without_a_warning() {
    let compose = fs::read_to_string(top().join("docker/compose.yaml")).expect("compose.yaml");
    let lines = compose.lines().skip_while(|line| *line != "  tapster:").skip(2);
    let text: Vec<&str> = lines
        .take_while(|line| line.is_empty() || line.starts_with("      "))
        .map(str::trim_start)
        .collect();
    assert!(text.contains(&"[barman]"), "the configuration was not found: the test is broken");
    is_read_without_a_warning("docker/compose.yaml", &text.join("\n"));
}

/// The words of a line of shell, as far as the documents go: quotes, and no expansion.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (None, '#' | '&' | '|' | '>') => break,
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().expect("there is one").push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_in_the_documents_can_be_typed() {
    let mut commands: Vec<(String, String)> = blocks("sh");
    let compose = fs::read_to_string(top().join("docker/compose.yaml")).expect("compose.yaml");
    commands.push(("compose.yaml".to_owned(), compose.replace("#   ", "")));
    let mut tried = 0;
    for (origin, text) in commands {
        for line in text.replace("\\\n", " ").lines() {
            let line = line.trim_start_matches("$ ");
            let words = words(line.rsplit("exec receiver ").next().unwrap_or(line));
            if words.first().map(String::as_str) != Some("tapster") || words.len() < 2 {
                continue;
            }
            // A last --help stops after parsing, and only if all before it can be parsed.
            let output = Command::new(env!("CARGO_BIN_EXE_tapster"))
                .args(&words[1..])
                .arg("--help")
                .output()
                .expect("tapster runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{origin}: {line}\n{said}");
            tried += 1;
        }
    }
    assert!(tried > 5, "{tried} commands were found: the test is broken");
}

#[test]
fn the_manual_lists_every_option_with_its_type_and_default() {
    const BEGIN: &str = "<!-- made from the table in src/config/options.rs: begin -->\n";
    const END: &str = "<!-- end -->\n";
    let path = top().join("docs/configuration.md");
    let text = fs::read_to_string(&path).expect("docs/configuration.md");
    let begin = text.find(BEGIN).expect("the mark where the list begins") + BEGIN.len();
    let end = text.find(END).expect("the mark where the list ends");
    let wanted = option_table();
    if std::env::var_os("TAPSTER_UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{}{wanted}{}", &text[..begin], &text[end..])).expect("the page");
        return;
    }
    assert!(
        text[begin..end] == wanted,
        "docs/configuration.md is not up to date; run TAPSTER_UPDATE_DOCS=1 cargo test docs"
    );
}

fn option_table() -> String {
    let mut table = String::from("| option | where | value | default | |\n|---|---|---|---|---|\n");
    for option in OPTIONS {
        let scope = option.scope;
        let mut places = Vec::new();
        if scope.program || scope.inherited {
            places.push("`[barman]`");
        }
        if scope.server {
            places.push("server");
        }
        if scope.model {
            places.push("model");
        }
        let value = match option.kind {
            Kind::Text | Kind::Slot => "text".to_owned(),
            Kind::Secret => "text, never shown".to_owned(),
            Kind::Flag => "`on`, `off`".to_owned(),
            Kind::Number => "number".to_owned(),
            Kind::Interval => "`2 DAYS`, `1 WEEK`".to_owned(),
            Kind::Size => "`10 Mi`".to_owned(),
            Kind::Path => "absolute path".to_owned(),
            Kind::Choice(words) => code(words),
            Kind::Words(words) => format!("list of {}", code(words)),
            Kind::Level => "`low`, `medium`, `high`, number".to_owned(),
        };
        let default = match option.default {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        let help = option.help.replace('|', "\\|");
        table.push_str(&format!(
            "| `{}` | {} | {value} | {default} | {help} |\n",
            option.name,
            places.join(", ")
        ));
    }
    table
}

fn code(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_roles_of_the_manual_may_do_what_a_backup_needs() {
    let blocks = blocks("sql");
    let (_, statements) = blocks
        .iter()
        .find(|(origin, text)| origin == "connections.md" && text.contains("CREATE ROLE"))
        .expect("the statements that make the roles");
    // The tests' cluster has roles of these names already, with all rights.
    let statements = statements.replace("barman", "clerk");
    for major in [15, 18] {
        let cluster = Cluster::start(major);
        for statement in statements.lines().filter(|line| !line.trim().is_empty()) {
            cluster.sql(statement);
        }
        let files = Files::new();
        let socket = cluster.socket().display().to_string();
        let (home, port) = (files.path("home").display().to_string(), cluster.port());
        let configuration = format!(
            "[barman]\nbarman_home = {home}\n[main]\nbackup_method = postgres\n\
             streaming_archiver = on\nslot_name = x\n\
             conninfo = host={socket} port={port} user=clerk dbname=postgres\n\
             streaming_conninfo = host={socket} port={port} user=streaming_clerk\n"
        );
        let configuration = files.put("tapster.conf", configuration, 0o600);
        let output = scratch::command(env!("CARGO_BIN_EXE_tapster"))
            .args(["-c", &configuration, "check", "main"])
            .output()
            .expect("tapster runs");
        let said = String::from_utf8_lossy(&output.stdout);
        for line in [
            "PostgreSQL: OK",
            "PostgreSQL streaming: OK",
            "superuser or standard user with backup privileges: OK",
        ] {
            assert!(said.contains(line), "{major}: {line} is missing\n{said}");
        }
        let switched = scratch::command(env!("CARGO_BIN_EXE_tapster"))
            .args(["-c", &configuration, "switch-wal", "--force", "main"])
            .output()
            .expect("tapster runs");
        let said = String::from_utf8_lossy(&switched.stderr);
        assert!(switched.status.success(), "{major}: {said}");
    }
}
