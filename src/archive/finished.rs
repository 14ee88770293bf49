//! Which files wait to be archived, in which order.

use super::{ArchiveError, Archiver, Inbox};
use crate::disk::{self, FileKind};
use crate::repository::DIRECTORY_MODE;
use crate::wal::{SegmentName, WalFileName};

/// The names in an inbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Waiting {
    /// What is to be archived: a history file before the segments of its timeline.
    pub names: Vec<WalFileName>,
    /// How many stay because they are being written, or will be.
    pub open: usize,
    /// What is no WAL.
    pub unknown: Vec<String>,
}

impl Archiver {
    /// The files that nobody writes to any more.
    pub(super) fn waiting(&self, inbox: Inbox) -> Result<Waiting, ArchiveError> {
        let mut waiting = Waiting::default();
        for entry in self.disk.list(self.inbox(inbox))? {
            let Some(text) = entry.name.to_str() else { continue };
            match text.parse() {
                Ok(name) if entry.kind == FileKind::File => waiting.names.push(name),
                // Somebody is writing it: a spare, a file on its way.
                _ if text.ends_with(".tmp") || text.starts_with('.') => {}
                _ if entry.kind == FileKind::File => waiting.unknown.push(text.to_owned()),
                _ => {}
            }
        }
        if inbox == Inbox::Streaming {
            let all = waiting.names.len();
            leave_open_segments(&mut waiting.names);
            waiting.open = all - waiting.names.len();
        }
        waiting.names.sort_by_key(|name| match *name {
            WalFileName::History(timeline) => (0, timeline.id(), None),
            WalFileName::Segment(segment)
            | WalFileName::Partial(segment)
            | WalFileName::BackupLabel { segment, .. } => (1, 0, Some(segment)),
        });
        waiting.unknown.sort_unstable();
        Ok(waiting)
    }

    /// Moves what is no WAL from an inbox to `errors/`, and returns the names.
    ///
    /// # Errors
    /// The first file that could not be moved.
    pub fn put_unknown_aside(&self, inbox: Inbox) -> Result<Vec<String>, ArchiveError> {
        let unknown = self.waiting(inbox)?.unknown;
        if !unknown.is_empty() {
            disk::create_directories(self.disk.as_ref(), self.layout.errors(), DIRECTORY_MODE)?;
        }
        for name in &unknown {
            let from = self.inbox(inbox).join(name);
            disk::move_file(self.disk.as_ref(), &from, &self.error_path(name, "unknown"))?;
        }
        Ok(unknown)
    }
}

/// Takes the incomplete segments out of a list that are being written, or will be again: those
/// of the newest timeline that follow upon each other up to its newest file. One behind which
/// something is missing will never be completed, and neither will one of an older timeline.
fn leave_open_segments(names: &mut Vec<WalFileName>) {
    let segments = names.iter().filter_map(|name| match name {
        WalFileName::Segment(name) | WalFileName::Partial(name) => Some(*name),
        _ => None,
    });
    let Some(newest) = segments.max() else { return };
    let mut partials: Vec<SegmentName> = names
        .iter()
        .filter_map(|name| match name {
            WalFileName::Partial(name) => Some(*name),
            _ => None,
        })
        .collect();
    partials.sort_unstable();
    let mut open = Vec::new();
    for partial in partials.into_iter().rev() {
        let next = open.last().copied().unwrap_or(newest);
        if partial == next || partial.may_precede(next) {
            open.push(partial);
        } else {
            break;
        }
    }
    names.retain(|name| !matches!(name, WalFileName::Partial(name) if open.contains(name)));
}
