//! Write-ahead log as bytes: positions, names, pages, records, timelines.
//!
//! Sans-IO: knows no sockets, no files, no clock, no tokio. Everything here is a pure
//! function of bytes, so that tests can cut, tear and replay it at will.

mod lsn;
mod segment;
mod timeline;

pub use lsn::{Lsn, ParseLsnError};
pub use segment::{
    ParseWalNameError, SegmentName, SegmentNumber, SegmentSize, SegmentSizeError, WalFileName,
};
pub use timeline::{ParseTimelineError, SystemIdentifier, Timeline};
