//! Hot path 2: BASE_BACKUP to the repository. Knows no commands, and prints nothing.
//!
//! A reader (a task) cuts archives and manifest out of what the socket gives; a writer (a
//! thread) stores them, finds the members in them as they pass, sums each up, and holds them
//! against the server's manifest. An archive that is stored as it comes the writer reads itself.
//! Beside them the WAL that makes the copy consistent is secured. A backup is DONE when every
//! byte of it, every name and every segment of that WAL is durable.

mod error;
mod facts;
mod form;
mod queue;
mod member;
mod early;
mod tree;
mod pieces;
mod manifest_sink;
mod direct;
mod output;
mod archive_file;
mod errand;
mod aside;
mod durable;
mod writer;
mod reader;
mod verdict;
mod damage;
mod record;
mod places;
mod kept;
mod wal;
mod pace;
mod retry;
mod segments;
mod session;
mod hold;
mod parent;
mod limits;
mod copy;
mod secure;
mod run;
mod rehearsal;
mod settle;
pub mod wishes;

pub use error::BackupError;
pub use form::{Form, Sent};
pub use pace::Limits;
pub use parent::ParentError;
pub use rehearsal::{Rehearsal, ServerSeen, WalSource, rehearse};
pub use retry::Retries;
pub use run::{ClusterSize, Milestone, Plan, Report, SILENCE, Wait, take};
pub use settle::settle;
pub use verdict::DIFFERENCES_SHOWN;

#[cfg(test)]
mod tests;
