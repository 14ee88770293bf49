//! The failover drill: standbys are promoted, again and again, and no instant is lost.
//!
//! Three servers, one of which is the primary; two receivers that know all three by one
//! connection string. One of them is the synchronous standby: what a client was told to be
//! committed is in its archive, on whatever branch it was committed.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use tapster::wal::{
    Lsn, SegmentName, SegmentSize, Timeline, TimelineHistory, WalChecker, WalFileName,
};

use super::clients::Clients;
use super::dice::Dice;
use super::round_trip::open_at_target;
use super::scratch::{tail, wait_until};
use super::tables::assert_same_tables;
use super::tapster::Running;
use super::{Cluster, Stop, Tapster};

const ROUNDS: u32 = 20;
const LIMIT: Duration = Duration::from_secs(60);

/// Segments of 1 MiB: the rounds pass many ends of segments.
const SEGMENT: u64 = 1 << 20;

/// The receivers: one goes to the primary alone, the other to whichever server will have it.
const SERVERS: [&str; 2] = ["main", "any"];

/// What becomes of the old primary, and when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It dies, and then a standby is promoted.
    Crash,
    /// It is shut down in an orderly way before.
    Shutdown,
    /// It goes on for a moment beside its successor, with all its clients.
    Beside,
    /// It dies, and the receivers with it.
    CrashWithReceivers,
}

impl Fate {
    fn drawn(dice: &mut Dice) -> Fate {
        [Fate::Crash, Fate::Shutdown, Fate::Beside, Fate::CrashWithReceivers]
            [dice.below(4) as usize]
    }
}

/// An instant that has to be there again after a restore to it.
struct Instant {
    name: String,
    /// The rows that were there for sure.
    rows: BTreeSet<String>,
}

struct Drill {
    dice: Dice,
    nodes: Vec<Cluster>,
    /// Which of them is the primary.
    primary: usize,
    /// Of the primary.
    timeline: u32,
    /// Where its first segment begins.
    begun: u64,
    /// How often the clients were pointed to a server.
    pointed: u64,
    tapster: Tapster,
    receivers: Vec<Running>,
    clients: Clients,
    instants: Vec<Instant>,
}

#[test]
fn every_instant_of_twenty_failovers_is_recoverable() {
    let mut drill = Drill::new();
    for round in 1..=ROUNDS {
        drill.round(round);
    }
    drill.end();
}

impl Drill {
    fn new() -> Drill {
        let dice = Dice::roll("the failover drill");
        let first = Cluster::builder(17).segment_mib(1).setting("wal_keep_size", "24MB").start();
        Clients::prepare(&first);
        let nodes = vec![first.standby(), first.standby()];
        let nodes: Vec<Cluster> = [first].into_iter().chain(nodes).collect();
        let tapster = Tapster::new();
        configure(&tapster, &nodes);
        let mut receivers: Vec<Running> =
            SERVERS.iter().map(|name| tapster.spawn(&["receive-wal", name])).collect();
        for (name, receiver) in SERVERS.iter().zip(&mut receivers) {
            receiver.wait_until_streaming(&nodes[0]);
            tapster.ok(&["backup", name]);
        }
        for node in &nodes {
            node.sql("ALTER SYSTEM SET synchronous_standby_names = 'barman_receive_wal'");
            node.reload();
        }
        // It asks at its start whether commits wait for it.
        assert_eq!(receivers[0].interrupt(), 0, "{}", receivers[0].output());
        receivers[0] = tapster.spawn(&["receive-wal", "main"]);
        let begun = position(&nodes[0], "pg_current_wal_flush_lsn()") / SEGMENT * SEGMENT;
        let clients = Clients::start(&nodes[0], 3, 1000, Duration::from_millis(5));
        Drill {
            dice,
            nodes,
            primary: 0,
            timeline: 1,
            begun,
            pointed: 1,
            tapster,
            receivers,
            clients,
            instants: Vec::new(),
        }
    }

    fn round(&mut self, round: u32) {
        self.clients.wait_for(5 + self.dice.below(20) as usize);
        self.dice.pause(50);
        let old = self.primary;
        let new = (old + 1 + self.dice.below(2) as usize) % 3;
        let fate = Fate::drawn(&mut self.dice);
        self.fail_over(old, new, fate);
        let when = format!("round {round} ({fate:?})");
        self.compare_old_branch(old, &when);
        self.primary = new;
        self.timeline += 1;
        let switchpoint = self.ancestry().beginning_of(self.timeline()).expect("a switchpoint");
        self.begun = switchpoint.0 / SEGMENT * SEGMENT;

        self.clients.wait_for(5);
        self.note(&when);
        // Before the receivers are looked at: one of them may listen to the standby that was
        // left over, which gets no WAL until it is pointed to the new primary.
        self.repoint(3 - old - new, switchpoint.0);
        self.nodes[old].rebuild_from(&self.nodes[new]);
        self.wait_for_receivers(&when);
    }

