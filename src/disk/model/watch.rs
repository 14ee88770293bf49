//! The model disk synced as a whole.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{DiskError, Fate, FileSystemWatch, ModelDisk, State};

/// Knows of what failed after it was made, as a file description does.
#[derive(Debug)]
struct ModelWatch {
    disk: ModelDisk,
    path: PathBuf,
    /// Failures of which somebody else was told.
    lost_before: u64,
}

/// Watches the disk; `None` when it was made not to be watched.
pub(super) fn watch(
    disk: &ModelDisk,
    path: &Path,
) -> Result<Option<Box<dyn FileSystemWatch>>, DiskError> {
    let watched = disk.simple_call("open directory", path, |state| {
        let directory = state.image.resolve(path)?;
        state.image.names(directory)?;
        Ok((!state.unwatchable).then_some(state.lost))
    })?;
    Ok(watched.map(|lost_before| -> Box<dyn FileSystemWatch> {
        Box::new(ModelWatch { disk: disk.clone(), path: path.to_owned(), lost_before })
    }))
}

impl FileSystemWatch for ModelWatch {
    fn sync(self: Box<Self>) -> Result<(), DiskError> {
        self.disk.call("sync the file system of", &self.path, |state, fate| {
            let State { image, chance, lost, .. } = state;
            match fate {
                Fate::Done => image.sync_all(),
                Fate::Fails(_) | Fate::LosesPower => image.sync_all_in_vain(chance),
            }
            if *lost == self.lost_before { Ok(()) } else { Err(Errno::IO) }
        })
    }
}

impl ModelDisk {
    /// Makes a disk whose file system is none of those that may be synced as a whole.
    pub fn unwatchable(self) -> ModelDisk {
        self.state().unwatchable = true;
        self
    }

    /// The kernel writes everything back by itself, and fails. Counts as no call: nobody is told
    /// but who syncs one of the files that were lost while it is open, or watches since before.
    pub fn fail_write_back(&self) {
        let mut state = self.state();
        let State { image, chance, lost, .. } = &mut *state;
        image.sync_all_in_vain(chance);
        *lost += 1;
    }
}
