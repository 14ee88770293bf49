//! Real streams with one thing changed on the way: what the wire makes of each.
//!
//! What the commands make of them is tested where the commands are; here it is the layer that
//! must notice first.

use std::sync::atomic::{AtomicU32, Ordering};

use tapster::conninfo::Purpose;
use tapster::net::{self, Walsender};
use tapster::wal::{Lsn, Timeline};
use tapster::wire::base_backup::BackupEvent;
use tapster::wire::copy_both::{WalEvent, WalStream};
use tapster::wire::{BaseBackupOptions, Checkpoint, ManifestOption, WireError};
use tokio::io::AsyncReadExt;

use super::{FakeServer, Message, POSITION, Step};
use crate::real_server::Cluster;
use crate::wire::backend;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

async fn connect(server: &FakeServer) -> Walsender {
    let options = net::resolve(&server.conninfo(), Purpose::Replication).expect("a conninfo");
    Walsender::connect(&options, "forgeries").await.expect("a login")
}

/// Reads WAL up to a position, or to the error.
async fn stream_to(session: &mut Walsender, start: Lsn, end: Lsn) -> Result<WalStream, WireError> {
    let stream = session.start_replication(None, start, Timeline::FIRST).await;
    let mut stream = stream.expect("the command is sent");
    let (socket, input) = session.parts();
    while stream.received() < end {
        match stream.next(input)? {
            Some(WalEvent::Shutdown | WalEvent::Finished { .. }) => break,
            Some(_) => {}
            None => assert!(socket.read_buf(input).await.expect("a socket") > 0, "hung up"),
        }
    }
    Ok(stream)
}

/// A cluster with some messages of WAL behind the position that is returned.
fn with_wal() -> (Cluster, Lsn, Lsn) {
    let cluster = Cluster::start(17);
    let start: Lsn = cluster.flushed_lsn().parse().expect("a position");
    cluster.sql("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 30000) n");
    let end: Lsn = cluster.flushed_lsn().parse().expect("a position");
    assert!(end.bytes_since(start) > 3 * 131_072, "some messages of WAL");
    (cluster, start, end)
}

fn is_wal(message: &Message) -> bool {
    message.0 == b'd' && message.1.first() == Some(&b'w')
}

#[test]
fn a_message_of_wal_that_is_lost_or_doubled_on_the_way_is_noticed() {
    let (cluster, start, end) = with_wal();
    for copies in [0, 1, 2] {
        let count = AtomicU32::new(0);
        let server = FakeServer::before(&cluster)
            .forge(move |message| {
                let second = is_wal(&message) && count.fetch_add(1, Ordering::SeqCst) == 1;
                vec![message; if second { copies } else { 1 }]
            })
            .start();
        let outcome = run(async {
            let mut session = connect(&server).await;
            stream_to(&mut session, start, end).await
        });
        match (copies, outcome) {
            (1, outcome) => drop(outcome.expect("nothing was changed")),
            (_, Err(WireError::Gap { .. })) => {}
            (_, outcome) => panic!("{copies} copies gave {outcome:?}"),
        }
    }
}

#[test]
fn an_unknown_kind_in_the_stream_is_not_passed_over() {
    let (cluster, start, end) = with_wal();
    let server = FakeServer::before(&cluster)
        .forge(|message| {
            let extra = is_wal(&message).then(|| (b'd', b"z new in version 25".to_vec()));
            extra.into_iter().chain([message]).collect()
        })
        .start();
    let outcome = run(async {
        let mut session = connect(&server).await;
        stream_to(&mut session, start, end).await
    });
    assert!(matches!(outcome, Err(WireError::UnknownKind { kind: b'z' })), "{outcome:?}");
}

#[test]
fn a_first_attempt_that_fails_leaves_the_second_alone() {
    let (cluster, start, end) = with_wal();
    let gone = [
        backend::copy_both(),
        backend::error("ERROR", "58P01", "requested WAL segment has already been removed"),
        backend::ready(),
    ]
    .concat();
    let server =
        FakeServer::before(&cluster).once("START_REPLICATION", vec![Step::Send(gone)]).start();
    run(async {
        let mut session = connect(&server).await;
        let error = stream_to(&mut session, start, end).await.expect_err("it is gone");
        assert!(matches!(error, WireError::Refused(_)), "{error}");
        let mut session = connect(&server).await;
        stream_to(&mut session, start, end).await.expect("the script is used up");
    });
}

#[test]
fn an_archive_of_another_name_does_not_leave_the_wire() {
    let cluster = Cluster::start(17);
    for name in ["../x.tar", "/x.tar", "16999.tar"] {
        let server = FakeServer::before(&cluster)
            .forge(move |(tag, body)| match (tag, body.first()) {
                (b'd', Some(b'n')) => vec![(tag, format!("n{name}\0\0").into_bytes())],
                _ => vec![(tag, body)],
            })
            .start();
        let error = run(async {
            let mut session = connect(&server).await;
            let options = BaseBackupOptions {
                checkpoint: Checkpoint::Fast,
                wait: false,
                manifest: ManifestOption::Yes,
                ..BaseBackupOptions::default()
            };
            let mut stream = session.base_backup(&options).await.expect("the command is sent");
            let (socket, input) = session.parts();
            loop {
                match stream.next(input) {
                    Ok(Some(BackupEvent::ArchiveBegin { name, .. })) => panic!("{name} came out"),
                    Ok(Some(_)) => {}
                    Ok(None) => drop(socket.read_buf(input).await.expect("a socket")),
                    Err(error) => break error,
                }
            }
        });
        assert!(matches!(error, WireError::Archive { .. }), "{error}");
    }
}

#[test]
fn an_orderly_shutdown_is_seen_as_one() {
    let last = [
        backend::copy_both(),
        backend::xlog_data(POSITION, b"shutdown checkpoint"),
        backend::complete("COPY 0"),
    ]
    .concat();
    let server =
        FakeServer::alone().on("START_REPLICATION", vec![Step::Send(last), Step::Close]).start();
    run(async {
        let mut session = connect(&server).await;
        let stream = stream_to(&mut session, POSITION, Lsn(u64::MAX)).await.expect("an end");
        assert_eq!(stream.received(), POSITION + 19);
    });
}
