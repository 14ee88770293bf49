//! Why a restore is not begun. Facts only, each in Barman's words where Barman has any.

use std::path::PathBuf;

use crate::repository::Hole;
use crate::wal::{Lsn, SegmentName, Timeline};
use crate::wire::ServerVersion;

/// A restore that cannot give what was asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Only a complete backup can be restored.
    #[error(
        "Cannot restore from backup '{backup}' of server '{server}': backup status is not DONE \
         but {status}"
    )]
    NotDone {
        /// The backup.
        backup: String,
        /// Its server.
        server: String,
        /// What `backup.info` says.
        status: String,
    },
    /// A field without which nothing can be planned is absent.
    #[error("backup.info of backup '{backup}' has no {field}")]
    IncompleteInfo {
        /// The backup.
        backup: String,
        /// The key in `backup.info`.
        field: &'static str,
    },
    /// The backups that an incremental one stands on have to be there, all of them.
    #[error("backup '{backup}' continues backup '{parent}', which is not there")]
    NoParent {
        /// The backup.
        backup: String,
        /// The backup that it builds on.
        parent: String,
    },
    /// Two backups that do not belong together.
    #[error("backup '{backup}' does not continue backup '{parent}', although backup.info says so")]
    OtherParent {
        /// The backup.
        backup: String,
        /// The backup that it is said to build on.
        parent: String,
    },
    /// Encrypted members cannot be read.
    #[error("backup '{backup}' is encrypted ({method}): it cannot be restored yet")]
    Encrypted {
        /// The backup.
        backup: String,
        /// The word in `backup.info`.
        method: String,
    },
    /// Older than anything that is known here.
    #[error("backup '{backup}' is of PostgreSQL {version}; 10 and later can be restored")]
    Version {
        /// The backup.
        backup: String,
        /// The server's version.
        version: ServerVersion,
    },
    /// Without it the server would begin recovery at the wrong place, and destroy the copy.
    #[error("the backup has no backup_label, and backup.info has none either")]
    NoBackupLabel,
    /// Every backup ended behind the target, or there is none.
    #[error("Cannot find any candidate backup for recovery.")]
    NoCandidate,
    /// `auto` cannot tell which backup such a target needs.
    #[error(
        "For PITR without a backup_id, the only possible recovery targets are target_time and \
         target_lsn. 'target_{target}' recovery target is not allowed without a backup_id."
    )]
    NotComparable {
        /// The kind of target.
        target: &'static str,
    },
    /// An action needs a target.
    #[error("Can't enable recovery target action when PITR is not required")]
    ActionWithoutTarget,
    /// The backup would not be consistent yet.
    #[error("The requested target time {target} is before the backup end time {end}")]
    TimeBeforeEnd {
        /// As Barman prints it.
        target: String,
        /// The same.
        end: String,
    },
    /// The backup would not be consistent yet.
    #[error("The requested target lsn {target} is before the backup end lsn {end}")]
    LsnBeforeEnd {
        /// What was asked for.
        target: Lsn,
        /// Where the backup ends.
        end: Lsn,
    },
    /// The server would stop in front of the target.
    #[error(
        "The requested target lsn {target} is not in the WAL that is there, which ends at {end}"
    )]
    LsnBeyondWal {
        /// What was asked for.
        target: Lsn,
        /// The end of the WAL without gaps.
        end: Lsn,
        /// What would have to be there next.
        missing: Option<SegmentName>,
    },
    /// The server would stop, or worse come up, in front of the hole.
    #[error(
        "The requested target time {target} is behind a hole in the WAL: {missing} is missing, and \
         the last commit before it is of {last}"
    )]
    TimeBehindGap {
        /// What was asked for.
        target: String,
        /// The time of the last commit that can be replayed.
        last: String,
        /// The segment that is missing.
        missing: SegmentName,
    },
    /// The target lies behind WAL that is lost.
    #[error("The requested target {target} cannot be reached{}: {hole}", before(last))]
    AcrossHole {
        /// What was asked for.
        target: String,
        /// The time of the last commit that can be replayed, for a target that is a time.
        last: Option<String>,
        /// What is lost.
        hole: Hole,
    },
    /// The backup itself needs WAL that is lost.
    #[error("the backup needs all WAL up to {end} and has none from {at} on: {hole}")]
    BackupWalLost {
        /// What is lost.
        hole: Hole,
        /// The first byte of it that the backup needs.
        at: Lsn,
        /// The end of the backup.
        end: Lsn,
    },
    /// No history file tells of it.
    #[error("timeline {timeline} does not exist in the archive, which knows {}", list(known))]
    UnknownTimeline {
        /// What was asked for.
        timeline: Timeline,
        /// What there is.
        known: Vec<Timeline>,
    },
    /// The server would refuse it as "not a child of this server's history".
    #[error(
        "timeline {timeline} does not descend from timeline {backup} at {end}, where the backup \
         ends{}", left(*left_at)
    )]
    NotDescendant {
        /// What was asked for.
        timeline: Timeline,
        /// The timeline of the backup.
        backup: Timeline,
        /// Where the two parted, if they ever met.
        left_at: Option<Lsn>,
        /// The end of the backup.
        end: Lsn,
    },
    /// A standby switched timelines during the backup; only archive recovery can follow.
    #[error("the backup begins on timeline {begin} and ends on timeline {end}")]
    SpansTimelines {
        /// First.
        begin: Timeline,
        /// Last.
        end: Timeline,
    },
    /// Without it the server cannot become consistent.
    #[error("WAL segment {missing} is missing: the backup needs all WAL from {begin} to {end}")]
    BackupWalMissing {
        /// The first one that is not there.
        missing: SegmentName,
        /// The beginning of the backup.
        begin: Lsn,
        /// Its end.
        end: Lsn,
    },
    /// It may be there.
    #[error("WAL segment {0} was not received to its end, and what there is of it cannot be read")]
    UnreadWal(SegmentName),
    /// Barman's sentence.
    #[error(
        "The restore operation cannot proceed because the destination folder '{}' is not empty. \
         To prevent accidental data loss, the destination must be empty. Please choose a \
         different location or manually empty the folder.", .0.display()
    )]
    DestinationNotEmpty(PathBuf),
    /// A restore that was killed left it so.
    #[error("the destination '{}' holds the remains of an interrupted restore", .0.display())]
    Interrupted(PathBuf),
    /// Barman's sentence.
    #[error(
        "The restore operation cannot proceed. The destination path '{}' for the tablespace \
         '{name}' is not empty. To prevent accidental data loss, the tablespace destination must \
         be empty. Please choose a different location or manually empty the folder.",
        path.display()
    )]
    TablespaceNotEmpty {
        /// The tablespace.
        name: String,
        /// Where it was to go.
        path: PathBuf,
    },
    /// Something else than a directory stands there.
    #[error("'{}' is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// Barman's sentence.
    #[error("Invalid tablespace name '{name}'")]
    UnknownTablespace {
        /// What was asked for.
        name: String,
        /// What the backup has.
        known: Vec<String>,
    },
    /// Barman's sentence.
    #[error("Invalid tablespace relocation rule '{0}'")]
    RelocationRule(String),
    /// The server wants absolute paths.
    #[error("the location '{}' of tablespace '{name}' is not an absolute path", path.display())]
    RelativeLocation {
        /// The tablespace.
        name: String,
        /// Where it was to go.
        path: PathBuf,
    },
    /// Two trees would grow into each other.
    #[error("'{}' and '{}' lie within each other", .0.display(), .1.display())]
    Overlap(PathBuf, PathBuf),
    /// The file system is too small.
    #[error("{} has {free} bytes free, and the restore needs {needed}", path.display())]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Bytes that it will take.
        needed: u64,
        /// Bytes that there are.
        free: u64,
    },
}

