//! Where the parts of a stored backup stand.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::error::VerifyError;
use super::finding::Finding;
use crate::codec::{ArchiveFacts, Codec};
use crate::disk::{Disk, FileKind};
use crate::manifest::Manifest;
use crate::repository::{BackupInfo, ServerLayout};

/// What stands behind `.tar` in the names of archives.
const SUFFIXES: [&str; 6] = ["", ".gz", ".lz4", ".zst", ".bz2", ".xz"];

/// A backup as it is stored.
#[derive(Debug)]
pub(super) struct Parts {
    /// `data/`, or what it was called before Barman 1.4.
    pub(super) data: PathBuf,
    /// How it is kept.
    pub(super) form: Form,
    /// What is wrong before a single file was read.
    pub(super) findings: Vec<Finding>,
}

/// How the files of a backup are kept.
#[derive(Debug)]
pub(super) enum Form {
    /// `base.tar` and one archive for each tablespace.
    Archives(Vec<Archive>),
    /// A data directory, and one for each tablespace.
    Directories(Vec<Root>),
}

/// An archive.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) path: PathBuf,
    /// What the manifest puts before the names in it: nothing, or `pg_tblspc/<oid>/`.
    pub(super) prefix: Vec<u8>,
    /// Bytes, unpacked; where only reading it would tell, those that are stored.
    pub(super) length: u64,
}

/// A directory.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    /// As that of an archive.
    pub(super) prefix: Vec<u8>,
}

impl Parts {
    /// Looks for the parts of a backup that was copied to its end.
    pub(super) fn find(
        disk: &dyn Disk,
        layout: &ServerLayout,
        info: &BackupInfo,
    ) -> Result<Parts, VerifyError> {
        if !info.is_copied() {
            return Err(VerifyError::NotCopied { id: info.id, status: info.status.clone() });
        }
        let data = layout.existing_data(disk, info.id)?;
        let entries = match disk.list(&data) {
            Err(error) if error.is_absent() => return Err(VerifyError::NoData(data)),
            result => result?,
        };
        let is_base = |name: &OsStr| stem(name) == Some("base");
        if entries.iter().any(|entry| is_base(&entry.name)) || info.compression.is_some() {
            return archives(disk, layout, info, data);
        }
        if !entries.iter().any(|entry| entry.name == "global" || entry.name == "PG_VERSION") {
            return Err(VerifyError::NoData(data));
        }
        directories(disk, layout, info, data)
    }

    /// Where the manifest stands, or would.
    pub(super) fn manifest(&self) -> PathBuf {
        self.data.join(Manifest::FILE_NAME)
    }
}

/// `base` of `base.tar.gz`.
fn stem(name: &OsStr) -> Option<&str> {
    let name = name.to_str()?;
    let name = name.strip_suffix(".gpg").unwrap_or(name);
    let tar = |suffix: &&str| name.strip_suffix(*suffix)?.strip_suffix(".tar");
    SUFFIXES.iter().find_map(tar)
}

/// What the manifest puts before the names in a part: `None` for names that no part has.
fn prefix(stem: &str) -> Option<Vec<u8>> {
    match stem.parse::<u32>() {
        Ok(oid) if oid.to_string() == stem => Some(format!("pg_tblspc/{oid}/").into_bytes()),
        _ => (stem == "base").then(Vec::new),
    }
}

fn archives(
    disk: &dyn Disk,
    layout: &ServerLayout,
    info: &BackupInfo,
    data: PathBuf,
) -> Result<Parts, VerifyError> {
    let mut found: Vec<Archive> = Vec::new();
    let mut findings = Vec::new();
    let mut entries = disk.list(&data)?;
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    for entry in entries {
        let path = data.join(&entry.name);
        if entry.name == Manifest::FILE_NAME && entry.kind == FileKind::File {
            continue;
        }
        let prefix = stem(&entry.name).and_then(prefix).filter(|_| entry.kind == FileKind::File);
        match prefix {
            // Of two spellings of one archive restore takes one: which, is nobody's guess.
            Some(prefix) if found.iter().all(|other| other.prefix != prefix) => {
                found.push(archive(disk, path, prefix)?);
            }
            _ => findings.push(Finding::Stray { path }),
        }
    }
    let wanted = std::iter::once("base".to_owned())
        .chain(info.tablespaces.iter().flatten().map(|tablespace| tablespace.oid.to_string()));
    let suffix = info.compression.as_ref().map_or("", |compression| compression.suffix());
    for stem in wanted {
        if prefix(&stem).is_some_and(|prefix| found.iter().all(|other| other.prefix != prefix)) {
            findings.push(Finding::NoPart { path: data.join(format!("{stem}.tar{suffix}")) });
        }
    }
    for oid in stored_tablespaces(disk, &layout.backup(info.id))? {
        let path = layout.tablespace(info.id, oid);
        let inside = disk.list(&path)?.into_iter();
        findings.extend(inside.map(|entry| Finding::Stray { path: path.join(entry.name) }));
    }
    Ok(Parts { data, form: Form::Archives(found), findings })
}

fn archive(disk: &dyn Disk, path: PathBuf, prefix: Vec<u8>) -> Result<Archive, VerifyError> {
    let file = disk.open_read(&path)?;
    // Whatever is wrong with its ends is found when all of it is read.
    let facts = ArchiveFacts::of(file.as_ref()).ok();
    let codec = facts.map_or(Codec::Plain, |facts| facts.codec);
    // A damaged beginning may look encrypted; what is meant to be says so by its name.
    let is_encrypted = path.extension().is_some_and(|extension| extension == "gpg");
    if is_encrypted || (!codec.is_readable() && codec != Codec::Gpg) {
        let codec = if is_encrypted { Codec::Gpg } else { codec };
        return Err(VerifyError::Packed { path, codec });
    }
    let plain = facts.and_then(|facts| facts.plain_length);
    Ok(Archive { length: plain.map_or_else(|| file.length(), Ok)?, path, prefix })
}

fn directories(
    disk: &dyn Disk,
    layout: &ServerLayout,
    info: &BackupInfo,
    data: PathBuf,
) -> Result<Parts, VerifyError> {
    let mut roots = vec![Root { path: data.clone(), prefix: Vec::new() }];
    let mut findings = Vec::new();
    let stored = stored_tablespaces(disk, &layout.backup(info.id))?;
    for tablespace in info.tablespaces.iter().flatten() {
        if !stored.contains(&tablespace.oid) {
            let path = layout.tablespace(info.id, tablespace.oid);
            findings.push(Finding::NoPart { path });
        }
    }
    for oid in stored {
        let prefix = format!("pg_tblspc/{oid}/").into_bytes();
        roots.push(Root { path: layout.tablespace(info.id, oid), prefix });
    }
    Ok(Parts { data, form: Form::Directories(roots), findings })
}

/// The directories of tablespaces beside `data/`, ascending.
fn stored_tablespaces(disk: &dyn Disk, backup: &Path) -> Result<Vec<u32>, VerifyError> {
    let is_directory = |kind| kind == FileKind::Directory;
    let entries = disk.list(backup)?.into_iter().filter(|entry| is_directory(entry.kind));
    let oid = |name: &OsStr| name.to_str()?.parse::<u32>().ok();
    let mut oids: Vec<u32> = entries.filter_map(|entry| oid(&entry.name)).collect();
    oids.sort_unstable();
    Ok(oids)
}
