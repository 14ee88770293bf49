//! All printing: text, JSON, progress, errors.
//!
//! Commands hand over lines and values; only this room knows streams, colours and terminals.

mod check;
mod failure;
mod format;
mod backup;
mod list_backups;
mod progress;
mod rehearsal;
mod replication_status;
mod redact;
mod reporter;
mod show_backup;
mod restore;
mod verify;

pub use backup::{backup, milestone as backup_milestone};
pub use check::{CheckLine, NagiosServer, print_check, print_nagios};
pub use failure::{Failure, one_line};
pub use format::{ctime, duration, size};
pub use list_backups::list_backups;
pub use progress::{NoProgress, Progress, ProgressForm, ShownProgress};
pub use redact::redact;
pub use rehearsal::rehearsal;
pub use replication_status::{ClientKind, replication_status};
pub use reporter::{OutputFormat, Reporter, binary, print_help, print_mistake};
pub use restore::{restore_done, restore_step};
pub use show_backup::show_backup;
pub use verify::{manifest_generated, verified, verify_begins};
