//! A policy and a list of backups: which of them it needs, and which not. Pure.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// How long backups are of use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RetentionPolicy {
    /// `REDUNDANCY n`: the last n.
    Redundancy(u64),
    /// `RECOVERY WINDOW OF n DAYS|WEEKS|MONTHS`: every moment of that time up to now.
    RecoveryWindow(SignedDuration),
}

/// Text that is no policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not of the form REDUNDANCY n or RECOVERY WINDOW OF n DAYS|WEEKS|MONTHS")]
pub struct ParsePolicyError(pub String);

impl FromStr for RetentionPolicy {
    type Err = ParsePolicyError;

    /// Any case; a month is 31 days.
    fn from_str(text: &str) -> Result<RetentionPolicy, ParsePolicyError> {
        let upper = text.to_ascii_uppercase();
        let words: Vec<&str> = upper.split_whitespace().collect();
        let policy = match words.as_slice() {
            ["REDUNDANCY", n] => n.parse().ok().filter(|n| *n > 0).map(RetentionPolicy::Redundancy),
            ["RECOVERY", "WINDOW", "OF", n, unit] => {
                let days = match *unit {
                    "DAY" | "DAYS" => Some(1),
                    "WEEK" | "WEEKS" => Some(7),
                    "MONTH" | "MONTHS" => Some(31),
                    _ => None,
                };
                // Up to about 8 000 years, so that the seconds cannot overflow.
                let count = n.parse::<i64>().ok().filter(|n| (1..100_000).contains(n));
                let hours = days.zip(count).map(|(days, count)| days * count * 24);
                hours
                    .map(|hours| RetentionPolicy::RecoveryWindow(SignedDuration::from_hours(hours)))
            }
            _ => None,
        };
        policy.ok_or_else(|| ParsePolicyError(text.to_owned()))
    }
}

/// Why a backup is kept whatever the policy says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keep {
    /// With all WAL from its begin on.
    Full,
    /// With the WAL that its consistency needs.
    Standalone,
}

/// What the policy says of a backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Needed.
    Valid,
    /// Not needed.
    Obsolete,
    /// Not needed by the policy, but by the minimum redundancy.
    ObsoleteButKept,
    /// Kept by the user.
    Kept(Keep),
}

impl Standing {
    /// Barman's word.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Valid => "VALID",
            Standing::Obsolete => "OBSOLETE",
            Standing::ObsoleteButKept => "OBSOLETE*",
            Standing::Kept(Keep::Full) => "KEEP:FULL",
            Standing::Kept(Keep::Standalone) => "KEEP:STANDALONE",
        }
    }

    /// What this means for an incremental backup that stands on one of this standing. `unkept`
    /// is what the policy alone says of the one below.
    pub fn of_child(self, unkept: Standing) -> Standing {
        match self {
            Standing::Kept(Keep::Full) => Standing::Valid,
            Standing::Kept(Keep::Standalone) => unkept,
            other => other,
        }
    }
}

/// A complete backup that needs no other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// When it ended.
    pub ended: Timestamp,
    /// Whether the user keeps it.
    pub keep: Option<Keep>,
}

impl RetentionPolicy {
    /// The standing of each backup: with the wishes of the user, and by the policy alone.
    /// `candidates` are ordered from the newest to the oldest, and so is the answer.
    pub fn judge(
        self,
        candidates: &[Candidate],
        minimum_redundancy: u64,
        now: Timestamp,
    ) -> Vec<(Standing, Standing)> {
        let alone = match self {
            RetentionPolicy::Redundancy(count) => {
                // A kept backup takes one of the places.
                let count = count.max(minimum_redundancy);
                let standing =
                    |place| if place < count { Standing::Valid } else { Standing::Obsolete };
                (0..).map(standing).take(candidates.len()).collect()
            }
            RetentionPolicy::RecoveryWindow(window) => {
                let edge = now.checked_sub(window).unwrap_or(Timestamp::MIN);
                in_window(candidates, minimum_redundancy, edge)
            }
        };
        let with_wish = |(candidate, alone): (&Candidate, Standing)| {
            (candidate.keep.map_or(alone, Standing::Kept), alone)
        };
        candidates.iter().zip(alone).map(with_wish).collect()
    }
}

/// Needed is everything up to the first backup that ended before the edge: recovery to the edge
/// itself begins there.
fn in_window(candidates: &[Candidate], minimum: u64, edge: Timestamp) -> Vec<Standing> {
    let mut covered = false;
    let mut standings = Vec::with_capacity(candidates.len());
    for (place, candidate) in (0u64..).zip(candidates) {
        standings.push(match (covered, place < minimum) {
            (false, _) => Standing::Valid,
            (true, true) => Standing::ObsoleteButKept,
            (true, false) => Standing::Obsolete,
        });
        covered |= candidate.ended < edge;
    }
    standings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T00:00:00Z".parse().expect("a time")
    }

    /// Backups that ended so many days ago, newest first.
    fn aged(days: &[i64]) -> Vec<Candidate> {
        let candidate = |days: &i64| Candidate {
            ended: now() - SignedDuration::from_hours(days * 24),
            keep: None,
        };
        days.iter().map(candidate).collect()
    }

    fn words(policy: &str, candidates: &[Candidate], minimum: u64) -> Vec<&'static str> {
        let policy: RetentionPolicy = policy.parse().expect(policy);
        let judged = policy.judge(candidates, minimum, now());
        judged.into_iter().map(|(standing, _)| standing.word()).collect()
    }

    #[test]
    fn redundancy_keeps_the_newest_and_a_kept_backup_takes_a_place() {
        let mut backups = aged(&[1, 2, 3, 4]);
        assert_eq!(words("redundancy 2", &backups, 0), ["VALID", "VALID", "OBSOLETE", "OBSOLETE"]);
        assert_eq!(words("REDUNDANCY 1", &backups, 3), ["VALID", "VALID", "VALID", "OBSOLETE"]);
        backups[1].keep = Some(Keep::Full);
        assert_eq!(
            words("REDUNDANCY 2", &backups, 0),
            ["VALID", "KEEP:FULL", "OBSOLETE", "OBSOLETE"]
        );
    }

    #[test]
    fn a_window_needs_the_last_backup_before_its_edge() {
        let backups = aged(&[1, 6, 8, 20, 30]);
        assert_eq!(
            words("RECOVERY WINDOW OF 7 DAYS", &backups, 0),
            ["VALID", "VALID", "VALID", "OBSOLETE", "OBSOLETE"]
        );
        assert_eq!(
            words("recovery window of 1 week", &backups, 4),
            ["VALID", "VALID", "VALID", "OBSOLETE*", "OBSOLETE"]
        );
        assert_eq!(words("RECOVERY WINDOW OF 1 MONTH", &backups, 0), ["VALID"; 5]);
    }

    #[test]
    fn a_child_follows_its_root_unless_only_the_root_is_kept() {
        use Standing::{Kept, Obsolete, Valid};
        assert_eq!(Kept(Keep::Full).of_child(Obsolete), Valid);
        assert_eq!(Kept(Keep::Standalone).of_child(Obsolete), Obsolete);
        assert_eq!(Obsolete.of_child(Obsolete), Obsolete);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in ["", "REDUNDANCY", "REDUNDANCY 0", "RECOVERY WINDOW OF 3 HOURS", "KEEP ALL"] {
            assert!(text.parse::<RetentionPolicy>().is_err(), "{text:?} was accepted");
        }
    }
}
