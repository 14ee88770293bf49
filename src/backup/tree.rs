//! A backup as a plain directory: each member becomes a file as it passes.
//!
//! The directories carry temporary names until everything in them is durable and compared with
//! the manifest. No link is made before the last member has come: nothing can be written through
//! one.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::early::EarlyWriteback;
use super::error::BackupError;
use super::output::{Gathered, Tail};
use crate::disk::{Disk, DiskError};
use crate::repository::DATA_MODE;
use crate::tar::{Member, MemberKind};

/// One directory that is being filled: the data directory, or a tablespace.
#[derive(Debug)]
pub(super) struct TreeOutput {
    disk: Arc<dyn Disk>,
    /// `base/<id>/data.part` or `base/<id>/<oid>.part`.
    root: PathBuf,
    /// The archive, for messages.
    archive: String,
    is_tablespace: bool,
    /// Whether its file system is synced as a whole.
    is_watched: bool,
    /// Those below the root that are there.
    directories: HashSet<Box<[u8]>>,
    open: Option<Tail>,
    gathered: Gathered,
    early: EarlyWriteback,
}

/// Where the links to tablespaces are.
pub(super) const LINKS: &str = "pg_tblspc";

impl TreeOutput {
    /// Makes the directory.
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        archive: &str,
        is_tablespace: bool,
        is_watched: bool,
    ) -> Result<TreeOutput, DiskError> {
        disk.create_directory(&root, DATA_MODE)?;
        let early = EarlyWriteback::new(Arc::clone(&disk), root.clone());
        Ok(TreeOutput {
            disk,
            root,
            archive: archive.to_owned(),
            is_tablespace,
            is_watched,
            directories: HashSet::new(),
            open: None,
            gathered: Gathered::new(),
            early,
        })
    }

    /// A member begins.
    pub(super) fn begin(&mut self, member: &Member) -> Result<(), BackupError> {
        let name = member.path.as_bytes();
        let is_link = !self.is_tablespace && name.starts_with(b"pg_tblspc/");
        match member.kind {
            // The links are made at last, to where the tablespaces are stored. In-place ones
            // have a directory there.
            MemberKind::TablespaceLink | MemberKind::Directory if is_link => {}
            MemberKind::Directory => self.directory(name, member.mode)?,
            MemberKind::File if !is_link => self.file(name, member.mode)?,
            _ => {
                let (archive, member) = (self.archive.clone(), member.path.to_string());
                return Err(BackupError::Forbidden { archive, member });
            }
        }
        Ok(())
    }

    fn directory(&mut self, name: &[u8], mode: u32) -> Result<(), DiskError> {
        self.make(name)?;
        match mode & 0o777 {
            // What `make` gave it.
            DATA_MODE => Ok(()),
            mode => self.disk.set_mode(&self.path(name), mode | DATA_MODE),
        }
    }

    fn file(&mut self, name: &[u8], mode: u32) -> Result<(), DiskError> {
        if let Some(slash) = name.iter().rposition(|&byte| byte == b'/') {
            self.make(&name[..slash])?;
        }
        let path = self.path(name);
        // The owner has to be able to sync it, and to delete the backup one day.
        let mode = (mode & 0o777) | 0o600;
        let file = self.disk.create(&path, mode)?;
        if mode & 0o077 != 0 {
            // The umask may have taken some of these.
            self.disk.set_mode(&path, mode)?;
        }
        self.open = Some(Tail::new(file));
        Ok(())
    }

    /// Content of the open file.
    pub(super) fn content(&mut self, bytes: Bytes) -> Result<(), DiskError> {
        let Some(tail) = &mut self.open else { return Ok(()) };
        if self.gathered.push(bytes) {
            self.gathered.write(tail)?;
        }
        Ok(())
    }

    /// The open file is complete.
    pub(super) fn end(&mut self) -> Result<(), BackupError> {
        match self.open.take() {
            Some(mut tail) if !self.gathered.is_empty() => self.gathered.write(&mut tail)?,
            _ => {}
        }
        self.early.file()
    }

    /// Makes the names in it durable, unless everything is to be at once. The files are synced by
    /// whoever has the list of them.
    pub(super) fn finish(mut self) -> Result<(), DiskError> {
        self.early.finish()?;
        if self.is_watched {
            return Ok(());
        }
        // Twenty thousand files are written back at once, not one by one.
        self.disk.flush_file_system(&self.root)?;
        for name in &self.directories {
            self.disk.sync_directory(&self.path(name))?;
        }
        self.disk.sync_directory(&self.root)
    }

    /// Makes a directory and those above it, up to the root.
    fn make(&mut self, name: &[u8]) -> Result<(), DiskError> {
        if self.directories.contains(name) {
            return Ok(());
        }
        if let Some(slash) = name.iter().rposition(|&byte| byte == b'/') {
            self.make(&name[..slash])?;
        }
        self.disk.create_directory(&self.path(name), DATA_MODE)?;
        self.directories.insert(name.into());
        Ok(())
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        path_of(&self.root, name)
    }
}

/// A member's place below a directory. Its name was checked: it stays in there.
pub(super) fn path_of(root: &Path, name: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(name))
}
