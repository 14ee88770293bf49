//! The manifest of a stored backup, read piece by piece: its text is longer than what it says, and
//! with a million files neither is to be held twice.

use std::io::{self, Read};
use std::path::Path;

use crate::disk::{Disk, DiskError, DiskFile};
use crate::manifest::{Manifest, ManifestError};

/// The text of a manifest as a stream. What the disk says of a failure is kept for
/// [`StoredManifest::end`]: who reads the stream knows no disk.
#[derive(Debug)]
pub struct StoredManifest {
    file: Box<dyn DiskFile>,
    length: u64,
    at: u64,
    failed: Option<DiskError>,
}

impl StoredManifest {
    /// Twenty million files with long names, in bytes; what it says is held in memory.
    pub const BYTES_MAX: u64 = 4 << 30;

    /// Opens it.
    ///
    /// # Errors
    /// It is not there, cannot be opened, or has more than [`StoredManifest::BYTES_MAX`] bytes.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<StoredManifest, DiskError> {
        let file = disk.open_read(path)?;
        let length = file.length()?;
        if length > StoredManifest::BYTES_MAX {
            let message = format!("it is larger than {} bytes", StoredManifest::BYTES_MAX);
            return Err(DiskError::new("read", path, io::Error::other(message)));
        }
        Ok(StoredManifest { file, length, at: 0, failed: None })
    }

    /// Opens, reads and checks it: the outer error is the disk's, the inner one the text's.
    ///
    /// # Errors
    /// As [`StoredManifest::open`], or it cannot be read.
    pub fn read(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<Result<Manifest, ManifestError>, DiskError> {
        let mut stored = StoredManifest::open(disk, path)?;
        let said = Manifest::read(&mut stored);
        stored.end().map(|()| said)
    }

    /// Its bytes when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether the disk gave all that was asked of it. To be asked before what was made of the
    /// text is believed.
    ///
    /// # Errors
    /// The first failure.
    pub fn end(self) -> Result<(), DiskError> {
        self.failed.map_or(Ok(()), Err)
    }
}

impl Read for StoredManifest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read_at(buffer, self.at) {
            Ok(read) => {
                self.at += read as u64;
                Ok(read)
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                Err(io::Error::other("the disk has failed"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::disk::ModelDisk;
    use crate::manifest::ManifestWriter;

    #[test]
    fn a_disk_that_fails_is_not_taken_for_a_bad_manifest() {
        let (path, disk) = (Path::new("/backup_manifest"), ModelDisk::new(0));
        assert!(StoredManifest::read(&disk, path).expect_err("not there").is_absent());
        disk.put(path, &ManifestWriter::new(None).finish(&[]));
        let first = disk.calls();
        StoredManifest::read(&disk, path).expect("readable").expect("a manifest");
        for call in first..disk.calls() {
            let disk = disk.after_kill(0);
            disk.fail_call(disk.calls() + call - first, Errno::IO);
            StoredManifest::read(&disk, path).expect_err("a call has failed");
        }
        disk.put(path, b"{\"PostgreSQL-Backup-Manifest-Version\": 1,");
        let said = StoredManifest::read(&disk, path).expect("readable");
        assert_eq!(said.err(), Some(ManifestError::Truncated));
    }
}
