//! A stored backup against its manifest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::damage::Damage;
use super::error::VerifyError;
use super::finding::Finding;
use super::inspector::{Inspector, Summed};
use super::listed::Listed;
use super::parts::{Archive, Form, Parts};
use super::{archive, tree};
use crate::disk::Disk;
use crate::manifest::{Algorithm, Manifest, hex};
use crate::output::{Progress, one_line};
use crate::repository::{BackupInfo, ServerLayout, StoredManifest};

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Files that were read.
    pub files: u64,
    /// Bytes that were read, unpacked.
    pub bytes: u64,
    /// What is wrong, by place; empty when the backup is what its manifest says.
    pub findings: Vec<Finding>,
    /// Directories of tablespaces that the manifest does not speak of: Barman lists none of their
    /// files in the manifests that it makes.
    pub unlisted_tablespaces: Vec<String>,
}

/// Holds a backup against its manifest, reading up to `jobs` files at once.
///
/// # Errors
/// Nothing can be said of it: it was not copied to its end, has no manifest, or is encrypted.
pub fn verify(
    disk: &dyn Disk,
    layout: &ServerLayout,
    info: &BackupInfo,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<Verified, VerifyError> {
    let mut parts = Parts::find(disk, layout, info)?;
    let damage = Damage::new(std::mem::take(&mut parts.findings), progress);
    progress.phase("reading the manifest");
    let path = parts.manifest();
    let said = match StoredManifest::read(disk, &path) {
        Err(error) if error.is_absent() => {
            let server = layout.server().clone();
            return Err(VerifyError::NoManifest { server, id: info.id });
        }
        Err(error) => Err(one_line(&error)),
        Ok(said) => said.map_err(|error| one_line(&error)),
    };
    let unlisted = match said {
        Err(error) => {
            damage.add(Finding::Manifest { path, error });
            Vec::new()
        }
        Ok(manifest) => {
            compare_with_info(&manifest, info, &damage);
            let listed = Listed::new(manifest);
            let comparison = Comparison::new(&listed, &parts, &damage);
            progress.phase("verifying");
            comparison.read(disk, &parts, jobs.max(1), progress)?;
            comparison.unlisted
        }
    };
    let (files, bytes, findings) = damage.finish();
    let unlisted_tablespaces = unlisted.iter().map(|prefix| shown(prefix)).collect();
    Ok(Verified { files, bytes, findings, unlisted_tablespaces })
}

/// A manifest that was put in the place of another would vouch for other files.
fn compare_with_info(manifest: &Manifest, info: &BackupInfo, damage: &Damage<'_>) {
    let compare = |what, listed: Option<String>, recorded: Option<String>| {
        if let (Some(listed), Some(recorded)) = (listed, recorded)
            && listed != recorded
        {
            damage.add(Finding::OtherBackup { what, listed, recorded });
        }
    };
    let system = |system: crate::wal::SystemIdentifier| system.to_string();
    compare("system identifier", manifest.system.map(system), info.systemid.map(system));
    // Newest first: the oldest range begins with the backup.
    let begin = manifest.wal_ranges.last().map(|range| range.start.to_string());
    compare("first WAL position", begin, info.begin_xlog.map(|lsn| lsn.to_string()));
}

/// One reading of everything.
struct Comparison<'a> {
    listed: &'a Listed,
    damage: &'a Damage<'a>,
    /// Prefixes of tablespaces of which the manifest lists nothing and knows nothing.
    unlisted: Vec<Vec<u8>>,
}

