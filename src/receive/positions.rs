//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! How far the writer is, for the reader to report.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::wal::Lsn;

/// Where reception stands. `flushed <= written`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// Behind the last byte that was handed to the kernel.
    pub written: Lsn,
    /// Behind the last byte that survives a power cut, with the names that lead to it.
    pub flushed: Lsn,
}

/// The writer's progress, published to the reader: two numbers that only grow, and a bell.
#[derive(Debug)]
pub(super) struct Positions {
    written: AtomicU64,
    flushed: AtomicU64,
    /// The writer has ended, well or badly.
    ended: AtomicBool,
    /// The disk is full, and the writer waits for room.
    stalled: AtomicBool,
    changed: Notify,
}

impl Positions {
    /// Everything before `start` is durable.
    pub(super) fn new(start: Lsn) -> Positions {
        let start = start.0;
        Positions {
            written: AtomicU64::new(start),
            flushed: AtomicU64::new(start),
            ended: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// What can be said now.
    pub(super) fn read(&self) -> Progress {
        // Flushed first: it may only be too low for the `written` that is read after it.
        let flushed = Lsn(self.flushed.load(Ordering::Acquire));
        let written = Lsn(self.written.load(Ordering::Acquire));
        Progress { written, flushed }
    }

    /// The kernel has everything before `position`. Rings no bell: nobody waits for this.
    pub(super) fn publish_written(&self, position: Lsn) {
        self.written.fetch_max(position.0, Ordering::Release);
    }

    /// Everything before `position` is durable.
    pub(super) fn publish_flushed(&self, position: Lsn) {
        self.written.fetch_max(position.0, Ordering::Release);
        if self.flushed.fetch_max(position.0, Ordering::Release) < position.0 {
            self.changed.notify_one();
        }
    }

    /// The writer has ended and has nothing more to say.
    pub(super) fn publish_end(&self) {
        self.ended.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// The disk is full, or has room again.
    pub(super) fn publish_stall(&self, stalled: bool) {
        if self.stalled.swap(stalled, Ordering::AcqRel) != stalled {
            self.changed.notify_one();
        }
    }

    /// Whether the writer waits for room on the disk.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Whether the writer has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits for a change of the flushed position since the last call, or for the end.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
