//! Write-ahead log as bytes: positions, names, pages, records, timelines, pg_control.
//!
//! Sans-IO: knows no sockets, no files, no clock, no tokio. Everything here is a pure
//! function of bytes, so that tests can cut, tear and replay it at will.

mod lsn;
mod segment;
mod timeline;
mod pg_time;
mod history;
pub mod page;
pub mod record;
mod finding;
mod checker;
mod control;

pub use checker::{Commit, CommitTimes, WalChecker};
pub use control::{ClusterState, ControlFile, ControlFileError};
pub use finding::Finding;
pub use history::{HistoryEntry, HistoryError, TimelineHistory};
pub use lsn::{Lsn, ParseLsnError};
pub use pg_time::PgTimestamp;
pub use segment::{
    ParseWalNameError, SegmentName, SegmentNumber, SegmentSize, SegmentSizeError, WalFileName,
};
pub use timeline::{ParseTimelineError, SystemIdentifier, Timeline};

#[cfg(test)]
pub(crate) mod written;
#[cfg(test)]
mod tests;
