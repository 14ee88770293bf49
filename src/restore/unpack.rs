//! Members of a stored backup on their way into a tree: what is written, what is only checked,
//! what is refused. The same rules for archives and for plain directories.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::manifest::{Hasher, Manifest};
use crate::pages::{Blocks, FilePlan, Piece};
use crate::repository::label;

use super::check::{ManifestCheck, mismatch};
use super::combine::{CombinedFile, Combiner, Fault, LAYOUT, without_prefix};
use super::error::RestoreError;
use super::members::Members;
use super::path::InnerPath;
use super::plan::RECOVERY_WAL;
use super::tree::{CONTROL_FILE, MARKER, Tree, TreeFile};

/// Files that belonged to the old server's life, or that the restore makes itself.
///
/// `tablespace_map` would make the server create links of its own to the old locations.
const LEFT_OUT: [&str; 13] = [
    Manifest::FILE_NAME,
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

const LABEL: &[u8] = b"backup_label";
/// Nothing that a server puts in one place is larger.
pub(super) const CONTROL_FILE_MAX: u64 = 64 << 10;

/// Whether a file or folder of the data directory is not restored.
pub(super) fn stays_behind(name: &InnerPath) -> bool {
    LEFT_OUT.iter().any(|other| name.is(other))
        || EMPTIED.iter().any(|directory| name.inside(directory).is_some())
}

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
    /// `Some` for the newest backup of a chain.
    combiner: Option<&'t mut Combiner>,
    open: Option<Open>,
    control_file: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Open {
    name: InnerPath,
    file: Option<TreeFile>,
    hasher: Option<Hasher>,
    modified: Option<SystemTime>,
    /// A copy of the bytes, of files that are looked into.
    copy: Option<Vec<u8>>,
    incremental: Option<Box<Incremental>>,
}

/// A file that holds some blocks of the one that it becomes.
#[derive(Debug)]
struct Incremental {
    /// The name of the result in the tree.
    name: InnerPath,
    blocks: Blocks,
    /// Nothing of it is believed, see [`Combiner::empties`].
    empty: bool,
    plan: Option<FilePlan>,
    /// From this block on nothing is taken from older backups.
    limit: u32,
    /// Of the result, in blocks.
    length: u32,
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
        let (combiner, open, control_file) = (None, None, None);
        Unpacker { tree, origin, source, check, combiner, open, control_file }
    }

    /// Files with changed blocks go to `combiner`, which finds the others.
    pub fn combining(mut self, combiner: Option<&'t mut Combiner>) -> Unpacker<'t, 'd> {
        self.combiner = combiner;
        self
    }

    /// What `global/pg_control` held, if it came.
    pub fn into_control_file(self) -> Option<Vec<u8>> {
        self.control_file
    }

    /// A file with changed blocks begins, under `name` here and `listed` in the manifest.
    fn incremental(
        &self,
        name: &InnerPath,
        listed: &InnerPath,
    ) -> Result<Option<Box<Incremental>>, RestoreError> {
        let Some(result) = without_prefix(listed) else { return Ok(None) };
        if self.combiner.is_none() {
            return Err(self.forbidden(name, "a part of a file, in a full backup"));
        }
        let prefix = listed.as_bytes().len() - name.as_bytes().len();
        let name = InnerPath::parse(&result.as_bytes()[prefix..])?;
        let empty = self.combiner.as_ref().is_some_and(|combiner| combiner.empties(&result));
        let blocks = Blocks::new(LAYOUT, true);
        let limit = self.combiner.as_ref().and_then(|combiner| combiner.limit(&result));
        let (limit, plan, length) = (limit.unwrap_or(u32::MAX), None, 0);
        Ok(Some(Box::new(Incremental { name, blocks, empty, plan, limit, length })))
    }

    fn end_of_incremental(
        &mut self,
        listed: &InnerPath,
        incremental: Incremental,
        modified: Option<SystemTime>,
    ) -> Result<(), RestoreError> {
        incremental.blocks.finish().map_err(|source| RestoreError::Incremental {
            name: listed.to_text(),
            path: self.source.clone(),
            source,
        })?;
        if let Some(combiner) = &mut self.combiner {
            let plan = incremental.plan.filter(|plan| !plan.is_complete());
            let at = self.check.as_ref().and_then(|check| check.index(listed));
            // The check has let nothing pass that is not listed.
            let at = at.ok_or_else(|| mismatch(listed, "it is not listed".to_owned()))?;
            combiner.add(CombinedFile::new(at, incremental.length, modified, plan));
        }
        Ok(())
    }

    /// The label of a combined backup is that of a full one.
    fn end_of_label(&mut self, text: &[u8]) -> Result<(), RestoreError> {
        let label = label::combined(text);
        self.tree.write(&InnerPath::parse(LABEL)?, 0o600, &label)?;
        if let Some(combiner) = &mut self.combiner {
            combiner.label = Some(label);
        }
        Ok(())
    }

    fn is_label(&self, listed: &InnerPath) -> bool {
        self.origin == Origin::Main && self.combiner.is_some() && listed.as_bytes() == LABEL
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
        Ok(if stays_behind(name) { Fate::LeaveOut } else { Fate::Write })
    }

    fn forbidden(&self, name: &InnerPath, what: &'static str) -> RestoreError {
        let (path, name) = (self.source.clone(), name.to_text());
        RestoreError::ForbiddenMember { path, name, what }
    }
}

