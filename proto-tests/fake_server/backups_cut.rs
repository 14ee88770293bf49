//! A backup that comes to no end is called failed, wherever it stopped, and the next is not.
//!
//! A backup that was cut short and is listed as good makes retention delete the one before.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tapster::backup;
use tapster::config::{Config, ConfigSource, SecretText};
use tapster::conninfo::Purpose;
use tapster::disk::RealDisk;
use tapster::manifest::Algorithm;
use tapster::net;
use tapster::output::NoProgress;
use tapster::repository::ServerLayout;
use tapster::service::Shutdown;
use tapster::wire::Checkpoint;

use super::middle::Middle;
use super::tampering::{data, is};
use super::{Forged, Message};
use crate::wire::{backend, hex};

/// One step of the conversation: a message, or a run of data of one kind.
type Stage = (u8, u8);

/// Finds the steps in a stream of messages. Before the backup begins, each kind of message
/// counts once: eleven answers to SHOW are one step.
#[derive(Default)]
struct Stages {
    passed: Vec<Stage>,
    begun: bool,
}

impl Stages {
    /// Whether a message begins a new step.
    fn enter(&mut self, message: &Message) -> bool {
        let (tag, body) = message;
        self.begun |= *tag == b'T' && body.windows(6).any(|bytes| bytes == b"recptr");
        let stage = (*tag, if *tag == b'd' { body.first().copied().unwrap_or(0) } else { 0 });
        let known = match (self.begun, *tag) {
            (false, _) => self.passed.contains(&stage),
            // Progress and data take turns.
            (true, b'd') => self.passed.contains(&stage),
            (true, _) => false,
        };
        if !known {
            self.passed.push(stage);
        }
        !known
    }
}

/// How many steps a backup has that nobody disturbs.
fn stages_of(middle: &Middle) -> usize {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut stages = Stages::default();
    middle.add("counted");
    middle.forge(move |connection, message| {
        if connection == 0 && stages.enter(&message) {
            let _ = sender.send(());
        }
        vec![Forged::Message(message)]
    });
    middle.tapster.ok(&["backup", "counted"]);
    receiver.try_iter().count()
}

/// Ends the copy's connection before its n-th step, or in the middle of that step's message.
fn cut_at(wanted: usize, in_the_middle: bool) -> impl FnMut(usize, Message) -> Vec<Forged> + Send {
    let mut stages = Stages::default();
    move |connection, message| {
        if connection != 0 || !stages.enter(&message) || stages.passed.len() <= wanted {
            return vec![Forged::Message(message)];
        }
        let bytes = backend::message(message.0, &message.1);
        let half = if in_the_middle { bytes[..bytes.len() / 2].to_vec() } else { Vec::new() };
        vec![Forged::Bytes(half), Forged::Close]
    }
}

fn a_connection_that_ends_anywhere_fails_the_backup(major: u32) {
    let middle = Middle::new(major);
    let stages = stages_of(&middle);
    assert!(stages > 15, "{stages} steps");
    for stage in 0..stages {
        // What follows the command's answer is goodbye.
        let server = format!("s{stage}");
        let words = ["closed the connection before", "127.0.0.1"];
        middle.refuses(&server, cut_at(stage, stage % 2 == 1), &words);
    }
    middle.then_succeeds(&format!("s{}", stages / 2));
    middle.then_succeeds(&format!("s{}", stages - 1));
}

#[test]
fn a_connection_that_ends_anywhere_fails_the_backup_of_17() {
    a_connection_that_ends_anywhere_fails_the_backup(17);
}

#[test]
fn a_connection_that_ends_anywhere_fails_the_backup_of_13() {
    a_connection_that_ends_anywhere_fails_the_backup(13);
}

/// Says something else in place of the hundredth message of data.
fn in_mid_archive(instead: Vec<Forged>) -> impl FnMut(usize, Message) -> Vec<Forged> + Send {
    let mut seen = 0;
    move |_, message| {
        seen += u32::from(is(&message, b'd'));
        if seen == 100 && is(&message, b'd') {
            return instead.clone();
        }
        vec![Forged::Message(message)]
    }
}

#[test]
fn nonsense_in_the_middle_of_the_data_fails_the_backup() {
    let middle = Middle::new(17);
    let bytes = |bytes: Vec<u8>| vec![Forged::Bytes(bytes), Forged::Silence];
    let http = b"HTTP/1.1 502 Bad Gateway\r\n\r\n".to_vec();
    let error = backend::error("ERROR", "58030", "could not read file \"base/1/1259\"");
    let cases = [
        (bytes(http), "announces 1414811695 bytes"),
        (bytes(hex("64 7fffffff 64")), "CopyData announces 2147483647 bytes"),
        (bytes(hex("45 7fffffff")), "ErrorResponse announces 2147483647 bytes"),
        (bytes(hex("64 00000003")), "announces a length of 3"),
        (bytes(hex("ff")), "unknown type 0xff"),
        (vec![data(b'z', b"new in version 25")], "unknown kind 0x7a"),
        (vec![data(b'p', b"short")], "progress is not 9 bytes long"),
        (vec![data(b'n', &[b'x'; 9000])], "head of an archive is too long"),
        (bytes(backend::ready()), "server sent ReadyForQuery"),
        (bytes(backend::copy_both()), "server sent CopyBothResponse"),
        (bytes(error), "could not read file \"base/1/1259\""),
        (bytes(backend::error("FATAL", "57P01", "terminating connection")), "57P01"),
    ];
    for (number, (instead, words)) in cases.into_iter().enumerate() {
        let server = format!("s{number}");
        middle.refuses(&server, in_mid_archive(instead), &[words, "127.0.0.1", "BASE_BACKUP"]);
    }
    middle.then_succeeds("s0");
}

