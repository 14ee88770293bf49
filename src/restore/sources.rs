//! Where the files of a backup, and of those that it stands on, are.

use std::path::PathBuf;

use crate::disk::Disk;
use crate::manifest::{Manifest, ManifestError};
use crate::repository::{BackupExtra, BackupId, ServerLayout, StoredManifest};

use super::carry_out::Job;
use super::error::RestoreError;
use super::plan::RestorePlan;
use super::source::Source;

/// One stored backup: all of its parts are there, and can be read.
#[derive(Debug)]
pub(super) struct StoredBackup {
    /// Which.
    pub id: BackupId,
    /// The data directory.
    pub main: Source,
    /// Tablespaces, by their OID.
    pub tablespaces: Vec<(u32, Source)>,
    /// The manifest, if there is one.
    pub manifest: Option<PathBuf>,
}

/// The backups that a restore reads.
#[derive(Debug)]
pub(super) struct Sources {
    /// The one that is wanted.
    pub newest: StoredBackup,
    /// Those that it stands on, the newer first.
    pub older: Vec<StoredBackup>,
    /// What the manifest of the newest says, until it is taken, with its path.
    pub manifest: Option<StoredText>,
}

/// A manifest, or what is wrong with it; and where it stands.
pub(super) type StoredText = (PathBuf, Result<Manifest, ManifestError>);

impl Sources {
    /// Looks for everything that a plan needs.
    pub fn find(job: &Job<'_>, plan: &RestorePlan) -> Result<Sources, RestoreError> {
        let (disk, layout) = (job.repository, job.layout);
        let oids: Vec<u32> = plan.tablespaces.iter().map(|placed| placed.oid).collect();
        let newest = StoredBackup::find(disk, layout, plan.backup.id, &oids)?;
        let mut older = Vec::new();
        for info in job.ancestors {
            // Tablespaces that were dropped since are of no use.
            let held = info.tablespaces.iter().flatten().map(|space| space.oid);
            let wanted: Vec<u32> = held.filter(|oid| oids.contains(oid)).collect();
            let backup = StoredBackup::find(disk, layout, info.id, &wanted)?;
            if backup.manifest.is_none() {
                return Err(RestoreError::NoManifest(info.id.to_string()));
            }
            older.push(backup);
        }
        let manifest = newest.read_manifest(disk)?;
        if manifest.is_none() && !older.is_empty() {
            return Err(RestoreError::NoManifest(newest.id.to_string()));
        }
        Ok(Sources { newest, older, manifest })
    }

    /// About how many bytes the data directory will have: what has changed since the full
    /// backup cannot make it much shorter.
    pub fn main_length(&self) -> u64 {
        let older = self.older.iter().map(|backup| backup.main.length());
        older.chain([self.newest.main.length()]).max().unwrap_or(0)
    }

    /// The same of each tablespace.
    pub fn tablespace_lengths(&self) -> Vec<u64> {
        let length = |oid: u32| {
            let all = self.older.iter().chain([&self.newest]);
            let spaces = all.flat_map(|backup| &backup.tablespaces);
            let lengths = spaces.filter(|(other, _)| *other == oid).map(|(_, part)| part.length());
            lengths.max().unwrap_or(0)
        };
        self.newest.tablespaces.iter().map(|(oid, _)| length(*oid)).collect()
    }
}

impl StoredBackup {
    fn find(
        disk: &dyn Disk,
        layout: &ServerLayout,
        id: BackupId,
        oids: &[u32],
    ) -> Result<StoredBackup, RestoreError> {
        let data = layout.existing_data(disk, id)?;
        let extra = BackupExtra::read(disk, layout, id)?;
        let archive = Source::archive(disk, &data, "base", &extra)?;
        let is_archive = archive.is_some();
        let main = match archive {
            Some(archive) => archive,
            None => Source::directory(disk, &data)?
                .ok_or_else(|| RestoreError::NoData(data.join("base.tar")))?,
        };
        let mut tablespaces = Vec::new();
        for &oid in oids {
            let source = if is_archive {
                Source::archive(disk, &data, &oid.to_string(), &extra)?
            } else {
                Source::directory(disk, &layout.tablespace(id, oid))?
            };
            let expected = || RestoreError::NoData(data.join(format!("{oid}.tar")));
            tablespaces.push((oid, source.ok_or_else(expected)?));
        }
        let manifest = data.join(Manifest::FILE_NAME);
        let manifest = disk.stat(&manifest)?.map(|_| manifest);
        Ok(StoredBackup { id, main, tablespaces, manifest })
    }

    fn read_manifest(&self, disk: &dyn Disk) -> Result<Option<StoredText>, RestoreError> {
        match &self.manifest {
            Some(path) => Ok(Some((path.clone(), StoredManifest::read(disk, path)?))),
            None => Ok(None),
        }
    }
}
