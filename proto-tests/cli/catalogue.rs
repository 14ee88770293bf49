//! Listing and showing backups says what Barman says, byte for byte.

use tapster::disk::RealDisk;
use tapster::repository::{Hole, HoleCause, Holes, ServerLayout};
use tapster::wal::{Lsn, Timeline};

use super::{Outcome, Site, captured};

/// A server that takes backups over the replication protocol.
fn section(name: &str, more: &str) -> String {
    format!(
        "[{name}]\ndescription = Main DB Server\nconninfo = host=nowhere\n\
         backup_method = postgres\nstreaming_archiver = on\nslot_name = tapster\n{more}\n"
    )
}

/// `main`, after its first backup.
fn first_backup() -> Site {
    let site = Site::new(&section("main", "retention_policy = REDUNDANCY 2"));
    let changes = [
        ("begin_time", "2026-11-23 06:25:41.276016+00:00"),
        ("begin_wal", "000000010000000000000006"),
        ("begin_xlog", "0/6000028"),
        ("cluster_size", "34922185"),
        ("copy_stats", "{'copy_time': 152.952271, 'total_time': 152.952271}"),
        ("deduplicated_size", "34968729"),
        ("end_offset", "96"),
        ("end_time", "2026-11-23 06:28:14.245695+00:00"),
        ("end_wal", "000000010000000000000007"),
        ("end_xlog", "0/7000060"),
        ("size", "34968729"),
    ];
    site.backup("main", "20261123T062541", "postgres-plain", &changes);
    site.write(
        "main/wals/main-xlog.db",
        "000000010000000000000007\t16777216\t1795415144.1\tNone\tNone\n\
         000000010000000000000006\t16777216\t1795415141.0\tNone\tNone\n",
    );
    site
}

fn rsync() -> Site {
    let more = "backup_method = rsync\nssh_command = ssh x\narchiver = on\n\
                retention_policy = RECOVERY WINDOW OF 7 DAYS";
    let site = Site::new(&section("main-rsync", more));
    site.backup("main-rsync", "20261123T063037", "rsync-first", &[]);
    site.backup("main-rsync", "20261123T063105", "rsync-link-named", &[]);
    site.xlogdb("main-rsync", "main-rsync", "000000010000000000000017");
    site
}

fn gzip() -> Site {
    let site = Site::new(&section("main-gzip", "retention_policy = REDUNDANCY 3"));
    site.backup("main-gzip", "20261123T063000", "postgres-tar-gzip", &[]);
    site.xlogdb("main-gzip", "main-gzip", "00000001000000000000000F");
    site
}

/// A failed backup behind a good one.
fn failed() -> Site {
    let site = Site::new(&section("main-lz4", ""));
    site.backup("main-lz4", "20261123T063004", "postgres-tar-lz4", &[]);
    site.backup("main-lz4", "20261123T063934", "postgres-failed", &[]);
    site.xlogdb("main-lz4", "main-lz4", "000000010000000000000026");
    site
}

/// A full backup, and two increments on it.
fn chain() -> Site {
    let site = Site::new(&section("pg17", "retention_policy = REDUNDANCY 2"));
    let wal = |last: &str| format!("0000000100000000000000{last}");
    let full = [
        ("backup_name", "full1"),
        ("begin_wal", &wal("04") as &str),
        ("end_wal", &wal("04")),
        ("end_time", "2026-11-23 06:58:30.900000+00:00"),
        ("children_backup_ids", "20261123T065832"),
    ];
    site.backup("pg17", "20261123T065829", "postgres17-full", &full);
    site.backup("pg17", "20261123T065832", "postgres17-incremental", &[]);
    let second = [
        ("backup_name", "inc2"),
        ("begin_wal", &wal("08") as &str),
        ("end_wal", &wal("08")),
        ("end_time", "2026-11-23 06:58:37.117090+00:00"),
        ("children_backup_ids", "None"),
        ("parent_backup_id", "20261123T065832"),
    ];
    site.backup("pg17", "20261123T065836", "postgres17-incremental", &second);
    let times = [("06", "1795417112.0"), ("07", "1795417113.0"), ("08", "1795417115.7454062")];
    let line =
        |(number, time): &(&str, &str)| format!("{}\t16777216\t{time}\tNone\tNone\n", wal(number));
    site.write("pg17/wals/pg17-xlog.db", &times.iter().map(line).collect::<String>());
    site
}

