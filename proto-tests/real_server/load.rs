//! A write load that remembers what it was promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::scratch::wait_until;
use super::sql::Session;

/// A load that nobody stops would fill the disk for everybody.
const LIMIT: Duration = Duration::from_secs(120);

/// A thread that inserts rows, each in its own transaction, until it is stopped, or for two
/// minutes. It goes on when the server went away and came back.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Rows 1 to this one are committed: the server has said so. Later ones may be.
    committed: AtomicU64,
}

impl Load {
    /// Starts writing into table `ledger` (column `id`, from 1 without a gap, and text of about
    /// `row_bytes` bytes that does not compress) of database `postgres`.
    pub fn start(cluster: &Cluster, row_bytes: usize) -> Load {
        cluster.sql(
            "CREATE TABLE IF NOT EXISTS ledger (
                 id bigint PRIMARY KEY, written timestamptz NOT NULL, filling text NOT NULL)",
        );
        let shared = Arc::new(Shared::default());
        let inside = Arc::clone(&shared);
        let (socket, port) = (cluster.socket().to_owned(), cluster.port());
        let thread = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || {
                let began = Instant::now();
                while began.elapsed() < LIMIT && !inside.stop.load(Ordering::Relaxed) {
                    match Session::connect(&socket, port, "postgres", "postgres") {
                        Ok(session) => write_rows(&session, &inside, row_bytes, began),
                        Err(_) => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            })
            .expect("a thread");
        Load { shared, thread: Some(thread) }
    }

    /// How many rows the server has said to be committed.
    pub fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::Acquire)
    }

    /// Waits for that many more rows.
    pub fn wait_for(&self, rows: u64) {
        let target = self.committed() + rows;
        wait_until(
            &format!("row {target} of the load"),
            Duration::from_secs(60),
            || (self.committed() >= target).then_some(()),
            || format!("row {} is committed", self.committed()),
        );
    }

    /// Ends the load; returns how many rows are committed.
    pub fn stop(mut self) -> u64 {
        self.join();
        self.committed()
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

/// Returns when the session fails or the load is to end.
fn write_rows(session: &Session, shared: &Shared, row_bytes: usize, began: Instant) {
    // A commit whose answer was lost may have happened: the server knows how far it came.
    let Ok(rows) = session.try_sql("SELECT coalesce(max(id), 0) FROM ledger") else { return };
    let Some(mut last) = rows[0][0].as_ref().and_then(|text| text.parse::<u64>().ok()) else {
        return;
    };
    shared.committed.store(last, Ordering::Release);
    while began.elapsed() < LIMIT && !shared.stop.load(Ordering::Relaxed) {
        last += 1;
        let insert = format!(
            "INSERT INTO ledger SELECT {last}, clock_timestamp(), string_agg(md5(random()::text), '')
             FROM generate_series(0, {})",
            row_bytes / 32
        );
        if session.try_sql(&insert).is_err() {
            return;
        }
        shared.committed.store(last, Ordering::Release);
    }
}
