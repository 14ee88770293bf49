//! A plan is carried out: unpack, link, copy WAL, configure, make durable, and only then put
//! the file in place without which no server starts.

use std::io::Read;
use std::path::Path;

use jiff::Timestamp;

use crate::disk::Disk;
use crate::manifest::Manifest;
use crate::output::{Progress, one_line};
use crate::repository::{
    BackupId, BackupInfo, BackupMode, KnownDamage, KnownLimits, ServerLayout, StoredManifest, label,
};
use crate::wal::ControlFile;
use crate::wire::ServerVersion;

use super::carry_out_chain;
use super::chain;
use super::check::ManifestCheck;
use super::combine::Combiner;
use super::configure::{Configured, configure};
use super::destination::{check_destinations, check_room};
use super::error::RestoreError;
use super::facts::BackupFacts;
use super::path::InnerPath;
use super::plan::{PlacedTablespace, RestorePlan, SERVER_WAL, Wishes, place_tablespaces};
use super::refusal::Refusal;
use super::shelf::{Shelf, WalIdentity};
use super::source::Source;
use super::sources::{Sources, StoredText};
use super::tree::Tree;
use super::unpack::{Origin, Unpacker};

const COPY_BYTES: usize = 256 << 10;

/// One restore.
#[derive(Debug)]
pub struct Job<'a> {
    /// The disk of the repository.
    pub repository: &'a dyn Disk,
    /// The disk of the destination.
    pub target: &'a dyn Disk,
    /// Where the repository has what.
    pub layout: &'a ServerLayout,
    /// The backup.
    pub info: &'a BackupInfo,
    /// Those that it stands on, its parent first; see [`chain::ancestors`].
    pub ancestors: &'a [BackupInfo],
    /// What is wanted.
    pub wishes: &'a Wishes,
}

