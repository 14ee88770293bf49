//! An open file of the model disk.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::io::Errno;

use super::super::DIRECT_ALIGN;
use super::image::Inode;
use super::{DiskError, DiskFile, Fate, ModelDisk, State, nanoseconds};

/// How a file was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    ReadOnly,
    Buffered,
    /// Past the page cache. What is written so may be lost like anything else: it stands in the
    /// cache of the device until the file is synced.
    Direct,
}

#[derive(Debug)]
pub(super) struct ModelFile {
    pub(super) disk: ModelDisk,
    pub(super) path: PathBuf,
    pub(super) inode: Inode,
    pub(super) access: Access,
}

impl ModelFile {
    fn check_writable(&self) -> Result<(), Errno> {
        if self.access == Access::ReadOnly { Err(Errno::BADF) } else { Ok(()) }
    }

    /// As a disk with large blocks checks it.
    fn check_alignment(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<(), Errno> {
        let fits = |number: usize| number.is_multiple_of(DIRECT_ALIGN);
        let aligned = fits(offset as usize)
            && slices.iter().all(|slice| fits(slice.len()) && fits(slice.as_ptr() as usize));
        if self.access == Access::Direct && !aligned { Err(Errno::INVAL) } else { Ok(()) }
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.disk.call("sync", &self.path, |state, fate| {
            let State { image, chance, .. } = state;
            let file = image.file_mut(self.inode)?;
            match fate {
                Fate::Done => file.sync(),
                Fate::Fails(_) | Fate::LosesPower => file.sync_in_vain(chance),
            }
            Ok(())
        })
    }

    fn touch(&self, state: &mut State) -> Result<(), Errno> {
        let now = state.clock;
        state.image.node_mut(self.inode)?.modified = now;
        Ok(())
    }
}

impl DiskFile for ModelFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn write_all_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        let mut bytes = Vec::new();
        for slice in slices {
            bytes.extend_from_slice(slice);
        }
        let operation = match self.access {
            Access::Direct => "write direct",
            Access::Buffered | Access::ReadOnly => "write",
        };
        self.disk.call(operation, &self.path, |state, fate| {
            self.check_writable()?;
            self.check_alignment(slices, offset)?;
            self.touch(state)?;
            // A failing write has written a beginning, cut anywhere: that is how ENOSPC comes.
            let written = match fate {
                Fate::Fails(_) => state.chance.below(bytes.len() + 1),
                Fate::Done | Fate::LosesPower => bytes.len(),
            };
            if written > 0 {
                let file = state.image.file_mut(self.inode)?;
                file.write(offset as usize, &bytes[..written]);
            }
            Ok(())
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        self.disk.simple_call("read", &self.path, |state| {
            let live = &state.image.file_mut(self.inode)?.live;
            let rest = live.get(offset as usize..).unwrap_or_default();
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }

    fn length(&self) -> Result<u64, DiskError> {
        self.disk.simple_call("stat", &self.path, |state| {
            Ok(state.image.file_mut(self.inode)?.live.len() as u64)
        })
    }

    fn set_length(&self, length: u64) -> Result<(), DiskError> {
        self.disk.simple_call("set the length of", &self.path, |state| {
            self.check_writable()?;
            self.touch(state)?;
            state.image.file_mut(self.inode)?.set_length(length as usize);
            Ok(())
        })
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.disk.simple_call("reserve space for", &self.path, |state| {
            self.check_writable()?;
            let file = state.image.file_mut(self.inode)?;
            let end = (offset + length) as usize;
            if file.live.len() < end {
                file.set_length(end);
            }
            Ok(())
        })
    }

    fn start_writeback(&self, _offset: u64, _length: u64) -> Result<(), DiskError> {
        // Unsynced bytes may survive as it is: the hint adds nothing that a test could rely on.
        self.disk.simple_call("start the write-back of", &self.path, |_| Ok(()))
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.sync()
    }

    fn sync_all(&self) -> Result<(), DiskError> {
        self.sync()
    }

    fn set_modified(&self, time: SystemTime) -> Result<(), DiskError> {
        self.disk.simple_call("set the time of", &self.path, |state| {
            state.image.node_mut(self.inode)?.modified = nanoseconds(time);
            Ok(())
        })
    }
}
