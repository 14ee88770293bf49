//! What a manifest promises against what passed.

use std::cmp::Ordering;
use std::fmt;

use super::{FileTable, ManifestFile};

/// One way in which a backup is not what its manifest says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Difference {
    /// Listed, but it never came.
    Missing {
        /// Its path.
        path: String,
    },
    /// It came, but it is not listed.
    Extra {
        /// Its path.
        path: String,
    },
    /// It came more than once.
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
        /// Bytes that came.
        received: u64,
    },
    /// It has another content.
    Checksum {
        /// Its path.
        path: String,
    },
    /// The manifest sums it up in another way than was asked for, so nothing can be said.
    Algorithm {
        /// Its path.
        path: String,
        /// As listed.
        listed: super::Algorithm,
        /// As asked for.
        computed: super::Algorithm,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Missing { path } => {
                write!(f, "{path:?} is listed in the manifest, but was not sent")
            }
            Difference::Extra { path } => {
                write!(f, "{path:?} was sent, but is not listed in the manifest")
            }
            Difference::Repeated { path } => write!(f, "{path:?} was sent more than once"),
            Difference::Size { path, listed, received } => {
                write!(f, "{path:?} has {received} bytes, but {listed} are listed in the manifest")
            }
            Difference::Checksum { path } => {
                write!(f, "{path:?} has another checksum than the manifest lists")
            }
            Difference::Algorithm { path, listed, computed } => write!(
                f,
                "{path:?} is listed with a checksum of type {listed} instead of {computed}"
            ),
        }
    }
}

/// Every difference, in the order of the paths; none when the backup is whole.
///
/// `passed` holds what came, with checksums of the algorithm that the server was asked for.
pub fn compare(listed: &FileTable, passed: &FileTable) -> Vec<Difference> {
    let (listed_order, passed_order) = (listed.by_path(), passed.by_path());
    let mut expected = listed_order.iter().filter_map(|&index| listed.get(index)).peekable();
    let mut received = passed_order.iter().filter_map(|&index| passed.get(index)).peekable();
    let mut differences = Vec::new();
    let mut before: Option<&[u8]> = None;
    loop {
        let order = match (expected.peek(), received.peek()) {
            (None, None) => return differences,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(expected), Some(received)) => expected.path.cmp(received.path),
        };
        let wanted = if order.is_le() { expected.next() } else { None };
        let came = if order.is_ge() { received.next() } else { None };
        match (wanted, came) {
            (Some(wanted), Some(came)) => differences.extend(differ(&wanted, &came)),
            (Some(wanted), None) => differences.push(Difference::Missing { path: shown(&wanted) }),
            (None, Some(came)) if before == Some(came.path) => {
                differences.push(Difference::Repeated { path: shown(&came) });
            }
            (None, Some(came)) => differences.push(Difference::Extra { path: shown(&came) }),
            (None, None) => return differences,
        }
        before = came.map(|came| came.path);
    }
}

fn shown(file: &ManifestFile<'_>) -> String {
    String::from_utf8_lossy(file.path).into_owned()
}

fn differ(wanted: &ManifestFile<'_>, came: &ManifestFile<'_>) -> Option<Difference> {
    let path = || shown(wanted);
    if wanted.size != came.size {
        let (listed, received) = (wanted.size, came.size);
        return Some(Difference::Size { path: path(), listed, received });
    }
    if wanted.algorithm != came.algorithm {
        let (listed, computed) = (wanted.algorithm, came.algorithm);
        return Some(Difference::Algorithm { path: path(), listed, computed });
    }
    (wanted.checksum != came.checksum).then(|| Difference::Checksum { path: path() })
}
