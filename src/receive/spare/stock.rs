//! Spares that are made while nothing comes, for the next burst of commits.
//!
//! Zeros that are written beside a burst take a twentieth of the disk from it. A server that
//! keeps `min_wal_size` ready knows the same. Only streams that commits wait for have a stock;
//! what cannot be had for it is no error: the spare that is needed next is made as ever.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::Order;
use super::maker::{Made, Maker};
use crate::disk::DiskError;
use crate::receive::positions::Positions;
use crate::receive::segment::SegmentFile;
use crate::receive::target::Synchronous;
use crate::wal::Lsn;

/// The spares that wait.
pub(super) struct Stock {
    maker: Maker,
    positions: Arc<Positions>,
    synchronous: Synchronous,
    /// Of full size, and durable as they are.
    pub(super) made: Vec<Kept>,
    /// The one that is being filled, and where its next step begins.
    begun: Option<(Kept, u64)>,
    /// Where the stream was last seen.
    seen: Lsn,
    /// The disk had no room for more, or another reason to refuse.
    refused: bool,
}

pub(super) struct Kept {
    path: PathBuf,
    file: SegmentFile,
}

impl Stock {
    /// An empty stock for the stream at these positions.
    pub(super) fn new(maker: Maker, positions: Arc<Positions>, synchronous: Synchronous) -> Stock {
        let seen = positions.read().written;
        let (made, begun, refused) = (Vec::new(), None, false);
        Stock { maker, positions, synchronous, made, begun, seen, refused }
    }

    /// The next order. Until it comes, each quiet moment adds a little to the stock.
    pub(super) fn wait_for_order(&mut self, orders: &Receiver<Order>) -> Option<Order> {
        let mut rest = LOOK;
        loop {
            let order = match (self.has_room(), self.synchronous.get()) {
                (false, _) => orders.recv().map_err(RecvTimeoutError::from),
                // Commits may wait one day, and the quiet time be before.
                (true, false) => orders.recv_timeout(NOBODY_WAITS),
                (true, true) => orders.recv_timeout(rest),
            };
            match order {
                Ok(order) => {
                    self.refused = false;
                    return Some(order);
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.wants_more() && self.is_quiet() => {
                    self.refused = !matches!(self.grow(), Ok(true));
                    rest = STEP_REST;
                }
                Err(RecvTimeoutError::Timeout) => rest = LOOK,
            }
        }
    }

    /// One of the stock, at the path where the writer takes it.
    pub(super) fn take(&mut self) -> Option<Made> {
        let kept = self.made.pop()?;
        if let Err(error) = self.maker.disk.rename(&kept.path, &self.maker.path) {
            self.made.push(kept);
            return Some(Err(error));
        }
        Some(Ok(kept.file))
    }

    fn has_room(&self) -> bool {
        let wanted = (STOCK_BYTES / self.maker.length()).min(STOCK_MAX);
        !self.refused && (self.made.len() as u64) < wanted
    }

    pub(super) fn wants_more(&self) -> bool {
        self.has_room() && self.synchronous.get()
    }

    /// Whether nothing came since the last look, and nothing is under way to the disk.
    pub(super) fn is_quiet(&mut self) -> bool {
        let progress = self.positions.read();
        let stands = std::mem::replace(&mut self.seen, progress.written) == progress.written;
        stands && progress.flushed == progress.written
    }

    /// One step; what cannot be finished leaves nothing behind. `false`: the disk has no room to
    /// spare.
    pub(super) fn grow(&mut self) -> Result<bool, DiskError> {
        let (mut kept, step) = match self.begun.take() {
            Some(begun) => begun,
            None if self.maker.free_bytes()? < ROOMY => return Ok(false),
            None => (self.begin()?, 0),
        };
        match self.fill(&mut kept, step) {
            Ok(end) if end == self.maker.length() => self.made.push(kept),
            Ok(end) => self.begun = Some((kept, end)),
            Err(error) => {
                let _ = self.maker.disk.remove_file(&kept.path);
                return Err(error);
            }
        }
        Ok(true)
    }

    fn begin(&self) -> Result<Kept, DiskError> {
        let path = self.free_name();
        self.maker.make_way(&path)?;
        let file = self.maker.reserve(&path)?;
        Ok(Kept { path, file })
    }

    fn fill(&self, kept: &mut Kept, step: u64) -> Result<u64, DiskError> {
        let end = self.maker.write_step(&mut kept.file, step)?;
        if end == self.maker.length() {
            kept.file.file.sync_all()?;
        }
        Ok(end)
    }

    /// One of the first names, of which there is one more than there are spares.
    fn free_name(&self) -> PathBuf {
        let mut number = 1;
        loop {
            let path = self.maker.path.with_file_name(stock_name(number));
            if self.made.iter().all(|kept| kept.path != path) {
                return path;
            }
            number += 1;
        }
    }
}

impl Drop for Stock {
    /// Leaves no file behind; what cannot be removed now, the next start clears away.
    fn drop(&mut self) {
        let begun = self.begun.take().map(|(kept, _)| kept);
        for kept in self.made.drain(..).chain(begun) {
            let _ = self.maker.disk.remove_file(&kept.path);
        }
    }
}

/// The names of all files that a stock may have.
pub(super) fn stock_names() -> impl Iterator<Item = String> {
    (1..=STOCK_MAX).map(stock_name)
}

fn stock_name(number: u64) -> String {
    format!("spare-{number}.tmp")
}

/// The space that a stock may take, in bytes: none where one segment is more.
const STOCK_BYTES: u64 = 128 << 20;
const STOCK_MAX: u64 = 16;
/// With less free space there is no stock: it belongs to archive, backups and other receivers.
const ROOMY: u64 = 8 * STOCK_BYTES;
/// How long nothing comes in a quiet time. Between two commits of a steady stream less passes.
const LOOK: Duration = Duration::from_millis(20);
/// Until it is asked again whether commits wait.
const NOBODY_WAITS: Duration = Duration::from_secs(5);
/// Between two steps: a burst that begins finds the disk free nearly always.
const STEP_REST: Duration = Duration::from_millis(2);
