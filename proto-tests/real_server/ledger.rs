//! The commit ledger: what a client was told to be committed is in the archive.
//!
//! The receiver is the only synchronous standby, so an acknowledged commit is one for which the
//! receiver has given its word. Both sides are killed at moments that nobody chose; what the
//! clients have written down is then looked for in what the receiver has left, and nowhere
//! else: a server that came back could send it again.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::clients::{Clients, Entry};
use super::dice::Dice;
use super::scratch::wait_until;
use super::tapster::Running;
use super::{Cluster, Stop, Tapster};

const KILLS: u32 = 100;

/// Segments of 1 MiB: the clients pass many ends of segments.
const SEGMENT: u64 = 1 << 20;

struct Site {
    cluster: Cluster,
    tapster: Tapster,
    clients: Clients,
    receiver: Running,
    /// Everything before was compared already.
    compared: u64,
}

/// Which side a kill takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Receiver,
    Server,
    /// The server first: commits that were flushed here may not have been reported yet.
    ServerThenReceiver,
    /// The receiver first: the server sends into the void.
    ReceiverThenServer,
}

impl Side {
    fn drawn(dice: &mut Dice) -> Side {
        match dice.below(10) {
            0..6 => Side::Receiver,
            6..8 => Side::Server,
            8 => Side::ServerThenReceiver,
            _ => Side::ReceiverThenServer,
        }
    }
}

#[test]
fn every_commit_that_was_acknowledged_is_in_the_archive_after_a_hundred_kills() {
    let mut dice = Dice::roll("the commit ledger");
    let mut site = Site::new();
    for number in 1..=KILLS {
        // A restore of what both have left costs seconds: at a third, at two thirds, at the end.
        let restored = number % (KILLS / 3) == 0 && number + KILLS / 3 <= KILLS;
        let side = match restored || number == KILLS {
            true => Side::ServerThenReceiver,
            false => Side::drawn(&mut dice),
        };
        // Also while the receiver catches up, or has not even begun.
        if !dice.one_in(4) {
            site.clients.wait_for(dice.below(30) as usize);
        }
        dice.pause(40);
        site.kill(side);
        let ledger = site.clients.ledger();
        site.compare(&ledger, &format!("kill {number} ({side:?})"));
        if restored {
            site.restore(&ledger, &format!("restored-{number}"));
        }
        if number < KILLS {
            site.revive(side, &mut dice);
        }
    }
    let Site { clients, tapster, cluster, .. } = &site;
    clients.stop();
    let ledger = clients.ledger();
    assert!(ledger.len() >= 500, "only {} commits were acknowledged", ledger.len());
    // The server will not come back: the repository is all there is.
    fs::remove_dir_all(cluster.data()).expect("it is stopped");
    assert!(tapster.archived("main").len() > 5, "the clients did not pass many segments");
    site.restore(&ledger, "restored-at-the-end");
}

impl Site {
    fn new() -> Site {
        let cluster = Cluster::builder(17).segment_mib(1).setting("wal_keep_size", "4GB").start();
        let tapster = Tapster::of(&cluster);
        Clients::prepare(&cluster);
        let mut receiver = tapster.receive(&cluster);
        tapster.ok(&["backup", "main"]);
        assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'barman_receive_wal'");
        cluster.reload();
        let receiver = tapster.spawn(&["receive-wal", "main"]);
        wait_until(
            "the receiver to count",
            Duration::from_secs(60),
            || {
                let state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
                (cluster.value(state) == "1").then_some(())
            },
            || cluster.log_tail(),
        );
        let compared = cluster.value("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint");
        let compared = compared.parse::<u64>().expect("a position") / SEGMENT * SEGMENT;
        let clients = Clients::start(&cluster, 4, 3000, Duration::ZERO);
        Site { cluster, tapster, clients, receiver, compared }
    }

    fn kill(&mut self, side: Side) {
        match side {
            Side::Receiver => self.receiver.kill(),
            Side::Server => self.cluster.stop(Stop::Crash),
            Side::ServerThenReceiver => {
                self.cluster.stop(Stop::Crash);
                self.receiver.kill();
            }
            Side::ReceiverThenServer => {
                self.receiver.kill();
                self.cluster.stop(Stop::Crash);
            }
        }
    }

    fn revive(&mut self, side: Side, dice: &mut Dice) {
        let receive = |site: &Site| site.tapster.spawn(&["receive-wal", "main"]);
        match side {
            Side::Receiver => self.receiver = receive(self),
            Side::Server => {
                self.cluster.launch();
                assert!(self.receiver.is_running(), "{}", self.receiver.output());
            }
            _ => {
                let early = dice.one_in(2).then(|| receive(self));
                self.cluster.launch();
                self.receiver = early.unwrap_or_else(|| receive(self));
            }
        }
    }

    /// Everything up to the last acknowledged commit is stored, byte for byte.
    fn compare(&mut self, ledger: &[Entry], when: &str) {
        let Some(last) = ledger.iter().map(|entry| entry.position).max() else { return };
        let mut at = self.compared;
        while at <= last {
            let name = format!("00000001{:08X}{:08X}", at >> 32, (at >> 20) & 0xFFF);
            // The commit record begins at its position, or behind: at least a byte of it.
            let length = (last + 1 - at).min(SEGMENT) as usize;
            let server = fs::read(self.cluster.pg_wal().join(&name)).expect("WAL is kept");
            let stored = self.tapster.stored("main", &name);
            let stored = stored.unwrap_or_else(|| panic!("{when}: {name} is not stored"));
            assert!(
                stored.len() >= length && stored[..length] == server[..length],
                "{when}: {name} differs in what was acknowledged up to {last:X}"
            );
            at += SEGMENT;
        }
        self.compared = last / SEGMENT * SEGMENT;
    }

    /// Recovers the backup with what the receiver has left, to its end, and looks for each row.
    fn restore(&self, ledger: &[Entry], folder: &str) {
        let folder = self.tapster.path().join(folder);
        let path = folder.to_str().expect("UTF-8");
        self.tapster.ok(&["restore", "main", "latest", path]);
        let restored = Cluster::of_directory(self.cluster.major(), &folder);
        restored.launch();
        restored.wait_until_writable();
        let rows = restored.sql("SELECT id FROM ledger");
        let there: BTreeSet<u64> = rows
            .into_iter()
            .filter_map(|row| row[0].as_ref().and_then(|id| id.parse().ok()))
            .collect();
        let lost: Vec<&Entry> = ledger.iter().filter(|entry| !there.contains(&entry.id)).collect();
        assert!(
            lost.is_empty(),
            "{} of {} acknowledged commits are lost: {:?}\n{}",
            lost.len(),
            ledger.len(),
            &lost[..lost.len().min(10)],
            restored.log_tail()
        );
    }
}
