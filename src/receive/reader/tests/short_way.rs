//! A conversation that the writer's thread leads.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UnixStream;
use tokio::task::{JoinHandle, spawn_blocking};

use super::*;
use crate::net::Stream;
use crate::receive::shortcut::{Counter, Shortcut};
use crate::wal::{SegmentName, SegmentSize};

const START: u64 = 16 << 20;

/// A receiver whose server is the test.
struct Scene {
    disk: ModelDisk,
    server: UnixStream,
    counter: Arc<Counter>,
    synchronous: Synchronous,
    /// Whether the system was said to refuse that the writer's thread comes first.
    refused: Arc<AtomicBool>,
    lever: tokio::sync::watch::Sender<Urgency>,
    /// Until where WAL was sent.
    at: u64,
    ended: JoinHandle<Result<End, String>>,
}

impl Scene {
    /// Begins to stream.
    async fn begin(seed: u64) -> Scene {
        let disk = fixture::disk(seed);
        let target = target(&disk);
        let synchronous = target.synchronous.clone();
        let (ours, server) = UnixStream::pair().expect("a pair");
        let shortcut = Shortcut::new(target.synchronous.clone(), Lsn(START));
        let counter = shortcut.counter();
        let (lever, shutdown) = Shutdown::manual();
        let ours = ours.into_std().expect("a socket");
        // Readers live in one thread, as in the program.
        let name = format!("writer {seed}");
        let refused = Arc::new(AtomicBool::new(false));
        let refusal = Arc::clone(&refused);
        let ended = spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(receive(
                target,
                ours,
                (shortcut, shutdown),
                (name, refusal),
            ))
        });
        let mut scene =
            Scene { disk, server, counter, synchronous, refused, lever, at: START, ended };
        scene.send(&COPY_BOTH).await;
        scene
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.server.write_all(bytes).await.expect("open");
    }

    /// So much WAL, whose end the server asks about or not.
    async fn commit(&mut self, length: usize, ask: u8) {
        let frames = frames(self.at, length, ask);
        self.at += length as u64;
        self.send(&frames).await;
    }

    /// Waits until everything is said to be durable.
    async fn durable(&mut self) {
        while report(&mut self.server).await.1 != self.at {}
    }

    /// Commits until the writer's thread leads the conversation; it is then at the disk, which
    /// does not answer. Returns what was durable before.
    async fn stalled(&mut self) -> u64 {
        loop {
            self.commit(500, 0).await;
            self.durable().await;
            let before = self.at;
            self.disk.hold("sync");
            self.commit(500, 0).await;
            let disk = self.disk.clone();
            spawn_blocking(move || disk.wait_until_held()).await.expect("it stalls");
            if self.counter.is_laid_down() {
                return before;
            }
            self.disk.release();
            self.durable().await;
        }
    }

    /// Commits until the writer's thread leads the conversation, and all of it is durable.
    async fn lent(&mut self) {
        self.stalled().await;
        self.disk.release();
        self.durable().await;
    }

    /// The end of the stream, and what is stored of it.
    async fn end(self) -> Result<End, String> {
        let end = timeout(Duration::from_secs(30), self.ended).await.expect("it ends");
        let name = SegmentName::containing(Timeline::FIRST, Lsn(START), size());
        let path = PathBuf::from(format!("/streaming/{name}.partial"));
        let stored = self.disk.after_power_loss(1).bytes(&path).expect("stored");
        let length = (self.at - START) as usize;
        assert!(stored[..length].iter().all(|byte| *byte == 7), "what was durable is lost");
        end.expect("no panic")
    }
}

fn size() -> SegmentSize {
    SegmentSize::new(16 << 20).expect("a size")
}

/// Receiver and writer, until the stream ends.
async fn receive(
    target: Target,
    socket: std::os::unix::net::UnixStream,
    (shortcut, shutdown): (Shortcut, Shutdown),
    (name, refused): (String, Arc<AtomicBool>),
) -> Result<End, String> {
    let writer = Writer::open(target, Timeline::FIRST, Lsn(START)).expect("opened");
    let mut socket = Stream::Unix(UnixStream::from_std(socket).expect("a socket"));
    let mut input = BytesMut::new();
    let (mut reader, receiver) = reader(&mut socket, &mut input, Lsn(START));
    reader.positions = writer.positions();
    reader.shortcut = Some(shortcut);
    let thread = std::thread::Builder::new().name(name).spawn(move || writer.run(receiver));
    let thread = thread.expect("a thread");
    let mut observe = |event: Event<'_>| {
        if matches!(event, Event::NotFirst(_)) {
            refused.store(true, Ordering::Release);
        }
    };
    let ended = reader.run(&shutdown, &mut observe).await.map_err(|fault| format!("{fault:?}"));
    drop(reader);
    thread.join().expect("no panic").map_err(|error| error.to_string())?;
    ended
}

#[tokio::test]
async fn a_server_is_answered_although_the_disk_of_the_thread_that_talks_to_it_stalls() {
    let mut scene = Scene::begin(1).await;
    let before = scene.stalled().await;
    // Nothing but the question wakes anybody up: its answer is what was durable before.
    scene.commit(8, 1).await;
    let (written, flushed) = report(&mut scene.server).await;
    assert_eq!(flushed, before);
    assert!(written >= before);
    scene.disk.release();
    scene.durable().await;
    // And it goes on as before.
    scene.lent().await;
    scene.lever.send_replace(Urgency::Now);
    scene.end().await.expect("left");
}

