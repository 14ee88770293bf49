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
mod positions;
mod queue;
mod segment;
mod spare;
mod resume;
mod writer;
mod reader;
mod stream;
mod receiver;
mod slot;
mod trouble;
mod watch;
mod service;
mod error;

pub use error::ReceiveError;
pub use positions::Progress;
pub use reader::{End, Event};
pub use receiver::{Received, Receiver};
pub use service::{Plan, serve};
pub use spare::{Filling, Preparation};
pub use stream::{Outcome, Request, stream};
pub use writer::{Synchronous, Target, Writer};
