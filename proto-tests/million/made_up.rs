//! A repository with backups of very many files, made up while they are read, and a destination
//! that keeps nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tapster::disk::{
    DirectoryEntry, Disk, DiskError, DiskFile, FileKind, FileStat, FileSystemWatch, ModelDisk,
};

/// Where what is restored goes, and is not kept.
pub const DRAIN: &str = "/drain";

/// A file of many entries of one length.
pub struct MadeUp {
    pub head: Vec<u8>,
    pub entry: Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>,
    pub width: u64,
    pub entries: u32,
    pub tail: Vec<u8>,
}

impl MadeUp {
    fn length(&self) -> u64 {
        (self.head.len() + self.tail.len()) as u64 + self.width * u64::from(self.entries)
    }

    /// The bytes from `at` to the end of whatever part of the file that is.
    fn part(&self, at: u64) -> Vec<u8> {
        let head = self.head.len() as u64;
        let tail = head + self.width * u64::from(self.entries);
        match at {
            _ if at < head => self.head[at as usize..].to_vec(),
            _ if at < tail => {
                let entry = (self.entry)(((at - head) / self.width) as u32);
                entry[((at - head) % self.width) as usize..].to_vec()
            }
            _ => self.tail.get((at - tail) as usize..).unwrap_or_default().to_vec(),
        }
    }
}

impl fmt::Debug for MadeUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MadeUp({} bytes)", self.length())
    }
}

/// Small files stand on a model disk.
#[derive(Debug)]
pub struct Repository {
    pub small: ModelDisk,
    large: BTreeMap<PathBuf, Arc<MadeUp>>,
}

impl Repository {
    pub fn new() -> Repository {
        Repository { small: ModelDisk::new(0), large: BTreeMap::new() }
    }

    pub fn put(&mut self, path: PathBuf, file: MadeUp) {
        self.small.put_directory(path.parent().expect("it is in a directory"));
        self.large.insert(path, Arc::new(file));
    }

    /// What is done in the destination is done.
    fn unless_drained(
        &self,
        path: &Path,
        done: impl FnOnce() -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        if path.starts_with(DRAIN) { Ok(()) } else { done() }
    }

    fn file(&self, path: &Path) -> Option<Box<dyn DiskFile>> {
        let large = self.large.get(path).cloned();
        let known = large.is_some() || path.starts_with(DRAIN);
        known.then(|| Box::new(File { path: path.to_owned(), large }) as Box<dyn DiskFile>)
    }
}

impl Disk for Repository {
    fn create(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>, DiskError> {
        self.file(path).map_or_else(|| self.small.create(path, mode), Ok)
    }
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.file(path).map_or_else(|| self.small.open(path), Ok)
    }
    fn open_read(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.file(path).map_or_else(|| self.small.open_read(path), Ok)
    }
    fn open_direct(&self, _path: &Path) -> Result<Option<Box<dyn DiskFile>>, DiskError> {
        Ok(None)
    }
    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.unless_drained(to, || self.small.link(from, to))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.unless_drained(to, || self.small.rename(from, to))
    }
    fn remove_file(&self, path: &Path) -> Result<(), DiskError> {
        self.unless_drained(path, || self.small.remove_file(path))
    }
    fn create_directory(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        self.unless_drained(path, || self.small.create_directory(path, mode))
    }
    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        self.unless_drained(path, || self.small.remove_directory(path))
    }
    fn symlink(&self, target: &Path, link: &Path) -> Result<(), DiskError> {
        self.unless_drained(link, || self.small.symlink(target, link))
    }
    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        self.unless_drained(path, || self.small.set_mode(path, mode))
    }
    fn sync_directory(&self, _path: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn flush_file_system(&self, _path: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn watch_file_system(
        &self,
        _path: &Path,
    ) -> Result<Option<Box<dyn FileSystemWatch>>, DiskError> {
        Ok(None)
    }
    fn list(&self, path: &Path) -> Result<Vec<DirectoryEntry>, DiskError> {
        let mut entries = self.small.list(path)?;
        let inside = self.large.keys().filter(|large| large.parent() == Some(path));
        entries.extend(
            inside
                .filter_map(|large| large.file_name())
                .map(|name| DirectoryEntry { name: name.to_owned(), kind: FileKind::File }),
        );
        Ok(entries)
    }
    fn stat(&self, path: &Path) -> Result<Option<FileStat>, DiskError> {
        let Some(large) = self.large.get(path) else { return self.small.stat(path) };
        let (kind, length, modified) = (FileKind::File, large.length(), SystemTime::UNIX_EPOCH);
        Ok(Some(FileStat { kind, length, mode: 0o600, links: 1, modified }))
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.small.free_bytes(path)
    }
}

/// An open file: made up, or one that takes everything and is empty.
#[derive(Debug)]
struct File {
    path: PathBuf,
    large: Option<Arc<MadeUp>>,
}

impl DiskFile for File {
    fn path(&self) -> &Path {
        &self.path
    }
    fn write_all_vectored_at(&self, _slices: &[IoSlice<'_>], _at: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let Some(large) = &self.large else { return Ok(0) };
        let mut filled = 0;
        while filled < buffer.len() {
            let part = large.part(offset + filled as u64);
            let taken = part.len().min(buffer.len() - filled);
            if taken == 0 {
                break;
            }
            buffer[filled..filled + taken].copy_from_slice(&part[..taken]);
            filled += taken;
        }
        Ok(filled)
    }
    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.large.as_ref().map_or(0, |large| large.length()))
    }
    fn set_length(&self, _length: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn allocate(&self, _offset: u64, _length: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn start_writeback(&self, _offset: u64, _length: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_data(&self) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_all(&self) -> Result<(), DiskError> {
        Ok(())
    }
    fn set_modified(&self, _time: SystemTime) -> Result<(), DiskError> {
        Ok(())
    }
}
