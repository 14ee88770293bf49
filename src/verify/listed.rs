//! The files of a manifest, found by name from several threads, and which of them have come.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::manifest::{Manifest, ManifestFile};

/// A manifest, and a mark for each of its files.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) manifest: Manifest,
    /// Indexes of files, in the order of their paths.
    order: Vec<usize>,
    seen: Vec<AtomicBool>,
}

impl Listed {
    /// Nothing has come.
    pub(super) fn new(manifest: Manifest) -> Listed {
        let order = manifest.files.by_path();
        let seen = order.iter().map(|_| AtomicBool::new(false)).collect();
        Listed { manifest, order, seen }
    }

    /// The entry of a path, and its index.
    pub(super) fn find(&self, path: &[u8]) -> Option<(usize, ManifestFile<'_>)> {
        let files = &self.manifest.files;
        let at = self.order.binary_search_by(|&index| files.path(index).cmp(path)).ok()?;
        let index = self.order[at];
        Some((index, files.get(index)?))
    }

    /// Marks a file as come. `false` when it had come before.
    pub(super) fn mark(&self, index: usize) -> bool {
        !self.seen[index].swap(true, Ordering::Relaxed)
    }

    /// What never came, in the order of paths.
    pub(super) fn unseen(&self) -> impl Iterator<Item = &[u8]> {
        let unseen = |index: &&usize| !self.seen[**index].load(Ordering::Relaxed);
        self.order.iter().filter(unseen).map(|&index| self.manifest.files.path(index))
    }

    /// Whether any file of a tablespace is listed. What Barman makes lists none.
    pub(super) fn has_below(&self, prefix: &[u8]) -> bool {
        let files = &self.manifest.files;
        let at = self.order.partition_point(|&index| files.path(index) < prefix);
        self.order.get(at).is_some_and(|&index| files.path(index).starts_with(prefix))
    }
}
