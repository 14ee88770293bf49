//! Each judgement from facts that are written down: no server, no repository.

use std::time::Duration;

use super::facts::*;
use super::*;
use crate::wal::{Lsn, SystemIdentifier};
use crate::wire::ServerVersion;

fn healthy() -> Facts {
    let version = ServerVersion::from_number(150_018);
    Facts {
        server: "main".to_owned(),
        wanted: Wanted {
            active: true,
            streaming_archiver: true,
            postgres_method: true,
            slot_name: Some("barman".to_owned()),
            ..Wanted::default()
        },
        sql: Some(Ok(SqlFacts {
            version,
            may_back_up: true,
            wal_level: "replica".to_owned(),
            slot: Some(SlotFacts {
                active: true,
                physical: true,
                restart: Some(Lsn(0x100_0000)),
                lost: false,
            }),
        })),
        streaming: Some(Ok(StreamingFacts { system: SystemIdentifier(7), version })),
        stored: StoredFacts {
            archived_segments: 1,
            receiver_running: true,
            ..StoredFacts::default()
        },
    }
}

fn text(facts: &Facts) -> String {
    judge(facts)
        .iter()
        .map(|outcome| {
            let word = if outcome.ok { "OK" } else { "FAILED" };
            match outcome.hint.as_str() {
                "" => format!("{}: {word}\n", outcome.name),
                hint => format!("{}: {word} ({hint})\n", outcome.name),
            }
        })
        .collect()
}

#[test]
fn wal_that_is_lost_since_the_newest_backup_is_named_with_its_remedy() {
    let hole = crate::repository::Hole {
        timeline: crate::wal::Timeline::FIRST,
        from: Lsn(0x300_0000),
        to: Lsn(0x500_0000),
        since: jiff::Timestamp::UNIX_EPOCH,
        why: crate::repository::HoleCause::Removed,
    };
    let mut facts = healthy();
    facts.stored.lost_wal = vec![hole];
    let failures = failures(&facts);
    assert_eq!(failures.len(), 1);
    let (name, hint) = &failures[0];
    assert_eq!(name, "lost WAL");
    for word in ["0/3000000", "0/5000000", "timeline 1", "removed", "take a new base backup"] {
        assert!(hint.contains(word), "{word:?}: {hint}");
    }
}

fn failures(facts: &Facts) -> Vec<(String, String)> {
    let failed = judge(facts).into_iter().filter(|outcome| !outcome.ok);
    failed.map(|outcome| (outcome.name, outcome.hint)).collect()
}

#[test]
fn a_healthy_server_gives_the_lines_that_barman_gives_in_their_order() {
    assert_eq!(
        text(&healthy()),
        "PostgreSQL: OK\n\
         superuser or standard user with backup privileges: OK\n\
         PostgreSQL streaming: OK\n\
         wal_level: OK\n\
         replication slot: OK\n\
         directories: OK\n\
         retention policy settings: OK\n\
         backup maximum age: OK (no last_backup_maximum_age provided)\n\
         backup minimum size: OK (0 B)\n\
         wal maximum age: OK (no last_wal_maximum_age provided)\n\
         wal size: OK (0 B)\n\
         compression settings: OK\n\
         failed backups: OK (there are 0 failed backups)\n\
         minimum redundancy requirements: OK (have 0 non-incremental backups, expected at least 0)\n\
         pg_basebackup: OK\n\
         pg_basebackup compatible: OK\n\
         pg_basebackup supports tablespaces mapping: OK\n\
         systemid coherence: OK (no system Id stored on disk)\n\
         pg_receivexlog: OK\n\
         pg_receivexlog compatible: OK\n\
         receive-wal running: OK\n\
         archiver errors: OK\n"
    );
}

#[test]
fn a_slot_that_nobody_could_look_for_is_unknown_and_not_missing() {
    let mut facts = healthy();
    facts.sql = Some(Err(Trouble { cause: "connection refused".to_owned(), remedy: None }));
    let failed = failures(&facts);
    assert!(failed.contains(&("PostgreSQL".to_owned(), "connection refused".to_owned())));
    let slot = failed.iter().find(|(name, _)| name == "replication slot").expect("the line");
    assert!(slot.1.contains("unknown"), "{}", slot.1);
    assert!(!slot.1.contains("exist"), "{}", slot.1);
}

