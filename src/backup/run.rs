//! A backup from its lock to its last segment of WAL.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned};

use super::error::BackupError;
use super::form::Form;
use super::hold::WalHold;
use super::pace::Limits;
use super::parent::{self, Parent};
use super::reader::Span;
use super::record::{self, Record};
use super::retry::{self, Retries};
use super::session::Session;
use super::wal::OwnWal;
use super::{copy, kept, places, secure, wishes};
use crate::archive::ArchiveSettings;
use crate::conninfo::ConnectOptions;
use crate::disk::{Disk, LockError, LockFile};
use crate::manifest::Algorithm;
use crate::output::{Progress, one_line};
use crate::repository::backup_info::BackupStatus;
use crate::repository::{BackupId, BackupInfo, KnownDamage, Lock, RepositoryError, ServerLayout};
use crate::service::{Shutdown, Urgency};
use crate::wal::{Lsn, SegmentName, WalFileName};
use crate::wire::{Checkpoint, ServerError, SlotName};

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
    /// How it is stored.
    pub form: Form,
    /// How the checkpoint at the start is made.
    pub checkpoint: Checkpoint,
    /// The most KiB a second.
    pub max_rate_kib: Option<u32>,
    /// The backup that this one continues, as the user calls it; `None` for a full one.
    pub incremental: Option<String>,
    /// Whether damaged pages are put on record instead of failing the backup.
    pub allow_damaged_pages: bool,
    /// Limits that the server cannot keep.
    pub limits: Limits,
    /// How the server is to sum files up; servers before 13 do not.
    pub checksums: Algorithm,
    /// What stands in `backup_label`; our own words unless it is given.
    pub label: Option<String>,
    /// The slot of the permanent receiver, if it has one.
    pub receiver_slot: Option<SlotName>,
    /// Who tells how large the cluster is.
    pub size: ClusterSize,
    /// What is done about a copy that fails.
    pub retries: Retries,
    /// Whether the archive is meant to be without a hole: WAL is then received from where the
    /// archive ends, not from where the backup begins.
    pub continues_wal: bool,
    /// How WAL is archived that came meanwhile.
    pub archive: ArchiveSettings,
    /// Whether and how long to wait for WAL.
    pub wait: Wait,
    /// How long a server that has begun to send may say nothing. Before that it may take its
    /// time: a checkpoint at its own pace takes minutes.
    pub silence: Duration,
}

/// Who tells how large a cluster is, to say how far its copy has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClusterSize {
    /// The server, which looks at every one of its files for it.
    Asked,
    /// The backup before, or who else knows how many bytes there are about.
    Known(u64),
    /// Nobody: nobody is shown it.
    #[default]
    Unknown,
}

impl ClusterSize {
    /// Whether the server is to be asked.
    pub(super) fn is_asked(self) -> bool {
        self == ClusterSize::Asked
    }
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
    /// The copy has failed, and is going to be tried again.
    Retrying {
        /// Why it failed.
        why: String,
        /// Which further try this will be, from 1.
        number: u64,
        /// How many there may be, and the pause before each.
        retries: Retries,
    },
    /// All data is here.
    Copied {
        /// Since the server was asked.
        took: Duration,
        /// Whether every member was held against the server's manifest; servers before 13 send
        /// none.
        verified: bool,
    },
    /// The copy holds pages that are damaged on the server, or may be; this is on record.
    Damaged(KnownDamage),
    /// Of an incremental backup: nobody knows where relations were cut off since its parent, for
    /// this reason.
    LimitsUnknown(String),
    /// The copy came as a whole and is not good; its files are kept here.
    Kept(PathBuf),
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
    /// The backup that this one continues.
    pub(super) parent: Option<Parent>,
    /// What the server says of its own pages.
    pub(super) damage: Option<ServerError>,
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
    let mut identity = None;
    let mut tries = 0;
    let mut copied = loop {
        let error = match attempt(plan, shutdown, progress, &mut identity, tell).await {
            Ok(copied) => break copied,
            Err(error) => error,
        };
        if tries >= plan.retries.times || !retry::may_help(&error) {
            return Err(error);
        }
        tries += 1;
        tell(Milestone::Retrying { why: one_line(&error), number: tries, retries: plan.retries });
        progress.phase("waiting to try again");
        unless(shutdown, async {
            tokio::time::sleep(plan.retries.pause).await;
            Ok(())
        })
        .await?;
    };
    if is_first {
        tell(Milestone::First);
    }
    let Copied { backup, session, own, span, started, .. } = &mut copied;
    if let Err(error) = kept::clear(disk, &plan.layout, backup.record.info.id) {
        let error = one_line(&error);
        tracing::warn!(%error, "cannot remove what was kept of failed backups");
    }
    let (info, took) = (Box::new(backup.record.info.clone()), backup.began.elapsed());
    tell(Milestone::Stored { info, started: started.clone(), took });
    let securing = secure::secure(backup, session, own.as_mut(), *span, tell);
    let missed = match unless(shutdown, securing).await {
        // Without those below it, it will never be one.
        Err(error @ BackupError::Parent(_)) => {
            let canceller = copied.session.walsender.canceller();
            copied.backup.fail(&error, &canceller, tell).await;
            return Err(error);
        }
        result => result?,
    };
    copied.session.walsender.close().await;
    let info = copied.backup.record.info;
    Ok(Report { info, missed: missed.filter(|_| plan.wait.asked) })
}