#[test]
fn a_plain_backup_is_shown_as_barman_shows_it() {
    let site = first_backup();
    let text = captured("show-backup.txt", "barman show-backup main latest", 0);
    assert_eq!(site.run(&["show-backup", "main", "latest"]), text);
    let json = captured("show-backup.txt", "barman -f json show-backup main latest", 0);
    assert_eq!(site.run(&["-f", "json", "show-backup", "main", "latest"]), json);
}

#[test]
fn a_tar_backup_is_shown_as_barman_shows_it() {
    let site = gzip();
    let text = captured("show-backup.txt", "barman show-backup main-gzip oldest", 0);
    assert_eq!(site.run(&["show-backup", "main-gzip", "oldest"]), text);
    let json = captured("show-backup.txt", "barman -f json show-backup main-gzip oldest", 0);
    assert_eq!(site.run(&["show-backup", "main-gzip", "oldest", "--format=json"]), json);
}

#[test]
fn an_rsync_backup_is_shown_as_barman_shows_it() {
    let site = rsync();
    let text = captured("show-backup.txt", "barman show-backup main-rsync weekly", 0);
    assert_eq!(site.run(&["show-backup", "main-rsync", "weekly"]), text);
    let json = captured("show-backup.txt", "barman -f json show-backup main-rsync weekly", 0);
    assert_eq!(site.run(&["-fjson", "show-backups", "main-rsync", "weekly"]), json);
}

#[test]
fn an_incremental_backup_is_shown_as_barman_shows_it() {
    let json = captured("incremental.txt", "barman -f json show-backup pg17 inc1", 0);
    assert_eq!(chain().run(&["-f", "json", "show-backup", "pg17", "inc1"]), json);
    let last = chain().run(&["show-backup", "pg17", "latest"]).stdout;
    let end = "    Retention Policy     : VALID\n    Previous Backup      : 20261123T065832\n    \
               Next Backup          : - (this is the latest base backup)\n    \
               Root Backup          : 20261123T065829\n    \
               Parent Backup        : 20261123T065832\n    Backup chain size    : 3\n";
    assert!(last.ends_with(end), "{last}");
}

#[test]
fn a_failed_backup_is_shown_as_barman_shows_it() {
    let site = failed();
    let text = captured("backup-failed.txt", "barman show-backup main-lz4 last-failed", 0);
    assert_eq!(site.run(&["show-backup", "main-lz4", "last-failed"]), text);
    let json = captured("backup-failed.txt", "barman -f json show-backup main-lz4 last-failed", 0);
    assert_eq!(site.run(&["-f", "json", "show-backup", "main-lz4", "last-failed"]), json);
}

#[test]
fn backups_are_listed_as_barman_lists_them() {
    let site = first_backup();
    let text = captured("list-backups.txt", "barman list-backups main", 1);
    assert_eq!(site.run(&["list-backups", "main"]), text);
    assert_eq!(site.run(&["list-backup", "all"]), text);
    let json = captured("list-backups.txt", "barman -f json list-backups main", 0);
    assert_eq!(site.run(&["-f", "json", "list-backups", "main"]), json);
    let ids = captured("list-backups.txt", "barman list-backups --minimal all", 0);
    assert_eq!(site.run(&["list-backups", "--minimal", "all"]), ids);

    let all = captured("list-backups.txt", "barman list-backups all", 0).stdout;
    let rsync_lines: String = all
        .lines()
        .filter(|line| line.starts_with("main-rsync "))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(rsync().run(&["list-backups", "main-rsync"]), Outcome::ok(&rsync_lines));

    let text = captured("backup-failed.txt", "barman list-backups main-lz4", 0);
    assert_eq!(failed().run(&["list-backups", "main-lz4"]), text);
    let json = captured("backup-failed.txt", "barman -f json list-backups main-lz4", 0);
    assert_eq!(failed().run(&["-f", "json", "list-backups", "main-lz4"]), json);
}

#[test]
fn a_server_without_backups_lists_none() {
    let site = Site::new(&section("main", ""));
    assert_eq!(site.run(&["list-backups", "main"]), Outcome::ok(""));
    assert_eq!(site.run(&["-f", "json", "list-backups", "main"]), Outcome::ok("{\"main\": []}"));
    assert!(!site.path("main").exists(), "a command that only looks creates nothing");
}

