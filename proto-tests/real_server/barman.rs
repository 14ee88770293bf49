//! A real Barman works on what Tapster has stored.
//!
//! The repository is Barman's. Whoever goes back to it, or restores with it in need, must find
//! backups that it lists, shows, checks and restores, and not files that only look like them.

use std::path::PathBuf;
use std::process::Command;

use super::scratch;
use super::tables::assert_same_tables;
use super::tapster::Outcome;
use super::{Cluster, Stop, Tapster};

/// The program in its own environment, which `scripts/setup` makes. A missing one fails the test.
fn program() -> PathBuf {
    let cache = std::env::var_os("TAPSTER_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache"));
    let program = cache.join("barman/bin/barman");
    assert!(program.exists(), "Barman is not at {}; run scripts/setup", program.display());
    program
}

/// Runs Barman on Tapster's configuration; it has to succeed.
#[track_caller]
fn barman(tapster: &Tapster, arguments: &[&str]) -> String {
    let mut command = scratch::command(program());
    command.env("HOME", tapster.path().join("home")).current_dir(tapster.path());
    command.arg("-c").arg(tapster.config()).args(arguments);
    scratch::must(&mut command)
}

/// The lines of a server in a list, without the sizes, which Barman sums up in its own way.
fn described(listed: &str) -> Vec<String> {
    let line = |line: &str| line.split(" - Size:").next().unwrap_or_default().to_owned();
    listed.lines().map(line).collect()
}

#[test]
fn barman_lists_shows_checks_and_restores_what_tapster_has_backed_up() {
    let cluster = Cluster::start(15);
    cluster.create_tablespace("fast");
    cluster.sql(
        "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 5000) n;
         CREATE TABLE f TABLESPACE fast AS SELECT n FROM generate_series(1, 5000) n",
    );
    let expected = cluster.checksums();
    let tapster = Tapster::new();
    let server = Tapster::server_options(&cluster);
    let forms = ["", "none", "gzip", "lz4", "zstd"];
    for form in forms {
        let line = match form {
            "" => String::new(),
            form => format!("backup_compression = {form}\n"),
        };
        tapster.write_server("main", &format!("{server}{line}"));
        let name = format!("as-{}", if form.is_empty() { "plain" } else { form });
        tapster.ok(&["backup", "--wait", "--name", &name, "main"]);
    }
    let ours: Outcome = tapster.ok(&["list-backups", "main"]);
    let listed = barman(&tapster, &["list-backups", "main"]);
    assert_eq!(described(&listed), described(&ours.stdout));
    assert_eq!(listed.matches("- Size:").count(), forms.len(), "{listed}");
    cluster.stop(Stop::Fast);
    for form in forms {
        let name = format!("as-{}", if form.is_empty() { "plain" } else { form });
        let shown = barman(&tapster, &["show-backup", "main", &name]);
        assert!(shown.contains("Status                 : DONE"), "{shown}");
        barman(&tapster, &["check-backup", "main", &name]);
        let folder = tapster.path().join(format!("restored {name}"));
        let space = tapster.path().join(format!("fast {name}"));
        let moved = format!("fast:{}", space.display());
        let folder_text = folder.display().to_string();
        barman(&tapster, &["restore", "--tablespace", &moved, "main", &name, &folder_text]);
        scratch::give_to_server(&space);
        let restored = Cluster::of_directory(15, &folder);
        restored.launch();
        restored.wait_until_writable();
        assert_same_tables(&expected, &restored.checksums());
        restored.stop(Stop::Fast);
    }
}

#[test]
fn barman_of_the_right_version_is_there() {
    let output = Command::new(program()).arg("--version").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("3.19.1 "), "{said}");
}
