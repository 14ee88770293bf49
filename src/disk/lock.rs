//! Lock files: how processes that share a repository stay out of each other's way.
//!
//! `flock(2)`, exclusive, with the holder's process number and a newline in the file, as Barman
//! writes it: the two programs exclude each other. Knows paths, not what they protect.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::DiskError;

/// A lock that is held until the value is dropped or the process ends.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is locked by {}", path.display(), holder(*pid))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process number in the file, when there is one.
        pid: Option<u32>,
    },
    /// The file cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl LockError {
    /// One sentence for the operator, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            LockError::Held { pid: Some(pid), .. } => {
                Some(format!("wait for process {pid} to end"))
            }
            LockError::Held { pid: None, .. } => None,
            LockError::Disk(error) => error.hint(),
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl LockFile {
    /// Takes the lock, or says who has it, almost at once: who only looks ([`LockFile::holder`])
    /// is in the way for a moment, and is no holder.
    pub fn acquire(path: &Path) -> Result<LockFile, LockError> {
        let mut looks = 0;
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if looks < LOOKS => {
                    looks += 1;
                    std::thread::sleep(LOOK);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { path: path.to_owned(), pid: read_pid(&file) });
                }
                Err(TryLockError::Error(error)) => {
                    return Err(DiskError::new("lock", path, error).into());
                }
            }
            if let Some(lock) = LockFile::confirm(file, path)? {
                return Ok(lock);
            }
        }
    }

    /// Waits until the lock is free, and takes it. For locks that are held for moments only.
    pub fn acquire_waiting(path: &Path) -> Result<LockFile, LockError> {
        loop {
            let file = open(path)?;
            file.lock().map_err(|error| DiskError::new("lock", path, error))?;
            if let Some(lock) = LockFile::confirm(file, path)? {
                return Ok(lock);
            }
        }
    }

    /// The process that holds the lock now; `None` when nobody does.
    ///
    /// The answer may be old when it arrives. A holder that has not yet written its number is
    /// reported as [`LockError::Held`] without one.
    pub fn holder(path: &Path) -> Result<Option<u32>, LockError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::new("open", path, error).into()),
        };
        // A shared lock: two processes that only look must not take each other for holders.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => match read_pid(&file) {
                Some(pid) => Ok(Some(pid)),
                None => Err(LockError::Held { path: path.to_owned(), pid: None }),
            },
            Err(TryLockError::Error(error)) => Err(DiskError::new("lock", path, error).into()),
        }
    }

    /// Removes a lock file that nobody holds, and says whether it did. Whoever has opened it
    /// meanwhile and waits for it finds out that it is gone, and makes a new one.
    pub fn remove_free(path: &Path) -> Result<bool, DiskError> {
        // Not for writing: what is no lock file stays as it is, a pipe does not make us wait.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            result => result.map_err(|error| DiskError::new("open", path, error))?,
        };
        match file.try_lock() {
            Ok(()) if is_named(&file, path)? => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(DiskError::new("lock", path, error)),
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true).map_err(|error| DiskError::new("remove", path, error)),
        }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Barman's `cron` unlinks lock files that it can lock itself: between our open and our
    /// lock the name may have come to lead to another file, or to none, and then we hold a lock
    /// that nobody else will ever meet.
    fn confirm(mut file: File, path: &Path) -> Result<Option<LockFile>, DiskError> {
        if !is_named(&file, path)? {
            return Ok(None);
        }
        write_pid(&mut file).map_err(|error| DiskError::new("write", path, error))?;
        Ok(Some(LockFile { file, path: path.to_owned() }))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing releases it as well, but only with the last descriptor: a program that was
        // started meanwhile must not keep the lock. The file stays, as Barman's do.
        let _ = self.file.unlock();
    }
}

/// To look takes some microseconds; these are 20 ms.
const LOOKS: u32 = 4;
const LOOK: Duration = Duration::from_millis(5);

fn open(path: &Path) -> Result<File, DiskError> {
    // Not truncated: the number in it belongs to the holder until we are it.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| DiskError::new("open", path, error))
}

