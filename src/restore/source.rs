//! Where the files of a backup come from: a tar archive, or a plain directory.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use crate::codec::{ArchiveFacts, StoredFile};
use crate::disk::{Disk, FileKind};
use crate::repository::BackupExtra;
use crate::tar::{TarEvent, TarSplitter};

use super::error::RestoreError;
use super::members::Members;
use super::path::InnerPath;

const READ_BYTES: usize = 1 << 20;
/// Deeper than any data directory, shallow enough for the stack.
const DEPTH_MAX: usize = 32;
/// Endings of archives that Barman makes, beside none.
const SUFFIXES: [&str; 4] = ["", ".gz", ".lz4", ".zst"];

/// The files of one data directory or tablespace.
#[derive(Debug)]
pub enum Source {
    /// An archive.
    Archive {
        /// Its path.
        path: PathBuf,
        /// Its length in bytes, unpacked; where only reading it would tell that, its length as
        /// it is stored.
        length: u64,
    },
    /// A directory with the files themselves.
    Directory {
        /// Its path.
        path: PathBuf,
        /// The bytes in it.
        length: u64,
    },
}

impl Source {
    /// Looks for `<data>/<stem>.tar` in its spellings. `None` when there is none; an error when
    /// it is packed in a way that cannot be undone. `extra` knows more of archives that do not
    /// say themselves how long they are.
    pub fn archive(
        disk: &dyn Disk,
        data: &Path,
        stem: &str,
        extra: &BackupExtra,
    ) -> Result<Option<Source>, RestoreError> {
        for suffix in SUFFIXES {
            for encryption in ["", ".gpg"] {
                let name = format!("{stem}.tar{suffix}{encryption}");
                let path = data.join(&name);
                let Some(stat) = disk.stat(&path)? else { continue };
                let file = disk.open_read(&path)?;
                let ArchiveFacts { codec, plain_length } = ArchiveFacts::of(file.as_ref())?;
                if !codec.is_readable() {
                    return Err(RestoreError::Packed { path, codec });
                }
                let recorded = || extra.plain_lengths.get(&name).copied();
                let length = plain_length.or_else(recorded).unwrap_or(stat.length);
                return Ok(Some(Source::Archive { path, length }));
            }
        }
        Ok(None)
    }

    /// Takes a directory, if it is there.
    pub fn directory(disk: &dyn Disk, path: &Path) -> Result<Option<Source>, RestoreError> {
        match disk.stat(path)? {
            Some(stat) if stat.kind == FileKind::Directory => {
                let length = directory_bytes(disk, path, 0)?;
                Ok(Some(Source::Directory { path: path.to_owned(), length }))
            }
            _ => Ok(None),
        }
    }

    /// The path, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Source::Archive { path, .. } | Source::Directory { path, .. } => path,
        }
    }

    /// Bytes that will be written, about; never more.
    pub fn length(&self) -> u64 {
        match self {
            Source::Archive { length, .. } | Source::Directory { length, .. } => *length,
        }
    }

    /// Hands every member to `members`. `moved` is told of bytes read, and may end it all.
    pub fn unpack(
        &self,
        disk: &dyn Disk,
        members: &mut dyn Members,
        moved: &mut dyn FnMut(u64) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        match self {
            Source::Archive { path, .. } => unpack_archive(disk, path, members, moved),
            Source::Directory { path, .. } => {
                let mut walk = Walk { disk, members, moved };
                walk.directory(path, &mut Vec::new())
            }
        }
    }
}

fn unpack_archive(
    disk: &dyn Disk,
    path: &Path,
    members: &mut dyn Members,
    moved: &mut dyn FnMut(u64) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let archive = |source| RestoreError::Archive { path: path.to_owned(), source };
    let mut file = StoredFile::of_archive(disk.open_read(path)?)?;
    let mut splitter = TarSplitter::new();
    while let Some(piece) = read_piece(&mut file)? {
        let read = piece.len() as u64;
        splitter.push(piece);
        while let Some(event) = splitter.next().map_err(archive)? {
            match event {
                TarEvent::Member(member) => members.member(member)?,
                TarEvent::Data(bytes) => members.data(&bytes)?,
                TarEvent::MemberEnd => members.end_of_file()?,
                TarEvent::End => {}
            }
        }
        moved(read)?;
    }
    splitter.finish().map_err(archive)?;
    Ok(())
}