    /// Ends the old primary and promotes a standby, in the order that the fate asks for.
    fn fail_over(&mut self, old: usize, new: usize, fate: Fate) {
        match fate {
            Fate::Crash => self.nodes[old].stop(Stop::Crash),
            Fate::Shutdown => self.nodes[old].stop(Stop::Fast),
            Fate::Beside => {}
            Fate::CrashWithReceivers => {
                self.nodes[old].stop(Stop::Crash);
                for receiver in &mut self.receivers {
                    receiver.kill();
                }
            }
        }
        self.dice.pause(30);
        self.nodes[new].promote();
        if fate == Fate::Beside {
            self.dice.pause(100);
            self.nodes[old].stop(Stop::Crash);
        }
        if fate == Fate::CrashWithReceivers {
            for (name, receiver) in SERVERS.iter().zip(&mut self.receivers) {
                *receiver = self.tapster.spawn(&["receive-wal", name]);
            }
        }
        self.clients.point_to(&self.nodes[new]);
        self.pointed += 1;
    }

    /// What the old primary had acknowledged is stored on its own timeline, also where its
    /// successor never had it.
    fn compare_old_branch(&self, old: usize, when: &str) {
        let entries = self.clients.ledger();
        let mine = entries.iter().filter(|entry| entry.server + 1 == self.pointed);
        let Some(last) = mine.map(|entry| entry.position).max() else {
            panic!("{when}: nothing was acknowledged")
        };
        for (name, length) in self.segments_to(last + 1) {
            let server = fs::read(self.nodes[old].pg_wal().join(&name)).expect("WAL is kept");
            let stored = self.tapster.stored("main", &name).unwrap_or_default();
            assert!(
                stored.len() >= length && stored[..length] == server[..length],
                "{when}: acknowledged commits up to {last:X} are not in {name}"
            );
        }
    }

    /// The standby that was left over follows the new primary; it is made anew where it has got
    /// more from the old one.
    fn repoint(&self, left: usize, switchpoint: u64) {
        let (standby, primary) = (&self.nodes[left], &self.nodes[self.primary]);
        if position(standby, "pg_last_wal_receive_lsn()") <= switchpoint {
            standby.follow(primary);
        } else {
            standby.stop(Stop::Crash);
            standby.rebuild_from(primary);
        }
    }

    /// The segments of the present timeline up to a position, and how much of each counts.
    fn segments_to(&self, end: u64) -> Vec<(String, usize)> {
        let starts = (self.begun..end).step_by(SEGMENT as usize);
        let timeline = self.timeline;
        starts
            .map(|at| {
                let name = format!("{timeline:08X}{:08X}{:08X}", at >> 32, (at >> 20) & 0xFFF);
                (name, (end - at).min(SEGMENT) as usize)
            })
            .collect()
    }

    fn history(&self) -> String {
        let name = format!("{:08X}.history", self.timeline);
        fs::read_to_string(self.nodes[self.primary].pg_wal().join(name)).expect("its history")
    }

    fn timeline(&self) -> Timeline {
        Timeline::new(self.timeline).expect("a timeline")
    }

    fn ancestry(&self) -> TimelineHistory {
        TimelineHistory::parse(self.timeline(), self.history().as_bytes()).expect("a history")
    }

    /// Marks an instant to which a restore can go.
    fn note(&mut self, name: &str) {
        let node = &self.nodes[self.primary];
        let rows = ids(node);
        node.sql(&format!("SELECT pg_create_restore_point('{name}')"));
        self.instants.push(Instant { name: name.to_owned(), rows });
    }

    /// Both have everything up to now.
    fn wait_for_receivers(&mut self, when: &str) {
        let node = &self.nodes[self.primary];
        // A restore point alone is not flushed before somebody commits.
        let end = position(node, "pg_current_wal_insert_lsn()");
        self.clients.wait_for(1);
        let segments = self.segments_to(end);
        let history = self.ancestry();
        for (name, receiver) in SERVERS.iter().zip(&mut self.receivers) {
            let holds = |(segment, length): &(String, usize)| {
                let server = fs::read(node.pg_wal().join(segment)).unwrap_or_default();
                let stored = self.tapster.stored(name, segment).unwrap_or_default();
                is_the_same(segment, &stored, &server, *length)
            };
            wait_until(
                &format!("{name} to have {end:X} after {when}"),
                LIMIT,
                || {
                    assert!(receiver.is_running(), "{name} ended: {}", receiver.output());
                    segments.iter().all(holds).then_some(())
                },
                || tail(&self.tapster.path().join("tapster.log"), 40),
            );
            for (segment, path) in self.tapster.archived(name) {
                let Ok(server) = fs::read(node.pg_wal().join(&segment)) else { continue };
                let stored = fs::read(path).expect("an archived file");
                let common = shared_length(&segment, &history, server.len());
                let is_same = is_the_same(&segment, &stored, &server, common);
                assert!(is_same && stored.len() == server.len(), "{when}: {name}: {segment}");
            }
        }
    }

