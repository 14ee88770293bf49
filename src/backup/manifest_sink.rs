//! The manifest on its way: to the disk, and read while it passes, so that its text, which is
//! longer than what it says, is never held as a whole.

use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use bytes::Bytes;

use super::error::BackupError;
use super::pieces::Pieces;
use crate::disk::{Disk, DiskFile};
use crate::manifest::{Manifest, ManifestError};
use crate::repository::StoredManifest;

const FILE_MODE: u32 = 0o600;
/// Large enough that a write costs nothing.
const WRITE_BYTES: usize = 1 << 20;

/// What a manifest says, or what is wrong with it.
pub(super) type Said = Result<Manifest, ManifestError>;

/// A manifest that is being stored, under a temporary name, and read.
#[derive(Debug)]
pub(super) struct ManifestSink {
    file: Box<dyn DiskFile>,
    /// Bytes that were handed to the disk.
    written: u64,
    /// What was not yet.
    pending: Vec<u8>,
    /// `None` when the reading has ended before its time; it has the reason.
    pieces: Option<SyncSender<Bytes>>,
    reading: JoinHandle<Said>,
}

impl ManifestSink {
    /// Begins with an empty file.
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> Result<ManifestSink, BackupError> {
        let file = disk.create(path, FILE_MODE)?;
        let (sender, source) = Pieces::new();
        let reading = std::thread::Builder::new()
            .name("backup-manifest".to_owned())
            .spawn(move || Manifest::read(source))
            .map_err(BackupError::Thread)?;
        let pending = Vec::with_capacity(WRITE_BYTES);
        Ok(ManifestSink { file, written: 0, pending, pieces: Some(sender), reading })
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, bytes: Bytes) -> Result<(), BackupError> {
        if self.written + (self.pending.len() + bytes.len()) as u64 > StoredManifest::BYTES_MAX {
            return Err(BackupError::ManifestTooLong(StoredManifest::BYTES_MAX));
        }
        self.pending.extend_from_slice(&bytes);
        if self.pending.len() >= WRITE_BYTES {
            self.write()?;
        }
        let sent = self.pieces.as_ref().map(|pieces| pieces.send(bytes));
        if matches!(sent, Some(Err(_))) {
            self.pieces = None;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), BackupError> {
        self.file.write_all_at(&self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Makes it durable, and returns its length and what it says; that is for others to judge.
    pub(super) fn finish(mut self) -> Result<(u64, Said), BackupError> {
        self.write()?;
        self.file.sync_all()?;
        self.pieces = None;
        let said = self.reading.join();
        let said = said.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((self.written, said))
    }
}
