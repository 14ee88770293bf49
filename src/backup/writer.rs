//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! From the queue to the archives of a backup: one pass, in which everything is stored, split
//! into members and summed up. Runs in a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::archive_file::ArchiveFile;
use super::error::BackupError;
use super::member::Members;
use super::places::{Part, part_path};
use super::queue::{Job, QueueReceiver};
use crate::disk::Disk;
use crate::manifest::Algorithm;

/// Stores the archives and the manifest of one backup.
#[derive(Debug)]
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    /// `base/<id>/data`, which exists.
    data: PathBuf,
    members: Members,
    archive: Option<(String, ArchiveFile)>,
    parts: Vec<Part>,
    manifest: Vec<u8>,
}

/// What was stored: durable, under temporary names.
#[derive(Debug)]
pub(super) struct Stored {
    /// The files.
    pub(super) parts: Vec<Part>,
    /// What was in them.
    pub(super) members: Members,
    /// The manifest as it came; empty when none did.
    pub(super) manifest: Vec<u8>,
}

/// The name of the manifest in a backup.
pub(super) const MANIFEST: &str = "backup_manifest";

/// Twenty million files with long names; the manifest is held in memory.
const MANIFEST_MAX: u64 = 4 << 30;
const FILE_MODE: u32 = 0o600;

impl Writer {
    /// A writer into `data`; files are to be summed up with `algorithm`.
    pub(super) fn new(disk: Arc<dyn Disk>, data: PathBuf, algorithm: Algorithm) -> Writer {
        let members = Members::new(algorithm);
        Writer { disk, data, members, archive: None, parts: Vec::new(), manifest: Vec::new() }
    }

    /// Takes jobs until the reader ends.
    pub(super) fn run(mut self, jobs: &QueueReceiver) -> Result<Stored, BackupError> {
        while let Some(job) = jobs.next() {
            match job {
                Job::Data(bytes) => {
                    // The reader gives data only between the two ends of an archive.
                    if let Some((_, archive)) = &mut self.archive {
                        archive.take(bytes, &mut self.members)?;
                    }
                }
                Job::Archive { name, tablespace } => self.begin(name, tablespace)?,
                Job::ArchiveEnd => self.end()?,
                Job::Manifest(bytes) => self.take_manifest(&bytes)?,
            }
        }
        if !self.manifest.is_empty() {
            self.store_manifest()?;
        }
        self.disk.sync_directory(&self.data)?;
        Ok(Stored { parts: self.parts, members: self.members, manifest: self.manifest })
    }

    fn begin(&mut self, name: String, tablespace: Option<u32>) -> Result<(), BackupError> {
        let prefix = super::places::manifest_prefix(tablespace);
        let file = self.disk.create(&part_path(&self.data, &name), FILE_MODE)?;
        let archive = ArchiveFile::new(file, String::clone(&name), prefix);
        self.archive = Some((name, archive));
        Ok(())
    }

    fn end(&mut self) -> Result<(), BackupError> {
        if let Some((name, archive)) = self.archive.take() {
            let length = archive.finish()?;
            self.parts.push(Part::new(&self.data, &name, length));
        }
        Ok(())
    }

    fn take_manifest(&mut self, bytes: &Bytes) -> Result<(), BackupError> {
        if (self.manifest.len() + bytes.len()) as u64 > MANIFEST_MAX {
            return Err(BackupError::ManifestTooLong(MANIFEST_MAX));
        }
        self.manifest.extend_from_slice(bytes);
        Ok(())
    }

    fn store_manifest(&mut self) -> Result<(), BackupError> {
        let file = self.disk.create(&part_path(&self.data, MANIFEST), FILE_MODE)?;
        file.write_all_at(&self.manifest, 0)?;
        file.sync_all()?;
        self.parts.push(Part::new(&self.data, MANIFEST, self.manifest.len() as u64));
        Ok(())
    }
}
