//! History files: fetched and durable before the first segment of their timeline.

use std::path::{Path, PathBuf};

use super::ReceiveError;
use super::stored::Names;
use crate::codec::StoredFile;
use crate::disk::{self, Disk, DiskError};
use crate::net::Walsender;
use crate::wal::{Timeline, TimelineHistory, WalFileName};

/// Where history files stand: fresh ones in `streaming`, archived ones in `wals`.
#[derive(Clone, Copy, Debug)]
pub struct HistoryPlaces<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The directory that the receiver writes to.
    pub streaming: &'a Path,
    /// The archive.
    pub wals: &'a Path,
}

impl HistoryPlaces<'_> {
    /// Asks the server for the history of a timeline and stores it unless it is stored.
    ///
    /// # Errors
    /// A stored file says something else: two servers were promoted to the same timeline, and
    /// to replace the one would make the WAL of the other unusable.
    pub async fn fetch(
        &self,
        session: &mut Walsender,
        timeline: Timeline,
    ) -> Result<TimelineHistory, ReceiveError> {
        if timeline == Timeline::FIRST {
            return Ok(TimelineHistory::without_ancestors(timeline));
        }
        let file = session.timeline_history(timeline).await?;
        let history = TimelineHistory::parse(timeline, &file.content)?;
        self.store(timeline, &file.content)?;
        Ok(history)
    }

    /// Stores a history file durably, if the same is not stored yet.
    ///
    /// # Errors
    /// See [`HistoryPlaces::fetch`].
    pub fn store(&self, timeline: Timeline, content: &[u8]) -> Result<(), ReceiveError> {
        let mut is_stored = false;
        for path in self.paths(timeline) {
            match self.read(&path) {
                Ok(stored) if stored == content => is_stored = true,
                Ok(_) => return Err(ReceiveError::OtherHistory { timeline, path }),
                Err(error) if error.is_absent() => {}
                // Encrypted, it cannot be compared; damaged, it is not ours to replace.
                Err(error) if error.is_of_unpacking() => is_stored = true,
                Err(error) => return Err(error.into()),
            }
        }
        let [fresh, _] = self.paths(timeline);
        if is_stored {
            // A crash may have come between its rename and the sync of the directory.
            self.disk.sync_directory(self.streaming)?;
            return Ok(());
        }
        Ok(disk::write_file(self.disk, &fresh, MODE, content)?)
    }

    /// All stored histories that can be read.
    pub fn stored(&self) -> Result<Vec<TimelineHistory>, DiskError> {
        let mut timelines = Names::list(self.disk, self.streaming)?.histories;
        timelines.extend(Names::list(self.disk, self.wals)?.histories);
        let mut histories = Vec::new();
        for timeline in timelines {
            for path in self.paths(timeline) {
                let content = match self.read(&path) {
                    Ok(content) => content,
                    Err(error) if error.is_absent() || error.is_of_unpacking() => continue,
                    Err(error) => return Err(error),
                };
                histories.extend(TimelineHistory::parse(timeline, &content));
            }
        }
        Ok(histories)
    }

    /// Barman compresses history files too.
    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        StoredFile::of_wal(self.disk.open_read(path)?)?.read_all(BYTES_MAX)
    }

    fn paths(&self, timeline: Timeline) -> [PathBuf; 2] {
        let name = WalFileName::History(timeline).to_string();
        [self.streaming.join(&name), self.wals.join(&name)]
    }
}

/// Removes what a crash has left of a history file that was being written. Nobody else writes
/// into the directory: the caller holds the receiver's lock.
pub(super) fn clear(disk: &dyn Disk, streaming: &Path) -> Result<(), DiskError> {
    for entry in disk.list(streaming)? {
        let Some(text) = entry.name.to_str() else { continue };
        let name = text.strip_suffix(".tmp").and_then(|text| text.rsplit_once('.'));
        let is_history = |name: &str| matches!(name.parse(), Ok(WalFileName::History(_)));
        if name.is_some_and(|(name, pid)| is_history(name) && pid.parse::<u32>().is_ok()) {
            disk.remove_file(&streaming.join(&entry.name))?;
        }
    }
    Ok(())
}

const MODE: u32 = 0o600;
/// A line is about 60 bytes; a thousand promotions fit many times over.
const BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ModelDisk;

    const TEXT: &[u8] = b"1\t0/3000000\tno recovery target specified\n";

    fn disk() -> ModelDisk {
        let disk = ModelDisk::new(1);
        disk.put_directory(Path::new("/streaming"));
        disk.put_directory(Path::new("/wals"));
        disk
    }

    fn places(disk: &ModelDisk) -> HistoryPlaces<'_> {
        HistoryPlaces { disk, streaming: Path::new("/streaming"), wals: Path::new("/wals") }
    }

    fn two() -> Timeline {
        Timeline::new(2).expect("not 0")
    }

    #[test]
    fn a_new_history_is_durable_and_a_known_one_is_left_alone() {
        let disk = disk();
        places(&disk).store(two(), TEXT).expect("stored");
        for seed in 0..16 {
            let survived = disk.after_power_loss(seed);
            let bytes = survived.bytes(Path::new("/streaming/00000002.history"));
            assert_eq!(bytes.as_deref(), Some(TEXT));
        }
        let archived = self::disk();
        archived.put(Path::new("/wals/00000002.history"), TEXT);
        places(&archived).store(two(), TEXT).expect("known");
        assert_eq!(archived.files(), [PathBuf::from("/wals/00000002.history")]);
        assert_eq!(places(&archived).stored().expect("read").len(), 1);
    }

    #[test]
    fn what_a_crash_left_of_a_history_is_cleared_away_and_nothing_else() {
        let disk = disk();
        for name in ["00000002.history.417.tmp", "00000002.history", "spare.tmp", "notes.417.tmp"] {
            disk.put(&Path::new("/streaming").join(name), TEXT);
        }
        clear(&disk, Path::new("/streaming")).expect("cleared");
        let left = ["00000002.history", "notes.417.tmp", "spare.tmp"];
        let mut files = disk.files();
        files.sort();
        assert_eq!(files, left.map(|name| Path::new("/streaming").join(name)));
    }

    #[test]
    fn another_history_of_the_same_timeline_is_an_alarm_and_replaces_nothing() {
        for place in ["/streaming/00000002.history", "/wals/00000002.history"] {
            let disk = disk();
            disk.put(Path::new(place), b"1\t0/4000000\tother\n");
            let error = places(&disk).store(two(), TEXT).expect_err("replaced");
            assert!(matches!(error, ReceiveError::OtherHistory { .. }), "{error}");
            assert_eq!(
                disk.bytes(Path::new(place)).as_deref(),
                Some(&b"1\t0/4000000\tother\n"[..])
            );
        }
    }
}
