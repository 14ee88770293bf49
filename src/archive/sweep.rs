//! All that waits, in order: packed by several threads, entered by one.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;

use tracing::{debug, info};

use super::pack::temporary;
use super::pile::IN_HAND;
use super::place::{Job, Ready, prepare};
use super::{ArchiveError, ArchiveSettings, Archived, Archiver, Inbox, Swept};
use crate::codec::Packing;
use crate::disk::{Disk, LockFile};
use crate::repository::Lock;
use crate::wal::WalFileName;

type Outcome = Result<Ready, ArchiveError>;

impl Archiver {
    /// Archives everything in `streaming/` that is finished: history files, complete segments,
    /// and incomplete ones that never will be. In the order of the names; the first error ends
    /// it, so that the archive has no hole that the next sweep would fill late. A file that
    /// cannot be what its name says is passed over.
    ///
    /// Under the lock that a Barman beside us takes for the same work.
    ///
    /// # Errors
    /// The first file that could not be archived. Files before it are in the archive. Another
    /// process is at it: [`ArchiveError::is_busy`].
    pub fn sweep(&mut self) -> Result<Swept, ArchiveError> {
        let _lock = self.lock()?;
        self.sweep_locked(Inbox::Streaming, None)
    }

    /// The lock of the archiver, for those who do more than one sweep.
    ///
    /// # Errors
    /// See [`Archiver::sweep`].
    pub fn lock(&self) -> Result<LockFile, ArchiveError> {
        Ok(LockFile::acquire(&self.layout.lock(Lock::ArchiveWal))?)
    }

    /// The same for one inbox, and for so many files of it at most; the caller holds
    /// [`Archiver::lock`].
    ///
    /// # Errors
    /// See [`Archiver::sweep`].
    pub fn sweep_locked(
        &mut self,
        inbox: Inbox,
        at_most: Option<usize>,
    ) -> Result<Swept, ArchiveError> {
        let mut names = self.waiting(inbox)?.names;
        names.truncate(at_most.unwrap_or(usize::MAX));
        let from = self.inbox(inbox).to_owned();
        self.sweep_from(&from, names)
    }

    /// How these files are packed: faster when they pile up beside a receiver.
    fn choose(&mut self, names: &[WalFileName]) -> ArchiveSettings {
        let settings = self.settings;
        let packing = settings.packing.map(Packing::hurried);
        if !settings.keep_pace || packing == settings.packing {
            return settings;
        }
        let before = self.pile.times();
        let waiting = names.iter().filter(|name| matches!(name, WalFileName::Segment(_))).count();
        if !self.pile.look(waiting, settings.threads) {
            return settings;
        }
        if self.pile.times() > before {
            let server = self.layout.server();
            let what = "segments pile up: packed faster, and larger, until the pile is gone";
            match before {
                0 => info!(%server, waiting, "{what}; said once"),
                _ => debug!(%server, waiting, "{what}"),
            }
        }
        ArchiveSettings { packing, ..settings }
    }

    /// The named files of a directory.
    pub(super) fn sweep_from(
        &mut self,
        from: &Path,
        names: Vec<WalFileName>,
    ) -> Result<Swept, ArchiveError> {
        let settings = self.choose(&names);
        if settings.threads > 1 && settings.packing.is_some() && names.len() > 1 {
            self.sweep_beside(from, names, settings)
        } else {
            self.sweep_in_turn(from, names, settings)
        }
    }

    fn sweep_in_turn(
        &mut self,
        from: &Path,
        names: Vec<WalFileName>,
        settings: ArchiveSettings,
    ) -> Result<Swept, ArchiveError> {
        let mut swept = Swept::default();
        for name in names {
            let job = self.job(from, name)?;
            let ready = prepare(self.disk.as_ref(), &settings, &job);
            self.finish(&job, ready, &mut swept)?;
        }
        Ok(swept)
    }

