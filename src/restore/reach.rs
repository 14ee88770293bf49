//! Whether a target time lies in the WAL that is there.
//!
//! A server of 13 and later does not come up when it meets the end of WAL before its target; an
//! older one comes up without a word, with less than was asked for. Both is better known before
//! hours of copying.

use jiff::Timestamp;

use crate::wal::{PgTimestamp, SegmentName, WalChecker, WalFileName};

use super::error::RestoreError;
use super::plan::{PlanWarning, RestorePlan};
use super::refusal::Refusal;
use super::selection::Gap;
use super::shelf::{Shelf, WalIdentity, unpacked};
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

impl Shelf<'_> {
    /// Looks for the last commit in the WAL of a plan, from its end backwards.
    pub fn last_commit(
        &self,
        plan: &RestorePlan,
        identity: &WalIdentity,
    ) -> Result<LastCommit, RestoreError> {
        let complete = plan.wal.segments.iter().rev().map(|name| WalFileName::Segment(*name));
        let open = plan.wal.partial.map(WalFileName::Partial);
        for file in open.into_iter().chain(complete).take(SEGMENTS_MAX) {
            let (WalFileName::Segment(name) | WalFileName::Partial(name)) = file else { continue };
            match self.last_commit_in(file, name, identity) {
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

    fn last_commit_in(
        &self,
        file: WalFileName,
        name: SegmentName,
        identity: &WalIdentity,
    ) -> Result<Option<PgTimestamp>, RestoreError> {
        let Some(number) = name.number(identity.segment_size) else { return Ok(None) };
        let start = number.start(identity.segment_size);
        let mut checker =
            WalChecker::new(name.timeline(), identity.system, identity.segment_size, start);
        let (_, file) = self.find(file)?;
        let mut file = unpacked(file)?;
        let mut buffer = vec![0; READ_BYTES];
        let mut findings = Vec::new();
        let mut at = 0;
        while findings.is_empty() {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            checker.feed(start + at, &buffer[..read], &mut findings);
            at += read as u64;
        }
        Ok(checker.take_commit_times().map(|times| times.latest))
    }
}
