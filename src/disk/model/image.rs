//! What the model disk holds: the state that a running program sees, and beneath it the state
//! that a power cut leaves.
//!
//! Knows inodes, names and bytes; nothing of faults.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};

use rustix::io::Errno;

use super::chance::Chance;

/// The number of an inode. The root directory has [`ROOT`].
pub(super) type Inode = u64;
pub(super) const ROOT: Inode = 0;

#[derive(Clone, Debug)]
pub(super) struct Image {
    inodes: BTreeMap<Inode, Node>,
    next_inode: Inode,
    /// Changes of names that no sync of their directory has made durable, oldest first.
    pending_names: Vec<NameChange>,
    next_change: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) mode: u32,
    /// Nanoseconds since 1970, from the model's own clock.
    pub(super) modified: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    File(FileContent),
    Directory(Names),
    /// Where it points to is not kept: the trait has no call that would ask.
    Symlink,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileContent {
    /// What reads return: the page cache.
    pub(super) live: Vec<u8>,
    /// What has surely reached the medium.
    durable: Vec<u8>,
    /// Changes since the last sync, oldest first: each sector of each may or may not survive.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Bytes { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) live: BTreeMap<OsString, Inode>,
    durable: BTreeMap<OsString, Inode>,
}

/// Edits that a journal commits together.
#[derive(Clone, Debug)]
struct NameChange {
    id: u64,
    directory: Inode,
    edits: Vec<(OsString, Option<Inode>)>,
    /// The change without which this one cannot be: the old name of a file that moved to
    /// another directory never vanishes before the new one is there.
    needs: Option<u64>,
}

impl FileContent {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        overlay(&mut self.live, offset, bytes);
        self.pending.push(Change::Bytes { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn set_length(&mut self, length: usize) {
        self.live.resize(length, 0);
        self.pending.push(Change::Length(length));
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Bytes { offset, bytes } => overlay(&mut self.durable, offset, &bytes),
                Change::Length(length) => self.durable.resize(length, 0),
            }
        }
    }

    /// A failed sync as Linux does it: some of the dirty pages reached the medium, all of them
    /// count as clean afterwards, and no later sync writes them. Reads still return them.
    pub(super) fn sync_in_vain(&mut self, chance: &mut Chance) {
        self.durable = self.survivor(chance);
        self.pending.clear();
    }

    /// The content after a power cut: unsynced changes survive sector by sector, in any
    /// combination, later ones without earlier ones.
    fn survivor(&self, chance: &mut Chance) -> Vec<u8> {
        let mut survivor = self.durable.clone();
        let sector = if chance.coin() { 512 } else { 4096 };
        for change in &self.pending {
            match change {
                Change::Length(length) if chance.coin() => survivor.resize(*length, 0),
                Change::Length(_) => {}
                Change::Bytes { offset, bytes } => match chance.below(4) {
                    0 => overlay(&mut survivor, *offset, bytes),
                    1 => {}
                    _ => tear(&mut survivor, *offset, bytes, sector, chance),
                },
            }
        }
        survivor
    }
}

/// Keeps about half of the sectors of a write.
fn tear(file: &mut Vec<u8>, offset: usize, bytes: &[u8], sector: usize, chance: &mut Chance) {
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + sector - (offset + at) % sector);
        if chance.coin() {
            overlay(file, offset + at, &bytes[at..end]);
        }
        at = end;
    }
}

