//! Archives beside a running receiver, in a thread of its own.
//!
//! Never in the receiver's way: whatever happens here, WAL goes on being received and stays in
//! `streaming/` until it can be archived.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use super::{ArchiveError, Archiver, Swept};
use crate::disk::{Disk, LockFile};
use crate::output::one_line;
use crate::repository::{Lock, ServerLayout};

/// The running archiver of one server. To drop it lets it sweep once more, and waits for that.
#[derive(Debug)]
pub struct ArchiveWorker {
    bell: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends.
    alive: Option<oneshot::Receiver<()>>,
}

impl ArchiveWorker {
    /// Starts it; it sweeps at once.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(disk: Arc<dyn Disk>, layout: ServerLayout) -> std::io::Result<ArchiveWorker> {
        // One word is enough: a sweep takes all that is there.
        let (bell, rings) = mpsc::sync_channel(1);
        let archiver = Archiver::new(disk, layout);
        let (living, alive) = oneshot::channel();
        let thread = std::thread::Builder::new().name("archive".to_owned()).spawn(move || {
            let _living: oneshot::Sender<()> = living;
            work(archiver, &rings);
        })?;
        Ok(ArchiveWorker { bell: Some(bell), thread: Some(thread), alive: Some(alive) })
    }

    /// Lets it sweep once more and waits for that. Who stops waiting leaves it alone.
    pub async fn finish(mut self) {
        self.bell = None;
        self.thread = None;
        if let Some(alive) = self.alive.take() {
            // Nothing is ever sent: the end is all there is to hear.
            let _ = alive.await;
        }
    }

    /// Leaves it alone, whatever it is at: the process ends without waiting for it.
    pub fn abandon(mut self) {
        self.thread = None;
    }

    /// A word in here makes it sweep; a full one says that it will anyway.
    pub fn bell(&self) -> Option<SyncSender<()>> {
        self.bell.clone()
    }
}

impl Drop for ArchiveWorker {
    fn drop(&mut self) {
        self.bell = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by its own hook.
            let _ = thread.join();
        }
    }
}

fn work(mut archiver: Archiver, rings: &Receiver<()>) {
    let mut trouble = Trouble::default();
    loop {
        let result = sweep(&mut archiver);
        let failed = result.is_err();
        trouble.tell(&archiver, result);
        let ring = if failed {
            rings.recv_timeout(RETRY)
        } else {
            rings.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        if ring == Err(RecvTimeoutError::Disconnected) {
            let result = sweep(&mut archiver);
            trouble.tell(&archiver, result);
            return;
        }
    }
}

/// Under the lock that a Barman beside us takes for the same work.
fn sweep(archiver: &mut Archiver) -> Result<Swept, ArchiveError> {
    let _lock = LockFile::acquire(&archiver.layout().lock(Lock::ArchiveWal))?;
    archiver.sweep()
}

/// Says what changes, not what stays as it is.
#[derive(Debug, Default)]
struct Trouble {
    last: Option<String>,
}

impl Trouble {
    fn tell(&mut self, archiver: &Archiver, result: Result<Swept, ArchiveError>) {
        let server = archiver.layout().server();
        match result {
            Ok(swept) => {
                if self.last.take().is_some() {
                    info!(%server, "archiving goes on");
                }
                for name in swept.stored {
                    debug!(%server, %name, "archived");
                }
                for (name, path) in swept.duplicates {
                    let path = path.display();
                    error!(%server, %name, %path, "another file is archived under this name; moved aside");
                }
            }
            Err(error) if error.is_busy() => {
                debug!(%server, "another process is archiving");
            }
            Err(error) => {
                let text = one_line(&error);
                if self.last.as_ref() != Some(&text) {
                    let hint = error.hint().unwrap_or_default();
                    warn!(%server, error = %text, hint, "cannot archive; WAL stays in streaming/");
                    self.last = Some(text);
                }
            }
        }
    }
}

const RETRY: Duration = Duration::from_secs(5);