/// A copy that is stored, and the connections that its WAL still needs.
struct Copied<'a> {
    backup: Backup<'a>,
    session: Session,
    own: Option<OwnWal<'a>>,
    span: Span,
    started: Zoned,
    /// Until every segment is archived.
    _hold: Option<WalHold>,
}

/// One try, from the connections to the last name. The first one that gets so far chooses the
/// id; a later one begins its record anew.
async fn attempt<'a>(
    plan: &'a Plan,
    shutdown: &Shutdown,
    progress: &'a dyn Progress,
    identity: &mut Option<(BackupId, Zoned)>,
    tell: Tell<'_>,
) -> Result<Copied<'a>, BackupError> {
    progress.phase("connecting");
    let mut session = unless(shutdown, Session::open(plan)).await?;
    let receiver_lock = LockFile::acquire(&plan.layout.lock(Lock::ReceiveWal));
    let mut own = match receiver_lock {
        Ok(lock) => Some(unless(shutdown, OwnWal::prepare(plan, &session.facts, lock)).await?),
        // A receiver runs: the WAL of the backup comes through it.
        Err(LockError::Held { .. }) => None,
        Err(error) => return Err(BackupError::Lock(error)),
    };
    let codecs = session.sql.wal_codecs.as_deref();
    wishes::check_server(plan.form, session.facts.version, codecs)?;
    session.claim_repository(plan)?;
    let parent = match &plan.incremental {
        Some(word) => Some(unless(shutdown, parent::find(plan, &mut session, word)).await?),
        None => None,
    };
    if identity.is_none() {
        let now = crate::service::now().to_zoned(jiff::tz::TimeZone::system());
        *identity = Some(unless(shutdown, id(plan, now)).await?);
    }
    // Chosen just now at the latest.
    let Some((id, started)) = identity.clone() else { return Err(BackupError::Interrupted) };
    let hold = match own.is_some() || !session.receiver_keeps_wal {
        true => Some(unless(shutdown, WalHold::begin(plan, &session, id)).await?),
        false => None,
    };
    let mut backup = Backup {
        plan,
        record: create_record(plan, &session, id, parent.as_ref())?,
        data: plan.layout.data(id),
        progress,
        began: Instant::now(),
        writer: None,
        parent,
        damage: None,
    };
    tell(Milestone::Starting { directory: plan.layout.backup(id) });
    let canceller = session.walsender.canceller();
    let copied = unless(shutdown, backup.copy(&mut session, own.as_mut(), tell)).await;
    match copied {
        Ok(span) => Ok(Copied { backup, session, own, span, started, _hold: hold }),
        Err(error) => {
            backup.fail(&error, &canceller, tell).await;
            Err(error)
        }
    }
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

fn create_record(
    plan: &Plan,
    session: &Session,
    id: BackupId,
    parent: Option<&Parent>,
) -> Result<Record, BackupError> {
    let (disk, layout) = (Arc::clone(&plan.disk), plan.layout.clone());
    let mut record = Record::create(disk, layout, id, plan.name.clone())?;
    let info = &mut record.info;
    session.sql.fill(info);
    info.parent_backup_id = parent.map(|parent| parent.info.id);
    info.begin_time = Some(session.begin_time);
    info.compression = plan.form.recorded();
    info.data_checksums = Some(session.facts.data_checksums);
    info.systemid = Some(session.facts.system_identifier);
    info.version = Some(session.facts.version.number());
    info.xlog_segment_size = session.facts.segment_size;
    Ok(record)
}

impl Backup<'_> {
    /// The copy has not come to its end: nothing of it stays but the record. Or it has, and is
    /// not good.
    async fn fail(
        &mut self,
        error: &BackupError,
        canceller: &crate::net::Canceller,
        tell: Tell<'_>,
    ) {
        if matches!(error, BackupError::Interrupted) {
            // Otherwise the server would go on sending until it notices that nobody reads.
            if let Err(error) = canceller.cancel().await {
                let error = one_line(&error);
                tracing::warn!(%error, "cannot cancel the base backup on the server");
            }
        }
        // Its queue is closed; what it has taken it still finishes.
        let _ = copy::join(&mut self.writer).await;
        // The disk may have the record of a whole copy: while it does, the copy stays.
        let is_told_whole = self.record.info.status == BackupStatus::WaitingForWals;
        if is_told_whole && !self.record.failed(error) {
            return;
        }
        let disk = self.plan.disk.as_ref();
        // It may not be there.
        let _ = disk.remove_file(&self.plan.layout.backup_extra(self.record.info.id));
        if !(error.keeps_files() && self.keep(tell)) {
            places::clear(disk, &self.data);
        }
        if let Err(error) =
            parent::disown(self.plan.disk.as_ref(), &self.plan.layout, &self.record.info)
        {
            let error = one_line(&error);
            tracing::warn!(%error, "the parent still lists the failed backup");
        }
        self.record.failed(error);
    }

    /// Keeps the files of a copy that is not good. What cannot be kept is cleared like any other.
    fn keep(&self, tell: Tell<'_>) -> bool {
        let (disk, layout, id) = (self.plan.disk.as_ref(), &self.plan.layout, self.record.info.id);
        let kept = kept::keep(disk, layout, id).map_err(RepositoryError::from);
        match kept.and_then(|kept| kept::clear(disk, layout, id).map(|()| kept)) {
            Ok(kept) => tell(Milestone::Kept(kept)),
            Err(error) => {
                let error = one_line(&error);
                tracing::warn!(backup = %id, %error, "cannot keep the files of the failed backup");
                return false;
            }
        }
        true
    }
}
