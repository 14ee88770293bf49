//! What real servers of every version say is what the wire understands.
//!
//! The forged bytes of the other tests are our reading of the manual; these are the servers'.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::BytesMut;
use tapster::wal::{Lsn, PgTimestamp, Timeline};
use tapster::wire::base_backup::{BackupEvent, BackupStream};
use tapster::wire::copy_both::{StatusUpdate, WalEvent, WalStream};
use tapster::wire::{
    BaseBackupOptions, ChannelBinding, Checkpoint, Command, Exchange, ExchangeEvent, HistoryFile,
    IdentifySystem, Login, LoginEvent, LoginOptions, ManifestOption, RequireAuth, ResultSet,
    ServerError, Session, SlotName, SlotState, SqlState, Transport, WireError,
};

use crate::real_server::Cluster;

/// A session that waits in the simplest way.
struct Talk {
    socket: UnixStream,
    input: BytesMut,
    session: Session,
}

impl Talk {
    fn with(cluster: &Cluster) -> Talk {
        let path = cluster.socket().join(format!(".s.PGSQL.{}", cluster.port()));
        let mut socket = UnixStream::connect(path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let parameter = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut login = Login::new(LoginOptions {
            user: "streaming_barman".to_owned(),
            password: None,
            parameters: vec![
                parameter("replication", "true"),
                parameter("application_name", "wire test"),
            ],
            transport: Transport::Local,
            channel_binding: ChannelBinding::Prefer,
            require_auth: RequireAuth::ANY,
        });
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        login.start(&mut out).expect("a startup packet");
        loop {
            socket.write_all(&out.split()).expect("the server listens");
            match login.next(&mut input, &mut out).expect("a login") {
                Some(LoginEvent::Ready(session)) => {
                    return Talk { socket, input, session: *session };
                }
                Some(_) => {}
                None => fill(&mut socket, &mut input),
            }
        }
    }

    fn send(&mut self, command: Command) {
        let mut out = BytesMut::new();
        command.encode(self.session.version, &mut out).expect("a command");
        self.socket.write_all(&out).expect("the server listens");
    }

    /// Reads until `next` gives something.
    fn until<T>(
        &mut self,
        mut next: impl FnMut(&mut BytesMut) -> Result<Option<T>, WireError>,
    ) -> Result<T, WireError> {
        loop {
            if let Some(event) = next(&mut self.input)? {
                return Ok(event);
            }
            fill(&mut self.socket, &mut self.input);
        }
    }

    fn run(&mut self, command: Command) -> Result<Vec<ResultSet>, ServerError> {
        self.send(command);
        let mut exchange = Exchange::new();
        loop {
            match self.until(|input| exchange.next(input)).expect("an answer") {
                ExchangeEvent::Done(results) => return Ok(results),
                ExchangeEvent::Failed(error) => return Err(error),
                _ => {}
            }
        }
    }

    fn show(&mut self, name: &str) -> String {
        let results = self.run(Command::Show(name.to_owned())).expect(name);
        results[0].setting().expect("a value")
    }

    fn identify(&mut self) -> IdentifySystem {
        let results = self.run(Command::IdentifySystem).expect("an identity");
        IdentifySystem::try_from(&results[0]).expect("a system")
    }
}

fn fill(socket: &mut UnixStream, input: &mut BytesMut) {
    let mut chunk = [0; 1 << 16];
    let length = socket.read(&mut chunk).expect("an answer within a minute");
    assert!(length > 0, "the server hung up");
    input.extend_from_slice(&chunk[..length]);
}

fn slot() -> SlotName {
    SlotName::new("wire_test").expect("a name")
}

crate::on_every_version! {
    fn commands_are_answered(major) {
        let cluster = Cluster::start(major);
        let mut talk = Talk::with(&cluster);
        assert_eq!(talk.session.version.major(), major);
        assert!(talk.session.cancel_key.is_some());
        let number: u32 = talk.show("server_version_num").parse().expect("a number");
        assert_eq!(talk.session.version.number(), number);
        let system = talk.identify();
        assert_eq!(system.timeline, Timeline::FIRST);
        assert!(system.xlogpos.is_valid() && system.dbname.is_none());
        assert_eq!(talk.show("wal_segment_size"), "16MB");

        let unknown = Command::Show("no_such_setting".to_owned());
        let error = talk.run(unknown).expect_err("an unknown setting");
        assert_eq!(error.code, SqlState::UNDEFINED_OBJECT);
        let history = Command::TimelineHistory(Timeline::FIRST);
        let error = talk.run(history).expect_err("timeline 1 has no history");
        assert_eq!(error.code, SqlState::UNDEFINED_FILE);

        let create = Command::CreateSlot { name: slot(), temporary: false, reserve_wal: true };
        talk.run(create.clone()).expect("a slot");
        let error = talk.run(create).expect_err("the slot exists");
        assert_eq!(error.code, SqlState::DUPLICATE_OBJECT);
        if talk.session.version.knows_read_replication_slot() {
            let read = talk.run(Command::ReadSlot(slot())).expect("a state");
            let state = SlotState::from_result(&read[0]).expect("a state").expect("a slot");
            assert_eq!(state.restart_timeline, Some(Timeline::FIRST));
            assert!(state.restart_lsn.is_some_and(Lsn::is_valid), "nothing is reserved");
        }
        // Two completions on 10 to 12: the next answer must still be its own.
        talk.run(Command::DropSlot { name: slot(), wait: true }).expect("the slot is dropped");
        let error = talk.run(Command::DropSlot { name: slot(), wait: false });
        assert_eq!(error.expect_err("it is gone").code, SqlState::UNDEFINED_OBJECT);
        if talk.session.version.knows_read_replication_slot() {
            let read = talk.run(Command::ReadSlot(slot())).expect("a row of NULLs");
            assert_eq!(SlotState::from_result(&read[0]).expect("a state"), None);
        }
        assert_eq!(talk.identify(), system);
    }
}

crate::on_every_version! {
    fn wal_streams_from_the_very_byte_asked_for_until_we_stop(major) {
        let cluster = Cluster::start(major);
        let mut talk = Talk::with(&cluster);
        let start = talk.identify().xlogpos;
        let mut stream = WalStream::new(start);
        talk.send(Command::StartReplication { slot: None, start, timeline: Timeline::FIRST });
        let started = talk.until(|input| stream.next(input)).expect("a stream");
        assert_eq!(started, WalEvent::Started);
        cluster.sql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 50000) n");
        let end: Lsn = cluster.flushed_lsn().parse().expect("a position");
        while stream.received() < end {
            talk.until(|input| stream.next(input)).expect("WAL");
        }
        let mut out = BytesMut::new();
        StatusUpdate {
            written: stream.received(),
            flushed: stream.received(),
            applied: Lsn::INVALID,
            sent_at: PgTimestamp(0),
            reply_now: true,
        }
        .encode(&mut out);
        talk.socket.write_all(&out.split()).expect("the server listens");
        while !matches!(talk.until(|input| stream.next(input)), Ok(WalEvent::Keepalive(_))) {}
        stream.finish(&mut out);
        talk.socket.write_all(&out).expect("the server listens");
        loop {
            match talk.until(|input| stream.next(input)).expect("the end") {
                WalEvent::Finished { next } => break assert_eq!(next, None),
                WalEvent::EndOfTimeline | WalEvent::Shutdown => panic!("another end"),
                _ => {}
            }
        }
        // The session goes on; and what lies ahead of the server is refused after the start.
        let ahead = talk.identify().xlogpos + (1 << 30);
        let mut stream = WalStream::new(ahead);
        let timeline = Timeline::FIRST;
        talk.send(Command::StartReplication { slot: None, start: ahead, timeline });
        let refusal = loop {
            if let Err(error) = talk.until(|input| stream.next(input)) {
                break error;
            }
        };
        assert!(matches!(refusal, WireError::Refused(_)) && stream.started(), "{refusal}");
        let finished = talk.until(|input| stream.next(input)).expect("the session lives");
        assert_eq!(finished, WalEvent::Finished { next: None });
        talk.identify();
    }
}

