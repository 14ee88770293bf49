//! Files of a chain of backups on their way to one.
//!
//! Archives can only be read from their beginning to their end. So the newest backup is unpacked
//! first; its incremental files are created at their final length, with the blocks that they
//! bring. Then each older backup is read once, from the newer to the older, and gives the blocks
//! that nobody newer had. Nothing is stored in between.

use std::path::Path;
use std::time::SystemTime;

use crate::disk::{DiskError, DiskFile};
use crate::manifest::{Algorithm, Checksum};
use crate::pages::{
    FilePlan, Fork, INCREMENTAL, IncrementalError, PageLayout, PageSize, PagedFile,
};
use crate::repository::KnownLimits;
use crate::wire::ServerVersion;

use super::error::RestoreError;
use super::path::InnerPath;
use super::unpack::Origin;

/// A backup is taken of servers with these pages only, see `backup`.
pub const LAYOUT: PageLayout = PageLayout { page_size: PageSize::DEFAULT, segment_blocks: 131_072 };

/// The files that are being put together. There may be a million: a file is known by its place in
/// the manifest of the newest backup, and named nowhere else.
#[derive(Debug)]
pub struct Combiner {
    /// By their place in the manifest, once all have come.
    files: Vec<CombinedFile>,
    /// Of the files that are an older one as a whole.
    checksums: Vec<u8>,
    /// What becomes of `backup_label`.
    pub label: Option<Vec<u8>>,
    /// Visibility maps that came in parts may say of pages that all is visible that is not, and
    /// index-only scans would believe them. They become empty, which says nothing, and the next
    /// VACUUM makes them anew.
    pub distrusts_visibility: bool,
    /// Where files of the backup that is being read were cut off since its parent.
    pub limits: Option<KnownLimits>,
}

/// A file that has come incrementally.
#[derive(Debug)]
pub struct CombinedFile {
    /// Its place in the manifest of the newest backup.
    listed: u32,
    /// Its length in blocks.
    blocks: u32,
    /// Time of its last change.
    pub modified: Option<SystemTime>,
    /// What is to be found in older backups; `None` when nothing is.
    plan: Option<FilePlan>,
    /// The backup that is being read has it.
    seen: bool,
    /// How it was summed up, if it is an older one as a whole.
    algorithm: Algorithm,
    /// Where its checksum is.
    checksum: u32,
}

impl CombinedFile {
    /// A file as the newest backup has it, `listed` at this place of its manifest; `blocks` is its
    /// final length.
    pub fn new(
        listed: usize,
        blocks: u32,
        modified: Option<SystemTime>,
        plan: Option<FilePlan>,
    ) -> CombinedFile {
        // No manifest that is read lists as many files as this number has room for.
        let listed = listed as u32;
        let (seen, algorithm, checksum) = (false, Algorithm::None, 0);
        CombinedFile { listed, blocks, modified, plan, seen, algorithm, checksum }
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        u64::from(self.blocks) * LAYOUT.page_size.bytes() as u64
    }
}

impl Combiner {
    /// Combines what `version` has sent; that of the oldest server that was backed up.
    pub fn new(version: ServerVersion) -> Combiner {
        let distrusts_visibility = !version.summarizes_visibility_maps();
        let (files, checksums, label, limits) = (Vec::new(), Vec::new(), None, None);
        Combiner { files, checksums, label, distrusts_visibility, limits }
    }

    /// Whether a file of the result is to be empty.
    pub fn empties(&self, listed: &InnerPath) -> bool {
        let fork = PagedFile::at(listed.as_bytes()).map(|file| file.fork);
        self.distrusts_visibility && fork == Some(Fork::Visibility)
    }

    /// From which block on older backups have nothing to give to a file of the backup that is being
    /// read, by the name of the whole file.
    pub fn limit(&self, name: &InnerPath) -> Option<u32> {
        self.limits.as_ref()?.of(name.as_bytes())
    }

    /// Adds a file of the newest backup.
    pub fn add(&mut self, file: CombinedFile) {
        self.files.push(file);
    }

    /// All files of the newest backup have come: from here on they are found.
    pub fn end_of_newest(&mut self) {
        self.files.sort_unstable_by_key(|file| file.listed);
    }

    /// Whether an older backup has to be read.
    pub fn needs_more(&self) -> bool {
        self.first_open().is_some()
    }

    /// The file that the manifest of the newest backup lists at this place.
    pub fn get(&self, listed: usize) -> Option<&CombinedFile> {
        self.files.get(self.find(listed)?)
    }

    /// Its checksum, if it is known.
    pub fn checksum(&self, file: &CombinedFile) -> Option<(Algorithm, &[u8])> {
        let at = file.checksum as usize;
        let bytes = self.checksums.get(at..at + file.algorithm.length())?;
        (file.algorithm != Algorithm::None).then_some((file.algorithm, bytes))
    }

