//! Hot path 1: the WAL stream to segment files.
//!
//! A reader (a task) cuts frames out of what the socket gives and queues their payload; a
//! writer (a thread) hands it to the disk and says what is durable; the reader reports that.
//! All decisions are pure: [`start`] where to begin, [`feedback`] when to report, [`backoff`]
//! when to try again. Knows no commands.

pub mod start;
pub mod feedback;
pub mod backoff;
pub mod stored;
mod positions;
mod queue;
mod segment;
mod spare;
mod resume;
mod writer;

pub use positions::Progress;
pub use spare::{Filling, Preparation};
pub use writer::{Target, Writer};
