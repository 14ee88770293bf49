//! Life as a process: signals, logs, the wall clock, the service manager.
//!
//! Knows nothing of PostgreSQL or of the repository.

mod clock;
mod logs;
mod notify;
mod signals;
mod worker;

pub use clock::now;
pub use logs::{LogError, LogFormat, LogOptions, start_logs};
pub use notify::Manager;
pub use signals::{Hangups, Shutdown, Urgency};
pub use worker::Worker;
