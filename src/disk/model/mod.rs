//! A disk in memory that loses power, tears and reorders writes, and fails at any call.
//!
//! For tests of everything that must survive. Each call counts; a chosen one fails with a
//! chosen error, or is the last before the power is cut. What survives is drawn from a seed:
//! unsynced bytes by sectors, in any order, unsynced names in any combination that a journal
//! allows. A failed sync drops what it did not write, as Linux does.

mod chance;
mod file;
mod hold;
mod image;
mod watch;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use self::chance::Chance;
use self::file::{Access, ModelFile};
use self::image::{Content, FileContent, Image, Inode, Names, Node, ROOT};
use super::{DirectoryEntry, Disk, DiskError, DiskFile, FileKind, FileStat, FileSystemWatch};

/// A handle on a model disk; clones are handles on the same disk.
#[derive(Clone, Debug)]
pub struct ModelDisk {
    state: Arc<Mutex<State>>,
    /// Rung when calls begin to wait, and when they go on.
    held: Arc<Condvar>,
}

#[derive(Debug)]
struct State {
    image: Image,
    chance: Chance,
    calls: u64,
    faults: Vec<(u64, Errno)>,
    /// From this call on everything that may fail so does.
    fails_from: Option<(u64, Errno)>,
    power_loss_at: Option<u64>,
    /// How often the kernel failed to write something back by itself.
    lost: u64,
    /// Its file system is none that is synced as a whole.
    unwatchable: bool,
    /// Nothing answers any more.
    dead: bool,
    /// Calls with this verb wait, and how many do.
    hold: Option<(&'static str, usize)>,
    /// What each call was, for the message of a failing test.
    history: Vec<String>,
    /// Nanoseconds since 1970: each change takes one.
    clock: u64,
}

/// How a call ends that the model interferes with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Done,
    Fails(Errno),
    LosesPower,
}

impl ModelDisk {
    /// An empty disk: only the directory `/` is there. The seed decides how failing calls fail.
    pub fn new(seed: u64) -> ModelDisk {
        ModelDisk::with(Image::new(), seed)
    }

    fn with(image: Image, seed: u64) -> ModelDisk {
        let state = State {
            image,
            chance: Chance::new(seed),
            calls: 0,
            faults: Vec::new(),
            fails_from: None,
            power_loss_at: None,
            lost: 0,
            unwatchable: false,
            dead: false,
            hold: None,
            history: Vec::new(),
            clock: 1_700_000_000_000_000_000,
        };
        ModelDisk { state: Arc::new(Mutex::new(state)), held: Arc::new(Condvar::new()) }
    }

    /// Lets the call with this number fail. Calls are numbered from 0.
    pub fn fail_call(&self, number: u64, error: Errno) {
        self.state().faults.push((number, error));
    }

    /// Lets this call and all later ones fail.
    pub fn fail_from_call(&self, number: u64, error: Errno) {
        self.state().fails_from = Some((number, error));
    }

    /// Cuts the power in the middle of the call with this number: it may still have had an
    /// effect, and all later ones fail.
    pub fn power_loss_at_call(&self, number: u64) {
        self.state().power_loss_at = Some(number);
    }

    /// How many calls there have been.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// What each call was, in order: `sync /repository/streaming/…`.
    pub fn history(&self) -> Vec<String> {
        self.state().history.clone()
    }

    /// What stands on the medium after a power cut now; the seed chooses among the images that
    /// are possible. The disk itself goes on as it is.
    pub fn after_power_loss(&self, seed: u64) -> ModelDisk {
        let image = self.state().image.after_power_loss(&mut Chance::new(seed));
        ModelDisk::with(image, seed)
    }

    /// The disk as the next process finds it when this one was killed and the machine ran on:
    /// what was written is seen, synced or not. No faults are left.
    pub fn after_kill(&self, seed: u64) -> ModelDisk {
        ModelDisk::with(self.state().image.clone(), seed)
    }

