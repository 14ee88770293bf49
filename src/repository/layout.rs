//! Where everything stands.

use std::path::{Path, PathBuf};

use super::{BackupId, RepositoryError};
use crate::config::{Directories, ServerConfig, ServerName};
use crate::disk::{self, Disk};
use crate::wal::WalFileName;

/// The paths of one server's part of the repository, as Barman lays them out.
///
/// ```text
/// <backup_directory>/identity.json
///                    base/<id>/data/, base/<id>/<tablespace oid>/
///                    meta/<id>-backup.info, <id>-keep, <id>-delete_this
///                    wals/<srv>-xlog.db, wals/<16 hex>/<segment>, wals/<timeline>.history
///                    streaming/  incoming/  errors/
///                    .tapster/holes, .tapster/wal-facts/<16 hex>
///                                                   Tapster's own state; Barman never looks
/// <lock directory>/.<srv>-<purpose>.lock
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerLayout {
    server: ServerName,
    directories: Directories,
}

/// What a lock file protects. The names are Barman's, so that both programs exclude each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lock {
    /// The server's part of `cron`.
    Cron,
    /// `backup` and `delete`.
    Backup,
    /// Restore or deletion of one backup.
    OneBackup(BackupId),
    /// `archive-wal`.
    ArchiveWal,
    /// `receive-wal`, for its whole life.
    ReceiveWal,
    /// Every use of the xlog database; like the next, it is waited for.
    XlogDb,
    /// Every change of Tapster's own state. Barman does not know it.
    State,
}

/// Permission bits of directories, before the umask.
pub const DIRECTORY_MODE: u32 = 0o755;
/// Permission bits of `data/` and of tablespaces: PostgreSQL refuses more.
pub const DATA_MODE: u32 = 0o700;
/// Permission bits of metadata files, before the umask.
pub const FILE_MODE: u32 = 0o644;

impl ServerLayout {
    /// The layout of a configured server.
    pub fn new(server: &ServerConfig) -> ServerLayout {
        ServerLayout { server: server.name.clone(), directories: server.directories.clone() }
    }

    /// The layout of a server whose directories all lie below `home`, as they do by default.
    pub fn below(home: &Path, server: ServerName) -> ServerLayout {
        let backup = home.join(server.as_str());
        let wals = backup.join("wals");
        let directories = Directories {
            base: backup.join("base"),
            incoming: backup.join("incoming"),
            streaming: backup.join("streaming"),
            errors: backup.join("errors"),
            xlogdb: wals.clone(),
            locks: home.to_owned(),
            wals,
            backup,
        };
        ServerLayout { server, directories }
    }

    /// The server.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// `backup_directory`.
    pub fn root(&self) -> &Path {
        &self.directories.backup
    }

    /// Where base backups stand.
    pub fn base(&self) -> &Path {
        &self.directories.base
    }

    /// Where archived WAL stands.
    pub fn wals(&self) -> &Path {
        &self.directories.wals
    }

    /// What `receive-wal` writes.
    pub fn streaming(&self) -> &Path {
        &self.directories.streaming
    }

    /// What `archive_command` writes.
    pub fn incoming(&self) -> &Path {
        &self.directories.incoming
    }

    /// Files that may not be archived.
    pub fn errors(&self) -> &Path {
        &self.directories.errors
    }

    /// Metadata of backups. No option moves it.
    pub fn meta(&self) -> PathBuf {
        self.root().join("meta")
    }

    /// Tapster's own state.
    pub fn state(&self) -> PathBuf {
        self.root().join(".tapster")
    }

    /// Which WAL is lost.
    pub fn holes(&self) -> PathBuf {
        self.state().join("holes")
    }

    /// What was seen in each segment: a file for each directory of `wals/`.
    pub fn wal_facts(&self) -> PathBuf {
        self.state().join("wal-facts")
    }

    /// `base/<id>/`.
    pub fn backup(&self, id: BackupId) -> PathBuf {
        self.base().join(id.as_str())
    }

    /// `base/<id>/data/`: the data directory, or the tar files.
    pub fn data(&self, id: BackupId) -> PathBuf {
        self.backup(id).join("data")
    }

