//! From a copy to a backup: every segment of its WAL in the archive.

use std::time::{Duration, Instant};

use super::error::BackupError;
use super::parent;
use super::reader::Span;
use super::run::{Backup, Milestone, Plan, Tell};
use super::segments;
use super::session::{self, Session};
use super::wal::OwnWal;
use crate::archive::Archiver;
use crate::output::one_line;
use crate::service::{Shutdown, Urgency};
use crate::wal::{SegmentName, WalFileName};

/// How long WAL is waited for that nobody said to wait for. A running receiver needs a moment;
/// one that hangs is not to make the backup hang.
const GRACE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
/// An idle primary is asked this often to close its segment.
const SWITCH_INTERVAL: Duration = Duration::from_secs(5);

/// Waits until every segment from begin to end is archived, and records that. Returns the first
/// segment that did not come in time; the record then says WAITING_FOR_WALS.
pub(super) async fn secure(
    backup: &mut Backup<'_>,
    session: &mut Session,
    own: Option<&mut OwnWal<'_>>,
    span: Span,
    tell: Tell<'_>,
) -> Result<Option<SegmentName>, BackupError> {
    let plan = backup.plan;
    backup.progress.phase("waiting for WAL");
    let history = session.history(span.end.timeline).await?;
    let needed = segments::needed(span, &history, session.facts.segment_size);
    let last = needed.last().copied();
    if let Some(segment) = last.filter(|_| plan.wait.asked) {
        tell(Milestone::Waiting { segment, timeout: plan.wait.timeout });
    }
    if !session.facts.in_recovery {
        session::mark_restore_point(plan, backup.record.info.id).await;
    }
    let mut patience = Patience::new(plan, session.facts.in_recovery);
    if let Some(own) = own {
        let archived = fetch(plan, own, span, &needed, session, &mut patience).await?;
        if !archived.is_empty() {
            tell(Milestone::Archived(archived));
        }
    }
    let mut archiver = Archiver::new(plan.disk.clone(), plan.layout.clone(), plan.archive);
    loop {
        let archived = sweep(&mut archiver)?;
        if !archived.is_empty() {
            tell(Milestone::Archived(archived));
        }
        let missing = segments::missing(plan.disk.as_ref(), &plan.layout, &needed)?;
        let Some(&first) = missing.first() else { break };
        if patience.is_over() {
            return Ok(Some(first));
        }
        patience.nudge(plan).await;
        tokio::time::sleep(POLL).await;
    }
    segments::secure(plan.disk.as_ref(), &plan.layout, &needed)?;
    if let Some(parent) = &backup.parent {
        parent::check_standing(plan.disk.as_ref(), &plan.layout, parent.info.id)?;
    }
    backup.record.done()?;
    Ok(None)
}

/// Receives the rest ourselves: to the end of the backup however long it takes, and from there
/// to the end of its segment as long as we may wait. Returns what was archived on the way.
async fn fetch(
    plan: &Plan,
    own: &mut OwnWal<'_>,
    span: Span,
    needed: &[SegmentName],
    session: &Session,
    patience: &mut Patience,
) -> Result<Vec<WalFileName>, BackupError> {
    let size = session.facts.segment_size;
    let (_lever, never) = Shutdown::manual();
    own.receive(span.start, Some(span.end.lsn), &never).await?;
    let whole = span.end.lsn.segment_before(size).end(size);
    patience.restart();
    complete(plan, own, span, whole, patience).await?;
    // What was stored before may have holes that lie in the backup: begin anew at the first.
    let mut archiver = Archiver::new(plan.disk.clone(), plan.layout.clone(), plan.archive);
    let archived = sweep(&mut archiver)?;
    let missing = segments::missing(plan.disk.as_ref(), &plan.layout, needed)?;
    let first = missing.first().and_then(|name| Some((name.timeline(), name.number(size)?)));
    if let Some((timeline, number)) = first.filter(|(_, number)| number.start(size) < whole) {
        own.go_back_to(timeline, number.start(size));
        complete(plan, own, span, whole, patience).await?;
    }
    Ok(archived)
}

/// Receives to the end of the last segment, until patience ends.
async fn complete(
    plan: &Plan,
    own: &mut OwnWal<'_>,
    span: Span,
    whole: crate::wal::Lsn,
    patience: &mut Patience,
) -> Result<(), BackupError> {
    let (lever, stop) = Shutdown::manual();
    let receiving = own.receive(span.start, Some(whole), &stop);
    tokio::pin!(receiving);
    loop {
        tokio::select! {
            biased;
            ended = &mut receiving => return ended.map(|_| ()),
            () = tokio::time::sleep(POLL) => {}
        }
        if patience.is_over() {
            lever.send_replace(Urgency::Finish);
        } else {
            patience.nudge(plan).await;
        }
    }
}

/// Archives what stands finished in `streaming/`, unless somebody else is at it.
fn sweep(archiver: &mut Archiver) -> Result<Vec<WalFileName>, BackupError> {
    let swept = match archiver.sweep() {
        Err(error) if error.is_busy() => return Ok(Vec::new()),
        result => result?,
    };
    for (name, path) in &swept.duplicates {
        let path = path.display();
        tracing::error!(%name, %path, "another file is archived under this name; moved aside");
    }
    Ok(swept.stored)
}

/// How long to wait, and what to do meanwhile.
#[derive(Debug)]
struct Patience {
    limit: Option<Duration>,
    since: Instant,
    /// `Some` on a standby whose primary we know.
    next_switch: Option<Instant>,
}

impl Patience {
    fn new(plan: &Plan, in_recovery: bool) -> Patience {
        let now = Instant::now();
        Patience {
            limit: if plan.wait.asked { plan.wait.timeout } else { Some(GRACE) },
            since: now,
            next_switch: (in_recovery && plan.primary.is_some()).then_some(now),
        }
    }

    /// Counts from now on. A limit of the user's counts from the beginning.
    fn restart(&mut self) {
        if self.limit == Some(GRACE) {
            self.since = Instant::now();
        }
    }

    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.since.elapsed() >= limit)
    }

    /// A standby's last segment is closed by its primary only.
    async fn nudge(&mut self, plan: &Plan) {
        let now = Instant::now();
        if self.next_switch.is_some_and(|at| now >= at) {
            self.next_switch = Some(now + SWITCH_INTERVAL);
            if let Err(error) = session::switch_on_primary(plan).await {
                let error = one_line(&error);
                tracing::warn!(%error, "cannot have the primary close its WAL segment");
            }
        }
    }
}
