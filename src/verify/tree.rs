//! A plain backup: its directories are walked by one thread, its files read by several.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::VerifyError;
use super::finding::Finding;
use super::inspector::{Inspector, Summed};
use super::parts::Root;
use crate::disk::{Disk, DiskError, FileKind};
use crate::manifest::{Hasher, Manifest};
use crate::output::one_line;
use crate::tar::MemberPath;

const READ_BYTES: usize = 256 << 10;
/// Files that the walk may be ahead.
const AHEAD: usize = 1024;
/// Deeper than any data directory.
const DEPTH_MAX: usize = 32;

/// A file that was found and is to be read.
struct Found {
    place: PathBuf,
    /// As the manifest spells it.
    path: Vec<u8>,
}

/// Reads every file below the roots.
pub(super) fn inspect(
    disk: &dyn Disk,
    roots: &[Root],
    jobs: usize,
    inspector: &dyn Inspector,
) -> Result<(), VerifyError> {
    let (sender, receiver) = sync_channel(AHEAD);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            std::thread::Builder::new()
                .name("verify-read".to_owned())
                .spawn_scoped(scope, || read_files(disk, &receiver, inspector))
                .map_err(VerifyError::Thread)?;
        }
        let walk = Walk { disk, roots, files: sender, inspector };
        for root in roots {
            walk.directory(&root.path, &root.prefix, 0);
        }
        Ok(())
    })
}

fn read_files(disk: &dyn Disk, files: &Mutex<Receiver<Found>>, inspector: &dyn Inspector) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let next = files.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(file) = next else { return };
        if let Err(error) = read(disk, &file, &mut buffer, inspector) {
            inspector.finding(Finding::Unreadable {
                path: String::from_utf8_lossy(&file.path).into_owned(),
                error: one_line(&error),
            });
        }
    }
}

fn read(
    disk: &dyn Disk,
    found: &Found,
    buffer: &mut [u8],
    inspector: &dyn Inspector,
) -> Result<(), DiskError> {
    let algorithm = inspector.algorithm(&found.path);
    let file = disk.open_read(&found.place)?;
    let modified = disk.stat(&found.place)?.map_or(UNIX_EPOCH, |stat| stat.modified);
    let mut hasher = Hasher::new(algorithm);
    let mut size = 0;
    loop {
        let read = file.read_at(buffer, size)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
        inspector.read(read as u64);
    }
    let (checksum, modified) = (hasher.finish(), seconds(modified));
    inspector.file(&Summed { path: &found.path, size, modified, algorithm, checksum });
    Ok(())
}

/// Since 1970, as a manifest has it.
fn seconds(time: SystemTime) -> i64 {
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since.as_secs()),
        Err(before) => -signed(before.duration().as_secs()),
    }
}

/// A walk that never follows a link.
struct Walk<'a> {
    disk: &'a dyn Disk,
    roots: &'a [Root],
    files: SyncSender<Found>,
    inspector: &'a dyn Inspector,
}

impl Walk<'_> {
    fn directory(&self, place: &Path, above: &[u8], depth: usize) {
        let mut entries = match self.disk.list(place) {
            Ok(entries) => entries,
            Err(error) => {
                let path = String::from_utf8_lossy(above).into_owned();
                let error = one_line(&error);
                return self.inspector.finding(Finding::Unreadable { path, error });
            }
        };
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        for entry in entries {
            let path = [above, entry.name.as_bytes()].concat();
            let place = place.join(&entry.name);
            match entry.kind {
                FileKind::File if path == Manifest::FILE_NAME.as_bytes() => {}
                FileKind::File => {
                    // The readers live as long as this sender.
                    let _ = self.files.send(Found { place, path });
                }
                FileKind::Directory if depth < DEPTH_MAX => {
                    self.inspector.directory(&path);
                    let below = [&path[..], b"/"].concat();
                    // A tablespace is stored beside the data directory; what stands in its
                    // place is not looked at, as restore does not.
                    if self.roots.iter().all(|root| root.prefix != below) {
                        self.directory(&place, &below, depth + 1);
                    }
                }
                FileKind::Symlink if is_known_link(&path) => self.inspector.directory(&path),
                _ => {
                    let path = String::from_utf8_lossy(&path).into_owned();
                    self.inspector.finding(Finding::Kind { path });
                }
            }
        }
    }
}

/// Links of tablespaces, and directories that are often put on another disk.
fn is_known_link(path: &[u8]) -> bool {
    let name = path.strip_prefix(b"pg_tblspc/");
    name.is_some_and(|name| MemberPath::check(name).is_ok() && !name.contains(&b'/'))
        || [&b"pg_wal"[..], b"pg_xlog", b"pg_log", b"log"].contains(&path)
}
