//! A backup from its lock to its last segment of WAL.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned};

use super::error::BackupError;
use super::record::{self, Record};
use super::session::Session;
use super::wal::OwnWal;
use super::{copy, places, secure};
use crate::conninfo::ConnectOptions;
use crate::disk::{Disk, LockError, LockFile};
use crate::output::{Progress, one_line};
use crate::repository::backup_info::BackupCompression;
use crate::repository::{BackupId, BackupInfo, Lock, ServerLayout};
use crate::service::{Shutdown, Urgency};
use crate::wal::{Lsn, SegmentName, WalFileName};
use crate::wire::Checkpoint;

/// What a backup is to be like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The disk of the repository.
    pub disk: Arc<dyn Disk>,
    /// The repository.
    pub layout: ServerLayout,
    /// How to reach the walsender.
    pub streaming: ConnectOptions,
    /// How to ask what only SQL can tell.
    pub sql: ConnectOptions,
    /// The primary of a standby, to have its segments closed.
    pub primary: Option<ConnectOptions>,
    /// What the sessions are called on the server, unless the options say otherwise.
    pub application_name: String,
    /// What the user calls the backup.
    pub name: Option<String>,
    /// How the checkpoint at the start is made.
    pub checkpoint: Checkpoint,
    /// The most KiB a second.
    pub max_rate_kib: Option<u32>,
    /// Whether the archive is meant to be without a hole: WAL is then received from where the
    /// archive ends, not from where the backup begins.
    pub continues_wal: bool,
    /// Whether and how long to wait for WAL.
    pub wait: Wait,
    /// How long a server that has begun to send may say nothing. Before that it may take its
    /// time: a checkpoint at its own pace takes minutes.
    pub silence: Duration,
}

/// The pause that no server needs: see [`Plan::silence`].
pub const SILENCE: Duration = Duration::from_secs(300);

/// How long to wait until the WAL of the backup is archived.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wait {
    /// The user wants to wait. Otherwise a short while is waited, because mostly it is enough.
    pub asked: bool,
    /// No longer than this.
    pub timeout: Option<Duration>,
}

/// A step of a backup, for who watches.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Milestone {
    /// It is recorded, and the server is about to be asked.
    Starting {
        /// Its directory.
        directory: PathBuf,
    },
    /// The checkpoint is done, and data comes.
    Begun {
        /// Its id.
        id: BackupId,
        /// Where recovery will begin.
        lsn: Lsn,
        /// The segment of that position.
        segment: SegmentName,
        /// The offset in it.
        offset: u32,
    },
    /// All data is here.
    Copied {
        /// Since the server was asked.
        took: Duration,
        /// Whether every member was held against the server's manifest; servers before 13 send
        /// none.
        verified: bool,
    },
    /// The server has no backup before this one.
    First,
    /// Everything of the copy is durable.
    Stored {
        /// What is recorded.
        info: Box<BackupInfo>,
        /// When it began, by our clock.
        started: Zoned,
        /// Since then.
        took: Duration,
    },
    /// WAL is waited for because the user wants it.
    Waiting {
        /// The last segment that is needed.
        segment: SegmentName,
        /// How long at most.
        timeout: Option<Duration>,
    },
    /// Segments were put into the archive by us.
    Archived(Vec<WalFileName>),
}

/// A backup whose data is stored and verified.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is recorded: DONE, or WAITING_FOR_WALS.
    pub info: BackupInfo,
    /// The user wanted to wait, and waited in vain for this segment.
    pub missed: Option<SegmentName>,
}

/// Told of each step.
pub(super) type Tell<'a> = &'a mut (dyn FnMut(Milestone) + 'a);

/// What the steps of one backup share.
#[derive(Debug)]
pub(super) struct Backup<'a> {
    pub(super) plan: &'a Plan,
    pub(super) record: Record,
    pub(super) data: PathBuf,
    pub(super) progress: &'a dyn Progress,
    pub(super) began: Instant,
    pub(super) writer: Option<copy::WriterThread>,
}

