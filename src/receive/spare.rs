//! The next segment file, made ready before it is needed.
//!
//! To create, fill and sync a file takes longer than a commit may wait. A spare is made while
//! the segment before it fills, under a name that nobody takes for WAL: Barman leaves `.tmp`
//! alone, and a start clears it away.
//!
//! A file that the archive has compressed and left is the next spare: its blocks are there and
//! written, so that it costs nothing. What it holds is older WAL, as in the files that a server
//! recycles: behind the end of what is written, every reader of WAL has to expect that.

mod maker;
mod stock;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::maker::{Made, Maker, Pace};
use self::stock::{Stock, stock_names};
use super::positions::Positions;
use super::segment::SegmentFile;
use super::target::Target;
use crate::archive::{RECYCLED_NAME, RECYCLING_NAME};
use crate::disk::{self, Disk, DiskError};

/// How a file gets its full size.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Filling {
    /// Space is reserved: cheap, and right when whole segments are flushed at once.
    Reserved,
    /// Zeros are written: then no flush has to change the file's block map, which makes flushes
    /// cheaper.
    Zeros,
}

/// What kind of spare is wanted, and for how long nobody will need it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Order {
    /// How it gets its size.
    pub(super) filling: Filling,
    /// Over which time zeros may be spread: written in one go they would be in the way of the
    /// flushes of the current segment, and commits would wait.
    pub(super) within: Duration,
}

/// Where spares are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preparation {
    /// In a thread of its own.
    Background,
    /// By the writer itself, between two writes: for short streams, and for tests that need
    /// the same order of calls each time.
    InTurn,
}

/// Makes spares, one at a time.
#[derive(Debug)]
pub(super) struct Spares {
    maker: Maker,
    /// One that is made and waits.
    ready: Option<SegmentFile>,
    /// Without it spares are made in turn.
    thread: Option<Background>,
}

/// The thread that makes spares. It waits for an order, or has one if `ordered`.
#[derive(Debug)]
struct Background {
    /// `None` ends the thread.
    orders: Option<SyncSender<Order>>,
    made: Receiver<Made>,
    ordered: bool,
    hurry: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Spares {
    /// Spares for what is written to `target`.
    pub(super) fn new(target: &Target) -> Spares {
        Spares { maker: Maker::new(target), ready: None, thread: None }
    }

    /// Starts the thread, if one is wanted, for the stream at these positions. For a writer in a
    /// thread of its own: whoever drops this waits for it.
    pub(super) fn start(&mut self, target: &Target, positions: &Arc<Positions>) {
        if target.preparation == Preparation::Background {
            let (positions, synchronous) = (Arc::clone(positions), target.synchronous.clone());
            let stock = Stock::new(self.maker.clone(), positions, synchronous);
            self.thread = Background::start(stock, self.maker.clone());
        }
    }

    /// The path of a spare that was made and not yet taken into use.
    pub(super) fn path(&self) -> &Path {
        &self.maker.path
    }

    /// Makes the first spare and waits for it.
    pub(super) fn make_first(&mut self, filling: Filling) -> Result<(), DiskError> {
        self.ready = Some(self.maker.make(filling)?);
        Ok(())
    }

    /// Has a spare made, unless there is one. Errors wait for [`Spares::take`]: until then the
    /// current segment can still be finished.
    pub(super) fn prepare(&mut self, order: Order) {
        if self.ready.is_some() {
            return;
        }
        match &mut self.thread {
            None => self.ready = self.maker.make(order.filling).ok(),
            Some(thread) => thread.order(order),
        }
    }

    /// A file of full size, durable as it is, at [`Spares::path`]. Where none is ready or in
    /// stock, one is made in the shortest way.
    pub(super) fn take(&mut self) -> Result<SegmentFile, DiskError> {
        if let (None, Some(thread)) = (&self.ready, &mut self.thread) {
            thread.order(AT_ONCE);
        }
        // A thread that failed says so here, and then the file is made in its stead: the reason
        // may have gone away meanwhile, and if not, it comes up again.
        let ready = self.ready.take().or_else(|| self.ordered());
        ready.map_or_else(|| self.maker.make(Filling::Reserved), Ok)
    }

    /// One that was taken and not used.
    pub(super) fn give_back(&mut self, file: SegmentFile) {
        self.ready = Some(file);
    }

    /// What the thread was told to make, if it was told and could.
    fn ordered(&mut self) -> Option<SegmentFile> {
        self.thread.as_mut()?.fetch()
    }
}

impl Drop for Spares {
    /// Leaves no file behind that nobody needs.
    fn drop(&mut self) {
        if self.ready.take().or_else(|| self.ordered()).is_some() {
            // Not worth an error: the next start clears it away.
            let _ = self.maker.disk.remove_file(&self.maker.path);
        }
    }
}

impl Background {
    /// `None` when the machine has no thread left: spares are then made in turn.
    fn start(mut stock: Stock, maker: Maker) -> Option<Background> {
        let (orders, ordered) = mpsc::sync_channel::<Order>(1);
        let (done, made) = mpsc::sync_channel(1);
        let hurry = Arc::new(AtomicBool::new(false));
        let hurried = Arc::clone(&hurry);
        let work = move || {
            while let Some(order) = stock.wait_for_order(&ordered) {
                let pace = Pace { began: Instant::now(), within: order.within, hurry: &hurried };
                let made = match maker.recycled() {
                    Ok(None) => {
                        stock.take().unwrap_or_else(|| maker.make_new(order.filling, Some(&pace)))
                    }
                    Ok(Some(recycled)) => Ok(recycled),
                    Err(error) => Err(error),
                };
                if done.send(made).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("wal-spare".to_owned()).spawn(work).ok()?;
        Some(Background { orders: Some(orders), made, ordered: false, hurry, thread: Some(thread) })
    }

    fn order(&mut self, order: Order) {
        if let (false, Some(orders)) = (self.ordered, &self.orders) {
            self.hurry.store(false, Ordering::Release);
            self.ordered = orders.try_send(order).is_ok();
        }
    }

    /// What was ordered. Somebody waits from now on.
    fn fetch(&mut self) -> Option<SegmentFile> {
        if !std::mem::take(&mut self.ordered) {
            return None;
        }
        self.hurry.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        self.made.recv().ok()?.ok()
    }
}

impl Drop for Background {
    /// The names of the stock are free for the next one when this returns.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Clears away the spares that a crash left behind.
pub(super) fn clear(disk: &dyn Disk, directory: &Path) -> Result<(), DiskError> {
    let single = [SPARE_NAME, RECYCLED_NAME, RECYCLING_NAME].map(str::to_owned);
    for name in single.into_iter().chain(stock_names()) {
        let path = directory.join(name);
        if disk.stat(&path)?.is_some() {
            disk::remove_file(disk, &path)?;
        }
    }
    Ok(())
}

/// Of who waits already. What was ordered before is as good.
const AT_ONCE: Order = Order { filling: Filling::Reserved, within: Duration::ZERO };
const SPARE_NAME: &str = "spare.tmp";

#[cfg(test)]
mod tests;
