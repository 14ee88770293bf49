//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! From the queue to the archives of a backup: one pass, in which everything is stored, split
//! into members and summed up. Runs in a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::archive_file::ArchiveFile;
use super::aside::Aside;
use super::direct::DirectTail;
use super::durable::{Roots, Space};
use super::error::BackupError;
use super::form::Form;
use super::manifest_sink::{ManifestSink, Said};
use super::member::Members;
use super::output::Output;
use super::places::{self, Part, part_path};
use super::queue::{Job, QueueReceiver};
use super::tree::{LINKS, TreeOutput};
use crate::codec::Framing;
use crate::disk::{Disk, DiskError, FileSystemWatch};
use crate::manifest::Manifest;

/// Stores the archives and the manifest of one backup.
#[derive(Debug)]
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    /// `base/<id>/data`, which exists.
    data: PathBuf,
    form: Form,
    members: Members,
    /// The archive that is coming, and the name of its file.
    archive: Option<(String, Archive)>,
    parts: Vec<Part>,
    plain_lengths: Vec<(String, u64)>,
    /// Tablespaces that are stored as directories.
    spaces: Vec<Space>,
    manifest: Option<ManifestSink>,
    /// Of directories, where everything may be made durable at once: since before the first was
    /// made.
    watch: Option<Box<dyn FileSystemWatch>>,
}

/// How an archive comes.
#[derive(Debug)]
enum Archive {
    Direct(Box<ArchiveFile>),
    /// Compressed by the server.
    Aside(Box<Aside>),
}

impl Archive {
    fn take(&mut self, bytes: Bytes, members: &mut Members) -> Result<(), BackupError> {
        match self {
            Archive::Direct(archive) => archive.take(bytes, members),
            Archive::Aside(aside) => aside.take(bytes),
        }
    }
}

/// What was stored: durable, under temporary names.
#[derive(Debug)]
pub(super) struct Stored {
    /// The files, or the directories.
    pub(super) parts: Vec<Part>,
    /// Of archives that the server has compressed: how long they are unpacked.
    pub(super) plain_lengths: Vec<(String, u64)>,
    /// What was in them.
    pub(super) members: Members,
    /// What the manifest says, or what is wrong with it; `None` when none came.
    pub(super) manifest: Option<Said>,
}

const FILE_MODE: u32 = 0o600;

impl Writer {
    /// A writer into `data`; `members` sums the files up and looks at those of relations.
    pub(super) fn new(disk: Arc<dyn Disk>, data: PathBuf, form: Form, members: Members) -> Writer {
        Writer {
            disk,
            data,
            form,
            members,
            archive: None,
            parts: Vec::new(),
            plain_lengths: Vec::new(),
            spaces: Vec::new(),
            manifest: None,
            watch: None,
        }
    }

    /// Takes jobs until the reader ends.
    pub(super) fn run(mut self, jobs: &mut QueueReceiver) -> Result<Stored, BackupError> {
        if self.form.is_directory() {
            self.watch = self.disk.watch_file_system(&self.data)?;
        }
        while let Some(job) = jobs.next() {
            match job {
                Job::Data(bytes) => {
                    // The reader gives data only between the two ends of an archive.
                    if let Some((_, archive)) = &mut self.archive {
                        archive.take(bytes, &mut self.members)?;
                    }
                }
                Job::Start(lsn) => self.members.pages.start(lsn),
                Job::Limits(limits) => self.members.limits = Some(limits),
                Job::Archive { name, tablespace } => self.begin(name, tablespace)?,
                Job::ArchiveEnd => self.end()?,
                Job::Manifest(bytes) => self.take_manifest(bytes)?,
                Job::Errand(errand) => {
                    // Lent inside of an archive alone, of a kind that has one.
                    if let Some((_, Archive::Direct(archive))) = &mut self.archive {
                        errand.go(archive, &mut self.members)?;
                    }
                }
            }
        }
        let manifest = match self.form.is_directory() {
            true => self.complete_directories()?,
            false => self.complete_archives()?,
        };
        let Writer { parts, plain_lengths, members, .. } = self;
        Ok(Stored { parts, plain_lengths, members, manifest })
    }

