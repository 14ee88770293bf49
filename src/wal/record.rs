//! WAL records: their header, their checksum, and the times of commits.

use super::page::{PageMagic, field};
use super::{Lsn, PgTimestamp};

/// The header of a record, 24 bytes at a position that is a multiple of 8.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | length of the whole record |
/// | 4 | 4 | transaction |
/// | 8 | 8 | position of the record before |
/// | 16 | 1 | info: operation in the high half |
/// | 17 | 1 | resource manager |
/// | 18 | 2 | zeros |
/// | 20 | 4 | CRC-32C over bytes 24 to the end, then bytes 0 to 19 |
///
/// Source: `XLogRecord` in `src/include/access/xlogrecord.h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordHeader {
    /// Bytes, header included.
    pub length: u32,
    /// Who wrote it; 0 for nobody in particular.
    pub transaction: u32,
    /// Where the record before it begins; 0/0 for the very first.
    pub previous: Lsn,
    /// The operation, by resource manager.
    pub info: u8,
    /// Whose operation it is.
    pub resource_manager: u8,
    /// As stored.
    pub crc: u32,
}

/// The resource manager of the log itself.
const RM_XLOG: u8 = 0;
/// The resource manager of transactions.
const RM_XACT: u8 = 1;
/// The last resource manager that comes with the server, in every version from 10 to 18.
const RM_BUILT_IN_MAX: u8 = 21;

impl RecordHeader {
    /// Length in bytes.
    pub const LEN: usize = 24;
    /// The part of the header that the checksum covers.
    pub const CHECKED: usize = 20;

    /// Decodes a header; its content is not judged.
    pub fn parse(bytes: &[u8; RecordHeader::LEN]) -> RecordHeader {
        let word = |at: usize| u32::from_le_bytes(field(bytes, at).unwrap_or_default());
        RecordHeader {
            length: word(0),
            transaction: word(4),
            previous: Lsn(u64::from_le_bytes(field(bytes, 8).unwrap_or_default())),
            info: bytes[16],
            resource_manager: bytes[17],
            crc: word(20),
        }
    }

    /// Whether the rest of the segment is filler (`XLOG_SWITCH`).
    pub fn is_segment_switch(self) -> bool {
        self.resource_manager == RM_XLOG && self.info & 0xF0 == 0x40
    }

    /// Whether the body tells when a transaction committed (`XLOG_XACT_COMMIT`,
    /// `XLOG_XACT_COMMIT_PREPARED`).
    pub fn is_commit(self) -> bool {
        self.resource_manager == RM_XACT && matches!(self.info & 0x70, 0x00 | 0x30)
    }

    /// Whether a server that writes this format has such a resource manager.
    pub(super) fn has_known_resource_manager(self, magic: Option<PageMagic>) -> bool {
        let custom = magic.is_none_or(PageMagic::has_custom_resource_managers);
        self.resource_manager <= RM_BUILT_IN_MAX || (self.resource_manager >= 128 && custom)
    }
}

/// The checksum of a record whose body (from byte 24) has the checksum `body`.
pub(super) fn finish_crc(body: u32, header: &[u8; RecordHeader::LEN]) -> u32 {
    crc32c::crc32c_append(body, &header[..RecordHeader::CHECKED])
}

/// The checksum that belongs into the header of a record: CRC-32C over the body first and the
/// first 20 bytes of the header last.
pub fn record_crc(header: &[u8; RecordHeader::LEN], body: &[u8]) -> u32 {
    finish_crc(crc32c::crc32c(body), header)
}

/// The time in a commit record, read from the first bytes of its body. `None` when they do not
/// reach it, or are not what a server writes.
pub fn commit_time(body: &[u8], magic: PageMagic) -> Option<PgTimestamp> {
    let start = main_data_offset(body, magic)?;
    field(body, start).map(|bytes| PgTimestamp(i64::from_le_bytes(bytes)))
}

/// Where the main data of a record begins in its body: behind the fragment headers, and the
/// images and data of the blocks that those announce. Source: `DecodeXLogRecord` in
/// `xlogreader.c`, layouts in `xlogrecord.h`.
fn main_data_offset(body: &[u8], magic: PageMagic) -> Option<usize> {
    const BLOCK_ID_MAX: u8 = 32;
    let short = |at: usize| field(body, at).map(u16::from_le_bytes).map(usize::from);
    let mut at = 0;
    let mut block_bytes = 0_usize;
    loop {
        match *body.get(at)? {
            // The header of the main data is the last one.
            255 => return Some(at + 2 + block_bytes),
            254 => return Some(at + 5 + block_bytes),
            253 => at += 3,
            252 => at += 5,
            0..=BLOCK_ID_MAX => {
                let fork = *body.get(at + 1)?;
                block_bytes = block_bytes.checked_add(short(at + 2)?)?;
                at += 4;
                if fork & 0x10 != 0 {
                    block_bytes = block_bytes.checked_add(short(at)?)?;
                    let image = *body.get(at + 4)?;
                    let compressed = image & magic.compressed_image_flags() != 0;
                    let has_hole = image & 0x01 != 0;
                    at += if compressed && has_hole { 7 } else { 5 };
                }
                let same_relation = fork & 0x80 != 0;
                at += if same_relation { 4 } else { 16 };
            }
            _ => return None,
        }
    }
}