    /// Puts a durable file there, with the directories above it. Counts as no call.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        if let Some(above) = path.parent() {
            state.put_directory(above);
        }
        let mut content = FileContent::default();
        content.write(0, bytes);
        content.sync();
        let node = state.new_node(Content::File(content), 0o600);
        let _ = state.image.remove(path);
        let _ = state.image.add(path, node);
        state.sync_parent(path);
    }

    /// Puts a durable directory there, with those above it. Counts as no call.
    pub fn put_directory(&self, path: &Path) {
        self.state().put_directory(path);
    }

    /// What a read of the whole file would return. Counts as no call.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.image.resolve(path).ok()?;
        match &state.image.node(inode).ok()?.content {
            Content::File(file) => Some(file.live.clone()),
            _ => None,
        }
    }

    /// The paths of all files, in order. Counts as no call.
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.state();
        let mut found = Vec::new();
        let mut todo = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, inode)) = todo.pop() {
            match state.image.node(inode).map(|node| &node.content) {
                Ok(Content::Directory(names)) => {
                    todo.extend(names.live.iter().map(|(name, &inode)| (path.join(name), inode)));
                }
                Ok(_) => found.push(path),
                Err(_) => {}
            }
        }
        found.sort();
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere has already failed; the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call: decides its fate, lets it happen if it may, and turns the outcome into the
    /// error that the caller sees.
    ///
    /// `work` gets the fate, because failing writes and syncs leave traces of their own.
    fn call<T>(
        &self,
        operation: &'static str,
        path: &Path,
        work: impl FnOnce(&mut State, Fate) -> Result<T, Errno>,
    ) -> Result<T, DiskError> {
        let mut state = self.state_when_free(operation);
        let fate = state.begin(operation, path)?;
        let result = match fate {
            Fate::LosesPower if !state.chance.coin() => Err(Errno::IO),
            _ => work(&mut state, fate),
        };
        match fate {
            Fate::Done => result.map_err(|error| DiskError::new(operation, path, error)),
            Fate::Fails(error) => Err(DiskError::new(operation, path, error)),
            Fate::LosesPower => {
                state.dead = true;
                Err(power_is_lost(operation, path))
            }
        }
    }

    /// A call that changes nothing when it fails.
    fn simple_call<T>(
        &self,
        operation: &'static str,
        path: &Path,
        work: impl FnOnce(&mut State) -> Result<T, Errno>,
    ) -> Result<T, DiskError> {
        self.call(operation, path, |state, fate| match fate {
            Fate::Fails(error) => Err(error),
            Fate::Done | Fate::LosesPower => work(state),
        })
    }

    fn file(&self, path: &Path, inode: Inode, access: Access) -> Box<dyn DiskFile> {
        Box::new(ModelFile { disk: self.clone(), path: path.to_owned(), inode, access })
    }

    fn open_file(&self, path: &Path, access: Access) -> Result<Box<dyn DiskFile>, DiskError> {
        let inode = self.simple_call("open", path, |state| {
            let inode = state.image.resolve(path)?;
            state.image.file_mut(inode).map(|_| inode)
        })?;
        Ok(self.file(path, inode, access))
    }
}

fn power_is_lost(operation: &'static str, path: &Path) -> DiskError {
    DiskError::new(operation, path, io::Error::other("the power is lost"))
}

impl State {
    fn begin(&mut self, operation: &'static str, path: &Path) -> Result<Fate, DiskError> {
        if self.dead {
            return Err(power_is_lost(operation, path));
        }
        let number = self.calls;
        self.calls += 1;
        self.clock += 1;
        self.history.push(format!("{operation} {}", path.display()));
        if self.power_loss_at == Some(number) {
            return Ok(Fate::LosesPower);
        }
        let lasting = self.fails_from.filter(|(from, _)| *from <= number);
        let fault = self.faults.iter().find(|(at, _)| *at == number).copied().or(lasting);
        Ok(fault.map_or(Fate::Done, |(_, error)| Fate::Fails(error)))
    }

    fn new_node(&self, content: Content, mode: u32) -> Node {
        Node { content, mode, modified: self.clock }
    }

    fn put_directory(&mut self, path: &Path) {
        if self.image.resolve(path).is_ok() {
            return;
        }
        if let Some(above) = path.parent() {
            self.put_directory(above);
        }
        let node = self.new_node(Content::Directory(Names::default()), 0o755);
        let _ = self.image.add(path, node);
        self.sync_parent(path);
    }

    fn sync_parent(&mut self, path: &Path) {
        if let Ok((directory, _)) = self.image.place(path) {
            let _ = self.image.sync_names(directory);
        }
    }
}

