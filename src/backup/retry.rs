//! Trying a copy again, where that can help.

use std::time::Duration;

use super::error::BackupError;
use crate::receive::ReceiveError;
use crate::wire::Retry;

/// How often and when a copy that failed is tried again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Retries {
    /// Further tries.
    pub times: u64,
    /// The pause before each.
    pub pause: Duration,
}

/// Whether the same again may succeed: a connection that broke, a server that was restarted, had
/// no free connection, or spoke nonsense once. A full disk, a wrong password, another cluster and
/// files that differ from their manifest are for a person to look at.
pub(super) fn may_help(error: &BackupError) -> bool {
    match error {
        BackupError::Net(error) | BackupError::NotKept(error) => error.retry() != Retry::Never,
        BackupError::Receive(ReceiveError::Net(error)) => error.retry() != Retry::Never,
        _ => false,
    }
}
