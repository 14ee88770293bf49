//! The tar stream of a base backup: member boundaries found without copying data, safe names,
//! headers and trailers written.
//!
//! Sans-IO: knows no sockets, no files, no clock. What the server sends is narrow (plain ustar:
//! files, directories, symbolic links; GNU's base-256 for numbers of 8 GiB and more) and
//! anything else is refused, because a name or a link target becomes a path at restore.
//! Source of the layout: POSIX.1-1988 (ustar); `src/port/tar.c` and
//! `src/include/pgtar.h` of PostgreSQL.

mod header;
mod path;
mod splitter;

pub use header::{Member, MemberKind};
pub use path::{MemberPath, PathProblem};
pub use splitter::{Ending, Piece, TarEvent, TarSplitter};

/// The unit of the format: headers have this length, data is padded to a multiple of it.
pub const BLOCK: usize = 512;

/// What ends an archive: two blocks of zeros. Servers before 15 do not send it.
pub const TRAILER: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Zeros that follow `size` bytes of data.
pub fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// An archive that PostgreSQL does not send, or that must not be unpacked. `offset` is the
/// position in the archive in bytes.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The header is damaged, or the stream is out of step.
    #[error("tar header at byte {offset} has checksum {computed}, but says {stored}")]
    Checksum {
        /// Where.
        offset: u64,
        /// What it says.
        stored: u64,
        /// What its bytes give.
        computed: u64,
    },
    /// Not ustar.
    #[error("tar header at byte {offset} is not in ustar format")]
    Magic {
        /// Where.
        offset: u64,
    },
    /// A number that is none.
    #[error("tar header at byte {offset} has an unreadable {field}")]
    Number {
        /// Where.
        offset: u64,
        /// Which.
        field: &'static str,
    },
    /// A kind of member that servers do not send.
    #[error("tar member {path} at byte {offset} is of the unknown type {found:?}")]
    Type {
        /// Where.
        offset: u64,
        /// Its name.
        path: String,
        /// The type flag.
        found: char,
    },
    /// A directory or a link with content.
    #[error("tar member {path} at byte {offset} is no file, but has {size} bytes")]
    Content {
        /// Where.
        offset: u64,
        /// Its name.
        path: String,
        /// Its size.
        size: u64,
    },
    /// A name that would lead out of the directory, or that is no name.
    #[error("tar member at byte {offset} has the name {path:?}, which {problem}")]
    Name {
        /// Where.
        offset: u64,
        /// The name.
        path: String,
        /// What is wrong with it.
        problem: PathProblem,
    },
    /// A link that would lead out of the directory.
    #[error("tar member {path} at byte {offset} links to {target:?}, which {problem}")]
    Target {
        /// Where.
        offset: u64,
        /// The link.
        path: String,
        /// What it points to.
        target: String,
        /// What is wrong with that.
        problem: PathProblem,
    },
    /// One block of zeros, and then more members.
    #[error("tar archive has half a trailer at byte {offset}")]
    HalfTrailer {
        /// Where it begins.
        offset: u64,
    },
    /// Something behind the trailer.
    #[error("tar archive goes on at byte {offset}, behind its end")]
    BehindEnd {
        /// Where.
        offset: u64,
    },
    /// The stream ended in the middle of something.
    #[error("tar archive ends at byte {offset}, in the middle of {inside}")]
    Truncated {
        /// Where.
        offset: u64,
        /// Of what.
        inside: &'static str,
    },
    /// A member that the format cannot express.
    #[error("{field} of {path} does not fit into a tar header")]
    TooLong {
        /// Its name.
        path: String,
        /// Which field.
        field: &'static str,
    },
}

impl TarError {
    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            TarError::Name { .. } | TarError::Target { .. } => {
                Some("make sure that the server is the one that you trust".to_owned())
            }
            TarError::TooLong { .. } => None,
            _ => Some("take the backup again".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
