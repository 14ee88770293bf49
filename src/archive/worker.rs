//! Archives beside a running receiver, in a thread of its own.
//!
//! Never in the receiver's way: whatever happens here, WAL goes on being received and stays in
//! `streaming/` until it can be archived.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::{ArchiveError, ArchiveSettings, Archiver, Swept};
use crate::disk::Disk;
use crate::output::one_line;
use crate::repository::{ServerLayout, ServerName};
use crate::service::Worker;

/// The running archiver of one server. To drop it lets it sweep once more, and waits for that.
#[derive(Debug)]
pub struct ArchiveWorker {
    /// Before the worker, so that it goes before: without it the thread ends.
    bell: SyncSender<()>,
    worker: Worker,
}

impl ArchiveWorker {
    /// Starts it; it sweeps at once.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(
        disk: Arc<dyn Disk>,
        layout: ServerLayout,
        settings: ArchiveSettings,
    ) -> std::io::Result<ArchiveWorker> {
        // One word is enough: a sweep takes all that is there.
        let (bell, rings) = mpsc::sync_channel(1);
        let archiver = Archiver::new(disk, layout, settings);
        let worker = Worker::start("archive", move || work(archiver, &rings))?;
        Ok(ArchiveWorker { bell, worker })
    }

    /// Lets it sweep once more and waits for that. Who stops waiting leaves it alone.
    pub async fn finish(self) {
        drop(self.bell);
        self.worker.ended().await;
    }

    /// Leaves it alone, whatever it is at: the process ends without waiting for it.
    pub fn abandon(self) {
        self.worker.abandon();
    }

    /// A word in here makes it sweep; a full one says that it will anyway.
    pub fn bell(&self) -> SyncSender<()> {
        self.bell.clone()
    }
}

fn work(mut archiver: Archiver, rings: &Receiver<()>) {
    let mut trouble = Trouble::default();
    loop {
        let result = archiver.sweep();
        let failed = result.is_err();
        trouble.tell(&archiver, result);
        let ring = if failed {
            rings.recv_timeout(RETRY)
        } else {
            rings.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        if ring == Err(RecvTimeoutError::Disconnected) {
            let result = archiver.sweep();
            trouble.tell(&archiver, result);
            return;
        }
    }
}

/// Says what changes, not what stays as it is.
#[derive(Debug, Default)]
struct Trouble {
    last: Option<String>,
    /// Files that were passed over.
    refused: Vec<String>,
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
                self.tell_of_refused(server, &swept.refused);
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
    fn tell_of_refused(&mut self, server: &ServerName, refused: &[ArchiveError]) {
        let texts: Vec<String> = refused.iter().map(|error| one_line(error)).collect();
        for (error, text) in refused.iter().zip(&texts) {
            if !self.refused.contains(text) {
                let hint = error.hint().unwrap_or_default();
                warn!(%server, error = %text, hint, "a file in streaming/ is passed over");
            }
        }
        self.refused = texts;
    }
}

const RETRY: Duration = Duration::from_secs(5);
