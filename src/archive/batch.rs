//! What one run of `archive-wal` takes from an inbox, told before it is done.

use super::{ArchiveError, Archiver, Inbox, Swept};
use crate::wal::WalFileName;

/// The files of one run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// What is to be archived, in order.
    pub names: Vec<WalFileName>,
    /// Whether there is more, for a later run.
    pub is_part: bool,
    inbox: Inbox,
}

impl Archiver {
    /// Looks what waits in an inbox, for a run of so many files at most. The caller holds
    /// [`Archiver::lock`].
    ///
    /// Of `streaming/` the last complete segment is left where no incomplete one follows it: a
    /// `pg_receivewal` that is started next, be it Barman's, tells by it where to go on.
    ///
    /// # Errors
    /// The inbox cannot be read.
    pub fn batch(&self, inbox: Inbox, at_most: Option<usize>) -> Result<Batch, ArchiveError> {
        let waiting = self.waiting(inbox)?;
        let mut names = waiting.names;
        let mut left = waiting.open;
        if inbox == Inbox::Streaming && waiting.open == 0 {
            let segments = names.iter().filter(|name| matches!(name, WalFileName::Segment(_)));
            if let Some(newest) = segments.max_by_key(|name| name.to_string()).copied() {
                names.retain(|name| *name != newest);
                left += 1;
            }
        }
        // As texts: a history file before the segments of its timeline, a label behind its own.
        names.sort_by_key(ToString::to_string);
        if let Some(at_most) = at_most {
            left += names.len().saturating_sub(at_most);
            names.truncate(at_most);
        }
        Ok(Batch { names, is_part: left > 0, inbox })
    }

    /// Archives a batch. The caller still holds [`Archiver::lock`].
    ///
    /// # Errors
    /// The first file that could not be archived. Files before it are in the archive. What is
    /// wrong with one file alone is in [`Swept::refused`].
    pub fn archive_batch(&mut self, batch: Batch) -> Result<Swept, ArchiveError> {
        match batch.inbox {
            Inbox::Streaming => {
                let streaming = self.layout.streaming().to_owned();
                self.sweep_from(&streaming, batch.names)
            }
            Inbox::Incoming => self.archive_delivered(&batch.names),
        }
    }
}
