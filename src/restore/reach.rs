//! Whether a target time lies in the WAL that is there.
//!
//! A server of 13 and later does not come up when it meets the end of WAL before its target; an
//! older one comes up without a word, with less than was asked for. Both is better known before
//! hours of copying.

use jiff::Timestamp;

use crate::disk::DiskFile;
use crate::output::one_line;
use crate::wal::{PgTimestamp, SegmentName, WalChecker, WalFileName};

use super::error::RestoreError;
use super::facts::BackupFacts;
use super::plan::{PlacedTablespace, PlanWarning, RestorePlan, Wishes};
use super::refusal::Refusal;
use super::selection::Gap;
use super::shelf::{Shelf, WalIdentity, bytes_before, unpacked};
use super::target::RecoveryTarget;

/// An idle server fills few segments without a single commit; more are not looked at.
const SEGMENTS_MAX: usize = 64;
const READ_BYTES: usize = 1 << 20;

/// The last commit in the WAL of a plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LastCommit {
    /// Its time.
    At(Timestamp),
    /// There is none at all.
    Never,
    /// Not in the part that was looked at.
    Unknown,
}

/// Judges the target of a plan by the last commit in its WAL. Pure.
pub fn judge(plan: &RestorePlan, last: LastCommit) -> Result<Option<PlanWarning>, Refusal> {
    let Some(RecoveryTarget::Time(target)) = &plan.goal.target else { return Ok(None) };
    let last = match last {
        LastCommit::Unknown => return Ok(None),
        LastCommit::At(time) if time > target.timestamp() => return Ok(None),
        LastCommit::At(time) => time.to_string(),
        LastCommit::Never => "before the backup".to_owned(),
    };
    match plan.wal.gap {
        // What was asked for may well have been in the hole.
        Some(Gap { hole: Some(hole), .. }) => {
            Err(Refusal::AcrossHole { target: target.to_string(), last: Some(last), hole })
        }
        Some(Gap { missing, hole: None, .. }) => {
            Err(Refusal::TimeBehindGap { target: target.to_string(), last, missing })
        }
        None => Ok(Some(PlanWarning::TimeBeyondWal { target: target.to_string(), last })),
    }
}

/// Whether the end of the WAL matters to nobody: the target time lies before a commit in it. Pure.
pub fn is_behind(plan: &RestorePlan, last: LastCommit) -> bool {
    match (&plan.goal.target, last) {
        (Some(RecoveryTarget::Time(target)), LastCommit::At(time)) => time > target.timestamp(),
        _ => false,
    }
}

impl Shelf<'_> {
    /// The plan that the WAL which is there allows.
    pub fn plan(
        &self,
        facts: BackupFacts,
        wishes: &Wishes,
        tablespaces: Vec<PlacedTablespace>,
        identity: &WalIdentity,
    ) -> Result<RestorePlan, RestoreError> {
        let (available, unread) = self.inventory(identity, facts.range.begin)?;
        let why_unread = |wanted: SegmentName| {
            let found = unread.into_iter().find(|(name, _)| *name == wanted);
            found.map_or(Refusal::UnreadWal(wanted).into(), |(name, error)| {
                RestoreError::UnreadWal { name, source: Box::new(error) }
            })
        };
        let mut plan = match RestorePlan::new(facts, wishes, tablespaces, &available) {
            Err(Refusal::UnreadWal(name)) => return Err(why_unread(name)),
            result => result?,
        };
        let last = match plan.goal.target {
            Some(RecoveryTarget::Time(_)) => self.last_commit(&plan, identity)?,
            _ => LastCommit::Unknown,
        };
        let warning = judge(&plan, last)?;
        plan.warnings.extend(warning);
        if let Some(name) = plan.wal.unread.filter(|_| !is_behind(&plan, last)) {
            let error = why_unread(name);
            // The disk may give it at the next try, and nobody is to go without it unasked.
            if !error.is_of_content() {
                return Err(error);
            }
            let (why, end) = (one_line(&error), plan.wal.end);
            plan.warnings.push(PlanWarning::UnreadWal { why, end });
        }
        Ok(plan)
    }

    /// Looks for the last commit in the WAL of a plan, from its end backwards.
    pub fn last_commit(
        &self,
        plan: &RestorePlan,
        identity: &WalIdentity,
    ) -> Result<LastCommit, RestoreError> {
        let complete = plan.wal.segments.iter().rev().map(|name| (*name, false));
        let open = plan.wal.partial.map(|name| (name, true));
        for (name, is_open) in open.into_iter().chain(complete).take(SEGMENTS_MAX) {
            let open = if is_open { self.find_open_segment(name, identity).best } else { None };
            let found = match open {
                Some(open) => self.disk.open_read(&open.path).map_err(RestoreError::from),
                // An open one that is gone was completed meanwhile.
                None => self.find(WalFileName::Segment(name)).map(|(_, file)| file),
            };
            // What lies behind the end is not replayed: behind a switchpoint, or damage.
            let limit = bytes_before(Some(plan.wal.end), name, identity);
            match found.and_then(|file| last_commit_in(file, limit, name, identity)) {
                Ok(None) => {}
                // Moved on meanwhile: the copy will find it, this look is a courtesy.
                Err(RestoreError::Disk(error)) if error.is_absent() => {
                    return Ok(LastCommit::Unknown);
                }
                found => {
                    let time = found?.and_then(PgTimestamp::to_timestamp);
                    return Ok(time.map_or(LastCommit::Unknown, LastCommit::At));
                }
            }
        }
        let all = plan.wal.segments.len() < SEGMENTS_MAX;
        Ok(if all { LastCommit::Never } else { LastCommit::Unknown })
    }
}

/// The latest time of a commit in the first `limit` bytes of a segment.
fn last_commit_in(
    file: Box<dyn DiskFile>,
    limit: u64,
    name: SegmentName,
    identity: &WalIdentity,
) -> Result<Option<PgTimestamp>, RestoreError> {
    let Some(number) = name.number(identity.segment_size) else { return Ok(None) };
    let start = number.start(identity.segment_size);
    let mut checker =
        WalChecker::new(name.timeline(), identity.system, identity.segment_size, start);
    let mut file = unpacked(file)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut findings = Vec::new();
    let mut at = 0;
    while findings.is_empty() {
        let wanted = (limit - at).min(READ_BYTES as u64) as usize;
        let read = file.read(&mut buffer[..wanted])?;
        if read == 0 {
            break;
        }
        checker.feed(start + at, &buffer[..read], &mut findings);
        at += read as u64;
    }
    Ok(checker.take_commit_times().map(|times| times.latest))
}