    fn sweep_beside(
        &mut self,
        from: &Path,
        names: Vec<WalFileName>,
        settings: ArchiveSettings,
    ) -> Result<Swept, ArchiveError> {
        let disk = Arc::clone(&self.disk);
        let (jobs, orders) = mpsc::channel();
        let orders = Mutex::new(orders);
        thread::scope(|scope| {
            let started = (0..settings.threads).filter(|_| {
                let work = || work(disk.as_ref(), &settings, &orders);
                let builder = thread::Builder::new().name("archive-pack".to_owned());
                builder.spawn_scoped(scope, work).is_ok()
            });
            // With fewer threads it takes longer.
            if started.count() == 0 {
                return self.sweep_in_turn(from, names, settings);
            }
            let mut under_way = UnderWay::default();
            let result = self.run(&jobs, &mut under_way, from, names, settings);
            drop(jobs);
            // What was packed in vain takes room that others need.
            for (job, outcome) in under_way.0 {
                if matches!(outcome.recv(), Ok(Ok(Ready::Packed(..)))) {
                    let _ = disk.remove_file(&temporary(&job.to));
                }
            }
            result
        })
    }

    /// Hands jobs out as far ahead as the threads can use, and finishes them in order.
    fn run(
        &mut self,
        jobs: &mpsc::Sender<(Job, SyncSender<Outcome>)>,
        under_way: &mut UnderWay,
        from: &Path,
        names: Vec<WalFileName>,
        settings: ArchiveSettings,
    ) -> Result<Swept, ArchiveError> {
        let mut swept = Swept::default();
        let (mut late, files) = (0, names.len());
        let mut names = names.into_iter();
        loop {
            while under_way.0.len() < settings.threads * IN_HAND
                && let Some(name) = names.next()
            {
                let job = self.job(from, name)?;
                let (done, outcome) = mpsc::sync_channel(1);
                if jobs.send((job.clone(), done)).is_err() {
                    return Ok(swept);
                }
                under_way.0.push_back((job, outcome));
            }
            let Some((job, outcome)) = under_way.0.pop_front() else {
                self.pile.learn(late, files);
                return Ok(swept);
            };
            let ready = outcome.try_recv().or_else(|_| {
                late += 1;
                outcome.recv()
            });
            // A thread that ended without an answer has said why by itself.
            let ready = ready.unwrap_or_else(|_| prepare(self.disk.as_ref(), &settings, &job));
            self.finish(&job, ready, &mut swept)?;
        }
    }

    fn job(&mut self, from: &Path, name: WalFileName) -> Result<Job, ArchiveError> {
        self.establish(&self.layout.wal_directory(name))?;
        let (from, to) = (from.join(name.to_string()), self.layout.wal(name));
        Ok(Job { name, from, to })
    }

    fn finish(&mut self, job: &Job, ready: Outcome, swept: &mut Swept) -> Result<(), ArchiveError> {
        let ready = match ready {
            Err(error @ ArchiveError::Size { .. }) => {
                swept.refused.push(error);
                return Ok(());
            }
            result => result?,
        };
        match self.commit(job, ready)? {
            Archived::Stored | Archived::Known => swept.stored.push(job.name),
            Archived::Duplicate(moved) => swept.duplicates.push((job.name, moved)),
            Archived::Gone => {}
        }
        Ok(())
    }
}

/// Jobs that were handed out, in order, each with the place where its answer comes.
#[derive(Default)]
struct UnderWay(VecDeque<(Job, Receiver<Outcome>)>);

fn work(
    disk: &dyn Disk,
    settings: &ArchiveSettings,
    orders: &Mutex<Receiver<(Job, SyncSender<Outcome>)>>,
) {
    // The stream goes first: what it brings can be packed later.
    let _ = rustix::process::nice(NICE);
    loop {
        let Ok(order) = orders.lock().map(|orders| orders.recv()) else { return };
        let Ok((job, done)) = order else { return };
        // Who has stopped waiting is not told.
        let _ = done.send(prepare(disk, settings, &job));
    }
}

const NICE: i32 = 5;
