//! Every member against the backup manifest, while it is being unpacked.

use std::cmp::Ordering;

use crate::manifest::{Algorithm, Hasher, Manifest};

use super::error::RestoreError;
use super::path::InnerPath;

/// What a restore may change, and what is not listed: left out as `pg_verifybackup` does.
const IGNORED: [&str; 5] = [
    "backup_manifest",
    "postgresql.auto.conf",
    "recovery.signal",
    "standby.signal",
    super::tree::MARKER,
];

/// The manifest of a backup, and which of its files have come.
#[derive(Debug)]
pub struct ManifestCheck {
    manifest: Manifest,
    /// Indexes of files, in the order of their paths.
    order: Vec<usize>,
    seen: Vec<bool>,
}

impl ManifestCheck {
    /// Nothing has come.
    pub fn new(manifest: Manifest) -> ManifestCheck {
        let mut order: Vec<usize> = (0..manifest.files.len()).collect();
        let path = |index: usize| manifest.files.get(index).map(|file| file.path);
        order.sort_unstable_by(|left, right| path(*left).cmp(&path(*right)));
        let seen = vec![false; manifest.files.len()];
        ManifestCheck { manifest, order, seen }
    }

    /// Whether a file is listed.
    pub fn lists(&self, name: &InnerPath) -> bool {
        self.index(name).is_some()
    }

    /// A file begins: what has to be summed up of it. `None` when the manifest does not speak
    /// of such files.
    pub fn begin(&self, name: &InnerPath, size: u64) -> Result<Option<Hasher>, RestoreError> {
        if is_ignored(name.as_bytes()) {
            return Ok(None);
        }
        let listed = self.index(name).and_then(|index| self.manifest.files.get(index));
        match listed {
            None => Err(mismatch(name, "it is not listed".to_owned())),
            Some(file) if file.size != size => {
                let what = format!("it has {size} bytes instead of {}", file.size);
                Err(mismatch(name, what))
            }
            Some(file) => Ok(Some(Hasher::new(file.algorithm))),
        }
    }

    /// A file has come as a whole.
    pub fn end(&mut self, name: &InnerPath, hasher: Hasher) -> Result<(), RestoreError> {
        let Some(index) = self.index(name) else { return Ok(()) };
        let Some(file) = self.manifest.files.get(index) else { return Ok(()) };
        let checksum = hasher.finish();
        if file.algorithm != Algorithm::None && checksum.as_bytes() != file.checksum {
            let algorithm = file.algorithm.name();
            let (found, listed) = (hex(checksum.as_bytes()), hex(file.checksum));
            let what = format!("its {algorithm} is {found} instead of {listed}");
            return Err(mismatch(name, what));
        }
        self.seen[index] = true;
        Ok(())
    }

    /// Everything has come: what the manifest lists and nobody brought is missing.
    pub fn finish(&self) -> Result<(), RestoreError> {
        for (file, seen) in self.manifest.files.iter().zip(&self.seen) {
            if !seen && !is_ignored(file.path) {
                let name = String::from_utf8_lossy(file.path).into_owned();
                let what = "it is missing in the backup".to_owned();
                return Err(RestoreError::Mismatch { name, what });
            }
        }
        Ok(())
    }

    fn index(&self, name: &InnerPath) -> Option<usize> {
        let compare = |index: &usize| {
            let path = self.manifest.files.get(*index).map(|file| file.path);
            path.map_or(Ordering::Less, |path| path.cmp(name.as_bytes()))
        };
        self.order.binary_search_by(compare).ok().map(|at| self.order[at])
    }
}

fn is_ignored(path: &[u8]) -> bool {
    path.starts_with(b"pg_wal/") || IGNORED.iter().any(|name| name.as_bytes() == path)
}

fn mismatch(name: &InnerPath, what: String) -> RestoreError {
    RestoreError::Mismatch { name: name.to_text(), what }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