/// A step that has begun.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'a> {
    /// The wishes have passed; nothing has been written.
    Starting {
        /// The backup.
        backup: BackupId,
        /// The data directory.
        destination: &'a Path,
    },
    /// The plan stands. It may hold warnings.
    Planned(&'a RestorePlan),
    /// Members are being unpacked.
    CopyingBase,
    /// Those of a tablespace.
    CopyingTablespace(&'a PlacedTablespace),
    /// WAL is being copied.
    CopyingWal,
    /// The server is told that it is archived.
    MarkingArchived,
    /// Settings and signal file are being written.
    WritingSettings,
    /// The configuration is being reviewed.
    Reviewing,
}

/// Is told what happens, and may end it.
pub trait Observer {
    /// A step begins.
    fn step(&mut self, step: &Step<'_>);
    /// Something that the user should know.
    fn warning(&mut self, text: &str);
    /// Whether to stop. Asked about once a megabyte.
    fn interrupted(&self) -> bool;
    /// Where bytes are reported to.
    fn progress(&self) -> &dyn Progress;
}

/// A restore that is done: durable and ready to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// What was done.
    pub plan: RestorePlan,
    /// What the configuration had in it.
    pub configuration: Configured,
    /// Bytes that were read.
    pub bytes: u64,
    /// When it began.
    pub started: Timestamp,
}

/// Restores, or leaves a destination that cannot be started.
pub fn restore(
    job: &Job<'_>,
    observer: &mut dyn Observer,
    started: Timestamp,
) -> Result<Restored, RestoreError> {
    let facts = BackupFacts::of(job.info)?;
    chain::check(job.info, job.ancestors)?;
    let tablespaces = place_tablespaces(&facts, job.wishes)?;
    check_destinations(job.target, &job.wishes.destination, &tablespaces)?;
    observer.step(&Step::Starting { backup: job.info.id, destination: &job.wishes.destination });
    observer.progress().phase("looking at the archive");
    let shelf = Shelf { disk: job.repository, layout: job.layout };
    let identity = WalIdentity { segment_size: facts.range.segment_size, system: facts.system };
    let plan = shelf.plan(facts, job.wishes, tablespaces, &identity)?;
    observer.step(&Step::Planned(&plan));
    for warning in &plan.warnings {
        observer.warning(&warning.to_string());
    }
    match KnownDamage::read(job.repository, job.layout, job.info.id) {
        Ok(None) => {}
        Ok(Some(damage)) => {
            observer.warning(&format!("the backup holds damage of its cluster: {damage}"));
        }
        // No reason to keep anybody from the backup itself.
        Err(error) => observer.warning(&one_line(&error)),
    }
    carry_out_chain::warn_of_unknown_limits(job, observer)?;
    // What cannot be read is found out before anything is written.
    let mut sources = Sources::find(job, &plan)?;
    shelf.check(&plan.wal, &identity)?;
    check_room(job.target, &plan, sources.main_length(), &sources.tablespace_lengths())?;
    let (manifest, bytes, phase_began) = (sources.manifest.take(), 0, 0);
    let mut work =
        Work { job, plan: &plan, sources: &sources, observer, manifest, bytes, phase_began };
    let configuration = work.carry_out(&shelf, &identity)?;
    let bytes = work.bytes;
    Ok(Restored { configuration, bytes, started, plan })
}

pub(super) struct Work<'w, 'j> {
    pub(super) job: &'w Job<'j>,
    pub(super) plan: &'w RestorePlan,
    pub(super) sources: &'w Sources,
    pub(super) observer: &'w mut dyn Observer,
    /// Of the newest backup, until it is taken.
    manifest: Option<StoredText>,
    /// Read so far.
    bytes: u64,
    /// The same when the current phase began.
    phase_began: u64,
}

impl<'j> Work<'_, 'j> {
    fn carry_out(
        &mut self,
        shelf: &Shelf<'_>,
        identity: &WalIdentity,
    ) -> Result<Configured, RestoreError> {
        let mut tree = Tree::create(self.job.target, &self.plan.destination)?;
        let backup = &self.plan.backup;
        tree.mark(&format!("backup {} of server {}\n", backup.id, backup.server))?;
        self.observer.step(&Step::CopyingBase);
        let tablespaces = self.unpack(&mut tree)?;
        self.complete_tree(&mut tree)?;
        self.copy_wal(&mut tree, shelf, identity)?;
        let configuration = self.configure(&mut tree)?;
        self.observer.progress().phase("making everything durable");
        for other in &tablespaces {
            self.sync(other)?;
        }
        self.sync(&tree)?;
        tree.complete()?;
        Ok(configuration)
    }

    /// Unpacks everything, checked against the manifest, and returns the tablespaces' trees.
    fn unpack(&mut self, tree: &mut Tree<'j>) -> Result<Vec<Tree<'j>>, RestoreError> {
        let mut check = self.manifest_check()?;
        let versions = self.job.ancestors.iter().filter_map(|info| info.version);
        let oldest = versions.min().map(ServerVersion::from_number);
        let mut combiner = oldest.map(|oldest| Combiner::new(oldest.min(self.plan.backup.version)));
        let newest = &self.sources.newest;
        if let Some(combiner) = &mut combiner {
            combiner.limits =
                Some(KnownLimits::read(self.job.repository, self.job.layout, newest.id)?);
        }
        let (checking, combining) = (check.as_mut(), combiner.as_mut());
        let control_file =
            self.unpack_one(tree, Origin::Main, &newest.main, checking, combining)?;
        let mut trees = Vec::new();
        for (placed, (_, source)) in self.plan.tablespaces.iter().zip(&newest.tablespaces) {
            self.observer.step(&Step::CopyingTablespace(placed));
            let mut other = Tree::create(self.job.target, &placed.location)?;
            let origin = Origin::Tablespace(placed.oid);
            let (checking, combining) = (check.as_mut(), combiner.as_mut());
            self.unpack_one(&mut other, origin, source, checking, combining)?;
            trees.push(other);
        }
        if let Some(check) = &check {
            check.finish()?;
        }
        let control = self.check_control_file(control_file)?;
        if let (Some(combiner), Some(check)) = (combiner, check) {
            let origins = self.plan.tablespaces.iter().map(|placed| Origin::Tablespace(placed.oid));
            let mut all: Vec<(Origin, &Tree<'j>)> = origins.zip(&trees).collect();
            let mut manifest = tree.file(&self.manifest_name()?, 0o600)?;
            all.push((Origin::Main, tree));
            self.combine(combiner, &check, &control, &all, &mut manifest)?;
            manifest.finish(None)?;
        }
        Ok(trees)
    }

    fn unpack_one(
        &mut self,
        tree: &mut Tree<'j>,
        origin: Origin,
        source: &Source,
        check: Option<&mut ManifestCheck>,
        combiner: Option<&mut Combiner>,
    ) -> Result<Option<Vec<u8>>, RestoreError> {
        let name = source.path().file_name().unwrap_or_default().to_string_lossy();
        self.begin_phase(&format!("unpacking {name}"), source.length());
        let unpacker = Unpacker::new(tree, origin, source.path(), check);
        let mut unpacker = unpacker.combining(combiner);
        let disk = self.job.repository;
        source.unpack(disk, &mut unpacker, &mut |bytes| self.moved(bytes))?;
        Ok(unpacker.into_control_file())
    }

    /// The manifest, if it is this backup's. In a copy made by rsync it may be one that an
    /// earlier backup left lying in the data directory.
    fn manifest_check(&mut self) -> Result<Option<ManifestCheck>, RestoreError> {
        let Some((path, said)) = self.manifest.take() else { return Ok(None) };
        let copied_by_files = self.job.info.mode != Some(BackupMode::Postgres);
        if copied_by_files {
            let begin = self.plan.backup.range.begin;
            let is_ours = said
                .as_ref()
                .is_ok_and(|manifest| manifest.wal_ranges.iter().any(|range| range.start == begin));
            if !is_ours {
                let shown = path.display();
                self.observer.warning(&format!(
                    "{shown} does not belong to this backup: nothing is checked against it"
                ));
                return Ok(None);
            }
        }
        let manifest = said.map_err(|source| RestoreError::Manifest { path, source })?;
        Ok(Some(ManifestCheck::new(manifest)))
    }

    fn check_control_file(&self, bytes: Option<Vec<u8>>) -> Result<ControlFile, RestoreError> {
        let path = self.sources.newest.main.path();
        let bytes = bytes.ok_or_else(|| RestoreError::NoControlFile(path.to_owned()))?;
        let control = ControlFile::parse(&bytes)
            .map_err(|source| RestoreError::ControlFile { path: path.to_owned(), source })?;
        match self.plan.backup.system {
            Some(expected) if expected != control.system => {
                Err(RestoreError::ForeignBackup { found: control.system, expected })
            }
            _ => Ok(control),
        }
    }

    /// What no member brings: links, empty directories, the manifest under a name that no
    /// verifier takes for that of the running cluster, and where all this came from.
    fn complete_tree(&self, tree: &mut Tree<'_>) -> Result<(), RestoreError> {
        for directory in ["pg_wal", "pg_wal/archive_status", "pg_tblspc"] {
            tree.ensure_directory(&InnerPath::parse(directory.as_bytes())?)?;
        }
        for placed in self.plan.tablespaces.iter().filter(|placed| !placed.in_place) {
            let name = InnerPath::parse(format!("pg_tblspc/{}", placed.oid).as_bytes())?;
            tree.link(&name, &placed.location)?;
        }
        if !tree.holds("backup_label") {
            let label = self.job.info.backup_label.as_ref().ok_or(Refusal::NoBackupLabel)?;
            let label = label::combined(label.as_bytes());
            tree.write(&InnerPath::parse(b"backup_label")?, 0o600, &label)?;
        }
        // That of a chain has been written when the chain was combined.
        if let Some(path) = &self.sources.newest.manifest
            && self.sources.older.is_empty()
        {
            self.copy_manifest(path, tree)?;
        }
        let name = InnerPath::parse(b".barman-recover.info")?;
        Ok(tree.write(&name, 0o600, &self.job.info.render())?)
    }

    /// The name of the manifest in what is restored.
    fn manifest_name(&self) -> Result<InnerPath, RestoreError> {
        let name = format!("{}.{}", Manifest::FILE_NAME, self.plan.backup.id);
        Ok(InnerPath::parse(name.as_bytes())?)
    }

    fn copy_manifest(&self, path: &Path, tree: &mut Tree<'_>) -> Result<(), RestoreError> {
        let mut stored = StoredManifest::open(self.job.repository, path)?;
        let mut file = tree.file(&self.manifest_name()?, 0o600)?;
        let mut buffer = vec![0; COPY_BYTES];
        // What the disk says of a failure is asked for behind the loop.
        while let Ok(read) = stored.read(&mut buffer)
            && read > 0
        {
            file.write(&buffer[..read])?;
        }
        stored.end()?;
        Ok(file.finish(None)?)
    }

    fn copy_wal(
        &mut self,
        tree: &mut Tree<'_>,
        shelf: &Shelf<'_>,
        identity: &WalIdentity,
    ) -> Result<(), RestoreError> {
        self.observer.step(&Step::CopyingWal);
        self.begin_phase("copying WAL", self.plan.wal_bytes());
        let plan = self.plan;
        let directory = plan.wal_directory;
        tree.ensure_directory(&InnerPath::parse(directory.as_bytes())?)?;
        for timeline in &plan.wal.histories {
            shelf.copy_history(*timeline, tree, directory)?;
        }
        let mut damaged = None;
        for &name in &plan.wal.segments {
            let cut = plan.wal.cut_of(name);
            let place = (&mut *tree, directory);
            let found = shelf.copy_segment(name, identity, cut, place, &mut |n| self.moved(n))?;
            damaged = damaged.or(found.map(|finding| (name, finding)));
        }
        if let Some(name) = plan.wal.partial {
            let cut = plan.wal.cut_of(name);
            let place = (&mut *tree, directory);
            let moved = &mut |n| self.moved(n);
            let found = shelf.copy_open_segment(name, identity, cut, place, moved)?;
            damaged = damaged.or(found.map(|finding| (name, finding)));
        }
        if let Some((name, finding)) = damaged {
            self.observer.warning(&format!(
                "WAL segment {name} is damaged: {finding}; recovery can go no further than that"
            ));
        }
        if !plan.marks_archived() {
            return Ok(());
        }
        self.observer.step(&Step::MarkingArchived);
        // The open segment has none: the server goes on in it, and has to archive it when it
        // is complete.
        let segments = plan.wal.segments.iter().map(|name| name.to_string());
        let histories = plan.wal.histories.iter().map(|timeline| timeline.history_file_name());
        for name in histories.chain(segments) {
            let done = format!("{SERVER_WAL}/archive_status/{name}.done");
            tree.write(&InnerPath::parse(done.as_bytes())?, 0o600, b"")?;
        }
        Ok(())
    }

    fn configure(&mut self, tree: &mut Tree<'_>) -> Result<Configured, RestoreError> {
        if self.plan.settings.signal.is_some() {
            self.observer.step(&Step::WritingSettings);
        }
        self.observer.step(&Step::Reviewing);
        configure(tree, self.plan)
    }

    fn sync(&self, tree: &Tree<'_>) -> Result<(), RestoreError> {
        tree.sync(&mut || match self.observer.interrupted() {
            true => Err(RestoreError::Interrupted),
            false => Ok(()),
        })
    }

    pub(super) fn begin_phase(&mut self, name: &str, bytes: u64) {
        let progress = self.observer.progress();
        progress.phase(name);
        progress.total(bytes);
        self.phase_began = self.bytes;
    }

    pub(super) fn moved(&mut self, bytes: u64) -> Result<(), RestoreError> {
        self.bytes += bytes;
        self.observer.progress().done(self.bytes - self.phase_began);
        match self.observer.interrupted() {
            true => Err(RestoreError::Interrupted),
            false => Ok(()),
        }
    }
}