impl Disk for ModelDisk {
    fn create(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>, DiskError> {
        let inode = self.simple_call("create", path, |state| {
            let node = state.new_node(Content::File(FileContent::default()), mode);
            state.image.add(path, node)
        })?;
        Ok(self.file(path, inode, Access::Buffered))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.open_file(path, Access::Buffered)
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.open_file(path, Access::ReadOnly)
    }

    fn open_direct(&self, path: &Path) -> Result<Option<Box<dyn DiskFile>>, DiskError> {
        let inode = self.simple_call("open", path, |state| {
            let inode = state.image.resolve(path)?;
            state.image.file_mut(inode).map(|_| inode)
        })?;
        let (disk, path) = (self.clone(), path.to_owned());
        Ok(Some(Box::new(ModelFile { disk, path, inode, access: Access::Direct })))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.simple_call("create", to, |state| state.image.link(from, to))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.simple_call("rename to", to, |state| state.image.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> Result<(), DiskError> {
        self.simple_call("remove", path, |state| {
            let inode = state.image.resolve(path)?;
            match state.image.node(inode)?.content {
                Content::Directory(_) => Err(Errno::ISDIR),
                _ => state.image.remove(path),
            }
        })
    }

    fn create_directory(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        self.simple_call("create directory", path, |state| {
            let node = state.new_node(Content::Directory(Names::default()), mode);
            state.image.add(path, node).map(|_| ())
        })
    }

    fn remove_directory(&self, path: &Path) -> Result<(), DiskError> {
        self.simple_call("remove directory", path, |state| {
            let inode = state.image.resolve(path)?;
            match state.image.names(inode)?.live.is_empty() {
                true => state.image.remove(path),
                false => Err(Errno::NOTEMPTY),
            }
        })
    }

    fn symlink(&self, _target: &Path, link: &Path) -> Result<(), DiskError> {
        self.simple_call("create link", link, |state| {
            let node = state.new_node(Content::Symlink, 0o777);
            state.image.add(link, node).map(|_| ())
        })
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), DiskError> {
        self.simple_call("set the mode of", path, |state| {
            let inode = state.image.resolve(path)?;
            state.image.node_mut(inode)?.mode = mode;
            Ok(())
        })
    }

    fn sync_directory(&self, path: &Path) -> Result<(), DiskError> {
        self.call("sync directory", path, |state, fate| {
            let directory = state.image.resolve(path)?;
            match fate {
                Fate::Done => state.image.sync_names(directory),
                Fate::Fails(_) | Fate::LosesPower => {
                    state.image.sync_names_in_vain(&mut state.chance);
                    Ok(())
                }
            }
        })
    }

    fn flush_file_system(&self, path: &Path) -> Result<(), DiskError> {
        // It promises nothing, so it does nothing: who relies on it loses what it wrote.
        self.simple_call("sync the file system of", path, |_| Ok(()))
    }

    fn watch_file_system(
        &self,
        path: &Path,
    ) -> Result<Option<Box<dyn FileSystemWatch>>, DiskError> {
        watch::watch(self, path)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirectoryEntry>, DiskError> {
        self.simple_call("list", path, |state| {
            let directory = state.image.resolve(path)?;
            let entry = |(name, &inode): (&std::ffi::OsString, &Inode)| {
                Ok(DirectoryEntry { name: name.clone(), kind: kind(state.image.node(inode)?) })
            };
            state.image.names(directory)?.live.iter().map(entry).collect()
        })
    }

    fn stat(&self, path: &Path) -> Result<Option<FileStat>, DiskError> {
        self.simple_call("stat", path, |state| {
            let inode = match state.image.resolve(path) {
                Ok(inode) => inode,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(error) => return Err(error),
            };
            let node = state.image.node(inode)?;
            let length = match &node.content {
                Content::File(file) => file.live.len() as u64,
                Content::Directory(_) | Content::Symlink => 0,
            };
            let modified = UNIX_EPOCH + Duration::from_nanos(node.modified);
            let links = state.image.links(inode);
            Ok(Some(FileStat { kind: kind(node), length, mode: node.mode, links, modified }))
        })
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.simple_call("ask for the free space of", path, |_| Ok(1 << 40))
    }
}

fn kind(node: &Node) -> FileKind {
    match node.content {
        Content::File(_) => FileKind::File,
        Content::Directory(_) => FileKind::Directory,
        Content::Symlink => FileKind::Symlink,
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
