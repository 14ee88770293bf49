//! What a restore will do, decided before anything is touched.
//!
//! Pure: facts about the backup, wishes and the WAL that there is go in; a plan, or the reason
//! why there is none, comes out. A restore never asks the server that was backed up: its
//! version is in `backup.info`.

use std::path::{Path, PathBuf};

use crate::repository::Hole;
use crate::wal::{Lsn, SegmentName, Timeline};

use super::facts::{BackupFacts, TablespaceFacts};
use super::refusal::Refusal;
use super::selection::{AvailableWal, Gap, Reach, WalSelection};
use super::settings::{OldSources, RecoverySettings, WalDirectory, recovery_settings};
use super::target::{Goal, RecoveryTarget, TargetTimeline};

/// The directory in the restored tree that holds WAL for archive recovery; Barman's name.
pub const RECOVERY_WAL: &str = "barman_wal";
/// The server's own.
pub const SERVER_WAL: &str = "pg_wal";

/// What the user asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wishes {
    /// The data directory to be made; absolute.
    pub destination: PathBuf,
    /// `NAME:LOCATION` rules, as typed.
    pub relocations: Vec<String>,
    /// Where recovery is to end.
    pub goal: Goal,
}

/// A tablespace and where it goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlacedTablespace {
    /// Its name.
    pub name: String,
    /// Its OID.
    pub oid: u32,
    /// Where its files go; absolute.
    pub location: PathBuf,
    /// It lies in `pg_tblspc` itself, as a directory and not behind a link (15 and later).
    pub in_place: bool,
}

/// All that will be done.
#[derive(Clone, Debug, PartialEq)]
pub struct RestorePlan {
    /// The backup.
    pub backup: BackupFacts,
    /// The data directory.
    pub destination: PathBuf,
    /// Where the tablespaces go.
    pub tablespaces: Vec<PlacedTablespace>,
    /// Where recovery ends.
    pub goal: Goal,
    /// The WAL to be copied.
    pub wal: WalSelection,
    /// The directory below the destination that takes it.
    pub wal_directory: &'static str,
    /// What goes into the configuration.
    pub settings: RecoverySettings,
    /// What becomes of earlier sources of WAL in the configuration.
    pub old_sources: OldSources,
    /// What the user should know before relying on it.
    pub warnings: Vec<PlanWarning>,
}

/// Something that a restore can be done in spite of.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlanWarning {
    /// The end of WAL is not the end of history.
    #[error(
        "WAL segment {} is missing: recovery can go no further than that, although {} later \
         segment(s) are there", .0.missing, .0.behind
    )]
    Gap(Gap),
    /// The end of WAL is not the end of history.
    #[error("recovery can go no further than {}: {}", .0.from, .0)]
    Hole(Hole),
    /// The end of WAL may not be the end of history.
    #[error("{why}; recovery can go no further than {end}")]
    UnreadWal {
        /// What cannot be read, and why.
        why: String,
        /// The end of what can be read.
        end: Lsn,
    },
    /// The end of WAL is not the end of history.
    #[error(
        "WAL segment {name}, which was not received to its end, is damaged: recovery can go no \
         further than {end}"
    )]
    DamagedPartial {
        /// The segment.
        name: SegmentName,
        /// The end of its last good record.
        end: Lsn,
    },
    /// The server may wait for a commit that never comes.
    #[error(
        "the last commit in the WAL is of {last}, which is not behind the target time {target}: PostgreSQL \
         13 and later do not come up when they do not reach their target; without a target the \
         end of the WAL is restored"
    )]
    TimeBeyondWal {
        /// What was asked for.
        target: String,
        /// The time of the last commit.
        last: String,
    },
    /// A promotion happened behind the backup.
    #[error(
        "the archive holds newer timelines ({}), which are not followed; --target-tli latest \
         does", list(.0)
    )]
    NotFollowed(Vec<Timeline>),
}

fn list(timelines: &[Timeline]) -> String {
    let words: Vec<String> = timelines.iter().map(Timeline::to_string).collect();
    words.join(", ")
}

