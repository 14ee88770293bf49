//! Everything that is written below a directory made durable by one call.
//!
//! Knows file systems and kernels, nothing of what is stored.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::DiskError;

/// A file system that is watched for failed writes since some moment.
pub trait FileSystemWatch: fmt::Debug + Send {
    /// Makes everything durable that was written to the file system since it is watched: bytes,
    /// lengths, modes and names. Takes as long as what others have written there needs, too.
    ///
    /// # Errors
    /// A write failed, of this call or of the kernel in the background since it is watched, be
    /// it to a file of somebody else: which one it was nobody can say, and so nothing that was
    /// written since is to be believed. There is no second try: the watch is gone.
    fn sync(self: Box<Self>) -> Result<(), DiskError>;
}

/// `syncfs(2)` of a descriptor that was opened before the first write.
///
/// Since Linux 5.8 a superblock remembers every failed write-back, and `syncfs` reports it once
/// for each open file description; one that is opened later does not see what another has been
/// told (kernel commit 735e4ae5ba28; sync(2), "VERSIONS").
#[derive(Debug)]
struct RealWatch {
    path: PathBuf,
    directory: OwnedFd,
}

/// Watches the file system of a directory; `None` where `syncfs` is not to be believed. That it
/// is takes two things:
///
/// - Linux 5.17: before, `syncfs` dropped what the file system's own part of it returned, the
///   commit of its journal (kernel commit 5679897eb104).
/// - A file system of which it is known that write-back of its pages fails loudly and that its
///   part of `syncfs` commits names: ext4 (and its older brothers, which have the same number),
///   XFS, Btrfs. Network and stacked file systems are not among them.
///
/// PostgreSQL has the same choice, for these reasons not as its default (its documentation of
/// `recovery_init_sync_method`).
pub(super) fn watch(path: &Path) -> Result<Option<Box<dyn FileSystemWatch>>, DiskError> {
    let fails = |error| DiskError::new("open directory", path, error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = retry_on_intr(|| fs::open(path, flags, Mode::empty())).map_err(fails)?;
    let kind = fs::fstatfs(&directory)
        .map_err(|error| DiskError::new("ask for the file system of", path, error))?;
    let kernel = rustix::system::uname();
    let believed = reports_all(&kernel.release().to_string_lossy())
        // The type of this number differs between architectures; none of these is negative.
        && BELIEVED.contains(&(kind.f_type as u64));
    Ok(believed.then(|| -> Box<dyn FileSystemWatch> {
        Box::new(RealWatch { path: path.to_owned(), directory })
    }))
}

impl FileSystemWatch for RealWatch {
    fn sync(self: Box<Self>) -> Result<(), DiskError> {
        // An interrupted call (EINTR) is a failure like any other, and not tried again: whatever the
        // file system returns, the kernel has then taken note that this description was told of
        // all failed writes (`SYSCALL_DEFINE1(syncfs)` in fs/sync.c), and a second call would
        // call them good. Nor would syncs of files that are opened now see all of them.
        fs::syncfs(&self.directory)
            .map_err(|error| DiskError::new("sync the file system of", &self.path, error))
    }
}

/// Numbers of file systems, from `linux/magic.h`: ext4, XFS, Btrfs.
const BELIEVED: [u64; 3] = [0xEF53, 0x5846_5342, 0x9123_683E];

/// Whether a kernel of this release tells of every failure of `syncfs`. One that cannot be read
/// does not.
fn reports_all(release: &str) -> bool {
    let mut numbers = release.split(|byte: char| !byte.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 17),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_hides_failures_is_not_believed() {
        for release in ["5.17.0-rc3", "5.17", "6.1.0-18-amd64", "10.0.1+"] {
            assert!(reports_all(release), "{release}");
        }
        for release in ["5.16.20", "5.10.0-28-amd64", "4.18.0-553.el8", "3.10", "5", "", "x.y"] {
            assert!(!reports_all(release), "{release}");
        }
    }

    #[test]
    fn a_file_system_that_is_not_known_is_not_believed() {
        let process = watch(Path::new("/proc")).expect("it is there");
        assert!(process.is_none(), "{process:?}");
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(watch) = watch(folder.path()).expect("it is there") {
            std::fs::write(folder.path().join("file"), b"bytes").expect("written");
            watch.sync().expect("a good disk");
        }
        let error = watch(&folder.path().join("none")).expect_err("nothing is there");
        assert!(error.is_absent(), "{error}");
    }
}
