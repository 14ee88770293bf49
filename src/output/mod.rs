//! All printing: text, JSON, progress, errors.
//!
//! Commands hand over lines and values; only this room knows streams, colours and terminals.

mod check;
mod failure;
mod format;
mod progress;
mod reporter;

pub use check::{CheckLine, NagiosServer, print_check, print_nagios};
pub use failure::Failure;
pub use format::{ctime, duration, size};
pub use progress::{NoProgress, Progress, ShownProgress};
pub use reporter::{OutputFormat, Reporter};
