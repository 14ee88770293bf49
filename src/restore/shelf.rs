//! Where the WAL of a server lies, and how one file of it comes into a restored tree.
//!
//! The archive is looked at first, then what has been received or delivered and waits to be
//! archived. A receiver may move files while a restore runs: a name is looked up again each
//! time, in every place, and a file that was moved is found where it went.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::catalog;
use crate::codec::{Codec, StoredFile};
use crate::disk::{DirectoryEntry, Disk, DiskError, DiskFile, FileKind, FileStat};
use crate::repository::{Holes, ServerLayout};
use crate::wal::page::PageHeader;
use crate::wal::{
    Finding, Lsn, SegmentName, SegmentSize, SystemIdentifier, Timeline, TimelineHistory,
    WalChecker, WalFileName,
};

use super::error::RestoreError;
use super::open_segment::OpenSegment;
use super::path::InnerPath;
use super::selection::{AvailableWal, Incomplete, WalSelection};
use super::tree::{Tree, TreeFile};

/// Larger than any history file that a server writes in its life.
const HISTORY_BYTES_MAX: u64 = 1 << 20;
pub(super) const COPY_BYTES: usize = 1 << 20;

/// An incomplete segment that could not be read to its end, and why.
pub type Unread = (SegmentName, RestoreError);

/// The directories that hold WAL of one server.
#[derive(Clone, Copy, Debug)]
pub struct Shelf<'a> {
    /// The disk of the repository.
    pub disk: &'a dyn Disk,
    /// Where everything stands.
    pub layout: &'a ServerLayout,
}

/// What every segment of a cluster has in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WalIdentity {
    /// The size of a segment.
    pub segment_size: SegmentSize,
    /// The cluster, if the backup says which.
    pub system: Option<SystemIdentifier>,
}

impl<'a> Shelf<'a> {
    /// What has not been archived yet; in the order in which it is looked at.
    pub(super) fn waiting(&self) -> [&'a Path; 2] {
        [self.layout.streaming(), self.layout.incoming()]
    }

    /// Every WAL file of the server from `first` on; history files whatever they are.
    ///
    /// In the waiting directories only files of full size count: others are still coming. An
    /// incomplete segment that cannot be read is returned beside, with the reason: most restores
    /// do not need it.
    pub fn inventory(
        &self,
        identity: &WalIdentity,
        first: Lsn,
    ) -> Result<(AvailableWal, Vec<Unread>), RestoreError> {
        let (mut wal, mut unread) = (AvailableWal::default(), Vec::new());
        let number = first.segment(identity.segment_size);
        let is_needed = |name: SegmentName| {
            name.number(identity.segment_size).is_some_and(|other| other >= number)
        };
        let mut histories = Vec::new();
        let mut open = BTreeSet::new();
        for name in self.archived()? {
            match name {
                WalFileName::Segment(name) if is_needed(name) => {
                    wal.segments.insert(name);
                }
                // What a timeline has left behind.
                WalFileName::Partial(name) if is_needed(name) => {
                    open.insert(name);
                }
                WalFileName::History(timeline) => histories.push(timeline),
                _ => {}
            }
        }
        let full = u64::from(identity.segment_size.bytes());
        for directory in self.waiting() {
            for (name, stat) in self.waiting_files(directory)? {
                match name {
                    WalFileName::Segment(name) if is_needed(name) && stat.length == full => {
                        wal.segments.insert(name);
                    }
                    WalFileName::Partial(name) if is_needed(name) && stat.length > 0 => {
                        open.insert(name);
                    }
                    WalFileName::History(timeline) => histories.push(timeline),
                    _ => {}
                }
            }
        }
        for name in open {
            let found = self.find_open_segment(name, identity);
            if let Some(OpenSegment { end, damaged, .. }) = found.best {
                wal.partials.insert(name, Incomplete { end, damaged });
            } else if self.find(WalFileName::Segment(name)).is_ok() {
                // Gone when it was archived, and then it is whole.
                wal.segments.insert(name);
            }
            if let Some(error) = found.unread {
                wal.unread.insert(name);
                unread.push((name, error));
            }
        }
        for timeline in histories {
            wal.histories.insert(timeline, self.history(timeline)?);
        }
        wal.holes = self.holes(identity)?;
        Ok((wal, unread))
    }

    /// Lost WAL that was not found again.
    fn holes(&self, identity: &WalIdentity) -> Result<Holes, RestoreError> {
        let holes = Holes::read(self.disk, self.layout)?;
        let filled = catalog::filled(self.disk, self.layout, &holes, identity.segment_size)?;
        Ok(holes.iter().filter(|hole| !filled.contains(hole)).copied().collect())
    }

