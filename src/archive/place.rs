//! One file: made ready beside its place, then put there and entered.
//!
//! The first half is the work, and several files may be in it at once; the second goes in the
//! order of the names.

use std::path::{Path, PathBuf};

use super::pack::{pack, temporary};
use super::{ArchiveError, ArchiveSettings, Archived, Archiver};
use crate::codec::{Codec, Packing, StoredFile};
use crate::disk::{self, Disk, DiskError, DiskFile, FileStat, LockFile};
use crate::repository::{DIRECTORY_MODE, Lock, XlogDb, XlogLine, xlogdb};
use crate::wal::{SegmentSize, WalFileName};

/// A file that waits for its turn.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub name: WalFileName,
    pub from: PathBuf,
    pub to: PathBuf,
}

/// What was found out about it, and done.
#[derive(Debug)]
pub(super) enum Ready {
    /// It is not there any more.
    Gone,
    /// It goes to its place as it is.
    AsIs(FileStat, Codec),
    /// It stands packed beside its place.
    Packed(FileStat, Packing),
    /// Something stands in its place, with the same content or with another.
    Stands { same: bool },
}

/// Looks at a file and packs it, if it is to be packed.
pub(super) fn prepare(
    disk: &dyn Disk,
    settings: &ArchiveSettings,
    job: &Job,
) -> Result<Ready, ArchiveError> {
    let Some(stat) = disk.stat(&job.from)? else { return Ok(Ready::Gone) };
    let source = match disk.open_read(&job.from) {
        Err(error) if error.is_absent() => return Ok(Ready::Gone),
        result => result?,
    };
    let codec = codec_of(source.as_ref())?;
    if codec == Codec::Plain {
        check_size(job, &stat)?;
    }
    if stands(disk, &job.to)? {
        return Ok(Ready::Stands { same: is_same(disk, source, &job.to)? });
    }
    let is_packable = matches!(job.name, WalFileName::Segment(_) | WalFileName::Partial(_));
    match settings.packing.filter(|_| is_packable && codec == Codec::Plain) {
        Some(packing) => {
            pack(disk, source.as_ref(), &stat, &job.to, packing)?;
            Ok(Ready::Packed(stat, packing))
        }
        None => Ok(Ready::AsIs(stat, codec)),
    }
}

impl Archiver {
    /// Puts a file into its place, enters it, and takes it out of where it came from.
    pub(super) fn commit(&mut self, job: &Job, ready: Ready) -> Result<Archived, ArchiveError> {
        let _lock = self.lock_xlogdb()?;
        let (stat, codec, archived) = match ready {
            Ready::Gone => return Ok(Archived::Gone),
            Ready::Stands { same: false } => {
                return self.put_aside(job).map(Archived::Duplicate);
            }
            Ready::Stands { same: true } => {
                let stored = self.disk.open_read(&job.to)?;
                let stat = self.disk.stat(&job.to)?.ok_or_else(|| vanished(&job.to))?;
                (stat, codec_of(stored.as_ref())?, Archived::Known)
            }
            Ready::AsIs(stat, codec) => {
                // Whoever wrote it: its bytes are durable before its name is in the archive.
                match self.disk.open_read(&job.from) {
                    Err(error) if error.is_absent() => return Ok(Archived::Gone),
                    source => source?.sync_all()?,
                }
                self.remove_empty(&job.to)?;
                self.place(&job.from, &job.to)?;
                (stat, codec, Archived::Stored)
            }
            Ready::Packed(stat, packing) => {
                let packed = temporary(&job.to);
                let length = self.disk.stat(&packed)?.ok_or_else(|| vanished(&packed))?.length;
                self.disk.rename(&packed, &job.to)?;
                (FileStat { length, ..stat }, packing.codec(), Archived::Stored)
            }
        };
        self.disk.sync_directory(disk_parent(&job.to))?;
        if archived == Archived::Stored || !self.has_line(job.name)? {
            let mut line = XlogLine::plain(job.name, stat.length, stat.modified);
            line.compression = codec.word().map(str::to_owned);
            line.encryption = (codec == Codec::Gpg).then(|| codec.to_string());
            xlogdb::append_locked(self.disk.as_ref(), &self.layout, &[line])?;
        }
        self.take_away(job, codec)?;
        Ok(archived)
    }