crate::on_every_version! {
    fn the_end_of_a_timeline_names_its_successor(major) {
        let cluster = Cluster::start(major);
        let standby = cluster.standby();
        let start = Talk::with(&cluster).identify().xlogpos;
        standby.promote();
        let mut talk = Talk::with(&standby);
        let two = Timeline::new(2).expect("not 0");
        let mut stream = WalStream::new(start);
        talk.send(Command::StartReplication { slot: None, start, timeline: Timeline::FIRST });
        let next = loop {
            match talk.until(|input| stream.next(input)).expect("the end of timeline 1") {
                WalEvent::EndOfTimeline => {
                    let mut out = BytesMut::new();
                    stream.finish(&mut out);
                    talk.socket.write_all(&out).expect("the server listens");
                }
                WalEvent::Finished { next } => break next.expect("a successor"),
                _ => {}
            }
        };
        assert_eq!(next.timeline, two);
        let results = talk.run(Command::TimelineHistory(two)).expect("a history");
        let history = HistoryFile::from_result(&results[0], two).expect("the history of 2");
        assert!(history.content.starts_with(b"1\t"), "{:?}", history.content);

        // From the switchpoint itself there is no stream at all.
        let start = next.switchpoint;
        let mut stream = WalStream::new(start);
        talk.send(Command::StartReplication { slot: None, start, timeline: Timeline::FIRST });
        let finished = talk.until(|input| stream.next(input)).expect("a successor");
        assert_eq!(finished, WalEvent::Finished { next: Some(next) });
        assert!(!stream.started());
    }
}

