//! The headers of WAL pages.

use super::{Lsn, SystemIdentifier};

/// The size of a WAL page in bytes. A server can be built with another one
/// (`--with-wal-blocksize`); no distribution does.
pub const PAGE_SIZE: u32 = 8192;

/// What the first two bytes of a page say: the format of the WAL, one for each major version.
///
/// Source: `XLOG_PAGE_MAGIC` in `src/include/access/xlog_internal.h`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct PageMagic(pub u16);

/// Magic and major version, oldest first.
const MAGICS: [(u16, u32); 9] = [
    (0xD097, 10),
    (0xD098, 11),
    (0xD101, 12),
    (0xD106, 13),
    (0xD10D, 14),
    (0xD110, 15),
    (0xD113, 16),
    (0xD116, 17),
    (0xD118, 18),
];

impl PageMagic {
    /// The major version of the server that wrote the page; `None` when it is not one that
    /// Tapster knows.
    pub fn major_version(self) -> Option<u32> {
        MAGICS.iter().find(|(magic, _)| *magic == self.0).map(|(_, major)| *major)
    }

    /// Whether pages behind a segment switch carry headers; later servers leave zeros.
    pub(super) fn filler_has_headers(self) -> bool {
        self.0 == 0xD097
    }

    /// Whether extensions may own resource managers (numbers 128 to 255).
    pub(super) fn has_custom_resource_managers(self) -> bool {
        self.major_version().is_some_and(|major| major >= 15)
    }

    /// The longest record that this server writes, in bytes: `XLogRecordMaxSize` in
    /// `xlogrecord.h` since 16; before, nothing but `MaxAllocSize` stood against a longer one.
    pub(super) fn record_length_max(self) -> u32 {
        match self.major_version() {
            Some(16..) => 1020 << 20,
            _ => 0x3FFF_FFFF,
        }
    }

    /// Image flags that say "compressed". Source: `BKPIMAGE_*` in `xlogrecord.h`.
    pub(super) fn compressed_image_flags(self) -> u8 {
        if self.has_custom_resource_managers() { 0x04 | 0x08 | 0x10 } else { 0x02 }
    }
}

/// The page begins with the rest of a record that began on an earlier one.
const CONTINUES_RECORD: u16 = 0x0001;
/// The header has its long form: the first page of a segment.
const LONG_HEADER: u16 = 0x0002;
/// A crash left a record incomplete; the page begins with another record instead of its rest.
const OVERWRITES_RECORD: u16 = 0x0008;
/// All that versions 10 to 18 know; 0x0004 (full-page images may be dropped) says nothing here.
const KNOWN_FLAGS: u16 = 0x000F;

/// A page header, 24 bytes, or 40 on the first page of a segment.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 2 | magic |
/// | 2 | 2 | flags |
/// | 4 | 4 | timeline of the first record on the page |
/// | 8 | 8 | position of the page |
/// | 16 | 4 | bytes of a continued record that are still to come |
/// | 24 | 8 | system identifier (long form) |
/// | 32 | 4 | segment size (long form) |
/// | 36 | 4 | page size (long form) |
///
/// Source: `XLogPageHeaderData`, `XLogLongPageHeaderData` in `xlog_internal.h`; little-endian
/// on every machine that is common.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageHeader {
    /// The format.
    pub magic: PageMagic,
    /// Flag bits; ask the methods.
    pub flags: u16,
    /// As stored: may be older than the timeline in the file's name, up to the switchpoint.
    pub timeline: u32,
    /// The position of the page's first byte.
    pub address: Lsn,
    /// Bytes of a continued record from here on; 0 when none is continued.
    pub remaining: u32,
    /// The fields of the long form, if the flag for it is set and the bytes are there.
    pub long: Option<LongHeader>,
}

/// What the first page of a segment says in addition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LongHeader {
    /// The cluster.
    pub system: SystemIdentifier,
    /// The segment size in bytes, as stored.
    pub segment_size: u32,
    /// The page size in bytes, as stored.
    pub page_size: u32,
}

impl PageHeader {
    /// Length of the short form in bytes.
    pub const SHORT: usize = 24;
    /// Length of the long form in bytes.
    pub const LONG: usize = 40;

    /// Decodes a header. `None` when there are fewer bytes than the short form needs; whether
    /// its content makes sense is for the caller to say.
    pub fn parse(bytes: &[u8]) -> Option<PageHeader> {
        let mut header = PageHeader {
            magic: PageMagic(u16::from_le_bytes(field(bytes, 0)?)),
            flags: u16::from_le_bytes(field(bytes, 2)?),
            timeline: u32::from_le_bytes(field(bytes, 4)?),
            address: Lsn(u64::from_le_bytes(field(bytes, 8)?)),
            remaining: u32::from_le_bytes(field(bytes, 16)?),
            long: None,
        };
        bytes.get(..PageHeader::SHORT)?;
        if header.is_long() && bytes.len() >= PageHeader::LONG {
            header.long = Some(LongHeader {
                system: SystemIdentifier(u64::from_le_bytes(field(bytes, 24)?)),
                segment_size: u32::from_le_bytes(field(bytes, 32)?),
                page_size: u32::from_le_bytes(field(bytes, 36)?),
            });
        }
        Some(header)
    }

    /// Whether the page begins with the rest of a record.
    pub fn continues_record(self) -> bool {
        self.flags & CONTINUES_RECORD != 0
    }

    /// Whether the header has 40 bytes.
    pub fn is_long(self) -> bool {
        self.flags & LONG_HEADER != 0
    }

    /// Whether the record that was open before this page was given up by the server.
    pub fn overwrites_record(self) -> bool {
        self.flags & OVERWRITES_RECORD != 0
    }

    /// Whether a version from 10 to 18 can have set these flags.
    pub fn has_known_flags(self) -> bool {
        self.flags & !KNOWN_FLAGS == 0
    }
}

pub(super) fn field<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}
