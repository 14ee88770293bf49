//! `auto`: the newest backup from which a target can be reached.
//!
//! Pure.

use crate::repository::BackupInfo;

use super::refusal::Refusal;
use super::target::{Goal, RecoveryTarget};

/// Chooses among `backups`, which are ordered by age, oldest first. Only a time and a position
/// can be compared with the end of a backup; without a target the newest one is taken.
pub fn newest_before<'b>(
    backups: impl DoubleEndedIterator<Item = &'b BackupInfo>,
    goal: &Goal,
) -> Result<&'b BackupInfo, Refusal> {
    let reaches = |backup: &BackupInfo| -> Result<bool, Refusal> {
        Ok(match &goal.target {
            None => true,
            Some(RecoveryTarget::Time(time)) => {
                backup.end_time.is_some_and(|end| end.moment() <= time.timestamp())
            }
            Some(RecoveryTarget::Lsn(lsn)) => backup.end_xlog.is_some_and(|end| end <= *lsn),
            Some(other) => return Err(Refusal::NotComparable { target: other.word() }),
        })
    };
    for backup in backups.rev() {
        if reaches(backup)? {
            return Ok(backup);
        }
    }
    Err(Refusal::NoCandidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::BackupTime;
    use crate::restore::target::TargetTime;
    use crate::wal::Lsn;

    fn backup(id: &str, end_time: &str, end: u64) -> BackupInfo {
        let mut info = BackupInfo::new(id.parse().expect("an id"), "main");
        info.end_time = BackupTime::parse(end_time);
        info.end_xlog = Some(Lsn(end));
        info
    }

    fn chosen(target: Option<RecoveryTarget>) -> Result<String, Refusal> {
        let backups = [
            backup("20261121T000000", "2026-11-21 00:10:00+00:00", 100),
            backup("20261122T000000", "2026-11-22 00:10:00+00:00", 200),
        ];
        let goal = Goal { target, ..Goal::default() };
        newest_before(backups.iter(), &goal).map(|backup| backup.id.to_string())
    }

    fn at(text: &str) -> Option<RecoveryTarget> {
        let (time, _) = TargetTime::parse(text, &jiff::tz::TimeZone::UTC).expect("a time");
        Some(RecoveryTarget::Time(time))
    }

    #[test]
    fn auto_is_the_newest_backup_that_ended_before_the_target() {
        assert_eq!(chosen(None).as_deref(), Ok("20261122T000000"));
        assert_eq!(chosen(at("2026-11-22 00:10:00")).as_deref(), Ok("20261122T000000"));
        assert_eq!(chosen(at("2026-11-22 00:09:59")).as_deref(), Ok("20261121T000000"));
        assert_eq!(chosen(Some(RecoveryTarget::Lsn(Lsn(199)))).as_deref(), Ok("20261121T000000"));
        assert_eq!(chosen(at("2020-01-01")), Err(Refusal::NoCandidate));
        let immediate = chosen(Some(RecoveryTarget::Immediate));
        assert_eq!(immediate, Err(Refusal::NotComparable { target: "immediate" }));
    }
}