impl<'a> Comparison<'a> {
    fn new(listed: &'a Listed, parts: &Parts, damage: &'a Damage<'a>) -> Comparison<'a> {
        // Servers always list WAL; a manifest without any was made by Barman.
        let unlisted = match &parts.form {
            Form::Directories(roots) if listed.manifest.wal_ranges.is_empty() => roots
                .iter()
                .filter(|root| !root.prefix.is_empty() && !listed.has_below(&root.prefix))
                .map(|root| root.prefix.clone())
                .collect(),
            _ => Vec::new(),
        };
        Comparison { listed, damage, unlisted }
    }

    fn read(
        &self,
        disk: &dyn Disk,
        parts: &Parts,
        jobs: usize,
        progress: &dyn Progress,
    ) -> Result<(), VerifyError> {
        let broken = match &parts.form {
            Form::Archives(archives) => {
                progress.total(archives.iter().map(|archive| archive.length).sum());
                self.read_archives(disk, archives, jobs)?
            }
            Form::Directories(roots) => {
                let files = self.listed.manifest.files.iter();
                progress.total(files.map(|file| file.size).sum());
                tree::inspect(disk, roots, jobs, self)?;
                Vec::new()
            }
        };
        if broken.iter().all(|archive| !archive.prefix.is_empty()) {
            self.damage.directories_are_complete();
        }
        for path in self.listed.unseen() {
            self.damage.add(match broken.iter().find(|archive| holds(archive, path)) {
                Some(archive) => {
                    Finding::Unreached { path: shown(path), archive: archive.path.clone() }
                }
                None => Finding::Missing { path: shown(path) },
            });
        }
        Ok(())
    }

    /// Reads archives, several at once, the longest first. Returns those that are damaged.
    fn read_archives<'p>(
        &self,
        disk: &dyn Disk,
        archives: &'p [Archive],
        jobs: usize,
    ) -> Result<Vec<&'p Archive>, VerifyError> {
        let mut order: Vec<&Archive> = archives.iter().collect();
        order.sort_by_key(|archive| std::cmp::Reverse(archive.length));
        let next = AtomicUsize::new(0);
        let broken = Mutex::new(Vec::new());
        let work = || -> Result<(), VerifyError> {
            while let Some(&archive) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !archive::inspect(disk, archive, self)? {
                    broken.lock().unwrap_or_else(PoisonError::into_inner).push(archive);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (1..jobs.min(archives.len())).map(|_| scope.spawn(work)).collect();
            let mut results = vec![work()];
            for lane in lanes {
                results.push(lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            results.into_iter().collect::<Result<(), VerifyError>>()
        })?;
        // The data directory's last: its prefix is that of every path.
        let mut broken = broken.into_inner().unwrap_or_else(PoisonError::into_inner);
        broken.sort_by_key(|archive| std::cmp::Reverse(archive.prefix.len()));
        Ok(broken)
    }
}

/// Whether a listed file is to be found in an archive; tablespaces are asked first.
fn holds(archive: &Archive, path: &[u8]) -> bool {
    match archive.prefix.is_empty() {
        false => path.starts_with(&archive.prefix),
        true => !path.starts_with(b"pg_tblspc/"),
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// WAL is not listed in manifests, but may stand in a data directory.
fn is_wal(path: &[u8]) -> bool {
    path.starts_with(b"pg_wal/") || path.starts_with(b"pg_xlog/")
}

impl Inspector for Comparison<'_> {
    fn algorithm(&self, path: &[u8]) -> Algorithm {
        self.listed.find(path).map_or(Algorithm::None, |(_, file)| file.algorithm)
    }

    fn file(&self, file: &Summed<'_>) {
        self.damage.file();
        let path = || shown(file.path);
        let Some((index, listed)) = self.listed.find(file.path) else {
            let unlisted = self.unlisted.iter().any(|prefix| file.path.starts_with(prefix));
            if !is_wal(file.path) && !unlisted {
                self.damage.add(Finding::Extra { path: path() });
            }
            return;
        };
        if !self.listed.mark(index) {
            self.damage.add(Finding::Repeated { path: path() });
        }
        if listed.size != file.size {
            let (listed, found) = (listed.size, file.size);
            self.damage.add(Finding::Size { path: path(), listed, found });
        } else if listed.checksum != file.checksum.as_bytes() {
            let (algorithm, listed) = (listed.algorithm, hex(listed.checksum));
            let found = file.checksum;
            self.damage.add(Finding::Checksum { path: path(), algorithm, listed, found });
        }
    }

    fn directory(&self, path: &[u8]) {
        self.damage.directory(path);
    }

    fn finding(&self, finding: Finding) {
        if let Finding::Unreadable { path, .. } = &finding
            && let Some((index, _)) = self.listed.find(path.as_bytes())
        {
            // It is there: not missing as well.
            self.listed.mark(index);
        }
        self.damage.add(finding);
    }

    fn read(&self, bytes: u64) {
        self.damage.read(bytes);
    }
}
