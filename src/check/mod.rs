//! One check per function, named as Barman names them.
//!
//! First everything is asked ([`gather()`], the only part that connects and reads), then each
//! check judges the answers: a check is a pure function from [`Facts`] to an [`Outcome`]. The
//! order and the names are Barman's, because people grep for them.

pub mod facts;
mod backups;
mod connection;
mod gather;
mod receiver;
mod storage;
#[cfg(test)]
mod tests;

pub use facts::Facts;
pub use gather::gather;

/// The judgement of one check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// Barman's name of the check.
    pub name: String,
    /// Whether all is well.
    pub ok: bool,
    /// A figure, or what is wrong and what to do about it. May be empty.
    pub hint: String,
}

impl Outcome {
    fn ok(name: &str) -> Outcome {
        Outcome::ok_with(name, "")
    }

    fn ok_with(name: &str, hint: impl Into<String>) -> Outcome {
        Outcome { name: name.to_owned(), ok: true, hint: hint.into() }
    }

    fn failed(name: &str, hint: impl Into<String>) -> Outcome {
        Outcome { name: name.to_owned(), ok: false, hint: hint.into() }
    }

    fn of(name: &str, ok: bool, hint: impl Into<String>) -> Outcome {
        Outcome { name: name.to_owned(), ok, hint: hint.into() }
    }
}

/// Judges the facts, in Barman's order.
pub fn judge(facts: &Facts) -> Vec<Outcome> {
    CHECKS.iter().flat_map(|check| check(facts)).collect()
}

/// One check: what it has to say may be nothing, or several lines.
type Check = fn(&Facts) -> Vec<Outcome>;

const CHECKS: &[Check] = &[
    storage::wal_archive,
    connection::postgresql,
    connection::backup_privileges,
    connection::streaming,
    connection::wal_level,
    receiver::replication_slot,
    storage::directories,
    backups::retention_policy,
    backups::maximum_age,
    backups::minimum_size,
    storage::wal_maximum_age,
    storage::wal_size,
    storage::lost_wal,
    backups::compression_settings,
    backups::failed_backups,
    backups::minimum_redundancy,
    connection::base_backup,
    storage::configuration,
    storage::system_identifier,
    receiver::client,
    receiver::running,
    storage::archiver_errors,
    storage::waiting_directories,
];
