//! `backup_manifest`, versions 1 and 2: read, compared with what passed, written.
//!
//! Pure: knows no files, no sockets, no clock. The manifest is the server's own list of every
//! file that it sent, with size and checksum; a backup is whole when nothing differs from it.
//! Source: manual, "Backup Manifest Format"; `src/common/parse_manifest.c` and
//! `src/backend/backup/backup_manifest.c`.

mod checksum;
mod covered;
mod table;
mod parse;
mod compare;
mod writer;

pub use checksum::{Algorithm, Checksum, Hasher};
pub use compare::{Difference, compare};
pub use parse::hex;
pub use table::{FileTable, ManifestFile, Modified};
pub use writer::ManifestWriter;

use crate::tar::PathProblem;
use crate::wal::{Lsn, SystemIdentifier, Timeline};

/// A manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Who made the backup: `Some` in version 2 (servers from 17 on), `None` in version 1.
    pub system: Option<SystemIdentifier>,
    /// Every file of the backup, WAL segments and the manifest itself aside, in file order.
    pub files: FileTable,
    /// The WAL that makes the backup consistent, newest timeline first.
    pub wal_ranges: Vec<WalRange>,
    /// SHA-256 of everything before the line that holds it.
    pub checksum: [u8; 32],
}

/// A stretch of WAL on one timeline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WalRange {
    /// On which.
    pub timeline: Timeline,
    /// Its first byte.
    pub start: Lsn,
    /// The byte behind its last.
    pub end: Lsn,
}

/// A text that is no manifest, or not the one that the server wrote.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Cut off.
    #[error("backup manifest does not end with a line that holds its checksum")]
    Truncated,
    /// Changed since the server wrote it.
    #[error("backup manifest has SHA-256 {computed}, but {stored} is stored in it")]
    Checksum {
        /// As stored.
        stored: String,
        /// As computed.
        computed: String,
    },
    /// Not JSON, or JSON that says something else.
    #[error("backup manifest is not readable: {0}")]
    Syntax(String),
    /// A version that does not exist yet.
    #[error("backup manifest has version {0}; versions 1 and 2 are known")]
    Version(u64),
    /// A name that would lead out of the backup, or that is no name.
    #[error("backup manifest lists {path:?}, which {problem}")]
    Path {
        /// The name.
        path: String,
        /// What is wrong with it.
        problem: PathProblem,
    },
    /// One name, two entries.
    #[error("backup manifest lists {0:?} twice")]
    Duplicate(String),
}

impl ManifestError {
    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            ManifestError::Version(_) => Some("use a newer Tapster for this server".to_owned()),
            _ => Some("take the backup again".to_owned()),
        }
    }
}

impl Manifest {
    /// What it is called in a data directory and beside archives. Source: manual, `BASE_BACKUP`.
    pub const FILE_NAME: &str = "backup_manifest";

    /// Reads a manifest and checks its own checksum. As strict as the server's own reader:
    /// known keys only, no path twice.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        parse::parse(text)
    }

    /// The same, of a text that comes bit by bit and is not held: what it says takes half the
    /// memory.
    pub fn read(source: impl std::io::Read) -> Result<Manifest, ManifestError> {
        parse::read(source)
    }

    /// The manifest as the server would have written it.
    pub fn render(&self) -> Vec<u8> {
        let mut writer = ManifestWriter::new(self.system);
        for file in self.files.iter() {
            writer.file(&file);
        }
        writer.finish(&self.wal_ranges)
    }
}

#[cfg(test)]
mod tests;
