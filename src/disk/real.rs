//! The disk of the machine.
//!
//! Every path ends in a system call; short writes and interrupted calls are continued here, so
//! that nobody above needs to know of them. Knows nothing of what is stored.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::{Errno, retry_on_intr};

use super::{
    DirectoryEntry, Disk, DiskError, DiskFile, FileKind, FileStat, FileSystemWatch, watch,
};
use crate::sys;

/// The file systems of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// Whether this user may make files in a directory. Changes nothing.
pub fn may_write(directory: &Path) -> bool {
    let wanted = fs::Access::WRITE_OK | fs::Access::EXEC_OK;
    fs::access(directory, wanted).is_ok()
}

impl Disk for RealDisk {
    fn create(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>, DiskError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
        open("create", path, flags, Mode::from_raw_mode(mode))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        open("open", path, OFlags::RDWR, Mode::empty())
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        open("open", path, OFlags::RDONLY, Mode::empty())
    }

    fn open_direct(&self, path: &Path) -> Result<Option<Box<dyn DiskFile>>, DiskError> {
        match open("open", path, OFlags::WRONLY | OFlags::DIRECT, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.is_unsupported() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::linkat(fs::CWD, from, fs::CWD, to, AtFlags::empty())
            .map_err(|error| DiskError::new("create", to, error))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(|error| DiskError::new("rename to", to, error))
    }

    fn remove_file(&self, path: &Path) -> Result<(), DiskError> {
        fs::unlink(path).map_err(|error| DiskError::new("remove", path, error))
    }

    fn create_directory(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        fs::mkdir(path, Mode::from_raw_mode(mode))
            .map_err(|error| DiskError::new("create directory", path, error))
    }

    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        fs::unlinkat(fs::CWD, path, AtFlags::REMOVEDIR)
            .map_err(|error| DiskError::new("remove directory", path, error))
    }

    fn symlink(&self, target: &Path, link: &Path) -> Result<(), DiskError> {
        fs::symlink(target, link).map_err(|error| DiskError::new("create link", link, error))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        fs::chmod(path, Mode::from_raw_mode(mode))
            .map_err(|error| DiskError::new("set the mode of", path, error))
    }

    fn sync_directory(&self, path: &Path) -> Result<(), DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = retry_on_intr(|| fs::open(path, flags, Mode::empty()))
            .map_err(|error| DiskError::new("open directory", path, error))?;
        match retry_on_intr(|| fs::fsync(&directory)) {
            // Some network file systems do not know fsync of a directory: their names are
            // durable when the call that made them returns. PostgreSQL reads it the same way.
            Ok(()) | Err(Errno::INVAL | Errno::BADF) => Ok(()),
            Err(error) => Err(DiskError::new("sync directory", path, error)),
        }
    }

    fn flush_file_system(&self, path: &Path) -> Result<(), DiskError> {
        let directory =
            retry_on_intr(|| fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
                .map_err(|error| DiskError::new("open directory", path, error))?;
        match retry_on_intr(|| fs::syncfs(&directory)) {
            Ok(()) | Err(Errno::NOSYS) => Ok(()),
            Err(error) => Err(DiskError::new("sync the file system of", path, error)),
        }
    }

    fn watch_file_system(
        &self,
        path: &Path,
    ) -> Result<Option<Box<dyn FileSystemWatch>>, DiskError> {
        watch::watch(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirectoryEntry>, DiskError> {
        let listed = || -> io::Result<Vec<DirectoryEntry>> {
            std::fs::read_dir(path)?
                .map(|entry| {
                    let entry = entry?;
                    Ok(DirectoryEntry { name: entry.file_name(), kind: kind(entry.file_type()?) })
                })
                .collect()
        };
        listed().map_err(|error| DiskError::new("list", path, error))
    }

    fn stat(&self, path: &Path) -> Result<Option<FileStat>, DiskError> {
        let found = match std::fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(DiskError::new("stat", path, error)),
        };
        Ok(Some(FileStat {
            kind: kind(found.file_type()),
            length: found.len(),
            mode: found.permissions().mode() & 0o7777,
            links: found.nlink(),
            modified: found.modified().map_err(|error| DiskError::new("stat", path, error))?,
        }))
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        let found = fs::statvfs(path)
            .map_err(|error| DiskError::new("ask for the free space of", path, error))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

fn open(
    operation: &'static str,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> Result<Box<dyn DiskFile>, DiskError> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = retry_on_intr(|| fs::open(path, flags, mode))
        .map_err(|error| DiskError::new(operation, path, error))?;
    Ok(Box::new(RealFile { path: path.to_owned(), file }))
}

/// `ENOTDIR` means that a parent is a file: nothing can stand below it.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn kind(found: std::fs::FileType) -> FileKind {
    if found.is_file() {
        FileKind::File
    } else if found.is_dir() {
        FileKind::Directory
    } else if found.is_symlink() {
        FileKind::Symlink
    } else {
        FileKind::Other
    }
}

#[derive(Debug)]
struct RealFile {
    path: PathBuf,
    file: OwnedFd,
}

impl RealFile {
    fn fails(&self, operation: &'static str) -> impl FnOnce(Errno) -> DiskError {
        move |error| DiskError::new(operation, &self.path, error)
    }

    fn write_remainder(&self, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let written = retry_on_intr(|| rustix::io::pwrite(&self.file, bytes, offset))?;
            // A write of nothing without an error is how some file systems say "full".
            if written == 0 {
                return Err(Errno::NOSPC);
            }
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }

    /// `pwritev` until everything is written. The kernel takes at most 1024 slices at a time
    /// (rustix passes no more) and may stop anywhere: a slice cut in two is finished alone, so
    /// that the list itself never has to be rebuilt.
    fn write_slices(&self, mut slices: &[IoSlice<'_>], mut offset: u64) -> Result<(), Errno> {
        while !slices.is_empty() {
            let mut written = retry_on_intr(|| rustix::io::pwritev(&self.file, slices, offset))?;
            if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
                return Err(Errno::NOSPC);
            }
            offset += written as u64;
            while let Some((first, rest)) = slices.split_first() {
                if written >= first.len() {
                    written -= first.len();
                    slices = rest;
                    continue;
                }
                if written > 0 {
                    let remainder = &first[written..];
                    self.write_remainder(remainder, offset)?;
                    offset += remainder.len() as u64;
                    slices = rest;
                }
                break;
            }
        }
        Ok(())
    }

    /// Fills the file with zeros from its end on: the long way, where the file system knows no
    /// reservation.
    fn extend_with_zeros(&self, end: u64) -> Result<(), Errno> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut at = self.file_length()?;
        while at < end {
            let piece = (end - at).min(ZEROS.len() as u64);
            self.write_remainder(&ZEROS[..piece as usize], at)?;
            at += piece;
        }
        Ok(())
    }

    fn file_length(&self) -> Result<u64, Errno> {
        Ok(u64::try_from(fs::fstat(&self.file)?.st_size).unwrap_or(0))
    }
}

impl DiskFile for RealFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        self.write_slices(slices, offset).map_err(self.fails("write"))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        loop {
            match rustix::io::pread(&self.file, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                result => return result.map_err(self.fails("read")),
            }
        }
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.file_length().map_err(self.fails("stat"))
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        retry_on_intr(|| fs::ftruncate(&self.file, length)).map_err(self.fails("set the length of"))
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        let reserve = || fs::fallocate(&self.file, FallocateFlags::empty(), offset, length);
        match retry_on_intr(reserve) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.extend_with_zeros(offset + length),
            result => result,
        }
        .map_err(self.fails("reserve space for"))
    }

    fn start_writeback(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        match sys::start_writeback(self.file.as_fd(), offset, length) {
            // Not every file system has pages to write back; a hint may go unheard.
            Err(error) if !is_unsupported(&error) => {
                Err(DiskError::new("start the write-back of", &self.path, error))
            }
            _ => Ok(()),
        }
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        retry_on_intr(|| fs::fdatasync(&self.file)).map_err(self.fails("sync"))
    }

    fn sync_all(&self) -> Result<(), DiskError> {
        retry_on_intr(|| fs::fsync(&self.file)).map_err(self.fails("sync"))
    }

    fn set_modified(&self, time: SystemTime) -> Result<(), DiskError> {
        let time = timespec(time);
        fs::futimens(&self.file, &Timestamps { last_access: time, last_modification: time })
            .map_err(self.fails("set the time of"))
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::SPIPE, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|errno| unsupported.contains(&errno))
}