    fn begin(&mut self, name: String, tablespace: Option<u32>) -> Result<(), BackupError> {
        let prefix = places::manifest_prefix(tablespace);
        let stored = self.form.file_name(&name);
        let output = match self.form {
            Form::Directory(_) => self.begin_directory(&name, tablespace, &prefix)?,
            Form::Archives(framing) => self.create(&stored, framing)?,
            Form::AsSent(_) => Output::Nowhere,
        };
        let archive = ArchiveFile::new(output, String::clone(&name), prefix);
        let archive = match self.form.sent() {
            None => Archive::Direct(Box::new(archive)),
            Some(sent) => {
                let as_sent = match self.form.is_directory() {
                    true => None,
                    false => Some(self.create(&stored, None)?),
                };
                let members = self.members.take();
                let aside = Aside::start(sent.codec(), name, as_sent, archive, members)?;
                Archive::Aside(Box::new(aside))
            }
        };
        self.archive = Some((stored, archive));
        Ok(())
    }

    fn create(&self, name: &str, framing: Option<Framing>) -> Result<Output, BackupError> {
        let path = part_path(&self.data, name);
        let file = self.disk.create(&path, FILE_MODE)?;
        let tail = DirectTail::start(file, self.disk.open_direct(&path)?);
        tail.and_then(|tail| Output::new(tail, framing)).map_err(BackupError::Thread)
    }

    fn begin_directory(
        &mut self,
        name: &str,
        tablespace: Option<u32>,
        prefix: &[u8],
    ) -> Result<Output, DiskError> {
        let root = places::part_directory(&self.data, tablespace);
        if let Some(oid) = tablespace {
            let (prefix, root) = (prefix.into(), PathBuf::clone(&root));
            self.spaces.push(Space { oid, prefix, root });
        }
        let disk = Arc::clone(&self.disk);
        let (is_tablespace, is_watched) = (tablespace.is_some(), self.watch.is_some());
        TreeOutput::create(disk, root, name, is_tablespace, is_watched).map(Output::Tree)
    }

    fn end(&mut self) -> Result<(), BackupError> {
        let Some((name, archive)) = self.archive.take() else { return Ok(()) };
        let length = match archive {
            Archive::Direct(archive) => archive.finish()?,
            Archive::Aside(aside) => {
                let lengths = aside.finish(&mut self.members)?;
                if !self.form.is_directory() {
                    self.plain_lengths.push((String::clone(&name), lengths.plain));
                }
                lengths.stored
            }
        };
        if !self.form.is_directory() {
            self.parts.push(Part::new(&self.data, &name, length));
        }
        Ok(())
    }

    fn take_manifest(&mut self, bytes: Bytes) -> Result<(), BackupError> {
        if self.manifest.is_none() {
            let path = match self.form {
                Form::Directory(_) => {
                    places::part_directory(&self.data, None).join(Manifest::FILE_NAME)
                }
                _ => part_path(&self.data, Manifest::FILE_NAME),
            };
            self.manifest = Some(ManifestSink::create(self.disk.as_ref(), &path)?);
        }
        self.manifest.as_mut().map_or(Ok(()), |sink| sink.take(bytes))
    }

    fn complete_archives(&mut self) -> Result<Option<Said>, BackupError> {
        let mut said = None;
        if let Some(sink) = self.manifest.take() {
            let (length, manifest) = sink.finish()?;
            self.parts.push(Part::new(&self.data, Manifest::FILE_NAME, length));
            said = Some(manifest);
        }
        self.disk.sync_directory(&self.data)?;
        Ok(said)
    }

    /// Links to where the tablespaces will stand, as Barman makes them, and the manifest in its
    /// place; then every file is made durable.
    fn complete_directories(&mut self) -> Result<Option<Said>, BackupError> {
        let main = places::part_directory(&self.data, None);
        let links = main.join(LINKS);
        for space in &self.spaces {
            let target = places::directory(&self.data, Some(space.oid));
            let name = target.file_name().unwrap_or_default();
            self.disk.symlink(&target, &links.join(name))?;
        }
        let manifest = self.manifest.take().map(ManifestSink::finish).transpose()?;
        let (manifest_length, said) =
            manifest.map_or((0, None), |(length, said)| (length, Some(said)));
        match self.watch.take() {
            Some(watch) => watch.sync()?,
            None => {
                if !self.spaces.is_empty() {
                    self.disk.sync_directory(&links)?;
                }
                let roots = Roots { main: &main, tablespaces: &self.spaces };
                roots.sync(self.disk.as_ref(), &self.members.files)?;
            }
        }
        self.disk.sync_directory(&main)?;
        let files: u64 = self.members.files.iter().map(|file| file.size).sum();
        for space in &self.spaces {
            self.parts.push(Part::directory(&self.data, Some(space.oid), 0));
        }
        self.parts.push(Part::directory(&self.data, None, files + manifest_length));
        Ok(said)
    }
}