impl RestorePlan {
    /// Decides. `tablespaces` comes from [`place_tablespaces`].
    pub fn new(
        backup: BackupFacts,
        wishes: &Wishes,
        tablespaces: Vec<PlacedTablespace>,
        available: &AvailableWal,
    ) -> Result<RestorePlan, Refusal> {
        let goal = &wishes.goal;
        check_goal(&backup, goal)?;
        let (timeline, setting) = follow(&backup, goal, available)?;
        let reach = match goal.target {
            Some(RecoveryTarget::Immediate) => Reach::Backup,
            Some(RecoveryTarget::Lsn(lsn)) => Reach::Past(lsn),
            _ => Reach::End,
        };
        let wal = available.select(&backup.range, timeline, reach)?;
        if let Some(RecoveryTarget::Lsn(target)) = goal.target
            && wal.end <= target
        {
            if let Some(hole) = wal.gap.and_then(|gap| gap.hole) {
                let target = format!("lsn {target}");
                return Err(Refusal::AcrossHole { target, last: None, hole });
            }
            let missing = wal.gap.map(|gap| gap.missing);
            return Err(Refusal::LsnBeyondWal { target, end: wal.end, missing });
        }
        let recovery_wal = goal.is_point_in_time() && !goal.standby;
        let directory = recovery_wal.then(|| WalDirectory::in_directory(&wishes.destination));
        let settings = recovery_settings(backup.version, goal, directory.as_ref(), setting);
        let old_sources = if recovery_wal { OldSources::Comment } else { OldSources::Keep };
        Ok(RestorePlan {
            warnings: warnings(&wal, goal),
            backup,
            destination: wishes.destination.clone(),
            tablespaces,
            goal: goal.clone(),
            wal,
            wal_directory: if recovery_wal { RECOVERY_WAL } else { SERVER_WAL },
            settings,
            old_sources,
        })
    }

    /// Whether the copied WAL lies where the server would archive it again, and must be told
    /// that this has been done.
    pub fn marks_archived(&self) -> bool {
        self.wal_directory == SERVER_WAL
    }

    /// Bytes of WAL that will be written.
    pub fn wal_bytes(&self) -> u64 {
        let files = self.wal.segments.len() + usize::from(self.wal.partial.is_some());
        files as u64 * u64::from(self.backup.range.segment_size.bytes())
    }
}

/// Where each tablespace goes: to its old location, unless a rule says otherwise.
pub fn place_tablespaces(
    backup: &BackupFacts,
    wishes: &Wishes,
) -> Result<Vec<PlacedTablespace>, Refusal> {
    let mut rules = Vec::new();
    for rule in &wishes.relocations {
        rules.push(relocation(rule, &backup.tablespaces)?);
    }
    let mut placed: Vec<PlacedTablespace> = Vec::new();
    for tablespace in &backup.tablespaces {
        let moved = rules.iter().rev().find(|(name, _)| *name == tablespace.name);
        let in_place = moved.is_none() && !tablespace.location.is_absolute();
        let location = match moved {
            Some((_, location)) => location.clone(),
            None if in_place => wishes.destination.join(format!("pg_tblspc/{}", tablespace.oid)),
            None => tablespace.location.clone(),
        };
        let name = tablespace.name.clone();
        if !location.is_absolute() {
            return Err(Refusal::RelativeLocation { name, path: location });
        }
        let others = placed.iter().map(|other| &other.location).chain([&wishes.destination]);
        for other in others.filter(|_| !in_place) {
            if location.starts_with(other) || other.starts_with(&location) {
                return Err(Refusal::Overlap(location, other.clone()));
            }
        }
        placed.push(PlacedTablespace { name, oid: tablespace.oid, location, in_place });
    }
    Ok(placed)
}

