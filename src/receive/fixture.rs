//! What several tests of reception need: a model disk, a place on it for WAL, patience.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::spare::Preparation;
use super::target::{Synchronous, Target, WhenFull};
use crate::disk::ModelDisk;
use crate::wal::SegmentSize;

/// Where segments are written.
pub(super) const DIRECTORY: &str = "/streaming";

/// A disk where [`DIRECTORY`] is there.
pub(super) fn disk(seed: u64) -> ModelDisk {
    let disk = ModelDisk::new(seed);
    disk.put_directory(Path::new(DIRECTORY));
    disk
}

/// Segments of `size` bytes on this disk, without a thread beside the writer.
pub(super) fn target(disk: &ModelDisk, size: u64) -> Target {
    Target {
        disk: Arc::new(disk.clone()),
        directory: PathBuf::from(DIRECTORY),
        segment_size: SegmentSize::new(size).expect("a size"),
        synchronous: Synchronous::new(false),
        preparation: Preparation::InTurn,
        completed: None,
        direct: true,
        when_full: WhenFull::Fail,
        queue_bytes: 1 << 20,
        inspection: None,
        meters: Arc::default(),
    }
}

/// Waits for what has to come.
pub(super) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come: {what}");
        thread::yield_now();
    }
}

/// A frame of WAL, and a keepalive behind it. Source: manual, "Streaming Replication
/// Protocol", XLogData and Primary keepalive message.
pub(super) fn frames(start: u64, length: usize, ask: u8) -> Vec<u8> {
    let mut frame = vec![b'd'];
    frame.extend((4 + 25 + length as u32).to_be_bytes());
    frame.push(b'w');
    frame.extend([start, start + length as u64, 0].map(u64::to_be_bytes).concat());
    frame.resize(frame.len() + length, 7);
    frame.push(b'd');
    frame.extend((4_u32 + 18).to_be_bytes());
    frame.push(b'k');
    frame.extend([start + length as u64, 0].map(u64::to_be_bytes).concat());
    frame.push(ask);
    frame
}

/// CopyBothResponse without columns.
pub(super) const COPY_BOTH: [u8; 8] = [b'W', 0, 0, 0, 7, 0, 0, 0];
