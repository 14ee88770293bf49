//! History files: fetched and durable before the first segment of their timeline.

use std::path::{Path, PathBuf};

use super::ReceiveError;
use super::stored::Names;
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
            match disk::read_file(self.disk, &path, BYTES_MAX) {
                Ok(stored) if stored == content || is_compressed(&stored) => is_stored = true,
                Ok(_) => return Err(ReceiveError::OtherHistory { timeline, path }),
                Err(error) if error.is_absent() => {}
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

    /// All stored histories that can be read. Compressed ones are passed over.
    pub fn stored(&self) -> Result<Vec<TimelineHistory>, DiskError> {
        let mut timelines = Names::list(self.disk, self.streaming)?.histories;
        timelines.extend(Names::list(self.disk, self.wals)?.histories);
        let mut histories = Vec::new();
        for timeline in timelines {
            for path in self.paths(timeline) {
                let content = match disk::read_file(self.disk, &path, BYTES_MAX) {
                    Ok(content) => content,
                    Err(error) if error.is_absent() => continue,
                    Err(error) => return Err(error),
                };
                histories.extend(TimelineHistory::parse(timeline, &content));
            }
        }
        Ok(histories)
    }

    fn paths(&self, timeline: Timeline) -> [PathBuf; 2] {
        let name = WalFileName::History(timeline).to_string();
        [self.streaming.join(&name), self.wals.join(&name)]
    }
}

/// Barman compresses history files too. A text file begins with none of these bytes: gzip,
/// bzip2, xz, zstd, lz4, snappy.
fn is_compressed(stored: &[u8]) -> bool {
    let magics: [&[u8]; 6] = [
        b"\x1f\x8b\x08",
        b"BZh",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
        b"\x04\x22\x4d\x18",
        b"\xff\x06\0\0sNaPpY",
    ];
    magics.iter().any(|magic| stored.starts_with(magic))
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
