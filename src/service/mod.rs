//! Life as a process: signals, logs, the wall clock.
//!
//! Knows nothing of PostgreSQL or of the repository.

mod clock;
mod logs;
mod signals;

pub use clock::now;
pub use logs::{LogError, LogFormat, LogOptions, start_logs};
pub use signals::{Shutdown, Urgency};
