//! Collects what is wrong, and knows the directories that no server can do without.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::finding::Finding;
use crate::output::Progress;

/// Directories that initdb makes and the server opens when it starts, whether or not there is a
/// file in them. Source: `subdirs` in `src/bin/initdb/initdb.c`, which are the same from 10 to
/// 18; what always holds files is not listed here.
pub(super) const DIRECTORIES: [&str; 15] = [
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
];

/// What several threads have found.
#[derive(Debug)]
pub(super) struct Damage<'a> {
    findings: Mutex<Vec<Finding>>,
    /// Those of [`DIRECTORIES`] that did not come.
    missing: Mutex<BTreeSet<&'static str>>,
    files: AtomicU64,
    read: AtomicU64,
    progress: &'a dyn Progress,
}

impl<'a> Damage<'a> {
    /// None so far.
    pub(super) fn new(findings: Vec<Finding>, progress: &'a dyn Progress) -> Damage<'a> {
        Damage {
            findings: Mutex::new(findings),
            missing: Mutex::new(DIRECTORIES.into()),
            files: AtomicU64::new(0),
            read: AtomicU64::new(0),
            progress,
        }
    }

    /// Something is wrong.
    pub(super) fn add(&self, finding: Finding) {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
    }

    /// A directory is there.
    pub(super) fn directory(&self, path: &[u8]) {
        let Ok(path) = std::str::from_utf8(path) else { return };
        if DIRECTORIES.contains(&path) {
            self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        }
    }

    /// A file was read.
    pub(super) fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more bytes were read, unpacked.
    pub(super) fn read(&self, bytes: u64) {
        self.progress.done(self.read.fetch_add(bytes, Ordering::Relaxed) + bytes);
    }

    /// Directories that did not come are wrong too, now that everything did that could.
    pub(super) fn directories_are_complete(&self) {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        for path in missing.iter() {
            self.add(Finding::NoDirectory { path: (*path).to_owned() });
        }
    }

    /// Files and unpacked bytes that were read, and everything wrong, by place.
    pub(super) fn finish(self) -> (u64, u64, Vec<Finding>) {
        let mut findings = self.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        findings.sort_by_cached_key(Finding::place);
        (self.files.into_inner(), self.read.into_inner(), findings)
    }
}