impl Members for Unpacker<'_, '_> {
    fn directory(&mut self, name: &InnerPath, mode: u32) -> Result<(), RestoreError> {
        match self.fate(name)? {
            Fate::Write => {
                // Archives do not hold the root itself: what stands in it has the same mode.
                if mode & 0o777 == 0o750 && !name.as_bytes().contains(&b'/') {
                    self.tree.open_to_group()?;
                }
                Ok(self.tree.directory(name, mode)?)
            }
            Fate::LeaveOut if KEPT_INSIDE.iter().any(|kept| name.is(kept)) => {
                Ok(self.tree.directory(name, mode)?)
            }
            Fate::LeaveOut => Ok(()),
        }
    }

    /// None is ever made from a backup: those of tablespaces are made anew, and a link to
    /// anywhere else would let the next member be written through it.
    fn link(&mut self, name: &InnerPath) -> Result<(), RestoreError> {
        if self.origin == Origin::Main && name.inside("pg_tblspc").is_some() {
            return Ok(());
        }
        Err(self.forbidden(name, "a symbolic link, which is only known in pg_tblspc"))
    }

    fn file(
        &mut self,
        name: InnerPath,
        size: u64,
        mode: u32,
        modified: Option<SystemTime>,
    ) -> Result<(), RestoreError> {
        let fate = self.fate(&name)?;
        let is_control_file = self.origin == Origin::Main && name.is(CONTROL_FILE);
        let listed = listed_name(self.origin, &name)?;
        let is_label = self.is_label(&listed);
        if (is_control_file || is_label) && size > CONTROL_FILE_MAX {
            return Err(self.forbidden(&name, "too large"));
        }
        let incremental = match fate {
            Fate::Write => self.incremental(&name, &listed)?,
            Fate::LeaveOut => None,
        };
        let hasher = match &self.check {
            // What is not restored may be unknown to the manifest: it harms nobody.
            Some(check) if fate == Fate::Write || check.lists(&listed) => {
                check.begin(&listed, size)?
            }
            _ => None,
        };
        let file = match fate {
            // Written when it is known.
            Fate::Write if is_label => None,
            Fate::Write => {
                let name = incremental.as_ref().map_or(&name, |incremental| &incremental.name);
                Some(self.tree.file(name, mode)?)
            }
            Fate::LeaveOut => None,
        };
        let copy = (is_control_file || is_label).then(Vec::new);
        self.open = Some(Open { name: listed, file, hasher, modified, copy, incremental });
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if let Some(hasher) = &mut open.hasher {
            hasher.update(bytes);
        }
        if let Some(copy) = &mut open.copy {
            copy.extend_from_slice(bytes);
        }
        match (&mut open.file, &mut open.incremental) {
            (None, _) => Ok(()),
            (Some(file), None) => Ok(file.write(bytes)?),
            (Some(file), Some(incremental)) => {
                let placed = incremental.place(file, bytes);
                placed.map_err(|fault| fault.of(&open.name, &self.source))
            }
        }
    }

    fn end_of_file(&mut self) -> Result<(), RestoreError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if let (Some(hasher), Some(check)) = (open.hasher, &mut self.check) {
            check.end(&open.name, hasher)?;
        }
        match open.copy {
            Some(label) if self.is_label(&open.name) => self.end_of_label(&label)?,
            Some(control_file) => self.control_file = Some(control_file),
            None => {}
        }
        if let Some(incremental) = open.incremental {
            self.end_of_incremental(&open.name, *incremental, open.modified)?;
        }
        match open.file {
            Some(file) => Ok(file.finish(open.modified)?),
            None => Ok(()),
        }
    }
}

impl Incremental {
    /// Puts what has come in its place. The file gets its final length before its first block.
    fn place(&mut self, file: &mut TreeFile, bytes: &[u8]) -> Result<(), Fault> {
        let page = LAYOUT.page_size.bytes() as u64;
        let (limit, empty) = (self.limit, self.empty);
        let (plan, length) = (&mut self.plan, &mut self.length);
        self.blocks.push(bytes, &mut |piece| {
            match piece {
                _ if empty => {}
                Piece::Header(header) => {
                    *length = header.result_blocks();
                    let mut missing = FilePlan::new(header);
                    missing.end_at(limit);
                    *plan = Some(missing);
                    file.pad_to(u64::from(*length) * page)?;
                }
                Piece::Run { first, bytes } => file.write_within(bytes, u64::from(first) * page)?,
            }
            Ok(())
        })
    }
}

/// As the manifest spells a name.
pub(super) fn listed_name(origin: Origin, name: &InnerPath) -> Result<InnerPath, RestoreError> {
    match origin {
        Origin::Main => Ok(name.clone()),
        Origin::Tablespace(oid) => {
            let mut path = format!("pg_tblspc/{oid}/").into_bytes();
            path.extend_from_slice(name.as_bytes());
            Ok(InnerPath::parse(&path)?)
        }
    }
}
