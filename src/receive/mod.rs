//! Hot path 1: the WAL stream to segment files.
//!
//! A reader (a task) cuts frames out of what the socket gives and queues their payload; a
//! writer (a thread) hands it to the disk and says what is durable; the reader reports that.
//! All decisions are pure: [`start`] where to begin, [`feedback`] when to report, [`backoff`]
//! when to try again. Knows no commands.
//!
//! [`serve`] is `receive-wal`; [`Receiver`] receives over one connection, for others too;
//! [`Writer`] is the disk's side alone.

pub mod start;
pub mod feedback;
pub mod backoff;
pub mod settings;
pub mod stored;
pub mod history;
mod histogram;
pub mod meters;
mod positions;
mod queue;
mod batch;
mod inspection;
mod inspect;
mod segment;
mod spare;
mod resume;
mod target;
mod writer;
mod reader;
mod stream;
mod lost;
mod receiver;
mod plan;
mod slot;
pub mod slot_watch;
mod limit;
mod lag;
mod status;
mod status_file;
mod heart;
mod trouble;
mod watch;
mod service;
mod shortcut;
mod error;
#[cfg(test)]
mod fixture;

pub use error::ReceiveError;
pub use histogram::Percentiles;
pub use inspect::Inspector;
pub use inspection::{Inspect, Inspection, InspectionQueue};
pub use meters::Meters;
pub use plan::{Acknowledgement, Plan};
pub use positions::Progress;
pub use reader::{End, Event};
pub use receiver::{Received, Receiver, start_inspection};
pub use service::serve;
pub use spare::{Filling, Preparation};
pub use stream::{Outcome, Request, stream};
pub use target::{Synchronous, Target, WhenFull};
pub use writer::Writer;
