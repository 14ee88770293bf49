//! The reader alone, and with a writer whose disk stalls.

mod short_way;

use allocation_counter::measure;
use tokio::io::{DuplexStream, duplex, empty};

use super::*;
use crate::disk::ModelDisk;
use crate::net::Lent;
use crate::receive::feedback::Rhythm;
use crate::receive::fixture::{self, COPY_BOTH, frames};
use crate::receive::queue::{Finished, QueueReceiver, queue};
use crate::receive::{Synchronous, Target, Writer};
use crate::wal::Timeline;

/// None of these has a thread of its own.
macro_rules! never_lent {
    ($kind:ty) => {
        impl Lend for $kind {
            fn lend(&mut self, _: Duration) -> io::Result<Option<Lent>> {
                Ok(None)
            }

            fn give_back(&mut self, _: Lent) -> io::Result<()> {
                Ok(())
            }
        }
    };
}
never_lent!(DuplexStream);
never_lent!(tokio::io::Empty);

fn reader<'a, S>(
    socket: &'a mut S,
    input: &'a mut BytesMut,
    start: Lsn,
) -> (Reader<'a, S>, QueueReceiver) {
    let (sender, receiver) = queue(QUEUE);
    let now = Instant::now();
    let reader = Reader {
        socket,
        input,
        stream: WalStream::new(start),
        queue: sender,
        positions: Arc::new(Positions::new(start)),
        feedback: Feedback::new(Rhythm::for_server(None), Lsn::INVALID, now),
        until: None,
        output: BytesMut::with_capacity(256),
        flush_asked: Lsn::INVALID,
        farewell: Farewell::None,
        stalled: false,
        meters: Arc::default(),
        shortcut: None,
        left_over: None,
    };
    (reader, receiver)
}

const QUEUE: usize = 1 << 20;

/// Commits wait for this disk.
fn target(disk: &ModelDisk) -> Target {
    Target {
        synchronous: Synchronous::new(true),
        when_full: Target::WAIT_FOR_ROOM,
        queue_bytes: QUEUE,
        ..fixture::target(disk, 16 << 20)
    }
}

/// What the writer would do, without a disk.
fn drain(receiver: &QueueReceiver) -> usize {
    let (mut finished, mut jobs) = (Finished::default(), 0);
    while let Some(queued) = receiver.take() {
        finished.add(&queued);
        jobs += 1;
    }
    receiver.done(finished);
    jobs
}

#[test]
fn a_thousand_frames_reach_the_queue_without_an_allocation_for_each() {
    let start = 1 << 24;
    let mut bytes = COPY_BOTH.to_vec();
    let mut at = start;
    for number in 0..1000 {
        let length = if number % 2 == 0 { 56 } else { 8192 };
        bytes.extend(frames(at, length, 0));
        at += length as u64;
    }
    let (mut socket, mut input) = (empty(), BytesMut::new());
    let (mut reader, receiver) = reader(&mut socket, &mut input, Lsn(start));
    let (mut rest, mut buffers, mut jobs) = (bytes.as_slice(), 0, 0);
    let info = measure(|| {
        while !rest.is_empty() {
            if reader.input.capacity() - reader.input.len() < READ_MIN {
                reader.input.reserve(READ_BUFFER);
                reader.queue.turn_buffer(reader.input.capacity());
                buffers += 1;
            }
            let room = reader.input.capacity() - reader.input.len();
            let (read, more) = rest.split_at(room.min(rest.len()));
            reader.input.extend_from_slice(read);
            rest = more;
            let end = reader.take_events(&mut |_| {}).expect("good frames");
            assert_eq!(end, None);
            jobs += drain(&receiver);
        }
    });
    assert_eq!(reader.stream.received(), Lsn(at));
    assert!(jobs >= 1000, "{jobs} jobs");
    // A buffer and what counts its users, the same for gathered pieces, and a block of them.
    assert!(info.count_total <= 5 * buffers, "{} in {buffers} buffers", info.count_total);
}

#[test]
fn a_server_that_asks_in_each_frame_does_not_fill_the_queue_with_flushes() {
    let mut bytes = COPY_BOTH.to_vec();
    for number in 0..4000 {
        bytes.extend(frames((1 << 24) + number, 1, 1));
    }
    let (mut socket, mut input) = (empty(), BytesMut::from(bytes.as_slice()));
    let (mut reader, receiver) = reader(&mut socket, &mut input, Lsn(1 << 24));
    reader.take_events(&mut |_| {}).expect("good frames");
    // With thousands of jobs the reader would wait for the disk.
    assert!(drain(&receiver) < 10);
}

