//! Many small files on their way to the disk while more of them come: the sync at the end then
//! finds little to do.
//!
//! A thread has the file system write back what is dirty. It promises nothing; what is durable
//! is decided at the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::error::BackupError;
use crate::disk::{Disk, DiskError};

/// Write-back of a directory that is being filled.
#[derive(Debug)]
pub(super) struct EarlyWriteback {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Files since the thread was asked.
    files: usize,
    thread: Option<Flusher>,
}

#[derive(Debug)]
struct Flusher {
    ask: SyncSender<()>,
    thread: JoinHandle<Result<(), DiskError>>,
}

/// So many files are worth a walk of the kernel over all that is dirty.
pub(super) const FILES: usize = 4096;

impl EarlyWriteback {
    /// Nothing is there to be written back.
    pub(super) fn new(disk: Arc<dyn Disk>, root: PathBuf) -> EarlyWriteback {
        EarlyWriteback { disk, root, files: 0, thread: None }
    }

    /// A file is complete.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn file(&mut self) -> Result<(), BackupError> {
        self.files += 1;
        if self.files < FILES {
            return Ok(());
        }
        self.files = 0;
        if self.thread.is_none() {
            self.thread = Some(self.start()?);
        }
        if let Some(flusher) = &self.thread {
            // One that is still busy, or has failed, is not asked.
            let _ = flusher.ask.try_send(());
        }
        Ok(())
    }

    fn start(&self) -> Result<Flusher, BackupError> {
        let (ask, asked) = sync_channel(1);
        let (disk, root) = (Arc::clone(&self.disk), self.root.clone());
        let thread = std::thread::Builder::new()
            .name("backup-flush".to_owned())
            .spawn(move || asked.iter().try_for_each(|()| disk.flush_file_system(&root)))
            .map_err(BackupError::Thread)?;
        Ok(Flusher { ask, thread })
    }

    /// Waits until nothing of it is under way.
    ///
    /// # Errors
    /// A write-back has failed: nothing of the backup is to be believed.
    pub(super) fn finish(&mut self) -> Result<(), DiskError> {
        let Some(Flusher { ask, thread }) = self.thread.take() else { return Ok(()) };
        drop(ask);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Nobody is left behind who still looks at the directory.
impl Drop for EarlyWriteback {
    fn drop(&mut self) {
        // Who gives the backup up needs no reason.
        let _ = self.finish();
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::disk::ModelDisk;

    fn after(files: usize, disk: &ModelDisk) -> Result<(), DiskError> {
        let mut early = EarlyWriteback::new(Arc::new(disk.clone()), "/".into());
        for _ in 0..files {
            early.file().expect("a thread");
        }
        early.finish()
    }

    #[test]
    fn the_file_system_is_asked_once_for_thousands_of_files_and_never_for_a_few() {
        for (files, calls) in [(FILES - 1, 0), (FILES, 1)] {
            let disk = ModelDisk::new(1);
            let before = disk.calls();
            after(files, &disk).expect("nothing fails");
            assert_eq!(disk.calls() - before, calls, "{files}");
        }
    }

    #[test]
    fn a_write_back_that_fails_is_told_at_the_end_and_asked_for_no_more() {
        let disk = ModelDisk::new(1);
        disk.fail_call(disk.calls(), Errno::IO);
        after(5 * FILES, &disk).expect_err("it has failed");
        assert_eq!(disk.calls(), 1);
    }
}
