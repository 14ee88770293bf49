//! What verification has to say about a stretch of WAL.

use super::page::PageMagic;
use super::{Lsn, SystemIdentifier, Timeline};

/// Something that is not as a server writes it, or worth knowing, and where.
///
/// A finding never stops the bytes from being stored: what is damaged here may be all there is.
/// After damage the checker goes on at the next page that makes sense and says so with
/// [`Finding::Resumed`]; in between, nothing is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// Zeros where a record or a page would begin: the end of what was written.
    EndOfWal {
        /// The first position without WAL.
        at: Lsn,
    },
    /// Bytes are missing between two pieces.
    Gap {
        /// What was due.
        expected: Lsn,
        /// What came.
        got: Lsn,
    },
    /// A page that is not WAL, or WAL of a server that is not known.
    PageMagic {
        /// The page.
        page: Lsn,
        /// What it begins with.
        found: PageMagic,
    },
    /// The format changes in mid-stream.
    MagicChanged {
        /// The page.
        page: Lsn,
        /// The format so far.
        expected: PageMagic,
        /// The format of this page.
        found: PageMagic,
    },
    /// Flags that no supported server sets, or the long form in mid-segment, or its absence.
    PageFlags {
        /// The page.
        page: Lsn,
        /// As found.
        flags: u16,
    },
    /// A page that belongs elsewhere: a recycled file, or bytes that moved.
    PageAddress {
        /// Where it stands.
        page: Lsn,
        /// Where it says it belongs.
        found: Lsn,
    },
    /// WAL of another cluster.
    System {
        /// The page.
        page: Lsn,
        /// The cluster that was expected.
        expected: SystemIdentifier,
        /// The cluster that wrote it.
        found: SystemIdentifier,
    },
    /// Another segment size or page size than expected.
    Geometry {
        /// The page.
        page: Lsn,
        /// Segment size in the header, in bytes.
        segment_size: u32,
        /// Page size in the header, in bytes.
        page_size: u32,
    },
    /// A timeline that cannot follow what came before, or is newer than the file's.
    PageTimeline {
        /// The page.
        page: Lsn,
        /// Timeline in the header.
        found: u32,
        /// The newest that it may be.
        newest: Timeline,
    },
    /// The page does not continue the open record as it has to, or continues one when none is
    /// open.
    Continuation {
        /// The page.
        page: Lsn,
        /// Bytes that were still to come.
        expected: u32,
        /// Bytes that the page announces.
        found: u32,
    },
    /// A length that no record has.
    RecordLength {
        /// The record.
        record: Lsn,
        /// The length in its header.
        length: u32,
    },
    /// A record that does not follow the one before it.
    PreviousRecord {
        /// The record.
        record: Lsn,
        /// Where the record before it begins, if that is known.
        expected: Option<Lsn>,
        /// Where its header says so.
        found: Lsn,
    },
    /// A resource manager that the server does not have.
    ResourceManager {
        /// The record.
        record: Lsn,
        /// Its number.
        found: u8,
    },
    /// The checksum is wrong.
    RecordChecksum {
        /// The record.
        record: Lsn,
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// Something other than filler behind a segment switch, as standbys send it that have
    /// replayed the switch before they received the rest. Nothing there is replayed: not damage.
    Filler {
        /// The first bad byte, or its page.
        at: Lsn,
    },
    /// The server crashed in the middle of a record and went on without it. Not damage.
    Overwritten {
        /// The record that was given up.
        record: Lsn,
        /// The page with which the log goes on.
        page: Lsn,
    },
    /// Verification goes on after damage. Not damage itself.
    Resumed {
        /// The beginning of what could not be verified.
        lost: Lsn,
        /// The first position that can.
        at: Lsn,
    },
}

impl Finding {
    /// Whether WAL that shows this cannot be replayed. False for the end of what was written.
    pub fn is_damage(self) -> bool {
        !matches!(
            self,
            Finding::EndOfWal { .. }
                | Finding::Filler { .. }
                | Finding::Overwritten { .. }
                | Finding::Resumed { .. }
        )
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Finding::EndOfWal { at } => write!(f, "WAL ends at {at}"),
            Finding::Gap { expected, got } => {
                write!(f, "WAL is missing from {expected} to {got}")
            }
            Finding::PageMagic { page, found } => {
                write!(f, "page {page} begins with {:#06X}, which is no known WAL format", found.0)
            }
            Finding::MagicChanged { page, expected, found } => write!(
                f,
                "page {page} has WAL format {:#06X}, the pages before it {:#06X}",
                found.0, expected.0
            ),
            Finding::PageFlags { page, flags } => {
                write!(f, "page {page} has flags {flags:#06X}, which cannot be there")
            }
            Finding::PageAddress { page, found } => {
                write!(f, "page {page} says that it belongs at {found}")
            }
            Finding::System { page, expected, found } => write!(
                f,
                "page {page} belongs to the cluster with system identifier {found}, not {expected}"
            ),
            Finding::Geometry { page, segment_size, page_size } => write!(
                f,
                "page {page} is from a cluster with segments of {segment_size} bytes \
                 and pages of {page_size} bytes"
            ),
            Finding::PageTimeline { page, found, newest } => write!(
                f,
                "page {page} is of timeline {found}, which cannot stand there on timeline {newest}"
            ),
            Finding::Continuation { page, expected, found } => write!(
                f,
                "page {page} continues a record with {found} bytes to come, not {expected}"
            ),
            Finding::RecordLength { record, length } => {
                write!(f, "record {record} has the impossible length {length}")
            }
            Finding::PreviousRecord { record, expected: Some(expected), found } => {
                write!(f, "record {record} follows {found}, but the one before it is {expected}")
            }
            Finding::PreviousRecord { record, expected: None, found } => {
                write!(f, "record {record} claims to follow {found}, which is not before it")
            }
            Finding::ResourceManager { record, found } => {
                write!(f, "record {record} has resource manager {found}, which does not exist")
            }
            Finding::RecordChecksum { record, stored, computed } => write!(
                f,
                "record {record} has checksum {computed:08X}, but {stored:08X} is stored in it"
            ),
            Finding::Filler { at } => {
                write!(f, "there is data at {at}, behind the end of a switched segment")
            }
            Finding::Overwritten { record, page } => write!(
                f,
                "record {record} was left incomplete by a crash; the log goes on at {page}"
            ),
            Finding::Resumed { lost, at } => {
                write!(f, "WAL from {lost} to {at} could not be verified; from there on it is")
            }
        }
    }
}