/// Reads `NAME:LOCATION`. A name may contain colons: known names are tried first.
fn relocation(rule: &str, known: &[TablespaceFacts]) -> Result<(String, PathBuf), Refusal> {
    let location_behind = |name: &str| rule.strip_prefix(name)?.strip_prefix(':');
    let longest = known
        .iter()
        .filter(|tablespace| location_behind(&tablespace.name).is_some())
        .max_by_key(|tablespace| tablespace.name.len());
    let (name, location) = match longest {
        Some(tablespace) => {
            (tablespace.name.as_str(), location_behind(&tablespace.name).unwrap_or_default())
        }
        None => match rule.split_once(':') {
            Some((name, _)) => {
                return Err(Refusal::UnknownTablespace {
                    name: name.to_owned(),
                    known: known.iter().map(|tablespace| tablespace.name.clone()).collect(),
                });
            }
            None => return Err(Refusal::RelocationRule(rule.to_owned())),
        },
    };
    if name.is_empty() || location.is_empty() {
        return Err(Refusal::RelocationRule(rule.to_owned()));
    }
    // Trailing slashes would survive in links and messages.
    let path: PathBuf = Path::new(location).components().collect();
    Ok((name.to_owned(), path))
}

/// Refuses targets that the backup cannot reach because they lie before its end.
fn check_goal(backup: &BackupFacts, goal: &Goal) -> Result<(), Refusal> {
    if goal.action.is_some() && !goal.is_point_in_time() {
        return Err(Refusal::ActionWithoutTarget);
    }
    match &goal.target {
        Some(RecoveryTarget::Time(time)) => match backup.end_time {
            Some(end) if time.timestamp() < end.moment() => {
                Err(Refusal::TimeBeforeEnd { target: time.to_string(), end: end.to_string() })
            }
            _ => Ok(()),
        },
        Some(RecoveryTarget::Lsn(target)) if *target < backup.range.end => {
            Err(Refusal::LsnBeforeEnd { target: *target, end: backup.range.end })
        }
        _ => Ok(()),
    }
}

/// The timeline to follow, and what has to be written so that the server follows it too.
fn follow(
    backup: &BackupFacts,
    goal: &Goal,
    available: &AvailableWal,
) -> Result<(Timeline, Option<TargetTimeline>), Refusal> {
    let range = &backup.range;
    let recovers = goal.is_point_in_time() || goal.standby;
    let default_is_latest = backup.version.recovers_to_latest_timeline_by_default();
    let wish = match goal.timeline {
        Some(wish) => wish,
        None if recovers && default_is_latest => TargetTimeline::Latest,
        None => TargetTimeline::Current,
    };
    let chosen = available.choose_timeline(range, wish)?;
    if range.timeline != range.end_timeline && !recovers {
        let (begin, end) = (range.timeline, range.end_timeline);
        return Err(Refusal::SpansTimelines { begin, end });
    }
    let setting = match wish {
        // The server counts up whoever the ancestors are: where that leads elsewhere, it is
        // told the number.
        TargetTimeline::Latest if available.servers_latest(range) != chosen => {
            Some(TargetTimeline::Exact(chosen))
        }
        // To the server, current is where the backup began.
        TargetTimeline::Current if range.timeline != chosen => Some(TargetTimeline::Exact(chosen)),
        _ => goal.timeline,
    };
    Ok((chosen, setting))
}

fn warnings(wal: &WalSelection, goal: &Goal) -> Vec<PlanWarning> {
    let mut warnings = Vec::new();
    warnings.extend(wal.gap.map(|gap| match gap.hole {
        Some(hole) => PlanWarning::Hole(hole),
        None => PlanWarning::Gap(gap),
    }));
    if let Some(name) = wal.partial.filter(|_| wal.damaged) {
        warnings.push(PlanWarning::DamagedPartial { name, end: wal.end });
    }
    // Whoever names a timeline knows what he does not want.
    let to_the_end = goal.target.is_none() && goal.timeline.is_none();
    if to_the_end && !wal.not_followed.is_empty() {
        warnings.push(PlanWarning::NotFollowed(wal.not_followed.clone()));
    }
    warnings
}

#[cfg(test)]
#[path = "tests/plan.rs"]
mod tests;
