//! Can we talk to the server, and may we do what we need to?

use super::{Facts, Outcome};

/// `PostgreSQL`: the ordinary connection.
pub(super) fn postgresql(facts: &Facts) -> Vec<Outcome> {
    let name = "PostgreSQL";
    match &facts.sql {
        None => Vec::new(),
        Some(Ok(_)) => vec![Outcome::ok(name)],
        Some(Err(trouble)) => vec![Outcome::failed(name, trouble.line())],
    }
}

/// `superuser or standard user with backup privileges`; on failure Barman changes the name.
pub(super) fn backup_privileges(facts: &Facts) -> Vec<Outcome> {
    let Some(Ok(sql)) = &facts.sql else { return Vec::new() };
    if sql.may_back_up {
        vec![Outcome::ok("superuser or standard user with backup privileges")]
    } else {
        vec![Outcome::failed(
            "no access to backup functions",
            "grant pg_monitor, pg_checkpoint (15 and later) and execution of the backup \
             functions, pg_switch_wal and pg_create_restore_point to the user of conninfo",
        )]
    }
}

/// `PostgreSQL streaming`: the replication connection.
pub(super) fn streaming(facts: &Facts) -> Vec<Outcome> {
    let name = "PostgreSQL streaming";
    match &facts.streaming {
        None => Vec::new(),
        Some(Ok(_)) => vec![Outcome::ok(name)],
        Some(Err(trouble)) => vec![Outcome::failed(name, trouble.line())],
    }
}

/// `wal_level`: with `minimal` there is no WAL to restore from.
pub(super) fn wal_level(facts: &Facts) -> Vec<Outcome> {
    let Some(Ok(sql)) = &facts.sql else { return Vec::new() };
    let ok = sql.wal_level != "minimal";
    let hint = if ok { "" } else { "please set it to a higher level than 'minimal'" };
    vec![Outcome::of("wal_level", ok, hint)]
}

/// The three lines about `pg_basebackup`. Tapster is its own client: they say whether it can
/// take a backup from a server of this version.
pub(super) fn base_backup(facts: &Facts) -> Vec<Outcome> {
    if !facts.wanted.active || !facts.wanted.postgres_method {
        return Vec::new();
    }
    vec![
        Outcome::ok("pg_basebackup"),
        compatible("pg_basebackup", facts),
        Outcome::ok("pg_basebackup supports tablespaces mapping"),
    ]
}

/// Whether the protocol of the server is one that this program speaks.
pub(super) fn compatible(client: &str, facts: &Facts) -> Outcome {
    let name = format!("{client} compatible");
    let by_sql = facts.sql.as_ref().and_then(|sql| sql.as_ref().ok()).map(|sql| sql.version);
    let by_streaming = facts.streaming.as_ref().and_then(|facts| facts.as_ref().ok());
    match by_sql.or(by_streaming.map(|facts| facts.version)) {
        Some(version) if version.is_tested() => Outcome::ok(&name),
        Some(version) => {
            Outcome::failed(&name, format!("PostgreSQL version: {version}, tested are 10 to 18"))
        }
        None => Outcome::failed(
            &name,
            "PostgreSQL version: unknown, because the server cannot be reached",
        ),
    }
}