impl Refusal {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Refusal::NotDone { .. } => "choose a backup whose status is DONE".to_owned(),
            Refusal::NoParent { parent, .. } => {
                format!("bring backup {parent} back, or restore a backup that does not stand on it")
            }
            Refusal::UnknownTablespace { known, .. } if known.is_empty() => {
                "The backup has no tablespaces".to_owned()
            }
            Refusal::UnknownTablespace { known, .. } => {
                format!("Please use any of the following tablespaces: {}", known.join(", "))
            }
            Refusal::RelocationRule(_) => {
                "The valid syntax for a relocation rule is NAME:LOCATION".to_owned()
            }
            Refusal::Interrupted(path) => {
                format!("empty {} and restore again", path.display())
            }
            Refusal::SpansTimelines { end, .. } => format!("add --target-tli {end}"),
            Refusal::LsnBeyondWal { missing: Some(missing), .. } => {
                format!("WAL segment {missing} would have to be archived first")
            }
            Refusal::LsnBeyondWal { end, missing: None, .. } => {
                format!("without a target everything up to {end} is restored")
            }
            Refusal::TimeBehindGap { missing, .. } => {
                format!("put {missing} back into the archive, or ask for an earlier time")
            }
            Refusal::AcrossHole { hole, .. } => format!(
                "ask for a target before {}, or choose a backup that was begun behind {}",
                hole.from, hole.to
            ),
            Refusal::BackupWalLost { hole, .. } => {
                format!(
                    "choose a backup that ended before {}, or begun behind {}",
                    hole.from, hole.to
                )
            }
            Refusal::NotDescendant { .. } => {
                "choose an older backup, or another timeline".to_owned()
            }
            Refusal::BackupWalMissing { missing, .. } => {
                format!("put {missing} back into the archive, or choose another backup")
            }
            Refusal::Overlap(..) | Refusal::RelativeLocation { .. } => {
                "relocate it with --tablespace NAME:LOCATION".to_owned()
            }
            Refusal::NoRoom { path, .. } => {
                format!("make room on the file system of {}, or restore elsewhere", path.display())
            }
            _ => return None,
        };
        Some(hint)
    }
}

fn list(timelines: &[Timeline]) -> String {
    let words: Vec<String> = timelines.iter().map(Timeline::to_string).collect();
    words.join(", ")
}

fn before(last: &Option<String>) -> String {
    last.as_ref()
        .map_or_else(String::new, |last| format!(", the last commit before it is of {last}"))
}

fn left(at: Option<Lsn>) -> String {
    at.map_or_else(String::new, |lsn| format!(": it left it at {lsn}"))
}