/// Whether the path leads to this very file.
fn is_named(file: &File, path: &Path) -> Result<bool, DiskError> {
    let fails = |error| DiskError::new("stat", path, error);
    let held = file.metadata().map_err(fails)?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(fails(error)),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    let text = format!("{}\n", std::process::id());
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    // Cut afterwards: a reader in between sees a number, and at worst an old tail behind the
    // newline, which it ignores.
    file.set_len(text.len() as u64)
}

fn read_pid(mut file: &File) -> Option<u32> {
    let mut text = [0; 32];
    let read = file.read(&mut text).ok()?;
    let line = text.get(..read)?.split(|&byte| byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.trim().parse().ok().filter(|&pid| pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid_in(path: &Path) -> String {
        std::fs::read_to_string(path).expect("the lock file")
    }

    #[test]
    fn a_second_holder_is_refused_and_told_the_first_ones_process_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".main-receive-wal.lock");
        std::fs::write(&path, "4194303999\n and an old tail").expect("a stale file");

        let lock = LockFile::acquire(&path).expect("free");
        assert_eq!(pid_in(&path), format!("{}\n", std::process::id()));
        assert_eq!(LockFile::holder(&path).expect("readable"), Some(std::process::id()));
        match LockFile::acquire(&path) {
            Err(LockError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("taken twice: {other:?}"),
        }
        drop(lock);
        assert_eq!(LockFile::holder(&path).expect("readable"), None);
        LockFile::acquire(&path).expect("free again");
    }

    #[test]
    fn who_only_looks_keeps_nobody_from_taking_the_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".main-receive-wal.lock");
        drop(LockFile::acquire(&path).expect("free"));
        let looking = File::open(&path).expect("there");
        looking.try_lock_shared().expect("free");
        let taker = std::thread::spawn({
            let path = path.clone();
            move || LockFile::acquire(&path).map(drop)
        });
        drop(looking);
        taker.join().expect("no panic").expect("taken");
    }

    #[test]
    fn a_lock_on_a_file_that_was_unlinked_meanwhile_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".main-cron.lock");
        let orphan = open(&path).expect("created");
        orphan.try_lock().expect("free");
        std::fs::remove_file(&path).expect("removed");
        assert!(LockFile::confirm(orphan, &path).expect("readable").is_none());

        let orphan = open(&path).expect("created");
        std::fs::remove_file(&path).expect("removed");
        let _other = open(&path).expect("created");
        assert!(LockFile::confirm(orphan, &path).expect("readable").is_none());
    }

    #[test]
    fn a_free_lock_file_is_removed_a_held_one_stays_and_whoever_waits_gets_a_lock_that_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".main-xlogdb.lock");
        assert!(!LockFile::remove_free(&path).expect("nothing there"));
        let lock = LockFile::acquire(&path).expect("free");
        assert!(!LockFile::remove_free(&path).expect("held"));
        drop(lock);
        assert!(LockFile::remove_free(&path).expect("free"));
        assert!(!path.exists());

        // Removed again and again under four who take it in turn: never do two hold it.
        let inside = std::sync::atomic::AtomicU32::new(0);
        let done = std::sync::atomic::AtomicBool::new(false);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            let remover = scope.spawn(|| {
                let mut removed = 0;
                while !done.load(order) {
                    removed += u32::from(LockFile::remove_free(&path).expect("removable"));
                }
                removed
            });
            let takers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            let _lock = LockFile::acquire_waiting(&path).expect("taken");
                            assert_eq!(inside.fetch_add(1, order), 0, "held twice");
                            std::thread::yield_now();
                            inside.fetch_sub(1, order);
                        }
                    })
                })
                .collect();
            takers.into_iter().for_each(|taker| taker.join().expect("no panic"));
            done.store(true, order);
            assert!(remover.join().expect("no panic") > 0, "it was never removed");
        });
    }

    #[test]
    fn a_lock_file_that_was_never_made_has_no_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(LockFile::holder(&folder.path().join("x.lock")).expect("readable"), None);
    }
}
