//! Files of a chain of backups on their way to one.
//!
//! Archives can only be read from their beginning to their end. So the newest backup is unpacked
//! first; its incremental files are created at their final length, with the blocks that they
//! bring. Then each older backup is read once, from the newer to the older, and gives the blocks
//! that nobody newer had. Nothing is stored in between.

use std::collections::HashMap;
use std::path::Path;
use std::time::SystemTime;

use crate::disk::{DiskError, DiskFile};
use crate::manifest::{Algorithm, Checksum};
use crate::pages::{
    FilePlan, Fork, INCREMENTAL, IncrementalError, PageLayout, PageSize, PagedFile,
};
use crate::wire::ServerVersion;

use super::error::RestoreError;
use super::path::InnerPath;
use super::unpack::Origin;

/// A backup is taken of servers with these pages only, see `backup`.
pub const LAYOUT: PageLayout = PageLayout { page_size: PageSize::DEFAULT, segment_blocks: 131_072 };

/// The files that are being put together.
#[derive(Debug)]
pub struct Combiner {
    /// By their name in the manifest, without `INCREMENTAL.`.
    files: HashMap<InnerPath, CombinedFile>,
    /// What becomes of `backup_label`.
    pub label: Option<Vec<u8>>,
    /// Visibility maps that came in parts may say of pages that all is visible that is not, and
    /// index-only scans would believe them. They become empty, which says nothing, and the next
    /// VACUUM makes them anew.
    pub distrusts_visibility: bool,
}

/// A file that has come incrementally.
#[derive(Debug)]
pub struct CombinedFile {
    /// The tree that holds it.
    pub origin: Origin,
    /// Its name there.
    pub name: InnerPath,
    /// Bytes.
    pub length: u64,
    /// Time of its last change.
    pub modified: Option<SystemTime>,
    /// What is to be found in older backups; `None` when nothing is.
    pub plan: Option<FilePlan>,
    /// The backup that is being read has it.
    pub seen: bool,
    /// Of a file that is an older one as a whole.
    pub checksum: Option<(Algorithm, Checksum)>,
}

impl Combiner {
    /// Combines what `version` has sent; that of the oldest server that was backed up.
    pub fn new(version: ServerVersion) -> Combiner {
        let distrusts_visibility = !version.summarizes_visibility_maps();
        Combiner { files: HashMap::new(), label: None, distrusts_visibility }
    }

    /// Whether a file of the result is to be empty.
    pub fn empties(&self, listed: &InnerPath) -> bool {
        let fork = PagedFile::at(listed.as_bytes()).map(|file| file.fork);
        self.distrusts_visibility && fork == Some(Fork::Visibility)
    }

    /// Adds a file of the newest backup.
    pub fn add(&mut self, listed: InnerPath, file: CombinedFile) {
        self.files.insert(listed, file);
    }

    /// Whether an older backup has to be read.
    pub fn needs_more(&self) -> bool {
        self.files.values().any(|file| file.plan.is_some())
    }

    /// Takes out a file of which something is missing, to be put back with [`Combiner::add`].
    pub fn take_open(&mut self, listed: &InnerPath) -> Option<CombinedFile> {
        self.files.get(listed)?.plan.as_ref()?;
        self.files.remove(listed)
    }

    /// A file that is complete.
    pub fn get(&self, listed: &InnerPath) -> Option<&CombinedFile> {
        self.files.get(listed)
    }

    /// A file of which something is missing.
    pub fn first_open(&self) -> Option<&InnerPath> {
        self.files.iter().find(|(_, file)| file.plan.is_some()).map(|(name, _)| name)
    }

    /// Bytes of the files whose checksum no backup knows.
    pub fn bytes_to_sum_up(&self) -> u64 {
        let unknown = self.files.values().filter(|file| file.checksum.is_none());
        unknown.map(|file| file.length).sum()
    }

    /// An older backup has been read: it must have had each file that is not complete.
    pub fn end_of_backup(&mut self, backup: &str) -> Result<(), RestoreError> {
        for (listed, file) in &mut self.files {
            if file.plan.is_some() && !std::mem::take(&mut file.seen) {
                let (name, backup) = (listed.to_text(), backup.to_owned());
                return Err(RestoreError::NotInChain { name, backup });
            }
        }
        Ok(())
    }
}

/// The name of the file that an incremental one becomes; `None` for any other file.
pub fn without_prefix(listed: &InnerPath) -> Option<InnerPath> {
    PagedFile::at(listed.as_bytes()).filter(|file| file.incremental)?;
    let bytes = listed.as_bytes();
    let slash = bytes.iter().rposition(|&byte| byte == b'/')?;
    let name = bytes[slash + 1..].strip_prefix(INCREMENTAL)?;
    InnerPath::parse(&[&bytes[..=slash], name].concat()).ok()
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