    pub(super) fn archived(&self) -> Result<Vec<WalFileName>, RestoreError> {
        let mut names = Vec::new();
        for entry in list(self.disk, self.layout.wals())? {
            let Some(text) = entry.name.to_str() else { continue };
            match entry.kind {
                FileKind::File => names.extend(text.parse::<WalFileName>()),
                FileKind::Directory if is_hash_directory(text) => {
                    for inner in list(self.disk, &self.layout.wals().join(text))? {
                        let name = inner.name.to_str().and_then(|name| name.parse().ok());
                        // A file in the directory of another is not where restore finds it.
                        names.extend(name.filter(|name: &WalFileName| {
                            name.hash_directory().as_deref() == Some(text)
                        }));
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }

    pub(super) fn waiting_files(
        &self,
        directory: &Path,
    ) -> Result<Vec<(WalFileName, FileStat)>, RestoreError> {
        let mut files = Vec::new();
        for entry in list(self.disk, directory)? {
            let Some(name) = entry.name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Gone meanwhile: archived, and found there.
            if let Some(stat) = self.disk.stat(&directory.join(&entry.name))? {
                files.push((name, stat));
            }
        }
        Ok(files)
    }

    pub(super) fn history(&self, timeline: Timeline) -> Result<TimelineHistory, RestoreError> {
        let (path, content) = self.history_content(timeline)?;
        TimelineHistory::parse(timeline, &content)
            .map_err(|source| RestoreError::History { path, source })
    }

    fn history_content(&self, timeline: Timeline) -> Result<(PathBuf, Vec<u8>), RestoreError> {
        let name = WalFileName::History(timeline);
        let (path, file) = self.find(name)?;
        Ok((path, unpacked(file)?.read_all(HISTORY_BYTES_MAX)?))
    }

    /// The place of a file now, and the file, open.
    pub(super) fn find(
        &self,
        name: WalFileName,
    ) -> Result<(PathBuf, Box<dyn DiskFile>), RestoreError> {
        let text = name.to_string();
        let archived = self.layout.wal(name);
        // Twice: between two looks a file may move from a later place to an earlier one.
        for _ in 0..2 {
            let places = std::iter::once(archived.clone())
                .chain(self.waiting().map(|directory| directory.join(&text)));
            for path in places {
                match self.disk.open_read(&path) {
                    Ok(file) => return Ok((path, file)),
                    Err(error) if error.is_absent() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let absent = io::Error::from(io::ErrorKind::NotFound);
        Err(DiskError::new("open", &archived, absent).into())
    }

    /// Looks at the beginning of everything that is to be copied, so that what cannot be used
    /// is found out before anything is written.
    pub fn check(
        &self,
        selection: &WalSelection,
        identity: &WalIdentity,
    ) -> Result<(), RestoreError> {
        for name in &selection.segments {
            let (_, file) = self.find(WalFileName::Segment(*name))?;
            open_whole(file, *name, identity)?;
        }
        selection.partial.map_or(Ok(()), |name| self.check_open_segment(name, identity))
    }

    /// Copies a complete segment into `directory` of a tree, and says what is damaged in it. A
    /// record that reaches into the next segment is not looked at. Behind `cut` there are zeros.
    pub fn copy_segment(
        &self,
        name: SegmentName,
        identity: &WalIdentity,
        cut: Option<Lsn>,
        (tree, directory): (&mut Tree<'_>, &str),
        moved: &mut dyn FnMut(u64) -> Result<(), RestoreError>,
    ) -> Result<Option<Finding>, RestoreError> {
        let (path, file) = self.find(WalFileName::Segment(name))?;
        let (mut file, first) = open_whole(file, name, identity)?;
        let mut inspection = Inspection::new(name, identity);
        let to = inner(directory, &name.to_string())?;
        let mut look = |bytes: &[u8]| inspection.take(bytes);
        let target = tree.file(&to, 0o600)?;
        let limit = bytes_before(cut, name, identity);
        let mut copied = copy(first, &mut file, limit, target, &mut look, moved)?;
        let length = copied.length();
        let full = u64::from(identity.segment_size.bytes());
        // Only now it is known of one that was packed.
        if length != full.min(limit) {
            return Err(RestoreError::SegmentLength { path, length, identity: *identity });
        }
        copied.pad_to(full)?;
        copied.finish(None)?;
        Ok(inspection.damage)
    }

    /// Copies a history file.
    pub fn copy_history(
        &self,
        timeline: Timeline,
        tree: &mut Tree<'_>,
        directory: &str,
    ) -> Result<(), RestoreError> {
        let (_, content) = self.history_content(timeline)?;
        let name = inner(directory, &timeline.history_file_name())?;
        Ok(tree.write(&name, 0o600, &content)?)
    }
}

fn is_hash_directory(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A directory that does not exist holds nothing.
fn list(disk: &dyn Disk, path: &Path) -> Result<Vec<DirectoryEntry>, DiskError> {
    match disk.list(path) {
        Err(error) if error.is_absent() => Ok(Vec::new()),
        result => result,
    }
}

pub(super) fn inner(directory: &str, name: &str) -> Result<InnerPath, RestoreError> {
    Ok(InnerPath::parse(format!("{directory}/{name}").as_bytes())?)
}

/// A WAL file as the server wrote it, whatever it is packed with.
pub(super) fn unpacked(file: Box<dyn DiskFile>) -> Result<StoredFile, RestoreError> {
    let mut head = [0; Codec::HEAD_BYTES];
    let read = file.read_at(&mut head, 0)?;
    match Codec::of_wal(&head[..read]) {
        codec if codec.is_readable() => Ok(StoredFile::of_wal(file)?),
        codec => Err(RestoreError::Packed { path: file.path().to_owned(), codec }),
    }
}

/// As much of the beginning as a page header takes.
pub(super) fn first_bytes(file: &mut StoredFile) -> Result<Vec<u8>, RestoreError> {
    let mut first = vec![0; PageHeader::LONG];
    let read = file.read(&mut first)?;
    first.truncate(read);
    Ok(first)
}

/// Opens a segment, and refuses what cannot be a complete one. Its first bytes are read already.
fn open_whole(
    file: Box<dyn DiskFile>,
    name: SegmentName,
    identity: &WalIdentity,
) -> Result<(StoredFile, Vec<u8>), RestoreError> {
    let mut file = unpacked(file)?;
    let first = first_bytes(&mut file)?;
    let page = check_first_page(file.path(), &first, name, identity)?;
    let (length, full) = (file.stored_length()?, u64::from(identity.segment_size.bytes()));
    if page.is_some() && (length == full || file.codec() != Codec::Plain) {
        return Ok((file, first));
    }
    let path = file.path().to_owned();
    Err(RestoreError::SegmentLength { path, length, identity: *identity })
}

/// Refuses segments that belong elsewhere: recovery would stop at them with an error that names
/// no file. `None` for a file whose first page was never written.
pub(super) fn check_first_page(
    path: &Path,
    first: &[u8],
    name: SegmentName,
    identity: &WalIdentity,
) -> Result<Option<PageHeader>, RestoreError> {
    if first.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let foreign = |what: String| RestoreError::ForeignSegment { path: path.to_owned(), what };
    let header = PageHeader::parse(first).ok_or_else(|| foreign("no page header".to_owned()))?;
    let start = name.number(identity.segment_size).map(|n| n.start(identity.segment_size));
    if Some(header.address) != start {
        return Err(foreign(format!("WAL from {}", header.address)));
    }
    let Some(long) = header.long else {
        return Err(foreign("no long page header".to_owned()));
    };
    if identity.system.is_some_and(|system| system != long.system) {
        return Err(foreign(format!("WAL of the cluster {}", long.system)));
    }
    if long.segment_size != identity.segment_size.bytes() {
        return Err(foreign(format!("segments of {} bytes", long.segment_size)));
    }
    Ok(Some(header))
}

/// The records of one segment, looked at while it is copied: the server takes the first bad one
/// for the end of the WAL, and without a target it opens there and says nothing.
struct Inspection {
    checker: Option<WalChecker>,
    position: Lsn,
    findings: Vec<Finding>,
    damage: Option<Finding>,
}

impl Inspection {
    fn new(name: SegmentName, identity: &WalIdentity) -> Inspection {
        let size = identity.segment_size;
        let start = name.number(size).map(|number| number.start(size));
        let checker =
            start.map(|start| WalChecker::new(name.timeline(), identity.system, size, start));
        let position = start.unwrap_or(Lsn::INVALID);
        Inspection { checker, position, findings: Vec::new(), damage: None }
    }

    fn take(&mut self, bytes: &[u8]) {
        let Some(checker) = self.checker.as_mut().filter(|_| self.damage.is_none()) else { return };
        checker.feed(self.position, bytes, &mut self.findings);
        self.position = self.position + bytes.len() as u64;
        self.damage = self.findings.drain(..).find(|finding| finding.is_damage());
    }
}

/// How much of a segment counts.
pub(super) fn bytes_before(cut: Option<Lsn>, name: SegmentName, identity: &WalIdentity) -> u64 {
    let start =
        name.number(identity.segment_size).map(|number| number.start(identity.segment_size));
    cut.zip(start).map_or(u64::MAX, |(cut, start)| cut.0.saturating_sub(start.0))
}

/// Copies up to `limit` bytes, and reads no more: there may be damage behind.
pub(super) fn copy(
    first: Vec<u8>,
    file: &mut StoredFile,
    limit: u64,
    mut target: TreeFile,
    look: &mut dyn FnMut(&[u8]),
    moved: &mut dyn FnMut(u64) -> Result<(), RestoreError>,
) -> Result<TreeFile, RestoreError> {
    let mut buffer = first;
    let mut read = buffer.len();
    buffer.resize(COPY_BYTES, 0);
    while read > 0 {
        let counts = (limit - target.length()).min(read as u64) as usize;
        look(&buffer[..counts]);
        target.write(&buffer[..counts])?;
        moved(read as u64)?;
        let wanted = (limit - target.length()).min(COPY_BYTES as u64) as usize;
        read = file.read(&mut buffer[..wanted])?;
    }
    Ok(target)
}
