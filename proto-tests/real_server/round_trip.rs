//! What was there at a moment is there again after a restore to that moment.
//!
//! This is what the whole program is for. A backup that is taken under load is torn by itself:
//! its files are of different moments, and only the WAL between makes them one. If a byte of
//! either is lost, recovery may still end without an error, with a row too few.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::certificates::Certificates;
use super::scratch::wait_until;
use super::tables::assert_same_tables;
use super::{Cluster, Load, Stop, Tapster};

/// How a server is reached. Each version's backups go over all three, its WAL over one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// A Unix socket, with trust.
    Socket,
    /// Plain TCP, with a password.
    Tcp,
    /// TCP with TLS, whose certificate is verified, and a password bound to it.
    Tls,
}

const PASSWORD: &str = "c0rrect h0rse";

/// A server that can be reached in every way, and the repository that it is backed up to.
struct Site {
    cluster: Cluster,
    tapster: Tapster,
}

impl Site {
    fn new(major: u32) -> Site {
        let certificates = Certificates::new();
        let cluster = Cluster::builder(major)
            .setting("password_encryption", "scram-sha-256")
            .hba(&[
                "local all all trust",
                "local replication all trust",
                "hostssl all all 127.0.0.1/32 scram-sha-256",
                "hostssl replication all 127.0.0.1/32 scram-sha-256",
                "hostnossl all all 127.0.0.1/32 scram-sha-256",
                "hostnossl replication all 127.0.0.1/32 scram-sha-256",
            ])
            .tls(&certificates.server, &certificates.key);
        let cluster = keep_wal(cluster, major).start();
        cluster.sql(&format!(
            "ALTER ROLE barman PASSWORD '{PASSWORD}'; ALTER ROLE streaming_barman PASSWORD '{PASSWORD}'"
        ));
        let tapster = Tapster::new();
        fs::write(tapster.path().join("authority.pem"), certificates.authority).expect("a file");
        Site { cluster, tapster }
    }

    /// Configures server `main` to be reached that way.
    fn reach(&self, way: Way) {
        let host = match way {
            Way::Socket => format!("host={}", self.cluster.socket().display()),
            Way::Tcp => format!("host=127.0.0.1 sslmode=disable password='{PASSWORD}'"),
            Way::Tls => format!(
                "host=localhost hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={}/authority.pem \
                 password='{PASSWORD}'",
                self.tapster.path().display()
            ),
        };
        let port = self.cluster.port();
        self.tapster.write_server(
            "main",
            &format!(
                "conninfo = {host} port={port} user=barman dbname=postgres\n\
                 streaming_conninfo = {host} port={port} user=streaming_barman\n\
                 backup_method = postgres\nstreaming_archiver = on\nslot_name = tapster\n\
                 immediate_checkpoint = true\n"
            ),
        );
    }

    /// Restores into a new folder and puts a server around it.
    fn restore(&self, folder: &str, options: &[&str]) -> Cluster {
        let arguments = [options, &["main", "latest"]].concat();
        self.tapster.restore(self.cluster.major(), folder, &arguments)
    }
}

/// The server's own segments stay, to be compared with what was received.
fn keep_wal(builder: super::cluster::Builder, major: u32) -> super::cluster::Builder {
    match major {
        ..13 => builder.setting("wal_keep_segments", "64"),
        _ => builder.setting("wal_keep_size", "1GB"),
    }
}

crate::on_every_version! {
    fn a_restore_is_what_was_there_and_received_wal_is_the_servers_own(major) {
        let site = Site::new(major);
        let (cluster, tapster) = (&site.cluster, &site.tapster);
        let ways = [Way::Socket, Way::Tcp, Way::Tls];
        site.reach(ways[major as usize % 3]);
        let mut receiver = tapster.receive(cluster);

        cluster.sql("CREATE TABLE known AS SELECT n, md5(n::text) FROM generate_series(1, 20000) n");
        let load = Load::start(cluster, 300);
        for way in ways {
            site.reach(way);
            load.wait_for(30);
            tapster.ok(&["backup", "main"]);
            load.wait_for(30);
        }
        let committed = load.stop();
        let at_moment = cluster.checksums();
        let moment = cluster.value("SELECT clock_timestamp()");
        cluster.sql("DELETE FROM ledger WHERE id % 2 = 0; DROP TABLE known; CREATE TABLE later AS SELECT 1 AS n");
        let at_end = cluster.checksums();
        let segments = [cluster.switch_wal(), cluster.switch_wal()];
        tapster.wait_for_archived("main", &segments);

        assert_same_segments(&cluster.pg_wal(), &tapster.archived("main"), 2);

        let restored = site.restore("at-moment", &["--target-time", &moment]);
        open_at_target(&restored);
        assert_same_tables(&at_moment, &restored.checksums());
        let there = restored.value("SELECT count(*) FROM ledger").parse::<u64>();
        assert_eq!(there, Ok(committed), "every row that the server had promised");
        restored.sql("INSERT INTO known VALUES (0, 'written after the restore')");
        restored.stop(Stop::Fast);

        let restored = site.restore("at-end", &[]);
        restored.wait_until_writable();
        assert_same_tables(&at_end, &restored.checksums());

        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        let log = tapster.log();
        assert!(!log.contains(PASSWORD) && !receiver.output().contains(PASSWORD), "a secret in a log");
    }
}

/// Waits until recovery has stopped at its target, and opens the server there. Before that,
/// tables that the first transaction behind the target had locked are locked.
pub fn open_at_target(restored: &Cluster) {
    let reached =
        "SELECT CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE true END";
    wait_until(
        "recovery to pause at its target",
        Duration::from_secs(60),
        || (restored.value(reached) == "t").then_some(()),
        || restored.log_tail(),
    );
    if restored.value("SELECT pg_is_in_recovery()") == "t" {
        restored.sql("SELECT pg_wal_replay_resume()");
    }
    restored.wait_until_writable();
}

/// Every archived segment that the server still has is byte for byte the same; at least
/// `least` are compared.
#[track_caller]
pub fn assert_same_segments(
    pg_wal: &Path,
    archived: &BTreeMap<String, std::path::PathBuf>,
    least: usize,
) {
    let mut compared = 0;
    for (name, path) in archived {
        let Ok(expected) = fs::read(pg_wal.join(name)) else { continue };
        let got = fs::read(path).expect("an archived segment");
        let differs = expected.iter().zip(&got).position(|(a, b)| a != b);
        assert!(
            differs.is_none() && expected.len() == got.len(),
            "{name}: {} bytes, {} on the server, {}",
            got.len(),
            expected.len(),
            differs.map_or_else(String::new, |at| {
                let (got, expected) = (&got[at..], &expected[at..]);
                let [got, expected] = [got, expected].map(|all| &all[..all.len().min(64)]);
                format!("at {at} {got:02X?} for the server's {expected:02X?}")
            })
        );
        compared += 1;
    }
    assert!(compared >= least, "only {compared} segments compared, of {:?}", archived.keys());
}
