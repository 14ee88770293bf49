//! Who is told what stands in a stored backup.

use crate::manifest::{Algorithm, Checksum};

use super::finding::Finding;

/// A file that was read to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summed<'a> {
    /// As the manifest spells it.
    pub(super) path: &'a [u8],
    /// Bytes that were there.
    pub(super) size: u64,
    /// Time of the last change, in seconds since 1970.
    pub(super) modified: i64,
    /// How it was summed up.
    pub(super) algorithm: Algorithm,
    /// Its sum.
    pub(super) checksum: Checksum,
}

/// Is told of everything, from several threads.
pub(super) trait Inspector: Sync {
    /// How a file that begins is to be summed up.
    fn algorithm(&self, path: &[u8]) -> Algorithm;
    /// A file has come as a whole.
    fn file(&self, file: &Summed<'_>);
    /// A directory is there.
    fn directory(&self, path: &[u8]);
    /// Something is wrong.
    fn finding(&self, finding: Finding);
    /// So many more bytes were read, unpacked.
    fn read(&self, bytes: u64);
}
