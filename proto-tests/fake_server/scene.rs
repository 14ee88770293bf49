//! A receiver in front of the scripted server, which has real WAL to send; and what both leave.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tapster::repository::ServerLayout;
use tapster::wal::{Lsn, SegmentName, SegmentNumber, SystemIdentifier, Timeline};

use super::{Builder, FakeServer, Heard, Step};
use crate::crash::log::{Log, SYSTEM};
use crate::real_server::Tapster;
use crate::real_server::scratch::wait_until;
use crate::real_server::tapster::Running;
use crate::wire::backend;

/// A password that nobody asks for, and that nothing may repeat.
pub const SECRET: &str = "s3same-0pen";

/// A server, a repository, and the WAL that the one has for the other.
pub struct Scene {
    pub log: Log,
    pub server: FakeServer,
    pub tapster: Tapster,
}

/// Two whole segments of 1 MiB and a part of a third, on one timeline.
pub fn log() -> Log {
    Log::new(&[(2 << 20) + 300_000])
}

/// The WAL of the first timeline in messages as a server cuts them.
pub fn wal(log: &Log, from: Lsn, to: Lsn) -> Vec<u8> {
    wal_of(log, 1, from, to)
}

/// The same on any timeline.
pub fn wal_of(log: &Log, timeline: u32, from: Lsn, to: Lsn) -> Vec<u8> {
    let mut out = Vec::new();
    let mut start = from;
    for chunk in log.bytes(timeline, from, to).chunks(128 << 10) {
        out.extend(backend::xlog_data(start, chunk));
        start = start + chunk.len() as u64;
    }
    out
}

/// Streams a timeline from where it is asked for to its end, and parts in peace.
pub fn stream(timeline: u32) -> Vec<Step> {
    let streaming = Step::reply(move |command| {
        let log = log();
        [backend::copy_both(), wal_of(&log, timeline, asked_from(command), log.end(timeline))]
            .concat()
    });
    [vec![streaming], farewell()].concat()
}

/// Waits until the receiver wants to leave, and lets it.
pub fn farewell() -> Vec<Step> {
    let ended = [backend::copy_done(), backend::complete("START_REPLICATION"), backend::ready()];
    vec![Step::until(|heard| *heard == Heard::CopyDone), Step::Send(ended.concat())]
}

/// The position in a START_REPLICATION.
pub fn asked_from(command: &str) -> Lsn {
    let words: Vec<&str> = command.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "PHYSICAL").expect("a physical one");
    words[at + 1].parse().expect("a position")
}

/// What IDENTIFY_SYSTEM answers for another cluster, timeline or position.
pub fn identify(system: SystemIdentifier, timeline: u32, position: Lsn) -> Vec<Step> {
    vec![Step::Send(backend::identify_system(system.0, timeline, position))]
}

impl Scene {
    /// A server that answers as a script wants, and otherwise as the log's server would; its
    /// slot keeps all WAL.
    pub fn new(log: Log, script: Builder) -> Scene {
        let slot = [
            ("slot_type", "physical"),
            ("restart_lsn", &log.start.to_string()),
            ("restart_tli", "1"),
        ];
        let slot = [backend::one_row(&slot, "READ_REPLICATION_SLOT"), backend::ready()].concat();
        let (newest, size) = (log.newest(), "wal_segment_size");
        let server = script
            .on("IDENTIFY_SYSTEM", identify(SYSTEM, newest, log.end(newest)))
            .on("SHOW wal_segment_size", vec![Step::Send(backend::show(size, "1MB"))])
            .on("READ_REPLICATION_SLOT", vec![Step::Send(slot)])
            .start();
        let tapster = repository_of(&server);
        Scene { log, server, tapster }
    }

    pub fn receive(&self) -> Running {
        self.tapster.spawn(&["receive-wal", "main"])
    }

    /// All that a receiver has said, on a channel or in the log. No secret is in it.
    #[track_caller]
    pub fn said(&self, receiver: &Running) -> String {
        said(&self.tapster, &receiver.output())
    }

    /// Waits until a receiver has said something, on a channel or in the log; fails at once
    /// when it ends without.
    #[track_caller]
    pub fn waits_to_be_told(&self, receiver: &mut Running, text: &str) {
        wait_until(
            &format!("{text:?} to be said"),
            Duration::from_secs(60),
            || {
                let runs = receiver.is_running();
                let said = self.said(receiver);
                assert!(runs || said.contains(text), "it ended without {text:?}: {said}");
                said.contains(text).then_some(())
            },
            || format!("{:#?}", self.server.heard()),
        );
    }