    /// Takes out what is missing of a file, to be put back with [`Combiner::put_plan`].
    pub fn take_plan(&mut self, listed: usize) -> Option<FilePlan> {
        let at = self.find(listed)?;
        self.files.get_mut(at)?.plan.take()
    }

    /// An older backup had this file; `None` when nothing is missing any more. `checksum` is that
    /// of the older file, if the result is the same.
    pub fn put_plan(
        &mut self,
        listed: usize,
        plan: Option<FilePlan>,
        checksum: Option<(Algorithm, Checksum)>,
    ) {
        let at = self.find(listed);
        let Some(file) = at.and_then(|at| self.files.get_mut(at)) else { return };
        (file.plan, file.seen) = (plan, true);
        // A place that has no room in the number is none: the file is read once more.
        if let Some((algorithm, checksum)) = checksum
            && let Ok(at) = u32::try_from(self.checksums.len())
        {
            (file.algorithm, file.checksum) = (algorithm, at);
            self.checksums.extend_from_slice(checksum.as_bytes());
        }
    }

    /// Where a file of which something is missing is listed.
    pub fn first_open(&self) -> Option<usize> {
        let file = self.files.iter().find(|file| file.plan.is_some())?;
        Some(file.listed as usize)
    }

    /// Bytes of the files whose checksum no backup knows.
    pub fn bytes_to_sum_up(&self) -> u64 {
        let unknown = self.files.iter().filter(|file| self.checksum(file).is_none());
        unknown.map(CombinedFile::length).sum()
    }

    /// An older backup has been read: it must have had each file that is not complete. Where one
    /// is listed that it had not.
    pub fn end_of_backup(&mut self) -> Option<usize> {
        let open = self.files.iter_mut().filter(|file| file.plan.is_some());
        let mut missing = None;
        for file in open {
            if !std::mem::take(&mut file.seen) {
                missing = missing.or(Some(file.listed as usize));
            }
        }
        missing
    }

    fn find(&self, listed: usize) -> Option<usize> {
        self.files.binary_search_by_key(&listed, |file| file.listed as usize).ok()
    }
}

/// The tree that holds a file, and its name there, by its name in the manifest.
pub fn place(listed: &InnerPath) -> Option<(Origin, InnerPath)> {
    let Some(inside) = listed.inside("pg_tblspc") else {
        return Some((Origin::Main, listed.clone()));
    };
    let slash = inside.iter().position(|&byte| byte == b'/')?;
    let oid = std::str::from_utf8(&inside[..slash]).ok()?.parse().ok()?;
    Some((Origin::Tablespace(oid), InnerPath::parse(&inside[slash + 1..]).ok()?))
}

/// The name of the file that an incremental one becomes; `None` for any other file.
pub fn without_prefix(listed: &InnerPath) -> Option<InnerPath> {
    PagedFile::at(listed.as_bytes()).filter(|file| file.incremental)?;
    let bytes = listed.as_bytes();
    let slash = bytes.iter().rposition(|&byte| byte == b'/')?;
    let name = bytes[slash + 1..].strip_prefix(INCREMENTAL)?;
    InnerPath::parse(&[&bytes[..=slash], name].concat()).ok()
}

/// The name under which only the changed blocks of a file are listed.
pub fn with_prefix(listed: &InnerPath) -> Option<InnerPath> {
    let bytes = listed.as_bytes();
    let slash = bytes.iter().rposition(|&byte| byte == b'/')?;
    InnerPath::parse(&[&bytes[..=slash], INCREMENTAL, &bytes[slash + 1..]].concat()).ok()
}

/// What can go wrong with a file while its blocks are put in place.
#[derive(Debug)]
pub enum Fault {
    /// With its form.
    Form(IncrementalError),
    /// With the disk.
    Disk(DiskError),
}

impl From<IncrementalError> for Fault {
    fn from(error: IncrementalError) -> Fault {
        Fault::Form(error)
    }
}

impl From<DiskError> for Fault {
    fn from(error: DiskError) -> Fault {
        Fault::Disk(error)
    }
}

impl Fault {
    /// The same, of a file in an archive or a directory.
    pub fn of(self, name: &InnerPath, path: &Path) -> RestoreError {
        match self {
            Fault::Disk(error) => error.into(),
            Fault::Form(source) => {
                let (name, path) = (name.to_text(), path.to_owned());
                RestoreError::Incremental { name, path, source }
            }
        }
    }
}

/// Puts those of a run of blocks in place that nobody newer had.
pub fn fill(
    file: &dyn DiskFile,
    plan: &mut FilePlan,
    first: u32,
    bytes: &[u8],
) -> Result<(), Fault> {
    let page = LAYOUT.page_size.bytes();
    let count = (bytes.len() / page) as u32;
    plan.take(first, count, &mut |start, count| {
        let at = (start - first) as usize * page;
        let run = &bytes[at..at + count as usize * page];
        Ok(file.write_all_at(run, u64::from(start) * page as u64)?)
    })
}
