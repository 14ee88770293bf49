//! WAL that `archive_command` delivers: nobody says when a file is whole.
//!
//! A plain `cp` writes under the final name, and writes again under it when the server repeats
//! a command that was interrupted. So a file is copied first, to a place that nobody else knows;
//! the copy is looked at, and the copy is archived. The original goes when that is done, if it
//! is still what was copied.

use std::path::{Path, PathBuf};

use super::{ArchiveError, Archiver, Swept};
use crate::codec::{Codec, StoredFile};
use crate::disk::{self, Disk, DiskError, FileStat};
use crate::repository::{DATA_MODE, Identity};
use crate::wal::page::PageHeader;
use crate::wal::{SegmentName, SegmentSize, SystemIdentifier, TimelineHistory, WalFileName};

impl Archiver {
    /// Archives files of `incoming/`. What is wrong with one of them keeps none of the others.
    pub(super) fn archive_delivered(
        &mut self,
        names: &[WalFileName],
    ) -> Result<Swept, ArchiveError> {
        let stage = self.layout.state().join("incoming");
        disk::create_directories(self.disk.as_ref(), &stage, DATA_MODE)?;
        let identity = Identity::read(self.disk.as_ref(), &self.layout)?;
        let system = identity.map(|identity| identity.system_identifier);
        let mut all = Swept::default();
        for some in names.chunks(STAGED_MAX) {
            // Of a run before, if it was killed: the originals are all still there.
            clear(self.disk.as_ref(), &stage)?;
            let mut staged = Vec::new();
            for &name in some {
                match self.stage(&stage, name, system) {
                    Ok(Some(stat)) => staged.push((name, stat)),
                    Ok(None) => {}
                    Err(error) if error.is_of_content() => all.refused.push(error),
                    Err(error) => return Err(error),
                }
            }
            let swept = self.sweep_from(&stage, staged.iter().map(|(name, _)| *name).collect())?;
            for (name, stat) in staged {
                self.take_original(name, &stat)?;
            }
            all.stored.extend(swept.stored);
            all.duplicates.extend(swept.duplicates);
            all.refused.extend(swept.refused);
        }
        clear(self.disk.as_ref(), &stage)?;
        Ok(all)
    }

    /// Copies one file, and makes sure that the copy is what its name says. Returns what the
    /// original was like; `None` when it is gone.
    fn stage(
        &self,
        stage: &Path,
        name: WalFileName,
        system: Option<SystemIdentifier>,
    ) -> Result<Option<FileStat>, ArchiveError> {
        let disk = self.disk.as_ref();
        let (from, to) = (self.original(name), stage.join(name.to_string()));
        let Some(stat) = disk.stat(&from)? else { return Ok(None) };
        let copied = match copy(disk, &from, &to, &stat) {
            Err(error) if error.is_absent() => return Ok(None),
            result => result?,
        };
        let unfinished = || ArchiveError::Unfinished { path: from.clone(), length: stat.length };
        if stat.length == 0 || copied != stat.length || disk.stat(&from)?.as_ref() != Some(&stat) {
            return Err(unfinished());
        }
        match name {
            WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
                match look_at(disk, &to, segment)? {
                    Look::Whole(found) => {
                        let other = found.zip(system).filter(|(found, known)| found != known);
                        if let Some((found, expected)) = other {
                            return Err(ArchiveError::Foreign { path: from, found, expected });
                        }
                    }
                    Look::Cut => return Err(unfinished()),
                    Look::Other => return Err(ArchiveError::Content { path: from }),
                }
            }
            WalFileName::History(timeline) => {
                let text = disk::read_file(disk, &to, SMALL_MAX)?;
                if TimelineHistory::parse(timeline, &text).is_err() {
                    return Err(ArchiveError::Content { path: from });
                }
            }
            WalFileName::BackupLabel { .. } => {}
        }
        Ok(Some(stat))
    }

    fn original(&self, name: WalFileName) -> PathBuf {
        self.layout.incoming().join(name.to_string())
    }

    /// Not synced, as everywhere in the archive: if it comes back it is found to be known. One
    /// that was written again meanwhile is for the next run.
    pub(super) fn take_original(
        &self,
        name: WalFileName,
        stat: &FileStat,
    ) -> Result<(), ArchiveError> {
        let path = self.original(name);
        if self.disk.stat(&path)?.as_ref() != Some(stat) {
            return Ok(());
        }
        match self.disk.remove_file(&path) {
            Err(error) if !error.is_absent() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// What a segment that was delivered turns out to be.
enum Look {
    /// All of it, of this cluster if its first page says so.
    Whole(Option<SystemIdentifier>),
    /// Its end is not there.
    Cut,
    /// Not the segment of this name.
    Other,
}

/// Its first page says how long a segment is: a file of another length is on its way, or was
/// given up on its way. What is packed has to unpack to that length.
fn look_at(disk: &dyn Disk, path: &Path, name: SegmentName) -> Result<Look, ArchiveError> {
    let mut file = match StoredFile::of_wal(disk.open_read(path)?) {
        Ok(file) => file,
        // Barman's own encryption can be kept, but not looked into.
        Err(_) if is_encrypted(disk, path)? => return Ok(Look::Whole(None)),
        Err(error) if error.is_of_unpacking() => return Ok(Look::Cut),
        Err(error) => return Err(error.into()),
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut header = None;
    let mut length = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                header = header.or_else(|| PageHeader::parse(&buffer[..read]));
                length += read as u64;
            }
            Err(error) if error.is_of_unpacking() => return Ok(Look::Cut),
            Err(error) => return Err(error.into()),
        }
    }
    let known = header.filter(|header| header.magic.major_version().is_some());
    let Some((header, long)) = known.and_then(|header| Some((header, header.long?))) else {
        return Ok(Look::Other);
    };
    let Ok(size) = SegmentSize::new(u64::from(long.segment_size)) else { return Ok(Look::Other) };
    if name.number(size).map(|number| number.start(size)) != Some(header.address) {
        return Ok(Look::Other);
    }
    let is_whole = length == u64::from(size.bytes());
    Ok(if is_whole { Look::Whole(Some(long.system)) } else { Look::Cut })
}

fn is_encrypted(disk: &dyn Disk, path: &Path) -> Result<bool, DiskError> {
    let mut head = [0; Codec::HEAD_BYTES];
    let read = disk.open_read(path)?.read_at(&mut head, 0)?;
    Ok(Codec::of_wal(&head[..read]) == Codec::Gpg)
}

/// Copies without making anything durable: the archive sees to that, of what it keeps. Returns
/// how many bytes there were.
fn copy(disk: &dyn Disk, from: &Path, to: &Path, stat: &FileStat) -> Result<u64, DiskError> {
    let source = disk.open_read(from)?;
    let target = disk.create(to, stat.mode)?;
    let length = disk::copy_content(source.as_ref(), target.as_ref())?;
    target.set_modified(stat.modified)?;
    Ok(length)
}

fn clear(disk: &dyn Disk, stage: &Path) -> Result<(), DiskError> {
    for entry in disk.list(stage)? {
        disk.remove_file(&stage.join(entry.name))?;
    }
    Ok(())
}

/// As many are copied before they are archived: room for so many segments is needed.
const STAGED_MAX: usize = 8;
/// Far above what a history file holds.
const SMALL_MAX: u64 = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;