    /// Not synced: if the name comes back after a crash, it is found to be known.
    fn take_away(&self, job: &Job, codec: Codec) -> Result<(), ArchiveError> {
        let is_segment = matches!(job.name, WalFileName::Segment(_));
        let streaming = self.layout.streaming();
        let is_from_there = job.from.parent() == Some(streaming);
        if !self.settings.recycle || codec == Codec::Plain || !is_segment || !is_from_there {
            return Ok(self.disk.remove_file(&job.from)?);
        }
        // What is written into it next must never be seen under the name of this segment: the
        // receiver gets it when its old name is gone for good.
        let on_its_way = streaming.join(RECYCLING_NAME);
        self.disk.rename(&job.from, &on_its_way)?;
        self.disk.sync_directory(streaming)?;
        Ok(self.disk.rename(&on_its_way, &streaming.join(RECYCLED_NAME))?)
    }

    pub(super) fn establish(&mut self, directory: &Path) -> Result<(), ArchiveError> {
        if self.directory.as_deref() != Some(directory) {
            disk::create_directories(self.disk.as_ref(), directory, DIRECTORY_MODE)?;
            self.directory = Some(directory.to_owned());
        }
        Ok(())
    }

    /// Gives the file its second name, or copies it where that cannot be.
    fn place(&self, from: &Path, to: &Path) -> Result<(), ArchiveError> {
        match self.disk.link(from, to) {
            Err(error) if error.is_link_refused() => Ok(disk::copy(self.disk.as_ref(), from, to)?),
            result => Ok(result?),
        }
    }

    fn remove_empty(&self, path: &Path) -> Result<(), ArchiveError> {
        match self.disk.stat(path)? {
            Some(stat) if stat.length == 0 => Ok(self.disk.remove_file(path)?),
            _ => Ok(()),
        }
    }

    fn has_line(&self, name: WalFileName) -> Result<bool, ArchiveError> {
        let db = XlogDb::read_locked(self.disk.as_ref(), &self.layout)?;
        Ok(db.lines.iter().any(|line| line.name == name))
    }

    /// Moves a file to `errors/` that must not replace what the archive holds.
    fn put_aside(&self, job: &Job) -> Result<PathBuf, ArchiveError> {
        let to = self.error_path(&job.name.to_string(), "duplicate");
        disk::create_directories(self.disk.as_ref(), self.layout.errors(), DIRECTORY_MODE)?;
        disk::move_file(self.disk.as_ref(), &job.from, &to)?;
        Ok(to)
    }

    /// Where Barman puts what may not be archived.
    pub(super) fn error_path(&self, name: &str, why: &str) -> PathBuf {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        self.layout.errors().join(format!("{name}.{now}.{why}"))
    }

    fn lock_xlogdb(&self) -> Result<Option<LockFile>, ArchiveError> {
        #[cfg(test)]
        if self.without_locks {
            return Ok(None);
        }
        Ok(Some(LockFile::acquire_waiting(&self.layout.lock(Lock::XlogDb))?))
    }
}

/// An empty file, as a power cut leaves it where names reach the disk before content, is none.
fn stands(disk: &dyn Disk, path: &Path) -> Result<bool, DiskError> {
    Ok(disk.stat(path)?.is_some_and(|stat| stat.length > 0))
}

fn codec_of(file: &dyn DiskFile) -> Result<Codec, DiskError> {
    let mut head = [0; Codec::HEAD_BYTES];
    let read = file.read_at(&mut head, 0)?;
    Ok(Codec::of_wal(&head[..read]))
}

/// Whether two files hold the same, whatever each of them is packed with. What cannot be
/// unpacked is not the same as anything.
fn is_same(disk: &dyn Disk, source: Box<dyn DiskFile>, to: &Path) -> Result<bool, DiskError> {
    let compared = StoredFile::of_wal(source).and_then(|source| {
        let stored = StoredFile::of_wal(disk.open_read(to)?)?;
        hold_the_same(source, stored)
    });
    match compared {
        Err(error) if error.is_of_unpacking() => Ok(false),
        result => result,
    }
}

fn hold_the_same(mut left: StoredFile, mut right: StoredFile) -> Result<bool, DiskError> {
    let (mut ours, mut theirs) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    loop {
        let read = left.read(&mut ours)?;
        if right.read(&mut theirs)? != read || ours[..read] != theirs[..read] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

fn check_size(job: &Job, stat: &FileStat) -> Result<(), ArchiveError> {
    let is_segment = matches!(job.name, WalFileName::Segment(_));
    if is_segment && SegmentSize::new(stat.length).is_err() {
        return Err(ArchiveError::Size { path: job.from.clone(), length: stat.length });
    }
    Ok(())
}

fn disk_parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn vanished(path: &Path) -> DiskError {
    DiskError::new("stat", path, std::io::Error::from(std::io::ErrorKind::NotFound))
}

/// A segment file that is needed no more, under the name by which the receiver finds it.
pub const RECYCLED_NAME: &str = "recycled.tmp";
/// The same on its way there.
pub const RECYCLING_NAME: &str = "recycling.tmp";
const COMPARE_BYTES: usize = 256 << 10;