fn timespec(time: SystemTime) -> Timespec {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timespec {
            tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(since.subsec_nanos()),
        },
        // Before 1970: no WAL file is that old.
        Err(_) => Timespec { tv_sec: 0, tv_nsec: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;

    #[test]
    fn many_slices_arrive_in_order_behind_one_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("segment");
        let file = RealDisk.create(&path, 0o600).expect("created");
        // More than the kernel takes in one call, of lengths that share no divisor.
        let pieces: Vec<Vec<u8>> = (0..2500).map(|n| vec![(n % 251) as u8; n % 7]).collect();
        let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        file.write_all_vectored_at(&slices, 3).expect("written");
        let read = disk::read_to_end(file.as_ref(), 3).expect("read");
        assert_eq!(read, pieces.concat());
    }

    #[test]
    fn space_is_reserved_without_touching_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("segment");
        let file = RealDisk.create(&path, 0o600).expect("created");
        file.write_all_at(b"begin", 0).expect("written");
        file.allocate(0, 1 << 20).expect("reserved");
        file.sync_all().expect("synced");
        let bytes = disk::read_to_end(file.as_ref(), 0).expect("read");
        assert_eq!(bytes.len(), 1 << 20);
        assert!(bytes.starts_with(b"begin\0") && bytes.ends_with(&[0; 1024]));
    }

    #[test]
    fn links_are_not_followed_and_nothing_is_replaced_by_create() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "x").expect("written");
        RealDisk.symlink(&target, &link).expect("linked");
        RealDisk.open(&link).expect_err("a link was followed");
        assert!(RealDisk.create(&target, 0o600).expect_err("replaced").is_present());
        let stat = RealDisk.stat(&link).expect("readable").expect("there");
        assert_eq!(stat.kind, FileKind::Symlink);
        assert_eq!(RealDisk.stat(&target.join("below")).expect("readable"), None);
    }

    #[test]
    fn a_copy_keeps_mode_and_time_and_an_error_says_what_and_where() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        disk::write_file(&RealDisk, &from, 0o640, b"bytes").expect("written");
        disk::copy(&RealDisk, &from, &to).expect("copied");
        let (old, new) = (RealDisk.stat(&from), RealDisk.stat(&to));
        assert_eq!(old.expect("readable"), new.expect("readable"));
        let error = RealDisk.open(&folder.path().join("none")).expect_err("opened");
        assert_eq!(error.to_string(), format!("cannot open {}/none", folder.path().display()));
        assert!(error.is_absent());
        let left: Vec<_> = RealDisk.list(folder.path()).expect("listed");
        assert_eq!(left.len(), 2, "helper files left: {left:?}");
    }
}