#[test]
fn standings_and_waiting_are_said_at_the_end_of_the_line() {
    let site = Site::new(&section("main", "retention_policy = REDUNDANCY 1"));
    let ends = |second: &str| format!("2026-11-23 06:38:{second}.000000+00:00");
    for (id, second, status) in [
        ("20261123T063801", "01", "DONE"),
        ("20261123T063802", "02", "DONE"),
        ("20261123T063803", "03", "DONE"),
        ("20261123T063804", "04", "WAITING_FOR_WALS"),
    ] {
        let changes = [("end_time", &ends(second) as &str), ("status", status)];
        site.backup("main", id, "postgres-plain", &changes);
    }
    site.write("main/meta/20261123T063801-keep", "standalone");
    let listed = site.run(&["list-backups", "main"]).stdout;
    let tails: Vec<&str> = listed
        .lines()
        .map(|line| line.rsplit("WAL Size: 0 B").next().unwrap_or_default())
        .collect();
    assert_eq!(tails, [" - WAITING_FOR_WALS", "", " - OBSOLETE", " - KEEP:STANDALONE"]);
}

#[test]
fn a_timeline_that_forks_later_is_said_with_a_warning() {
    let site = Site::new(&section("standby", ""));
    site.backup("standby", "20261123T064330", "rsync-from-standby", &[]);
    site.xlogdb("standby", "standby", "000000020000000000000030");
    site.write("standby/wals/00000002.history", "1\t0/2D0000A0\tno recovery target specified\n");
    let shown = site.run(&["show-backup", "standby", "latest"]).stdout;
    let whole = "barman show-backup standby latest | sed -n \"/WAL info/,\\$p\"";
    let barman = captured("failover.txt", whole, 0).stdout;
    let ours = shown.split_once("  WAL information:").map(|(_, rest)| rest.to_owned());
    assert_eq!(format!("  WAL information:{}", ours.expect("a section")), barman);
}

#[test]
fn what_is_not_there_is_refused_in_barmans_words() {
    let site = first_backup();
    for (arguments, line) in [
        (["show-backup", "main", "nosuch"], "ERROR: Unknown backup 'nosuch' for server 'main'"),
        (["show-backup", "nosuch", "latest"], "ERROR: Unknown server 'nosuch'"),
        (
            ["show-backup", "all", "latest"],
            "ERROR: You cannot use 'all' in a single server context",
        ),
        (["list-backups", "all", "main"], "ERROR: You cannot use 'all' with other server names"),
    ] {
        let outcome = site.run(&arguments);
        assert_eq!(outcome.stderr.lines().next(), Some(line));
        assert!(outcome.stderr.contains("\n  try: "), "{}", outcome.stderr);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""));
    }
}

#[test]
fn a_backup_that_cannot_be_restored_past_lost_wal_is_listed_and_shown_with_it() {
    let site = first_backup();
    let plain = site.run(&["list-backups", "main"]);
    let layout = ServerLayout::below(&site.path(""), "main".parse().expect("a name"));
    let hole = |from, to| Hole {
        timeline: Timeline::FIRST,
        from: Lsn(from),
        to: Lsn(to),
        since: "2026-11-23T08:00:00Z".parse().expect("a time"),
        why: HoleCause::Removed,
    };
    // One before the backup, which is no harm to it, and one behind.
    for hole in [hole(0x300_0000, 0x500_0000), hole(0x900_0000, 0xB00_0000)] {
        Holes::record(&RealDisk, &layout, hole).expect("recorded");
    }
    let listed = site.run(&["list-backups", "main"]);
    assert_eq!((listed.code, &listed.stdout), (0, &plain.stdout));
    assert_eq!(
        listed.stderr,
        "WARNING: main: no restore past 0/9000000 of 20261123T062541: WAL of timeline 1 from \
         0/9000000 to 0/B000000 is lost: the server had removed it before it was received\n"
    );
    assert_eq!(site.run(&["list-backups", "--minimal", "main"]).stderr, "");
    let shown = site.run(&["show-backup", "main", "latest"]).stdout;
    assert!(shown.contains("WARNING: the backup cannot be restored past 0/9000000: "), "{shown}");
    for command in [&["list-backups", "main"][..], &["show-backup", "main", "latest"]] {
        let json = site.run(&[&["-f", "json"][..], command].concat()).stdout;
        assert!(json.contains(r#""from_lsn": "0/9000000""#), "{json}");
        assert!(json.contains(r#""why": "removed""#), "{json}");
    }
}

#[test]
fn a_damaged_backup_is_warned_about_and_hides_no_other() {
    let site = first_backup();
    site.write("main/meta/20261123T999999-backup.info", "status=DONE\nrubbish\n");
    let outcome = site.run(&["list-backups", "main"]);
    assert_eq!(outcome.stdout.lines().count(), 1);
    assert!(
        outcome
            .stderr
            .starts_with("WARNING: backup 20261123T999999 of server main is left out\n  because: ")
    );
    assert!(outcome.stderr.contains("-backup.info:2: not of the form key=value"));
    assert_eq!(outcome.code, 0);
}
