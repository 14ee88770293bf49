//! A thread beside the main task, whose end a task can wait for.

use std::io;
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

/// A running thread. To drop it waits for its end: whatever tells it to end goes before.
#[derive(Debug)]
pub struct Worker {
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends; nothing is ever sent.
    alive: Option<oneshot::Receiver<()>>,
}

impl Worker {
    /// Starts it under a name.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Worker> {
        let (living, alive) = oneshot::channel();
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            let _living: oneshot::Sender<()> = living;
            work();
        })?;
        Ok(Worker { thread: Some(thread), alive: Some(alive) })
    }

    /// Waits for its end. Who stops waiting leaves it alone.
    pub async fn ended(mut self) {
        self.thread = None;
        if let Some(alive) = self.alive.take() {
            let _ = alive.await;
        }
    }

    /// Leaves it alone, whatever it is at: the process ends without waiting for it.
    pub fn abandon(mut self) {
        self.thread = None;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by its own hook.
            let _ = thread.join();
        }
    }
}