    /// After the last round: every instant is there again.
    fn end(mut self) {
        self.clients.stop();
        let node = &self.nodes[self.primary];
        node.sql("ALTER SYSTEM RESET synchronous_standby_names");
        node.reload();
        let last = [node.switch_wal(), format!("{:08X}.history", self.timeline)];
        for name in SERVERS {
            self.tapster.wait_for_archived(name, &last);
            let stored = fs::read(&self.tapster.archived(name)[&last[1]]).expect("it is there");
            assert_eq!(stored, self.history().into_bytes());
        }
        for receiver in &mut self.receivers {
            assert_eq!(receiver.interrupt(), 0, "{}", receiver.output());
        }
        let live = node.checksums();
        for (name, folder) in [("main", "end-of-main"), ("any", "end-of-any")] {
            let arguments = ["--target-tli", "latest", name, "latest"];
            let restored = self.tapster.restore(17, folder, &arguments);
            restored.wait_until_writable();
            assert_same_tables(&live, &restored.checksums());
        }
        for number in 0..3 {
            let instant = &self.instants[self.dice.below(u64::from(ROUNDS)) as usize];
            let name = SERVERS[number % 2];
            let arguments = ["--target-name", &instant.name, name, "latest"];
            let restored = self.tapster.restore(17, &format!("instant-{number}"), &arguments);
            open_at_target(&restored);
            let there = ids(&restored);
            let lost: Vec<&String> = instant.rows.difference(&there).collect();
            assert!(lost.is_empty(), "{}: {} rows are lost", instant.name, lost.len());
        }
    }
}

/// Whether what is stored of a segment is what a server has.
///
/// Behind a segment switch the two may differ: a standby that has replayed the switch takes the
/// whole segment for received. Of the rest it sends what its recycled file held, and keeps that
/// when it is promoted just then. Nothing of it is ever replayed.
fn is_the_same(name: &str, stored: &[u8], server: &[u8], length: usize) -> bool {
    let (Some(stored), Some(server)) = (stored.get(..length), server.get(..length)) else {
        return false;
    };
    let same = stored.iter().zip(server).take_while(|(a, b)| a == b).count();
    same == length || length == SEGMENT as usize && is_switched(name, &stored[..same])
}

/// A segment by the name of its file, and where it begins; other files are none.
fn segment_at(name: &str) -> Option<(SegmentName, SegmentSize, Lsn)> {
    let Ok(WalFileName::Segment(name)) = name.parse() else { return None };
    let size = SegmentSize::new(SEGMENT).expect("a size");
    Some((name, size, name.number(size).expect("a number").start(size)))
}

/// How much of a file the primary has to have as its predecessors had it. A segment of an older
/// timeline is the same up to where the next one begins; behind that an old primary that went
/// on beside its successor has written what is on its own branch alone.
fn shared_length(name: &str, history: &TimelineHistory, length: usize) -> usize {
    let Some((name, _, start)) = segment_at(name) else { return length };
    let ended = history.switchpoint_of(name.timeline()).map_or(u64::MAX, |end| end.0);
    ended.saturating_sub(start.0).min(length as u64) as usize
}

/// Whether nothing but filler can follow upon the beginning of a segment: zeros there are the
/// end of the WAL, or damage, unless the last record is a segment switch.
fn is_switched(name: &str, beginning: &[u8]) -> bool {
    let Some((name, size, start)) = segment_at(name) else { return false };
    let (mut checker, mut findings) =
        (WalChecker::new(name.timeline(), None, size, start), Vec::new());
    checker.feed(start, beginning, &mut findings);
    let rest = vec![0; SEGMENT as usize - beginning.len()];
    checker.feed(start + beginning.len() as u64, &rest, &mut findings);
    findings.is_empty()
}

/// Both servers of the repository are the same three hosts.
fn configure(tapster: &Tapster, nodes: &[Cluster]) {
    let primary = "target_session_attrs=primary";
    for (name, attributes) in SERVERS.into_iter().zip([primary, ""]) {
        let hosts = Tapster::hosts_options(nodes, primary, attributes);
        tapster.write_server(
            name,
            &format!(
                "{hosts}slot_name = tapster_{name}\ncreate_slot = auto\n\
                 streaming_archiver_name = {}\n",
                if name == "main" { "barman_receive_wal" } else { name },
            ),
        );
    }
}

fn ids(node: &Cluster) -> BTreeSet<String> {
    node.sql("SELECT id FROM ledger").into_iter().filter_map(|row| row[0].clone()).collect()
}

fn position(node: &Cluster, function: &str) -> u64 {
    node.value(&format!("SELECT ({function} - '0/0')::bigint")).parse().expect("a position")
}
