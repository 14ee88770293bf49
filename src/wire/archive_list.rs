//! The archives that a base backup consists of: which are due, and which have come.
//!
//! Names come from the server and become names of files here: only those that follow from the
//! tablespace list pass.

use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;

use super::base_backup::BackupEvent;
use super::body::printable;
use super::{CompressionAlgorithm, Tablespace, WireError};

/// The archives of one backup.
#[derive(Debug, Default)]
pub(super) struct ArchiveList {
    due: Vec<Due>,
    suffix: &'static str,
}

#[derive(Debug)]
struct Due {
    tablespace: Tablespace,
    begun: bool,
}

impl ArchiveList {
    /// One archive is due for each tablespace, in this order before version 15.
    pub(super) fn new(
        tablespaces: &[Tablespace],
        compression: Option<CompressionAlgorithm>,
    ) -> ArchiveList {
        let due = tablespaces.iter().cloned();
        let due = due.map(|tablespace| Due { tablespace, begun: false }).collect();
        ArchiveList { due, suffix: compression.map_or("", CompressionAlgorithm::suffix) }
    }

    /// Begins the next archive in the order of the list: the old form does not name them.
    pub(super) fn begin_next(&mut self) -> Option<BackupEvent> {
        let due = self.due.iter_mut().find(|due| !due.begun)?;
        due.begun = true;
        let name = name_of(&due.tablespace, self.suffix);
        Some(event(&due.tablespace, name))
    }

    /// Begins the archive that the server names: `n`, name, location.
    pub(super) fn begin_named(&mut self, head: &Bytes) -> Result<BackupEvent, WireError> {
        let tag = super::Tag(b'd');
        let malformed = |what| WireError::Malformed { tag, what };
        let mut strings = head.split(|&byte| byte == 0);
        let (Some(name), Some(location), Some([]), None) =
            (strings.next(), strings.next(), strings.next(), strings.next())
        else {
            return Err(malformed("head of an archive is not two strings"));
        };
        let unknown = || WireError::Archive { name: printable(name) };
        let suffix = self.suffix;
        let due = self.due.iter_mut().find(|due| {
            !due.begun
                && name_of(&due.tablespace, suffix).as_bytes() == name
                && location_of(&due.tablespace) == location
        });
        let due = due.ok_or_else(unknown)?;
        due.begun = true;
        let name = name_of(&due.tablespace, suffix);
        Ok(event(&due.tablespace, name))
    }

    /// The name of an archive that has not come.
    pub(super) fn missing(&self) -> Option<String> {
        let due = self.due.iter().find(|due| !due.begun)?;
        Some(name_of(&due.tablespace, self.suffix))
    }
}

fn event(tablespace: &Tablespace, name: String) -> BackupEvent {
    BackupEvent::ArchiveBegin {
        name,
        tablespace: tablespace.oid,
        location: tablespace.location.clone(),
    }
}

fn name_of(tablespace: &Tablespace, suffix: &str) -> String {
    match tablespace.oid {
        Some(oid) => format!("{oid}.tar{suffix}"),
        None => format!("base.tar{suffix}"),
    }
}

fn location_of(tablespace: &Tablespace) -> &[u8] {
    tablespace.location.as_ref().map_or(&[], |path| path.as_os_str().as_bytes())
}
