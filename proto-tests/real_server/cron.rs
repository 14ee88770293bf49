//! What a crontab relies on: WAL that `archive_command` delivers is archived, a receiver that
//! was killed comes back, and nothing happens twice.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::scratch::wait_until;
use super::{Cluster, Tapster};

/// Ends the receiver that a cron has started, when the test is over.
struct Started<'a>(&'a Tapster);

impl Started<'_> {
    /// The process that holds the receiver's lock, if one lives.
    fn receiver(&self) -> Option<u32> {
        let lock = self.0.path().join("repository/.main-receive-wal.lock");
        let number: u32 = fs::read_to_string(lock).ok()?.trim().parse().ok()?;
        let line = fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let config = self.0.config();
        let config = config.as_os_str().as_encoded_bytes();
        line.split(|&byte| byte == 0).any(|word| word == config).then_some(number)
    }

    fn kill(&self) {
        if let Some(pid) = self.receiver().and_then(|number| Pid::from_raw(number as i32)) {
            let _ = kill_process(pid, Signal::KILL);
            self.wait_until_gone();
        }
    }

    fn wait_until_gone(&self) {
        let question = || self.receiver().is_none().then_some(());
        wait_until("the receiver to be gone", Duration::from_secs(60), question, String::new);
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if let Some(pid) = self.receiver().and_then(|number| Pid::from_raw(number as i32)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn wait_until_streaming(cluster: &Cluster, tapster: &Tapster) {
    let question = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    wait_until(
        "a receiver that streams",
        Duration::from_secs(60),
        || (cluster.value(question) != "0").then_some(()),
        || tapster.log(),
    );
}

const ARCHIVING: &str = "Starting WAL archiving for server main\n";
const STREAMING: &str = "Starting streaming archiver for server main\n";

#[test]
fn a_killed_receiver_comes_back_in_a_session_of_its_own_and_there_is_never_a_second_one() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::of(&cluster);
    let started = Started(&tapster);
    tapster.ok(&["receive-wal", "--create-slot", "main"]);
    assert_eq!(tapster.ok(&["cron"]).stdout, format!("{ARCHIVING}{STREAMING}"));
    wait_until_streaming(&cluster, &tapster);
    let first = started.receiver().expect("it streams");
    let stat = fs::read_to_string(format!("/proc/{first}/stat")).expect("it lives");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    assert_eq!(fields[3], first.to_string(), "it is in somebody else's session: {stat}");
    assert!(tapster.log().contains("streaming WAL"), "{}", tapster.log());

    // Two at once, and again: the receiver that is there is left alone.
    let mut crons = [tapster.spawn(&["cron"]), tapster.spawn(&["cron"])];
    for cron in &mut crons {
        assert_eq!(cron.wait(), 0, "{}", cron.output());
        assert!(!cron.output().contains(STREAMING), "{}", cron.output());
    }
    assert_eq!(started.receiver(), Some(first));

    started.kill();
    let outcome = tapster.ok(&["cron"]);
    assert!(outcome.stdout.ends_with(STREAMING), "{outcome}");
    wait_until_streaming(&cluster, &tapster);
    let second = started.receiver().expect("it streams");
    assert_ne!(first, second);
    let segment = cluster.switch_wal();
    tapster.wait_for_archived("main", &[segment]);

    // Lock files that nobody holds are gone, the receiver's stays.
    let lock = |name: &str| tapster.path().join(format!("repository/.main-{name}.lock"));
    assert!(lock("receive-wal").exists() && !lock("cron").exists());

    // Switched off in the configuration, it is stopped.
    let options = Tapster::server_options(&cluster);
    let off = options.replace("streaming_archiver = on", "archiver = on");
    tapster.write_server("main", &off);
    tapster.ok(&["cron", "--no-receive-wal"]);
    assert_eq!(started.receiver(), Some(second));
    let stopped = format!("Stopped process receive-wal({second})\n");
    // The archiver of the last run may still be at it; that is another line, and no matter.
    let outcome = tapster.ok(&["cron"]);
    assert!(outcome.stdout.ends_with(&stopped), "{outcome}");
    started.wait_until_gone();
}

#[test]
fn a_receiver_that_cannot_start_says_why_in_the_log_and_holds_nobody_up() {
    let cluster = Cluster::start(17);
    let tapster = Tapster::of(&cluster);
    let _started = Started(&tapster);
    // Without its slot it cannot begin.
    assert_eq!(tapster.ok(&["cron"]).stdout, format!("{ARCHIVING}{STREAMING}"));
    wait_until(
        "the reason in the log",
        Duration::from_secs(60),
        || tapster.log().contains("cannot receive WAL from server main").then_some(()),
        || tapster.log(),
    );
}

/// A place where the server may deliver.
pub fn incoming(cluster: &Cluster) -> std::path::PathBuf {
    let folder = cluster.folder("incoming");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its mode");
    folder
}

pub fn delivers(cluster: &Cluster, tapster: &Tapster, folder: &Path) {
    let (conninfo, folder) = (cluster.conninfo(), folder.display());
    tapster.write_server(
        "main",
        &format!(
            "conninfo = {conninfo}\nbackup_method = postgres\narchiver = on\n\
             incoming_wals_directory = {folder}\n"
        ),
    );
    cluster.sql(&format!("ALTER SYSTEM SET archive_command = 'cp %p {folder}/%f.tmp && mv {folder}/%f.tmp {folder}/%f'"));
    cluster.reload();
}

/// Every command has ended: nobody writes to the folder.
pub fn wait_until_delivered(cluster: &Cluster) {
    let question = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
    let none_waits = || (cluster.value(question) == "0").then_some(());
    wait_until("delivery", Duration::from_secs(60), none_waits, || cluster.log_tail());
}

#[test]
fn wal_that_the_server_delivers_is_archived_byte_for_byte() {
    let builder = Cluster::builder(17).setting("archive_mode", "on");
    let cluster = builder.setting("wal_keep_size", "512MB").start();
    let tapster = Tapster::new();
    let folder = incoming(&cluster);
    delivers(&cluster, &tapster, &folder);
    let segments = cluster.advance_wal(3);
    cluster.sql("SELECT pg_backup_start('a label', true); SELECT pg_backup_stop()");
    cluster.switch_wal();
    let delivered = |name: &str| folder.join(name).exists();
    wait_until_delivered(&cluster);
    fs::write(folder.join("junkfile"), "junk").expect("written");
    let outcome = tapster.run(&["archive-wal", "main"]);
    let first =
        format!("Processing xlog segments from file archival for main\n\t{}\n", segments[0]);
    assert!(outcome.stdout.contains(&first), "{outcome}");
    let last = "Some unknown objects have been found while processing xlog segments for main. \
                Objects moved to errors directory:\n\tjunkfile\n";
    assert!(outcome.stdout.ends_with(last), "{outcome}");
    assert_eq!(outcome.code, 0, "{outcome}");
    let archived = tapster.archived("main");
    for name in &segments {
        let stored = fs::read(&archived[name]).expect(name);
        assert!(stored == fs::read(cluster.pg_wal().join(name)).expect(name), "{name} differs");
        assert!(!delivered(name), "{name} stays in incoming/");
    }
    assert!(archived.keys().any(|name| name.ends_with(".backup")), "{archived:?}");
    let database = fs::read_to_string(tapster.server("main").join("wals/main-xlog.db"));
    let database = database.expect("lines");
    for name in &segments {
        assert_eq!(database.matches(&format!("{name}\t")).count(), 1, "{database}");
    }

    // Half a copy, and then the rest: by cron this time.
    let next = cluster.switch_wal();
    wait_until_delivered(&cluster);
    let whole = fs::read(cluster.pg_wal().join(&next)).expect("kept");
    fs::write(folder.join(&next), &whole[..whole.len() / 2]).expect("written");
    let outcome = tapster.ok(&["archive-wal", "main"]);
    assert!(outcome.stderr.contains("is not whole"), "{outcome}");
    assert!(!tapster.archived("main").contains_key(&next));
    fs::write(folder.join(&next), &whole).expect("written");
    assert_eq!(tapster.ok(&["cron"]).stdout, ARCHIVING);
    tapster.wait_for_archived("main", std::slice::from_ref(&next));
    assert!(fs::read(&tapster.archived("main")[&next]).expect("archived") == whole);

    let gone = || (!delivered(&next)).then_some(());
    wait_until("the original to go", Duration::from_secs(60), gone, || tapster.log());
    let nothing = "Processing xlog segments from file archival for main\n\tno file found\n";
    wait_until(
        "the end of the archiver",
        Duration::from_secs(60),
        || (tapster.ok(&["archive-wal", "main"]).stdout == nothing).then_some(()),
        || tapster.log(),
    );
    let all = tapster.refused(&["archive-wal", "all"]);
    let first = all.stderr.lines().next();
    assert_eq!(first, Some("ERROR: You cannot use 'all' in a single server context"));
}