/// A piece of a file in a buffer of its own: the splitter hands out slices of it.
fn read_piece(file: &mut StoredFile) -> Result<Option<Bytes>, RestoreError> {
    let mut buffer = BytesMut::zeroed(READ_BYTES);
    let read = file.read(&mut buffer)?;
    buffer.truncate(read);
    Ok((read > 0).then(|| buffer.freeze()))
}

/// A depth-first walk that never follows a link.
struct Walk<'w> {
    disk: &'w dyn Disk,
    members: &'w mut dyn Members,
    moved: &'w mut dyn FnMut(u64) -> Result<(), RestoreError>,
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, name: &mut Vec<u8>) -> Result<(), RestoreError> {
        let mut entries = self.disk.list(path)?;
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        for entry in entries {
            let length = name.len();
            if length > 0 {
                name.push(b'/');
            }
            name.extend_from_slice(entry.name.as_bytes());
            let inner = InnerPath::parse(name)?;
            let below = path.join(&entry.name);
            match entry.kind {
                FileKind::Directory if depth(name) < DEPTH_MAX => {
                    let mode = self.disk.stat(&below)?.map_or(0o700, |stat| stat.mode);
                    // Barman keeps tablespaces beside the data directory; what the links in
                    // here lead to is not looked at, and neither is a directory in their place.
                    if inner.inside("pg_tblspc").is_none() {
                        self.members.directory(&inner, mode)?;
                        self.directory(&below, name)?;
                    }
                }
                FileKind::File => self.file(&below, inner)?,
                // The WAL directory is often a link to another disk: its place is kept.
                FileKind::Symlink if is_link_to_directory(&inner) => {
                    self.members.directory(&inner, 0o700)?;
                }
                FileKind::Symlink => self.members.link(&inner)?,
                FileKind::Directory | FileKind::Other => {
                    return Err(RestoreError::ForbiddenMember {
                        path: path.to_owned(),
                        name: inner.to_text(),
                        what: "neither a file nor a directory",
                    });
                }
            }
            name.truncate(length);
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: InnerPath) -> Result<(), RestoreError> {
        let file = self.disk.open_read(path)?;
        let stat = self.disk.stat(path)?;
        let (mode, modified) = match &stat {
            Some(stat) => (stat.mode, Some(stat.modified)),
            None => (0o600, None),
        };
        self.members.file(name, file.length()?, mode, modified)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut at = 0;
        loop {
            let read = file.read_at(&mut buffer, at)?;
            if read == 0 {
                return self.members.end_of_file();
            }
            self.members.data(&buffer[..read])?;
            at += read as u64;
            (self.moved)(read as u64)?;
        }
    }
}

fn depth(name: &[u8]) -> usize {
    name.iter().filter(|byte| **byte == b'/').count()
}

fn is_link_to_directory(name: &InnerPath) -> bool {
    ["pg_wal", "pg_xlog", "pg_log", "log"].iter().any(|directory| name.is(directory))
}

fn directory_bytes(disk: &dyn Disk, path: &Path, depth: usize) -> Result<u64, RestoreError> {
    let mut bytes = 0;
    for entry in disk.list(path)? {
        let below = path.join(&entry.name);
        match entry.kind {
            FileKind::File => bytes += disk.stat(&below)?.map_or(0, |stat| stat.length),
            FileKind::Directory if depth < DEPTH_MAX => {
                bytes += directory_bytes(disk, &below, depth + 1)?;
            }
            _ => {}
        }
    }
    Ok(bytes)
}
