//! Hot path 2: BASE_BACKUP to the repository. Knows no commands, and prints nothing.
//!
//! A reader (a task) cuts archives and manifest out of what the socket gives; a writer (a
//! thread) stores them, finds the members in them as they pass, sums each up, and holds them
//! against the server's manifest. Beside them the WAL that makes the copy consistent is
//! secured. A backup is DONE when every byte of it, every name and every segment of that WAL is
//! durable.

mod error;
mod facts;
mod queue;
mod member;
mod archive_file;
mod writer;
mod reader;
mod verdict;
mod record;
mod places;
mod wal;
mod segments;
mod session;
mod copy;
mod secure;
mod run;
pub mod wishes;

pub use error::BackupError;
pub use run::{Milestone, Plan, Report, SILENCE, Wait, take};
pub use verdict::DIFFERENCES_SHOWN;

#[cfg(test)]
mod tests;