    /// The START_REPLICATION commands so far: position and timeline of each.
    pub fn asked(&self) -> Vec<(Lsn, u32)> {
        let commands = self.server.commands();
        let asked = commands.iter().filter(|command| command.starts_with("START_REPLICATION"));
        asked
            .map(|command| {
                let timeline = command.rsplit(' ').next().and_then(|word| word.parse().ok());
                (asked_from(command), timeline.expect("a timeline"))
            })
            .collect()
    }

    /// Waits until the server has been told that everything before `end` is flushed.
    #[track_caller]
    pub fn wait_until_flushed(&self, end: Lsn) {
        self.server.wait_to_hear(
            &format!("all WAL before {end} to be flushed"),
            |heard| matches!(heard, Heard::Status { flushed, .. } if *flushed == end),
        );
    }

    /// Waits until the first segments of the log are in `wals/`, and compares them.
    #[track_caller]
    pub fn archives(&self, timeline: u32, segments: std::ops::Range<u64>) {
        let size = self.log.size;
        let id = Timeline::new(timeline).expect("not 0");
        for number in segments.map(SegmentNumber) {
            let name = SegmentName::new(id, number, size).to_string();
            self.tapster.wait_for_archived("main", std::slice::from_ref(&name));
            let stored = fs::read(&self.tapster.archived("main")[&name]).expect("it is there");
            let sent = self.log.bytes(timeline, number.start(size), number.end(size));
            assert!(stored == sent, "{name} holds other bytes than were sent");
        }
    }

    /// What is stored under the name of an incomplete segment begins with the log's bytes up to
    /// `end`, and nothing has a final name from there on.
    #[track_caller]
    pub fn holds_until(&self, end: Lsn) {
        let size = self.log.size;
        let number = end.segment(size);
        let name = SegmentName::new(Timeline::FIRST, number, size).to_string();
        let sent = self.log.bytes(1, number.start(size), end);
        if !sent.is_empty() {
            let path = self.streaming().join(format!("{name}.partial"));
            let stored = fs::read(&path).unwrap_or_default();
            assert!(stored.get(..sent.len()) == Some(sent), "{} is not whole", path.display());
        }
        let late = final_names(&self.tapster).into_iter().find(|final_name| *final_name >= name);
        assert_eq!(late, None, "nothing was complete from {name} on");
    }

    /// The repository as the library sees it.
    pub fn layout(&self) -> ServerLayout {
        ServerLayout::below(
            &self.tapster.path().join("repository"),
            "main".parse().expect("a name"),
        )
    }

    pub fn streaming(&self) -> PathBuf {
        self.tapster.server("main").join("streaming")
    }
}

/// A repository whose only server is a scripted one.
pub fn repository_of(server: &FakeServer) -> Tapster {
    let tapster = Tapster::new();
    tapster.write_server("main", &section(&[server]));
    tapster
}

/// The section of a server that is one of several hosts.
pub fn section(servers: &[&FakeServer]) -> String {
    let ports: Vec<String> = servers.iter().map(|server| server.port().to_string()).collect();
    let hosts = vec!["127.0.0.1"; ports.len()].join(",");
    let conninfo = format!(
        "host={hosts} port={} user=streaming_barman connect_timeout=20 password={SECRET}",
        ports.join(",")
    );
    format!(
        "conninfo = {conninfo} dbname=postgres\nstreaming_conninfo = {conninfo}\n\
         backup_method = postgres\nstreaming_archiver = on\nslot_name = tapster\n"
    )
}

/// Output and log of a repository's programs, with no secret and no panic in it.
#[track_caller]
pub fn said(tapster: &Tapster, output: &str) -> String {
    let all = format!("{output}{}", tapster.log());
    assert!(!all.contains(SECRET), "the password is said: {all}");
    assert!(!all.contains("panicked"), "{all}");
    all
}

/// Segments that are called complete, wherever they stand.
pub fn final_names(tapster: &Tapster) -> Vec<String> {
    let mut names: Vec<String> = tapster.archived("main").into_keys().collect();
    let streaming = fs::read_dir(tapster.server("main").join("streaming"));
    names.extend(
        streaming
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned()),
    );
    names.retain(|name| name.len() == 24);
    names.sort();
    names.dedup();
    names
}