/// The written and the flushed position of the next status update. Source: manual, "Standby
/// status update".
async fn report(server: &mut (impl AsyncRead + Unpin)) -> (u64, u64) {
    let mut frame = [0; 5 + StatusUpdate::LEN];
    let read = server.read_exact(&mut frame);
    timeout(Duration::from_secs(30), read).await.expect("a report").expect("a connection");
    assert_eq!((frame[0], frame[5]), (b'd', b'r'));
    let position = |at: usize| u64::from_be_bytes(frame[at..at + 8].try_into().expect("8 bytes"));
    (position(6), position(14))
}

#[tokio::test(flavor = "current_thread")]
async fn while_the_disk_stalls_requests_are_answered_with_what_was_durable_and_the_heart_beats() {
    let start: u64 = 16 << 20;
    let disk = fixture::disk(7);
    let target = target(&disk);
    let writer = Writer::open(target, Timeline::FIRST, Lsn(start)).expect("opened");
    let (mut socket, mut server) = duplex(64 << 10);
    let mut input = BytesMut::new();
    let (mut reader, receiver) = reader(&mut socket, &mut input, Lsn(start));
    reader.positions = writer.positions();
    let rhythm = Rhythm::for_server(Some(Duration::from_millis(300)));
    reader.feedback = Feedback::new(rhythm, Lsn::INVALID, Instant::now());
    let thread = std::thread::spawn(move || writer.run(receiver));
    let (lever, shutdown) = Shutdown::manual();
    disk.hold("sync");
    let scene = async {
        server.write_all(&COPY_BOTH).await.expect("open");
        server.write_all(&frames(start, 50_000, 0)).await.expect("open");
        tokio::task::spawn_blocking({
            let disk = disk.clone();
            move || disk.wait_until_held()
        })
        .await
        .expect("it stalls");
        let end = start + 50_000;
        server.write_all(&frames(end, 8, 1)).await.expect("open");
        // The answer, and heartbeats behind it: written may grow, flushed does not.
        for _ in 0..4 {
            assert_eq!(report(&mut server).await.1, start);
        }
        // More than the queue takes: the reader leaves the socket alone, and its heart beats.
        let mut at = end + 8;
        let flood: Vec<u8> = (0..64)
            .flat_map(|_| {
                let frame = frames(at, 32 << 10, 0);
                at += 32 << 10;
                frame
            })
            .collect();
        let (mut from_us, mut to_us) = tokio::io::split(&mut server);
        let flooding = async { to_us.write_all(&flood).await.expect("open") };
        let listening = async {
            let mut frame = [0; 5 + StatusUpdate::LEN];
            for _ in 0..6 {
                from_us.read_exact(&mut frame).await.expect("a heartbeat");
                let flushed = u64::from_be_bytes(frame[14..22].try_into().expect("8 bytes"));
                assert_eq!(flushed, start);
            }
            disk.release();
            loop {
                from_us.read_exact(&mut frame).await.expect("a report");
                let flushed = u64::from_be_bytes(frame[14..22].try_into().expect("8 bytes"));
                if flushed == at {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(60), async { tokio::join!(flooding, listening) })
            .await
            .expect("everything is durable in the end, and said to be");
        lever.send_replace(Urgency::Now);
    };
    let mut observe = |_: Event<'_>| {};
    let (ended, ()) = tokio::join!(reader.run(&shutdown, &mut observe), scene);
    ended.expect("left");
    drop(reader);
    thread.join().expect("no panic").expect("no fault");
}

#[tokio::test(flavor = "current_thread")]
async fn a_stream_that_pauses_is_made_durable_although_no_report_is_due() {
    let start: u64 = 16 << 20;
    let disk = fixture::disk(8);
    // Commits may wait already: that they do is heard some time later.
    let target = Target { synchronous: Synchronous::new(false), ..target(&disk) };
    let writer = Writer::open(target, Timeline::FIRST, Lsn(start)).expect("opened");
    let (mut socket, mut server) = duplex(64 << 10);
    let mut input = BytesMut::new();
    let (mut reader, receiver) = reader(&mut socket, &mut input, Lsn(start));
    reader.positions = writer.positions();
    let day = Duration::from_secs(24 * 3600);
    let rhythm = Rhythm { interval: day, silence: day };
    reader.feedback = Feedback::new(rhythm, Lsn::INVALID, Instant::now());
    let thread = std::thread::spawn(move || writer.run(receiver));
    let (lever, shutdown) = Shutdown::manual();
    let scene = async {
        server.write_all(&COPY_BOTH).await.expect("open");
        let mut end = start;
        for _ in 0..3 {
            server.write_all(&frames(end, 5000, 0)).await.expect("open");
            end += 5000;
            while report(&mut server).await.1 < end {}
        }
        lever.send_replace(Urgency::Finish);
        lever.send_replace(Urgency::Now);
    };
    let mut observe = |_: Event<'_>| {};
    let (ended, ()) = tokio::join!(reader.run(&shutdown, &mut observe), scene);
    ended.expect("left");
    drop(reader);
    thread.join().expect("no panic").expect("everything is durable");
}