#[tokio::test]
async fn whoever_wants_to_leave_need_not_wait_for_the_disk_of_that_thread() {
    let mut scene = Scene::begin(2).await;
    scene.stalled().await;
    scene.lever.send_replace(Urgency::Finish);
    // The conversation goes on with the reader: it is the one that asks for the last flush.
    while scene.counter.is_laid_down() {
        tokio::task::yield_now().await;
    }
    scene.disk.release();
    scene.durable().await;
    scene.lever.send_replace(Urgency::Now);
    assert_eq!(scene.end().await, Ok(End::Stopped));
}

#[tokio::test]
async fn what_ends_a_stream_is_heard_by_that_thread_too_and_what_came_before_it_is_durable() {
    // CopyDone, an error, and the end of the connection.
    let error = [b"E\0\0\0\x19SFATAL\0C57P01\0Mgone\0\0".as_slice()].concat();
    for (seed, last) in [(3, vec![b'c', 0, 0, 0, 4]), (4, error), (5, Vec::new())] {
        let mut scene = Scene::begin(seed).await;
        scene.lent().await;
        let mut bytes = frames(scene.at, 300, 0);
        scene.at += 300;
        bytes.extend(&last);
        scene.send(&bytes).await;
        match seed {
            3 => {
                // Ours comes at once, and no report behind it.
                let mut answer = [0; 5];
                scene.server.read_exact(&mut answer).await.expect("open");
                assert_eq!(answer, [b'c', 0, 0, 0, 4]);
                scene.lever.send_replace(Urgency::Now);
                let _ = scene.end().await;
            }
            4 => assert!(scene.end().await.expect_err("an error").contains("57P01")),
            _ => {
                scene.durable().await;
                scene.server.shutdown().await.expect("open");
                assert_eq!(scene.end().await, Err("Closed".to_owned()));
            }
        }
    }
}

#[tokio::test]
async fn what_came_of_a_message_is_durable_although_its_rest_does_not_come() {
    let mut scene = Scene::begin(8).await;
    scene.lent().await;
    let frames = frames(scene.at, 1000, 0);
    let (first, last) = frames.split_at(30 + 600);
    scene.send(first).await;
    scene.at += 600;
    scene.durable().await;
    scene.send(last).await;
    scene.at += 400;
    scene.durable().await;
    scene.lever.send_replace(Urgency::Now);
    scene.end().await.expect("left");
}

#[tokio::test]
async fn a_change_of_mind_brings_the_conversation_back_and_a_bulk_load_loses_nothing() {
    let mut scene = Scene::begin(6).await;
    scene.lent().await;
    for _ in 0..20 {
        scene.commit(200_000, 0).await;
        scene.commit(30, 0).await;
    }
    scene.durable().await;
    scene.lent().await;
    scene.synchronous.set(false);
    scene.commit(700, 0).await;
    scene.commit(8, 1).await;
    scene.durable().await;
    scene.lever.send_replace(Urgency::Now);
    scene.end().await.expect("left");
}

/// Nice value and policy of the only thread of this name: fields 19 and 41 of `proc_pid_stat(5)`.
fn place_of(thread: &str) -> (i32, i32) {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux tells").flatten();
    let mut stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let stat = stats.find(|stat| stat.contains(&format!("({thread})"))).expect("a thread");
    // Behind the name the third field comes first.
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let fields: Vec<&str> = fields.split(' ').collect();
    let number = |field: usize| fields[field - 3].parse().expect("a number");
    (number(19), number(41))
}

#[tokio::test]
async fn while_a_bulk_load_goes_on_the_thread_that_commits_wait_for_comes_first() {
    let mut scene = Scene::begin(9).await;
    scene.lent().await;
    let before = place_of("writer 9");
    if before.0 <= -10 || before.1 != 0 {
        // Somebody has given the tests a place that is left alone.
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let first = loop {
        // Each time anew: a model disk that took too long brings the conversation back.
        scene.lent().await;
        let flood = 0..16;
        let pieces = flood.flat_map(|at| frames(scene.at + (at << 17), 1 << 17, 0));
        let flood: Vec<u8> = pieces.collect();
        scene.at += 16 << 17;
        scene.send(&flood).await;
        scene.durable().await;
        let now = place_of("writer 9");
        if now < before || scene.refused.load(Ordering::Acquire) {
            break now;
        }
        assert!(Instant::now() < deadline, "it neither comes first nor is refused to");
    };
    assert!(first < before || scene.refused.load(Ordering::Acquire));
    while place_of("writer 9") != before {
        assert!(Instant::now() < deadline, "commits come one by one, and it still comes first");
        scene.commit(300, 0).await;
        scene.durable().await;
    }
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_stream_and_its_error_is_the_one_that_is_told() {
    let mut scene = Scene::begin(7).await;
    scene.lent().await;
    scene.disk.fail_from_call(scene.disk.calls(), rustix::io::Errno::IO);
    let durable = scene.at;
    scene.commit(300, 0).await;
    scene.at = durable;
    let error = scene.end().await.expect_err("nothing is durable any more");
    assert!(error.contains("/streaming/"), "{error}");
}