    /// Where the data directory of a backup really is: Barman before 1.4 called it `pgdata`.
    pub fn existing_data(&self, disk: &dyn Disk, id: BackupId) -> Result<PathBuf, RepositoryError> {
        let data = self.data(id);
        let old = self.backup(id).join("pgdata");
        let use_old = disk.stat(&data)?.is_none() && disk.stat(&old)?.is_some();
        Ok(if use_old { old } else { data })
    }

    /// `base/<id>/<oid>/`: a tablespace; empty beside a tar backup.
    pub fn tablespace(&self, id: BackupId, oid: u32) -> PathBuf {
        self.backup(id).join(oid.to_string())
    }

    /// `meta/<id>-backup.info`.
    pub fn backup_info(&self, id: BackupId) -> PathBuf {
        self.meta().join(format!("{id}-backup.info"))
    }

    /// `base/<id>/backup.info`, where Barman before 3.13.2 put it.
    pub fn old_backup_info(&self, id: BackupId) -> PathBuf {
        self.backup(id).join("backup.info")
    }

    /// `meta/<id>-tapster.json`: what Tapster knows of a backup beyond Barman's keys.
    pub fn backup_extra(&self, id: BackupId) -> PathBuf {
        self.meta().join(format!("{id}-tapster.json"))
    }

    /// `meta/<id>-keep`: the backup is kept whatever the retention policy says.
    pub fn keep(&self, id: BackupId) -> PathBuf {
        self.meta().join(format!("{id}-keep"))
    }

    /// Where Barman before 3.13.3 put the same.
    pub fn old_keep(&self, id: BackupId) -> PathBuf {
        self.backup(id).join("annotations/keep")
    }

    /// `meta/<id>-delete_this`: a deletion has begun.
    pub fn delete_marker(&self, id: BackupId) -> PathBuf {
        self.meta().join(format!("{id}-delete_this"))
    }

    /// The place of an archived WAL file.
    pub fn wal(&self, name: WalFileName) -> PathBuf {
        self.wal_directory(name).join(name.to_string())
    }

    /// The directory that holds an archived WAL file.
    pub fn wal_directory(&self, name: WalFileName) -> PathBuf {
        match name.hash_directory() {
            Some(hash) => self.wals().join(hash),
            None => self.wals().to_owned(),
        }
    }

    /// The xlog database.
    pub fn xlogdb(&self) -> PathBuf {
        self.directories.xlogdb.join(format!("{}-xlog.db", self.server))
    }

    /// The xlog database of Barman before 3.13.
    pub fn old_xlogdb(&self) -> PathBuf {
        self.wals().join("xlog.db")
    }

    /// Which cluster the repository belongs to.
    pub fn identity(&self) -> PathBuf {
        self.root().join("identity.json")
    }

    /// A lock file.
    pub fn lock(&self, lock: Lock) -> PathBuf {
        let server = &self.server;
        let name = match lock {
            Lock::Cron => format!(".{server}-cron.lock"),
            Lock::Backup => format!(".{server}-backup.lock"),
            Lock::OneBackup(id) => format!(".{server}-{id}.lock"),
            Lock::ArchiveWal => format!(".{server}-archive-wal.lock"),
            Lock::ReceiveWal => format!(".{server}-receive-wal.lock"),
            Lock::XlogDb => format!(".{server}-xlogdb.lock"),
            Lock::State => format!(".{server}-tapster.lock"),
        };
        self.directories.locks.join(name)
    }

    /// The directories that every server has, each behind the one that holds it.
    pub fn directories(&self) -> Vec<PathBuf> {
        let Directories { backup, base, wals, incoming, streaming, errors, xlogdb, locks } =
            &self.directories;
        let mut all = vec![backup, base, wals, incoming, streaming, errors, locks];
        if xlogdb != wals {
            all.push(xlogdb);
        }
        let mut all: Vec<PathBuf> = all.into_iter().cloned().collect();
        all.push(self.meta());
        all
    }

    /// Creates what is missing of [`ServerLayout::directories`], durably. For commands that
    /// write; those that only look must not need the right to.
    pub fn create_directories(&self, disk: &dyn Disk) -> Result<(), RepositoryError> {
        for directory in self.directories() {
            disk::create_directories(disk, &directory, DIRECTORY_MODE)?;
        }
        Ok(())
    }
}
