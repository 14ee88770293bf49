//! A real Barman works on what Tapster has stored.
//!
//! The repository is Barman's. Whoever goes back to it, or restores with it in need, must find
//! backups that it lists, shows, checks and restores, and not files that only look like them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::cron::{delivers, incoming, wait_until_delivered};
use super::scratch::{self, wait_until};
use super::tables::assert_same_tables;
use super::tapster::{Outcome, Running};
use super::{Cluster, Stop, Tapster};

/// The program in its own environment, which `scripts/setup` makes. A missing one fails the test.
fn program() -> PathBuf {
    let cache = std::env::var_os("TAPSTER_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache"));
    let program = cache.join("barman/bin/barman");
    assert!(program.exists(), "Barman is not at {}; run scripts/setup", program.display());
    program
}

/// Barman on Tapster's configuration.
fn command(tapster: &Tapster, arguments: &[&str]) -> Command {
    let mut command = scratch::command(program());
    command.env("HOME", tapster.path().join("home")).current_dir(tapster.path());
    command.arg("-c").arg(tapster.config()).args(arguments);
    command
}

/// Runs Barman; it has to succeed.
#[track_caller]
fn barman(tapster: &Tapster, arguments: &[&str]) -> String {
    scratch::must(&mut command(tapster, arguments))
}

/// A lock of Barman's, by the name of its class, held by Barman's own code until this is dropped.
struct Held(Child);

impl Held {
    fn new(tapster: &Tapster, class: &str) -> Held {
        let script = "import sys; from barman import lockfile\n\
             with getattr(lockfile, sys.argv[1])(sys.argv[2], 'main'):\n\
             \x20   print('held', flush=True); sys.stdin.read()";
        let python = program().with_file_name("python");
        let mut holder = scratch::command(python);
        holder.args(["-c", script, class]).arg(tapster.path().join("repository"));
        let mut child =
            holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("its Python");
        let mut said = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut said).expect("an answer");
        assert_eq!(said, "held\n", "{class}");
        Held(child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
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

const BUSY: &str = "Another archive-wal process is already running on server main. Skipping to the \
                    next server";

#[test]
fn two_archivers_of_one_repository_archive_each_segment_once_and_whole() {
    let builder = Cluster::builder(15).segment_mib(1).setting("archive_mode", "on");
    let cluster = builder.setting("wal_keep_size", "512MB").start();
    let tapster = Tapster::new();
    let folder = incoming(&cluster);
    delivers(&cluster, &tapster, &folder);
    // Segments that Barman has taken, and that we have.
    let (mut segments, mut taken) = (Vec::new(), [0, 0]);
    let named = |said: &str| said.matches("\n\t0000").count();
    let mut rounds = 0;
    while rounds < 6 || taken.contains(&0) {
        rounds += 1;
        assert!(rounds < 40, "only one of them has worked: {taken:?}");
        segments.extend(cluster.advance_wal(3));
        wait_until_delivered(&cluster);
        let mut theirs = command(&tapster, &["archive-wal", "main"]);
        theirs.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut theirs = theirs.spawn().expect("it starts");
        // Python takes a while to start: what comes now they share.
        while theirs.try_wait().expect("it is our child").is_none() {
            segments.extend(cluster.advance_wal(2));
            taken[1] += named(&tapster.ok(&["archive-wal", "main"]).stdout);
        }
        let theirs = theirs.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&theirs.stdout).into_owned();
        assert!(theirs.status.success(), "{said}{}", String::from_utf8_lossy(&theirs.stderr));
        taken[0] += named(&said);
        barman(&tapster, &["cron"]);
        tapster.ok(&["cron"]);
    }
    wait_until_delivered(&cluster);
    let empty = || {
        tapster.ok(&["archive-wal", "main"]);
        fs::read_dir(&folder).expect("a folder").next().is_none().then_some(())
    };
    wait_until("everything to be archived", Duration::from_secs(60), empty, String::new);
    let archived = tapster.archived("main");
    let database = fs::read_to_string(tapster.server("main").join("wals/main-xlog.db"));
    let database = database.expect("lines");
    for name in &segments {
        let stored = fs::read(archived.get(name).unwrap_or_else(|| panic!("{name} is missing")));
        let sent = fs::read(cluster.pg_wal().join(name)).expect("it is kept");
        assert!(stored.expect("readable") == sent, "{name} differs");
        assert_eq!(database.matches(&format!("{name}\t")).count(), 1, "{name}\n{database}");
    }
    let errors = fs::read_dir(tapster.server("main").join("errors")).expect("a folder");
    let errors: Vec<_> = errors.flatten().map(|entry| entry.file_name()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(database.lines().count(), archived.len(), "{database}");
    assert!(database.lines().all(|line| line.split('\t').count() == 5), "{database}");
}

/// Whether a process sleeps in the kernel until somebody gives up a lock.
fn waits_for_a_lock(running: &Running) -> bool {
    let locks = fs::read_to_string("/proc/locks").expect("Linux");
    let pid = running.pid().to_string();
    let mut waiting = locks.lines().filter(|line| line.contains("-> FLOCK"));
    waiting.any(|line| line.split_whitespace().any(|word| word == pid))
}

#[test]
fn a_lock_of_barmans_is_a_lock_for_tapster_and_the_other_way_round() {
    let cluster = Cluster::start(15);
    let tapster = Tapster::of(&cluster);
    tapster.ok(&["receive-wal", "--create-slot", "main"]);
    {
        let _held = Held::new(&tapster, "ServerWalArchiveLock");
        let outcome = tapster.ok(&["archive-wal", "main"]);
        assert_eq!(outcome.stdout, format!("{BUSY}\n"));
    }
    {
        let _held = Held::new(&tapster, "ServerCronLock");
        let outcome = tapster.ok(&["cron"]);
        assert!(outcome.stdout.contains("Another cron process is already running"), "{outcome}");
    }
    for (class, command, why) in [
        ("ServerWalReceiveLock", "receive-wal", "is already running"),
        ("ServerBackupLock", "backup", "main-backup.lock is locked by process"),
    ] {
        let _held = Held::new(&tapster, class);
        let outcome = tapster.refused(&[command, "main"]);
        assert!(outcome.stderr.contains(why), "{outcome}");
    }
    // This one is waited for.
    let held = Held::new(&tapster, "ServerXLOGDBLock");
    let mut backup = tapster.spawn(&["backup", "--wait", "main"]);
    let database = tapster.server("main").join("wals/main-xlog.db");
    let lines = || fs::read_to_string(&database).unwrap_or_default();
    wait_until(
        "the backup to wait for the lock",
        Duration::from_secs(60),
        || waits_for_a_lock(&backup).then_some(()),
        || backup.output(),
    );
    assert_eq!(lines(), "", "it was written without the lock");
    drop(held);
    assert_eq!(backup.wait(), 0, "{}", backup.output());
    assert_ne!(lines(), "");
    // And the other way round: the receiver's lock is held for its whole life.
    let mut receiver = tapster.receive(&cluster);
    let said = command(&tapster, &["receive-wal", "main"]).output().expect("it starts");
    let said =
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("already running"), "{said}");
    assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
}