/// Falls silent in the middle of the data, and says so to the test.
fn silent_in_mid_archive(middle: &Middle) -> Receiver<()> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut forger = in_mid_archive(vec![Forged::Silence]);
    middle.forge(move |connection, message| {
        let forged = forger(connection, message);
        if matches!(forged[..], [Forged::Silence]) {
            let _ = sender.send(());
        }
        forged
    });
    receiver
}

/// What the program makes of its configuration, with a shorter patience.
fn impatient_plan(middle: &Middle, silence: Duration) -> backup::Plan {
    let source = ConfigSource::from_command_line(Some(middle.tapster.config()));
    let config = Config::load(&source).expect("a configuration").config;
    let server = config.server("main").expect("a section");
    let options = |text: &Option<SecretText>, purpose| {
        let text = text.as_ref().expect("it is configured").expose();
        net::resolve(text, purpose).expect("a connection string")
    };
    backup::Plan {
        disk: Arc::new(RealDisk),
        layout: ServerLayout::new(server),
        streaming: options(&server.streaming_conninfo, Purpose::Replication),
        sql: options(&server.conninfo, Purpose::Sql),
        primary: None,
        application_name: "tapster".to_owned(),
        name: None,
        form: backup::Form::Archives(None),
        checkpoint: Checkpoint::Fast,
        max_rate_kib: None,
        incremental: None,
        allow_damaged_pages: false,
        limits: backup::Limits::default(),
        checksums: Algorithm::Crc32c,
        label: None,
        receiver_slot: None,
        size: backup::ClusterSize::Asked,
        retries: backup::Retries::default(),
        continues_wal: true,
        archive: Default::default(),
        wait: backup::Wait::default(),
        silence,
    }
}

#[test]
fn a_server_that_stops_talking_fails_the_backup_when_patience_is_over() {
    let middle = Middle::new(17);
    middle.add("main");
    let fell_silent = silent_in_mid_archive(&middle);
    let plan = impatient_plan(&middle, Duration::from_secs(2));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (_lever, shutdown) = Shutdown::manual();
    let taken = runtime.expect("a runtime").block_on(backup::take(
        &plan,
        &shutdown,
        &NoProgress,
        &mut |_| {},
    ));
    let error = taken.expect_err("the server said no more");
    fell_silent.try_recv().expect("it was the forger's silence");
    assert!(error.to_string().contains("has not answered BASE_BACKUP for 2 s"), "{error}");
    assert!(error.hint().is_some());
    middle.nothing_is_done("main");
    middle.then_succeeds("main");
}

#[test]
fn a_server_that_stops_talking_can_be_left() {
    let middle = Middle::new(17);
    middle.add("main");
    let fell_silent = silent_in_mid_archive(&middle);
    let mut backup = middle.tapster.spawn(&["backup", "main"]);
    fell_silent.recv_timeout(Duration::from_secs(60)).expect("data comes");
    assert!(backup.is_running(), "{}", backup.output());
    assert_eq!(backup.interrupt(), 1, "{}", backup.output());
    super::scene::said(&middle.tapster, &backup.output());
    middle.nothing_is_done("main");
    middle.then_succeeds("main");
}

#[test]
fn wal_that_is_lost_on_the_way_is_asked_for_again_and_wal_with_a_hole_fails_the_backup() {
    let middle = Middle::new(17);
    middle.add("main");
    let mut cut = false;
    middle.forge(move |connection, message| {
        let ends = connection == 1 && is(&message, b'w') && !std::mem::replace(&mut cut, true);
        let bytes = backend::message(message.0, &message.1);
        match ends {
            true => vec![Forged::Bytes(bytes[..bytes.len() / 2].to_vec()), Forged::Close],
            false => vec![Forged::Message(message)],
        }
    });
    let outcome = middle.tapster.ok(&["backup", "main"]);
    super::scene::said(&middle.tapster, &outcome.to_string());
    let listed = middle.tapster.ok(&["list-backups", "main"]);
    assert!(listed.stdout.contains("Size:") && !listed.stdout.contains("WAITING"), "{listed}");
    let holed = |connection, mut message: Message| {
        if connection == 1 && is(&message, b'w') {
            // A position eight bytes further on than it is.
            message.1[8] ^= 8;
        }
        vec![Forged::Message(message)]
    };
    middle.refuses("holed", holed, &["comes next", "127.0.0.1"]);
    middle.then_succeeds("holed");
}