crate::on_every_version! {
    fn a_base_backup_comes_in_the_same_events(major) {
        let cluster = Cluster::start(major);
        let tablespace = cluster.create_tablespace("here");
        cluster.sql("CREATE TABLE t (n int) TABLESPACE here");
        let mut talk = Talk::with(&cluster);
        let version = talk.session.version;
        let manifest = version.backup_manifest_version().is_some();
        let options = BaseBackupOptions {
            label: "it's ours".to_owned(),
            progress: true,
            checkpoint: Checkpoint::Fast,
            wait: false,
            max_rate_kib: Some(1_048_576),
            tablespace_map: true,
            manifest: if manifest { ManifestOption::Yes } else { ManifestOption::No },
            ..BaseBackupOptions::default()
        };
        let mut stream = BackupStream::new(version, &options);
        talk.send(Command::BaseBackup(options));
        let (mut told, mut lengths, mut text) = (Vec::new(), vec![], BytesMut::new());
        loop {
            match talk.until(|input| stream.next(input)).expect("a backup") {
                BackupEvent::Start { .. } => told.push("start"),
                BackupEvent::Tablespaces(list) => {
                    told.push("tablespaces");
                    assert_eq!(list.len(), 2);
                    assert!(list.iter().all(|tablespace| tablespace.size_kib.is_some()));
                    assert_eq!(list[0].location.as_ref(), Some(&tablespace));
                }
                BackupEvent::ArchiveBegin { name, tablespace, .. } => {
                    assert_eq!(name == "base.tar", tablespace.is_none(), "{name}");
                    told.push("archive");
                    lengths.push(0);
                }
                BackupEvent::ArchiveData(bytes) => {
                    *lengths.last_mut().expect("an archive") += bytes.len();
                }
                BackupEvent::ArchiveEnd => told.push("archive end"),
                BackupEvent::ManifestBegin => told.push("manifest"),
                BackupEvent::ManifestData(bytes) => text.extend_from_slice(&bytes),
                BackupEvent::ManifestEnd => told.push("manifest end"),
                BackupEvent::End { .. } => told.push("end"),
                BackupEvent::Progress(_) | BackupEvent::Notice(_) | BackupEvent::Parameter(_) => {}
                BackupEvent::Damaged(error) => panic!("{error}"),
                BackupEvent::Ready => break,
            }
        }
        let mut expected =
            vec!["start", "tablespaces", "archive", "archive end", "archive", "archive end"];
        if manifest {
            expected.extend(["manifest", "manifest end"]);
            assert!(text.starts_with(b"{ \"PostgreSQL-Backup-Manifest-Version\": "));
            assert!(text.ends_with(b"\"}\n"));
        }
        expected.push("end");
        assert_eq!(told, expected);
        assert!(lengths[1] > 1 << 20 && lengths.iter().all(|length| length % 512 == 0));
        talk.identify();
    }
}
