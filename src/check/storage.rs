//! Is the repository in order?

use super::{Facts, Outcome};
use crate::output::{duration, size};
use crate::repository::Hole;

/// `WAL archive`: shown only while nothing was ever archived.
pub(super) fn wal_archive(facts: &Facts) -> Vec<Outcome> {
    if facts.stored.archived_segments > 0 || !facts.wanted.active {
        return Vec::new();
    }
    vec![Outcome::failed("WAL archive", "please make sure WAL shipping is setup")]
}

/// `directories`: there, and writable.
pub(super) fn directories(facts: &Facts) -> Vec<Outcome> {
    let stored = &facts.stored;
    let mut troubles: Vec<String> = stored
        .bad_directories
        .iter()
        .map(|(path, reason)| format!("{}: {reason}", path.display()))
        .collect();
    troubles.extend(stored.unreadable.clone());
    vec![Outcome::of("directories", troubles.is_empty(), troubles.join("; "))]
}

/// `wal maximum age`.
pub(super) fn wal_maximum_age(facts: &Facts) -> Vec<Outcome> {
    let name = "wal maximum age";
    let outcome = match (facts.wanted.wal_maximum_age, facts.stored.newest_wal_age) {
        (None, _) => Outcome::ok_with(name, "no last_wal_maximum_age provided"),
        (Some(_), None) => Outcome::failed(name, "No WAL files archived for last backup"),
        (Some(limit), Some(age)) => Outcome::of(
            name,
            age <= limit,
            format!("interval provided: {}, latest wal age: {}", duration(limit), duration(age)),
        ),
    };
    vec![outcome]
}

/// `lost WAL`, our own line: only when the newest backup cannot be restored to the present.
pub(super) fn lost_wal(facts: &Facts) -> Vec<Outcome> {
    let line = |hole: &Hole| {
        let since = hole.since;
        Outcome::failed("lost WAL", format!("{hole}, since {since}; take a new base backup"))
    };
    facts.stored.lost_wal.iter().map(line).collect()
}

/// `wal size`: a figure, never a failure.
pub(super) fn wal_size(facts: &Facts) -> Vec<Outcome> {
    vec![Outcome::ok_with("wal size", size(facts.stored.wal_since_backup))]
}

/// `configuration`: one line for each contradiction.
pub(super) fn configuration(facts: &Facts) -> Vec<Outcome> {
    let line = |reason: &String| Outcome::failed("configuration", reason);
    facts.wanted.contradictions.iter().map(line).collect()
}

/// `systemid coherence`: the cluster is the one that the repository belongs to.
pub(super) fn system_identifier(facts: &Facts) -> Vec<Outcome> {
    let name = "systemid coherence";
    let live = facts.streaming.as_ref().and_then(|facts| facts.as_ref().ok());
    let outcome = match (facts.stored.system, live) {
        (None, _) => Outcome::ok_with(name, "no system Id stored on disk"),
        (Some(_), None) => Outcome::ok_with(name, "no system Id available"),
        (Some(stored), Some(live)) if stored != live.system => Outcome::failed(
            name,
            format!(
                "the repository belongs to cluster {stored}, the server is cluster {}: give it \
                 an entry of its own",
                live.system
            ),
        ),
        (Some(_), Some(live)) => {
            let major = live.version.major().to_string();
            match &facts.stored.major {
                Some(stored) if *stored != major => Outcome::failed(
                    name,
                    format!("the repository belongs to PostgreSQL {stored}, the server is {major}"),
                ),
                _ => Outcome::ok(name),
            }
        }
    };
    vec![outcome]
}

/// `archiver errors`: what was put aside.
pub(super) fn archiver_errors(facts: &Facts) -> Vec<Outcome> {
    let counts = [("duplicates", facts.stored.duplicates), ("unknown", facts.stored.unknown)];
    let troubles: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{kind}: {count}"))
        .collect();
    vec![Outcome::of("archiver errors", troubles.is_empty(), troubles.join(" "))]
}

/// Shown only when failing: files that nobody will process, or too many that wait.
pub(super) fn waiting_directories(facts: &Facts) -> Vec<Outcome> {
    let (wanted, stored) = (&facts.wanted, &facts.stored);
    let mut outcomes = Vec::new();
    for (what, enabled, option, waiting) in [
        ("incoming", wanted.archiver, "archiver", stored.waiting_incoming),
        ("streaming", wanted.streaming_archiver, "streaming_archiver", stored.waiting_streaming),
    ] {
        if !enabled && waiting > 0 {
            outcomes.push(Outcome::failed(
                &format!("empty {what} directory"),
                format!("{waiting} files wait there, and {option}=off leaves them"),
            ));
        }
        if let Some(limit) = wanted.maximum_queue.filter(|limit| waiting as u64 > *limit) {
            outcomes.push(Outcome::failed(
                &format!("{what} WALs directory"),
                format!("{waiting} files wait, max_incoming_wals_queue allows {limit}"),
            ));
        }
    }
    outcomes
}