/// Takes a backup.
///
/// # Errors
/// There is none that may be believed; its record says FAILED, and what it wrote is gone. Or,
/// when the data is stored already, its WAL could not be secured; its record then says
/// WAITING_FOR_WALS.
pub async fn take(
    plan: &Plan,
    shutdown: &Shutdown,
    progress: &dyn Progress,
    tell: Tell<'_>,
) -> Result<Report, BackupError> {
    let disk = plan.disk.as_ref();
    plan.layout.create_directories(disk)?;
    let _lock = lock(plan)?;
    let is_first = !record::bury_the_dead(disk, &plan.layout)?;
    progress.phase("connecting");
    let mut session = unless(shutdown, Session::open(plan)).await?;
    let receiver_lock = LockFile::acquire(&plan.layout.lock(Lock::ReceiveWal));
    let mut own = match receiver_lock {
        Ok(lock) => Some(unless(shutdown, OwnWal::prepare(plan, &session.facts, lock)).await?),
        // A receiver runs: the WAL of the backup comes through it.
        Err(LockError::Held { .. }) => None,
        Err(error) => return Err(BackupError::Lock(error)),
    };
    session.claim_repository(plan)?;
    let started = crate::service::now().to_zoned(jiff::tz::TimeZone::system());
    let (id, started) = unless(shutdown, id(plan, started)).await?;
    let mut backup = Backup {
        plan,
        record: create_record(plan, &session, id)?,
        data: plan.layout.data(id),
        progress,
        began: Instant::now(),
        writer: None,
    };
    tell(Milestone::Starting { directory: plan.layout.backup(id) });
    let canceller = session.walsender.canceller();
    if own.is_some() {
        session.hold_wal(id).await;
    }
    let copied = unless(shutdown, backup.copy(&mut session, own.as_mut(), tell)).await;
    let span = match copied {
        Ok(span) => span,
        Err(error) => {
            backup.fail(&error, &canceller).await;
            return Err(error);
        }
    };
    if is_first {
        tell(Milestone::First);
    }
    let (info, took) = (Box::new(backup.record.info.clone()), backup.began.elapsed());
    tell(Milestone::Stored { info, started, took });
    let securing = secure::secure(&mut backup, &mut session, own.as_mut(), span, tell);
    let missed = unless(shutdown, securing).await?;
    session.walsender.close().await;
    Ok(Report { info: backup.record.info, missed: missed.filter(|_| plan.wait.asked) })
}

fn lock(plan: &Plan) -> Result<LockFile, BackupError> {
    LockFile::acquire(&plan.layout.lock(Lock::Backup)).map_err(|error| match error {
        LockError::Held { .. } => BackupError::Busy(error),
        LockError::Disk(_) => BackupError::Lock(error),
    })
}

/// Ends a step when we are told to end.
async fn unless<T>(
    shutdown: &Shutdown,
    step: impl Future<Output = Result<T, BackupError>>,
) -> Result<T, BackupError> {
    tokio::select! {
        biased;
        result = step => result,
        () = shutdown.reaches(Urgency::Finish) => Err(BackupError::Interrupted),
    }
}

/// An id that is free; another backup of this second has to be waited out.
async fn id(plan: &Plan, now: Zoned) -> Result<(BackupId, Zoned), BackupError> {
    let mut now = now;
    loop {
        if let Some(id) = record::free_id(plan.disk.as_ref(), &plan.layout, &now)? {
            return Ok((id, now));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let moment: Timestamp = crate::service::now();
        now = moment.to_zoned(now.time_zone().clone());
    }
}

fn create_record(plan: &Plan, session: &Session, id: BackupId) -> Result<Record, BackupError> {
    let (disk, layout) = (Arc::clone(&plan.disk), plan.layout.clone());
    let mut record = Record::create(disk, layout, id, plan.name.clone())?;
    let info = &mut record.info;
    session.sql.fill(info);
    info.begin_time = Some(session.begin_time);
    info.compression = Some(BackupCompression::None);
    info.data_checksums = Some(session.facts.data_checksums);
    info.systemid = Some(session.facts.system_identifier);
    info.version = Some(session.facts.version.number());
    info.xlog_segment_size = session.facts.segment_size;
    Ok(record)
}

impl Backup<'_> {
    /// The copy has not come to its end: nothing of it stays but the record.
    async fn fail(&mut self, error: &BackupError, canceller: &crate::net::Canceller) {
        if matches!(error, BackupError::Interrupted) {
            // Otherwise the server would go on sending until it notices that nobody reads.
            if let Err(error) = canceller.cancel().await {
                let error = one_line(&error);
                tracing::warn!(%error, "cannot cancel the base backup on the server");
            }
        }
        if let Some(writer) = self.writer.take() {
            // Its queue is closed; what it has taken it still finishes.
            let _ = writer.join().await;
        }
        places::clear(self.plan.disk.as_ref(), &self.data);
        self.record.failed(error);
    }
}
