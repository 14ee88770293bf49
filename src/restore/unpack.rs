//! Members of a stored backup on their way into a tree: what is written, what is only checked,
//! what is refused. The same rules for archives and for plain directories.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::manifest::Hasher;
use crate::tar::{Member, MemberKind};

use super::check::ManifestCheck;
use super::error::RestoreError;
use super::path::InnerPath;
use super::plan::RECOVERY_WAL;
use super::tree::{CONTROL_FILE, MARKER, Tree, TreeFile};

/// Files that belonged to the old server's life, or that the restore makes itself.
///
/// `tablespace_map` would make the server create links of its own to the old locations.
const LEFT_OUT: [&str; 13] = [
    "backup_manifest",
    "postmaster.pid",
    "postmaster.opts",
    "recovery.conf",
    "recovery.done",
    "recovery.signal",
    "standby.signal",
    "tablespace_map",
    ".barman-recover.info",
    // A cluster that was itself restored has them; this restore writes its own.
    "postgresql.conf.origin",
    "postgresql.auto.conf.origin",
    "global/pg_control.tapster-restore",
    MARKER,
];

/// Directories whose content stays behind: WAL comes from the archive, logs belong to the old
/// server, its replication slots would hold WAL back for nobody, and the WAL of the restore that
/// the old server came from is not the WAL of this one.
const EMPTIED: [&str; 6] = ["pg_wal", "pg_xlog", "pg_log", "log", "pg_replslot", RECOVERY_WAL];

/// Directories inside of those that the server expects.
const KEPT_INSIDE: [&str; 3] =
    ["pg_wal/archive_status", "pg_wal/summaries", "pg_xlog/archive_status"];

/// Nothing that a server puts in one place is larger.
const CONTROL_FILE_MAX: u64 = 64 << 10;

/// Which part of the backup the members are of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The data directory.
    Main,
    /// The tablespace with this OID.
    Tablespace(u32),
}

/// A name, and whether it is written or only looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Write,
    LeaveOut,
}

/// Takes members one by one.
#[derive(Debug)]
pub struct Unpacker<'t, 'd> {
    tree: &'t mut Tree<'d>,
    origin: Origin,
    source: PathBuf,
    check: Option<&'t mut ManifestCheck>,
    open: Option<Open>,
    control_file: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Open {
    name: InnerPath,
    file: Option<TreeFile>,
    hasher: Option<Hasher>,
    modified: Option<SystemTime>,
    /// A copy of the bytes, of the one file that is looked into.
    copy: Option<Vec<u8>>,
}

impl<'t, 'd> Unpacker<'t, 'd> {
    /// Into `tree`, from `source`, which is named in messages.
    pub fn new(
        tree: &'t mut Tree<'d>,
        origin: Origin,
        source: &Path,
        check: Option<&'t mut ManifestCheck>,
    ) -> Unpacker<'t, 'd> {
        let source = source.to_owned();
        Unpacker { tree, origin, source, check, open: None, control_file: None }
    }

    /// A member of an archive begins.
    pub fn member(&mut self, member: Member) -> Result<(), RestoreError> {
        let name = InnerPath::from(member.path);
        match member.kind {
            MemberKind::Directory => self.directory(&name, member.mode),
            MemberKind::Symlink(_) => self.link(&name),
            MemberKind::File => {
                let since_1970 = u64::try_from(member.modified).ok();
                let modified = since_1970.and_then(|seconds| {
                    SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
                });
                self.file(name, member.size, member.mode, modified)
            }
        }
    }

    /// A directory.
    pub fn directory(&mut self, name: &InnerPath, mode: u32) -> Result<(), RestoreError> {
        match self.fate(name)? {
            Fate::Write => Ok(self.tree.directory(name, mode)?),
            Fate::LeaveOut if KEPT_INSIDE.iter().any(|kept| name.is(kept)) => {
                Ok(self.tree.directory(name, mode)?)
            }
            Fate::LeaveOut => Ok(()),
        }
    }

    /// A symbolic link. None is ever made from a backup: those of tablespaces are made anew,
    /// and a link to anywhere else would let the next member be written through it.
    pub fn link(&mut self, name: &InnerPath) -> Result<(), RestoreError> {
        if self.origin == Origin::Main && name.inside("pg_tblspc").is_some() {
            return Ok(());
        }
        Err(self.forbidden(name, "a symbolic link, which is only known in pg_tblspc"))
    }

    /// A file of `size` bytes begins.
    pub fn file(
        &mut self,
        name: InnerPath,
        size: u64,
        mode: u32,
        modified: Option<SystemTime>,
    ) -> Result<(), RestoreError> {
        let fate = self.fate(&name)?;
        let is_control_file = self.origin == Origin::Main && name.is(CONTROL_FILE);
        if is_control_file && size > CONTROL_FILE_MAX {
            return Err(self.forbidden(&name, "too large"));
        }
        let listed = self.listed_name(&name)?;
        let hasher = match &self.check {
            // What is not restored may be unknown to the manifest: it harms nobody.
            Some(check) if fate == Fate::Write || check.lists(&listed) => {
                check.begin(&listed, size)?
            }
            _ => None,
        };
        let file = match fate {
            Fate::Write => Some(self.tree.file(&name, mode)?),
            Fate::LeaveOut => None,
        };
        let copy = is_control_file.then(Vec::new);
        self.open = Some(Open { name: listed, file, hasher, modified, copy });
        Ok(())
    }

    /// Content of the file that has begun.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if let Some(hasher) = &mut open.hasher {
            hasher.update(bytes);
        }
        if let Some(copy) = &mut open.copy {
            copy.extend_from_slice(bytes);
        }
        match &mut open.file {
            Some(file) => Ok(file.write(bytes)?),
            None => Ok(()),
        }
    }

    /// The file that has begun is complete.
    pub fn end_of_file(&mut self) -> Result<(), RestoreError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if let (Some(hasher), Some(check)) = (open.hasher, &mut self.check) {
            check.end(&open.name, hasher)?;
        }
        if open.copy.is_some() {
            self.control_file = open.copy;
        }
        match open.file {
            Some(file) => Ok(file.finish(open.modified)?),
            None => Ok(()),
        }
    }

    /// What `global/pg_control` held, if it came.
    pub fn into_control_file(self) -> Option<Vec<u8>> {
        self.control_file
    }

    /// As the manifest spells it.
    fn listed_name(&self, name: &InnerPath) -> Result<InnerPath, RestoreError> {
        match self.origin {
            Origin::Main => Ok(name.clone()),
            Origin::Tablespace(oid) => {
                let mut path = format!("pg_tblspc/{oid}/").into_bytes();
                path.extend_from_slice(name.as_bytes());
                Ok(InnerPath::parse(&path)?)
            }
        }
    }

    fn fate(&self, name: &InnerPath) -> Result<Fate, RestoreError> {
        if self.origin != Origin::Main {
            return Ok(Fate::Write);
        }
        // Tablespaces have archives of their own; a file here would end up wherever the link
        // of that name leads.
        if name.inside("pg_tblspc").is_some() {
            return Err(self.forbidden(name, "inside pg_tblspc"));
        }
        let left_out = LEFT_OUT.iter().any(|other| name.is(other))
            || EMPTIED.iter().any(|directory| name.inside(directory).is_some());
        Ok(if left_out { Fate::LeaveOut } else { Fate::Write })
    }

    fn forbidden(&self, name: &InnerPath, what: &'static str) -> RestoreError {
        let (path, name) = (self.source.clone(), name.to_text());
        RestoreError::ForbiddenMember { path, name, what }
    }
}