fn overlay(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

impl Names {
    fn commit(&mut self, edits: &[(OsString, Option<Inode>)]) {
        for (name, target) in edits {
            match target {
                Some(inode) => self.durable.insert(name.clone(), *inode),
                None => self.durable.remove(name),
            };
        }
    }
}

impl Image {
    /// How many names an inode has now.
    pub(super) fn links(&self, inode: Inode) -> u64 {
        let names = self.inodes.values().filter_map(|node| match &node.content {
            Content::Directory(names) => Some(&names.live),
            _ => None,
        });
        names.flat_map(|live| live.values()).filter(|named| **named == inode).count() as u64
    }

    pub(super) fn new() -> Image {
        let root = Node { content: Content::Directory(Names::default()), mode: 0o755, modified: 0 };
        Image {
            inodes: BTreeMap::from([(ROOT, root)]),
            next_inode: ROOT + 1,
            pending_names: Vec::new(),
            next_change: 0,
        }
    }

    pub(super) fn node(&self, inode: Inode) -> Result<&Node, Errno> {
        self.inodes.get(&inode).ok_or(Errno::NOENT)
    }

    pub(super) fn node_mut(&mut self, inode: Inode) -> Result<&mut Node, Errno> {
        self.inodes.get_mut(&inode).ok_or(Errno::NOENT)
    }

    pub(super) fn file_mut(&mut self, inode: Inode) -> Result<&mut FileContent, Errno> {
        match &mut self.node_mut(inode)?.content {
            Content::File(file) => Ok(file),
            Content::Directory(_) => Err(Errno::ISDIR),
            Content::Symlink => Err(Errno::LOOP),
        }
    }

    pub(super) fn names(&self, inode: Inode) -> Result<&Names, Errno> {
        match &self.node(inode)?.content {
            Content::Directory(names) => Ok(names),
            _ => Err(Errno::NOTDIR),
        }
    }

    fn names_mut(&mut self, inode: Inode) -> Result<&mut Names, Errno> {
        match &mut self.node_mut(inode)?.content {
            Content::Directory(names) => Ok(names),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// The inode at a path. Links are never followed, which absolute paths of a repository do
    /// not need.
    pub(super) fn resolve(&self, path: &Path) -> Result<Inode, Errno> {
        let mut inode = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir => inode = ROOT,
                Component::CurDir => {}
                Component::Normal(name) => {
                    inode = *self.names(inode)?.live.get(name).ok_or(Errno::NOENT)?;
                }
                Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL),
            }
        }
        Ok(inode)
    }

    /// The directory that holds the last name of a path, and that name.
    pub(super) fn place<'a>(&self, path: &'a Path) -> Result<(Inode, &'a OsStr), Errno> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL);
        };
        let directory = self.resolve(above)?;
        self.names(directory)?;
        Ok((directory, name))
    }

    /// Adds a node under a name that must be free.
    pub(super) fn add(&mut self, path: &Path, node: Node) -> Result<Inode, Errno> {
        let (directory, name) = self.place(path)?;
        if self.names(directory)?.live.contains_key(name) {
            return Err(Errno::EXIST);
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, node);
        self.change_names(directory, vec![(name.to_owned(), Some(inode))], None)?;
        Ok(inode)
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let inode = self.resolve(from)?;
        self.file_mut(inode)?;
        let (directory, name) = self.place(to)?;
        if self.names(directory)?.live.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.change_names(directory, vec![(name.to_owned(), Some(inode))], None)?;
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<(), Errno> {
        let (directory, name) = self.place(path)?;
        self.change_names(directory, vec![(name.to_owned(), None)], None)?;
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let inode = self.resolve(from)?;
        if let Ok(replaced) = self.resolve(to) {
            if replaced == inode {
                return Ok(());
            }
            match (&self.node(inode)?.content, &self.node(replaced)?.content) {
                (Content::Directory(_), Content::Directory(names)) if names.live.is_empty() => {}
                (Content::Directory(_), Content::Directory(_)) => return Err(Errno::NOTEMPTY),
                (Content::Directory(_), _) => return Err(Errno::NOTDIR),
                (_, Content::Directory(_)) => return Err(Errno::ISDIR),
                _ => {}
            }
        }
        let (from_directory, from_name) = self.place(from)?;
        let (to_directory, to_name) = self.place(to)?;
        let gone = (from_name.to_owned(), None);
        let there = (to_name.to_owned(), Some(inode));
        if from_directory == to_directory {
            self.change_names(to_directory, vec![gone, there], None)?;
        } else {
            let added = self.change_names(to_directory, vec![there], None)?;
            self.change_names(from_directory, vec![gone], Some(added))?;
        }
        Ok(())
    }

    fn change_names(
        &mut self,
        directory: Inode,
        edits: Vec<(OsString, Option<Inode>)>,
        needs: Option<u64>,
    ) -> Result<u64, Errno> {
        let names = self.names_mut(directory)?;
        for (name, target) in &edits {
            match target {
                Some(inode) => names.live.insert(name.clone(), *inode),
                None => names.live.remove(name),
            };
        }
        let id = self.next_change;
        self.next_change += 1;
        self.pending_names.push(NameChange { id, directory, edits, needs });
        Ok(id)
    }

    /// Makes the names of one directory durable, and with them what they need elsewhere.
    pub(super) fn sync_names(&mut self, directory: Inode) -> Result<(), Errno> {
        self.names(directory)?;
        let needed: Vec<u64> = self
            .pending_names
            .iter()
            .filter(|change| change.directory == directory)
            .filter_map(|change| change.needs)
            .collect();
        self.commit_names(|change| change.directory == directory || needed.contains(&change.id));
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn sync_all(&mut self) {
        self.commit_names(|_| true);
        self.files().for_each(FileContent::sync);
    }

    /// A failed sync of everything.
    pub(super) fn sync_all_in_vain(&mut self, chance: &mut Chance) {
        self.sync_names_in_vain(chance);
        self.files().for_each(|file| file.sync_in_vain(chance));
    }

    fn files(&mut self) -> impl Iterator<Item = &mut FileContent> {
        self.inodes.values_mut().filter_map(|node| match &mut node.content {
            Content::File(file) => Some(file),
            _ => None,
        })
    }

    /// A failed sync of names: some became durable, the others wait for the next one.
    pub(super) fn sync_names_in_vain(&mut self, chance: &mut Chance) {
        self.commit_names(|_| chance.coin());
    }

    fn commit_names(&mut self, mut chosen: impl FnMut(&NameChange) -> bool) {
        let mut left: Vec<NameChange> = Vec::new();
        for change in std::mem::take(&mut self.pending_names) {
            let waits = change.needs.is_some_and(|id| left.iter().any(|other| other.id == id));
            // Two changes of one name keep their order.
            let blocked = left.iter().any(|other| {
                other.directory == change.directory
                    && other
                        .edits
                        .iter()
                        .any(|(name, _)| change.edits.iter().any(|(changed, _)| changed == name))
            });
            if waits || blocked || !chosen(&change) {
                left.push(change);
            } else if let Ok(names) = self.names_mut(change.directory) {
                names.commit(&change.edits);
            }
        }
        self.pending_names = left;
    }

    /// What the medium holds when the power comes back.
    pub(super) fn after_power_loss(&self, chance: &mut Chance) -> Image {
        let mut image = self.clone();
        if chance.coin() {
            // A journal commits in order: a prefix survives.
            let mut left = chance.below(image.pending_names.len() + 1);
            image.commit_names(|_| {
                left = left.saturating_sub(1);
                left > 0
            });
        } else {
            image.commit_names(|_| chance.coin());
        }
        image.pending_names.clear();
        for node in image.inodes.values_mut() {
            match &mut node.content {
                Content::File(file) => {
                    file.durable = file.survivor(chance);
                    file.pending.clear();
                    file.live.clone_from(&file.durable);
                }
                Content::Directory(names) => names.live.clone_from(&names.durable),
                Content::Symlink => {}
            }
        }
        image
    }
}
