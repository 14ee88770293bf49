//! Pages that are not what they were when the server wrote them, and how to name them.

use std::fmt;

use super::IncrementalError;

/// How many findings a message names; there may be as many as pages.
pub const DAMAGE_SHOWN: usize = 10;
/// How many are kept at all, to be put on record.
const KEPT: usize = 1000;

/// One thing that is wrong with a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// A page with another checksum than it says.
    Page {
        /// The block, counted over all files of the relation.
        block: u32,
        /// As the page says.
        found: u16,
        /// As its content demands.
        expected: u16,
    },
    /// A file with changed blocks that is none.
    Incremental(IncrementalError),
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DamagedFile {
    /// Relative to the data directory.
    pub path: String,
    /// What is wrong.
    pub damage: Damage,
}

/// Everything that was found to be wrong: the first thousand with their places, of the others
/// the number.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DamagedPages {
    first: Vec<DamagedFile>,
    count: u64,
    broken: bool,
}

impl DamagedPages {
    /// Nothing so far.
    pub fn new() -> DamagedPages {
        DamagedPages::default()
    }

    /// Adds a finding in the file whose path has these two parts.
    pub fn add(&mut self, path: [&[u8]; 2], damage: Damage) {
        self.count += 1;
        self.broken |= matches!(damage, Damage::Incremental(_));
        if self.first.len() < KEPT {
            let path = String::from_utf8_lossy(&path.concat()).into_owned();
            self.first.push(DamagedFile { path, damage });
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many findings there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first ones, in the order in which they were found.
    pub fn first(&self) -> &[DamagedFile] {
        &self.first
    }

    /// Whether a file cannot be what it is called, which nobody can wish to allow.
    pub fn has_broken_files(&self) -> bool {
        self.broken
    }
}

impl fmt::Display for DamagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match self.damage {
            Damage::Page { block, found, expected } => write!(
                f,
                "block {block} in {path:?} has the checksum {found:04X} instead of {expected:04X}"
            ),
            Damage::Incremental(error) => write!(f, "{path:?} is no incremental file: {error}"),
        }
    }
}

impl fmt::Display for DamagedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, file) in self.first.iter().take(DAMAGE_SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{file}")?;
        }
        match self.count.checked_sub(DAMAGE_SHOWN as u64) {
            Some(more @ 1..) => write!(f, "; and {more} more"),
            _ => Ok(()),
        }
    }
}
