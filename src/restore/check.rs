//! Every member against the backup manifest, while it is being unpacked.

use std::cmp::Ordering;

use crate::manifest::{Algorithm, Checksum, Hasher, Manifest, hex};

use super::error::RestoreError;
use super::path::InnerPath;

/// What a restore may change, and what is not listed: left out as `pg_verifybackup` does.
const IGNORED: [&str; 5] = [
    Manifest::FILE_NAME,
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
            None if self.is_of_forgotten_tablespace(name) => Ok(None),
            None => Err(mismatch(name, "it is not listed".to_owned())),
            Some(file) if file.size != size => {
                let what = format!("it has {size} bytes instead of {}", file.size);
                Err(mismatch(name, what))
            }
            Some(file) => Ok(Some(Hasher::new(file.algorithm))),
        }
    }

    /// Barman lists no WAL in the manifests that it makes, and no files of tablespaces: those of
    /// such a tablespace cannot be compared, and are no reason not to restore.
    fn is_of_forgotten_tablespace(&self, name: &InnerPath) -> bool {
        let Some(inside) = name.inside("pg_tblspc") else { return false };
        let oid = inside.split(|&byte| byte == b'/').next().unwrap_or_default();
        let prefix = [b"pg_tblspc/", oid, b"/"].concat();
        let path = |index: usize| self.manifest.files.get(index).map(|file| file.path);
        let first = self.order.partition_point(|&index| path(index) < Some(&prefix[..]));
        let first = self.order.get(first).and_then(|&index| path(index));
        let is_listed = first.is_some_and(|path| path.starts_with(&prefix));
        self.manifest.wal_ranges.is_empty() && !is_listed
    }

    /// A file has come as a whole. Its checksum, if it was summed up.
    pub fn end(
        &mut self,
        name: &InnerPath,
        hasher: Hasher,
    ) -> Result<Option<(Algorithm, Checksum)>, RestoreError> {
        let Some(index) = self.index(name) else { return Ok(None) };
        let Some(file) = self.manifest.files.get(index) else { return Ok(None) };
        let checksum = hasher.finish();
        if file.algorithm != Algorithm::None && checksum.as_bytes() != file.checksum {
            let algorithm = file.algorithm.name();
            let (found, listed) = (hex(checksum.as_bytes()), hex(file.checksum));
            let what = format!("its {algorithm} is {found} instead of {listed}");
            return Err(mismatch(name, what));
        }
        let algorithm = file.algorithm;
        self.seen[index] = true;
        Ok(Some((algorithm, checksum)))
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

    /// The manifest itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where in the manifest a file stands.
    pub fn index(&self, name: &InnerPath) -> Option<usize> {
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

pub(super) fn mismatch(name: &InnerPath, what: String) -> RestoreError {
    RestoreError::Mismatch { name: name.to_text(), what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{ManifestFile, ManifestWriter, Modified, WalRange};
    use crate::wal::{Lsn, Timeline};

    fn check(ranges: &[WalRange], listed: &str) -> ManifestCheck {
        let mut writer = ManifestWriter::new(None);
        let (modified, algorithm) = (Modified::Seconds(0), Algorithm::None);
        let path = listed.as_bytes();
        let (encoded, size, checksum) = (false, 1, &[][..]);
        writer.file(&ManifestFile { path, encoded, size, modified, algorithm, checksum });
        let text = writer.finish(ranges);
        ManifestCheck::new(Manifest::parse(&text).expect("a manifest"))
    }

    #[test]
    fn only_a_manifest_of_barmans_may_forget_a_tablespace_and_only_as_a_whole() {
        let file = InnerPath::parse(b"pg_tblspc/16390/PG_15_202209061/5/16400").expect("a name");
        let (start, end) = (Lsn(1), Lsn(2));
        let server = [WalRange { timeline: Timeline::FIRST, start, end }];
        assert!(check(&[], "PG_VERSION").begin(&file, 1).expect("no reason").is_none());
        assert!(check(&server, "PG_VERSION").begin(&file, 1).is_err());
        assert!(check(&[], "pg_tblspc/16390/other").begin(&file, 1).is_err());
        assert!(check(&[], "pg_tblspc/1639/other").begin(&file, 1).is_ok());
        let elsewhere = InnerPath::parse(b"base/1/2").expect("a name");
        assert!(check(&[], "PG_VERSION").begin(&elsewhere, 1).is_err());
    }
}
