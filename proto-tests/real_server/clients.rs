//! Clients that commit, over and over, and write down each commit that was acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::scratch::wait_until;
use super::sql::Session;

/// Clients that nobody stops would fill the disk for everybody.
const LIMIT: Duration = Duration::from_secs(300);

/// A commit that the server has acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The row's id in table `ledger`.
    pub id: u64,
    /// The commit record begins here, or behind.
    pub position: u64,
    /// To which of the servers it went that the clients were pointed to, counted from 1.
    pub server: u64,
}

/// Some clients, each of which inserts rows of its own into table `ledger`, one a transaction.
/// They go on when the server went away and came back, or when another one takes its place.
#[derive(Debug)]
pub struct Clients {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    server: Mutex<Option<Address>>,
    ledger: Mutex<Vec<Entry>>,
}

#[derive(Clone, Debug)]
struct Address {
    /// Which of the servers this is that the clients were pointed to.
    number: u64,
    socket: std::path::PathBuf,
    port: u16,
}

impl Clients {
    /// Makes table `ledger` in database `postgres`. Not while commits wait for somebody who is
    /// not there yet.
    pub fn prepare(cluster: &Cluster) {
        cluster.sql("CREATE TABLE ledger (id bigint PRIMARY KEY, filling text NOT NULL)");
    }

    /// Starts writing rows of about `row_bytes` bytes that do not compress; each client thinks
    /// for a while between two of them.
    pub fn start(cluster: &Cluster, count: u64, row_bytes: usize, thinks: Duration) -> Clients {
        let clients = Clients { shared: Arc::default() };
        clients.point_to(cluster);
        for number in 0..count {
            let shared = Arc::clone(&clients.shared);
            let thread = std::thread::Builder::new().name(format!("client {number}"));
            thread.spawn(move || write(&shared, number, row_bytes, thinks)).expect("a thread");
        }
        clients
    }

    /// From now on this is the server to write to.
    pub fn point_to(&self, cluster: &Cluster) {
        let mut server = lock(&self.shared.server);
        let number = server.as_ref().map_or(0, |address| address.number) + 1;
        let (socket, port) = (cluster.socket().to_owned(), cluster.port());
        *server = Some(Address { number, socket, port });
    }

    /// Everything that was acknowledged so far, in the order in which it was.
    pub fn ledger(&self) -> Vec<Entry> {
        lock(&self.shared.ledger).clone()
    }

    /// Waits for that many more acknowledged commits.
    pub fn wait_for(&self, commits: usize) {
        let count = || lock(&self.shared.ledger).len();
        let target = count() + commits;
        wait_until(
            &format!("{target} acknowledged commits"),
            Duration::from_secs(60),
            || (count() >= target).then_some(()),
            || format!("there are {}", count()),
        );
    }

    /// Tells the clients to end. One that waits for an answer ends when its server does, or
    /// answers.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // Not joined: a client of a test that failed may wait for a commit for ever.
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The life of one client.
fn write(shared: &Shared, client: u64, row_bytes: usize, thinks: Duration) {
    let began = Instant::now();
    // An id is used once, whatever became of it: nobody need ask whether a commit happened
    // whose answer was lost.
    let mut next = client << 32;
    let runs = || began.elapsed() < LIMIT && !shared.stop.load(Ordering::SeqCst);
    while runs() {
        let Some(Address { number, socket, port }) = lock(&shared.server).clone() else { return };
        let Ok(session) = Session::connect(&socket, port, "postgres", "postgres") else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let is_right = || lock(&shared.server).as_ref().is_some_and(|at| at.number == number);
        while runs() && is_right() {
            next += 1;
            let Ok(position) = insert(&session, next, row_bytes) else { break };
            lock(&shared.ledger).push(Entry { id: next, position, server: number });
            std::thread::sleep(thinks);
        }
    }
}

/// One row, one transaction. When this returns, the server has said that it is committed.
fn insert(session: &Session, id: u64, row_bytes: usize) -> Result<u64, String> {
    let rows = session.try_sql(&format!(
        "INSERT INTO ledger SELECT {id}, string_agg(md5(random()::text), '') \
         FROM generate_series(0, {}) RETURNING (pg_current_wal_insert_lsn() - '0/0')::bigint",
        row_bytes / 32
    ))?;
    let position = rows.first().and_then(|row| row.first()).cloned().flatten();
    let position = position.and_then(|text| text.parse().ok());
    position.ok_or_else(|| format!("no position: {rows:?}"))
}
