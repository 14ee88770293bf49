//! What can be wrong with a stored backup, each named so that it can be found.

use std::fmt;
use std::path::PathBuf;

use crate::manifest::{Algorithm, Checksum};
use crate::tar::TarError;

/// One way in which a stored backup is not what its manifest says. Paths of files are relative
/// to the data directory, as the manifest spells them.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// Listed, and not there.
    Missing {
        /// Its path.
        path: String,
    },
    /// There, and not listed.
    Extra {
        /// Its path.
        path: String,
    },
    /// There more than once.
    Repeated {
        /// Its path.
        path: String,
    },
    /// It has another length.
    Size {
        /// Its path.
        path: String,
        /// Bytes that are listed.
        listed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// It has another content.
    Checksum {
        /// Its path.
        path: String,
        /// How it was summed up.
        algorithm: Algorithm,
        /// As listed, in hexadecimal digits.
        listed: String,
        /// Of what is there.
        found: Checksum,
    },
    /// It cannot be read.
    Unreadable {
        /// Its path.
        path: String,
        /// What the system said.
        error: String,
    },
    /// It lies behind the place where its archive is damaged.
    Unreached {
        /// Its path.
        path: String,
        /// The archive.
        archive: PathBuf,
    },
    /// An archive is out of step, or ends too early.
    Archive {
        /// The archive.
        archive: PathBuf,
        /// What is wrong with it; its offsets count unpacked bytes.
        source: TarError,
        /// The last member that began before.
        member: Option<String>,
    },
    /// An archive cannot be read, or what is packed in it is damaged.
    Packed {
        /// The archive.
        archive: PathBuf,
        /// How many unpacked bytes came before.
        offset: u64,
        /// What the system or the codec said.
        error: String,
    },
    /// An archive lacks the zeros that end it.
    NoTrailer {
        /// The archive.
        archive: PathBuf,
    },
    /// The archive or directory of a tablespace, or of the data directory, is not there.
    NoPart {
        /// Where it should stand.
        path: PathBuf,
    },
    /// A file beside the archives that is none of them.
    Stray {
        /// Where it stands.
        path: PathBuf,
    },
    /// A directory without which the server does not start; manifests list none.
    NoDirectory {
        /// Its path.
        path: String,
    },
    /// Something that is neither a file nor a directory.
    Kind {
        /// Its path.
        path: String,
    },
    /// The manifest is damaged; nothing can be compared with it.
    Manifest {
        /// Where it stands.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
    },
    /// The manifest is that of another backup.
    OtherBackup {
        /// What it speaks of.
        what: &'static str,
        /// As the manifest has it.
        listed: String,
        /// As `backup.info` has it.
        recorded: String,
    },
}

impl Finding {
    /// What it is about, to sort by.
    pub(super) fn place(&self) -> String {
        match self {
            Finding::Missing { path }
            | Finding::Extra { path }
            | Finding::Repeated { path }
            | Finding::Size { path, .. }
            | Finding::Checksum { path, .. }
            | Finding::Unreadable { path, .. }
            | Finding::Unreached { path, .. }
            | Finding::NoDirectory { path }
            | Finding::Kind { path } => path.clone(),
            // Before all files: what is wrong with these explains them.
            Finding::Archive { archive, .. }
            | Finding::Packed { archive, .. }
            | Finding::NoTrailer { archive } => format!(" {}", archive.display()),
            Finding::NoPart { path } | Finding::Stray { path } | Finding::Manifest { path, .. } => {
                format!(" {}", path.display())
            }
            Finding::OtherBackup { what, .. } => format!(" {what}"),
        }
    }
}

/// The first three in the words of pg_verifybackup, which people search for.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Missing { path } => {
                write!(f, "{path:?} is present in the manifest but not in the backup")
            }
            Finding::Extra { path } => {
                write!(f, "{path:?} is present in the backup but not in the manifest")
            }
            Finding::Size { path, listed, found } => {
                write!(
                    f,
                    "{path:?} has size {found} in the backup but size {listed} in the manifest"
                )
            }
            Finding::Repeated { path } => write!(f, "{path:?} is in the backup more than once"),
            Finding::Checksum { path, algorithm, listed, found } => write!(
                f,
                "checksum mismatch for file {path:?}: its {algorithm} is {found}, the manifest \
                 lists {listed}"
            ),
            Finding::Unreadable { path, error } => write!(f, "{path:?} cannot be read: {error}"),
            Finding::Unreached { path, archive } => {
                write!(f, "{path:?} cannot be checked: {} is damaged before it", archive.display())
            }
            Finding::Archive { archive, source, member } => {
                write!(f, "{} is damaged: {source}", archive.display())?;
                behind(f, member.as_deref())
            }
            Finding::Packed { archive, offset, error } => write!(
                f,
                "{} is damaged behind {offset} unpacked bytes: {error}",
                archive.display()
            ),
            Finding::NoTrailer { archive } => write!(
                f,
                "{} is cut off: the zeros that end an archive are missing",
                archive.display()
            ),
            Finding::NoPart { path } => write!(f, "{} is not there", path.display()),
            Finding::Stray { path } => {
                write!(f, "{} is no part of the backup", path.display())
            }
            Finding::NoDirectory { path } => {
                write!(f, "the directory {path:?} is missing, without which no server starts")
            }
            Finding::Kind { path } => write!(f, "{path:?} is neither a file nor a directory"),
            Finding::Manifest { path, error } => write!(f, "{}: {error}", path.display()),
            Finding::OtherBackup { what, listed, recorded } => write!(
                f,
                "the manifest is that of another backup: its {what} is {listed}, backup.info has \
                 {recorded}"
            ),
        }
    }
}

fn behind(f: &mut fmt::Formatter<'_>, member: Option<&str>) -> fmt::Result {
    match member {
        Some(member) => write!(f, " (behind the beginning of {member:?})"),
        None => Ok(()),
    }
}