#[test]
fn each_state_of_the_slot_has_its_own_words() {
    let with_slot = |change: fn(&mut SqlFacts)| {
        let mut facts = healthy();
        if let Some(Ok(sql)) = &mut facts.sql {
            change(sql);
        }
        match failures(&facts).as_slice() {
            [(name, hint)] if name == "replication slot" => hint.clone(),
            other => panic!("{other:?}"),
        }
    };
    let slot = |sql: &mut SqlFacts, change: fn(&mut SlotFacts)| {
        change(sql.slot.as_mut().expect("a slot"));
    };
    assert!(with_slot(|sql| sql.slot = None).contains("--create-slot main"));
    let inactive = with_slot(|sql| sql.slot.as_mut().expect("a slot").active = false);
    assert_eq!(inactive, "slot 'barman' not active: is 'receive-wal' running?");
    let fresh = with_slot(|sql| sql.slot.as_mut().expect("a slot").restart = None);
    assert_eq!(fresh, "slot 'barman' not initialised: is 'receive-wal' running?");
    assert!(with_slot(|sql| sql.slot.as_mut().expect("a slot").lost = true).contains("new backup"));
    let mut facts = healthy();
    if let Some(Ok(sql)) = &mut facts.sql {
        slot(sql, |slot| slot.physical = false);
    }
    assert!(failures(&facts)[0].1.contains("logical"));
}

#[test]
fn another_cluster_or_another_major_version_is_told() {
    let mut facts = healthy();
    facts.stored.system = Some(SystemIdentifier(8));
    assert!(failures(&facts)[0].1.contains("belongs to cluster 8"));
    facts.stored.system = Some(SystemIdentifier(7));
    assert!(failures(&facts).is_empty());
    facts.stored.major = Some("14".to_owned());
    assert!(failures(&facts)[0].1.contains("PostgreSQL 14"));
}

#[test]
fn thresholds_speak_as_barman_does() {
    let mut facts = healthy();
    facts.wanted.backup_maximum_age = Some(Duration::from_secs(7 * 86_400));
    facts.wanted.backup_minimum_size = Some(1 << 30);
    facts.wanted.wal_maximum_age = Some(Duration::from_secs(3600));
    facts.wanted.minimum_redundancy = 1;
    let none = text(&facts);
    for line in [
        "backup maximum age: FAILED (interval provided: 7 days, latest backup age: No available backups)",
        "backup minimum size: FAILED (last backup size 0 B < 1.0 GiB minimum)",
        "wal maximum age: FAILED (No WAL files archived for last backup)",
        "minimum redundancy requirements: FAILED (have 0 non-incremental backups, expected at least 1)",
    ] {
        assert!(none.contains(line), "{line}\nnot in\n{none}");
    }
    facts.stored.newest_backup = Some((36_962_081, Duration::from_secs(1)));
    facts.stored.newest_wal_age = Some(Duration::from_secs(2));
    facts.stored.full_backups = 1;
    let some = text(&facts);
    for line in [
        "backup maximum age: OK (interval provided: 7 days, latest backup age: 1 second)",
        "backup minimum size: FAILED (last backup size 35.2 MiB < 1.0 GiB minimum)",
        "wal maximum age: OK (interval provided: 1 hour, latest wal age: 2 seconds)",
        "minimum redundancy requirements: OK (have 1 non-incremental backups, expected at least 1)",
    ] {
        assert!(some.contains(line), "{line}\nnot in\n{some}");
    }
}

#[test]
fn what_would_go_unnoticed_is_told_where_it_fails_only() {
    let mut facts = healthy();
    facts.stored.archived_segments = 0;
    facts.stored.duplicates = 1;
    facts.stored.waiting_incoming = 3;
    facts.wanted.contradictions = vec!["a and b".to_owned()];
    facts.wanted.retention_policy = Some("KEEP ALL".to_owned());
    let names: Vec<String> = failures(&facts).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "WAL archive",
            "retention policy settings",
            "configuration",
            "archiver errors",
            "empty incoming directory"
        ]
    );
    for policy in ["redundancy 2", "RECOVERY WINDOW OF 7 DAYS", "recovery window of 1 month"] {
        facts.wanted.retention_policy = Some(policy.to_owned());
        assert_eq!(failures(&facts).len(), 4, "{policy}");
    }
}
