//! Are there backups, and enough of them?

use super::{Facts, Outcome};
use crate::output::{duration, size};

/// `retention policy settings`: can be understood.
pub(super) fn retention_policy(facts: &Facts) -> Vec<Outcome> {
    let name = "retention policy settings";
    let outcome = match &facts.wanted.retention_policy {
        Some(policy) if !is_policy(policy) => Outcome::failed(
            name,
            format!(
                "'{policy}' is neither 'REDUNDANCY n' nor 'RECOVERY WINDOW OF n DAYS|WEEKS|MONTHS'"
            ),
        ),
        _ => Outcome::ok(name),
    };
    vec![outcome]
}

fn is_policy(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let words: Vec<&str> = upper.split_whitespace().collect();
    let number = |word: &str| word.parse::<u32>().is_ok_and(|number| number > 0);
    match words.as_slice() {
        ["REDUNDANCY", count] => number(count),
        ["RECOVERY", "WINDOW", "OF", count, unit] => {
            number(count) && matches!(unit.trim_end_matches('S'), "DAY" | "WEEK" | "MONTH")
        }
        _ => false,
    }
}

/// `backup maximum age`.
pub(super) fn maximum_age(facts: &Facts) -> Vec<Outcome> {
    let name = "backup maximum age";
    let Some(limit) = facts.wanted.backup_maximum_age else {
        return vec![Outcome::ok_with(name, "no last_backup_maximum_age provided")];
    };
    let age = facts.stored.newest_backup.map(|(_, age)| age);
    let age_text = age.map_or_else(|| "No available backups".to_owned(), duration);
    let hint = format!("interval provided: {}, latest backup age: {age_text}", duration(limit));
    vec![Outcome::of(name, age.is_some_and(|age| age <= limit), hint)]
}

/// `backup minimum size`.
pub(super) fn minimum_size(facts: &Facts) -> Vec<Outcome> {
    let name = "backup minimum size";
    let bytes = facts.stored.newest_backup.map_or(0, |(bytes, _)| bytes);
    let outcome = match facts.wanted.backup_minimum_size {
        Some(minimum) if bytes < minimum => Outcome::failed(
            name,
            format!("last backup size {} < {} minimum", size(bytes), size(minimum)),
        ),
        _ => Outcome::ok_with(name, size(bytes)),
    };
    vec![outcome]
}

/// `compression settings`: all of them can be carried out.
pub(super) fn compression_settings(facts: &Facts) -> Vec<Outcome> {
    let troubles = &facts.wanted.unsupported_compression;
    vec![Outcome::of("compression settings", troubles.is_empty(), troubles.join("; "))]
}

/// `failed backups`.
pub(super) fn failed_backups(facts: &Facts) -> Vec<Outcome> {
    let failed = facts.stored.failed_backups;
    vec![Outcome::of("failed backups", failed == 0, format!("there are {failed} failed backups"))]
}

/// `minimum redundancy requirements`.
pub(super) fn minimum_redundancy(facts: &Facts) -> Vec<Outcome> {
    let (have, expected) = (facts.stored.full_backups, facts.wanted.minimum_redundancy);
    vec![Outcome::of(
        "minimum redundancy requirements",
        have as u64 >= expected,
        format!("have {have} non-incremental backups, expected at least {expected}"),
    )]
}
