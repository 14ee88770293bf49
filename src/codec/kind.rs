//! How the bytes of a file are packed, told by its first bytes; names tell nothing.

use std::fmt;

/// How the bytes of a stored file are packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Codec {
    /// As the server sent them.
    Plain,
    /// RFC 1952; also what pigz writes.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// RFC 8878.
    Zstd,
    /// The LZ4 frame format.
    Lz4,
    /// The snappy framing format.
    Snappy,
    /// An OpenPGP message.
    Gpg,
}

/// First bytes and what they mean. Sources: RFC 1952 §2.3.1, RFC 8878 §3.1.1, the LZ4 frame
/// format, the xz file format §2.1.1.1, the snappy framing format §4.1, bzip2's manual.
const MAGICS: [(&[u8], Codec); 6] = [
    (b"\x1f\x8b\x08", Codec::Gzip),
    (b"BZh", Codec::Bzip2),
    (b"\xfd7zXZ\0", Codec::Xz),
    (b"\x28\xb5\x2f\xfd", Codec::Zstd),
    (b"\x04\x22\x4d\x18", Codec::Lz4),
    (b"\xff\x06\0\0sNaPpY", Codec::Snappy),
];

impl Codec {
    /// Bytes that are enough to tell.
    pub const HEAD_BYTES: usize = 10;

    /// Barman's word for it; `None` for what is not compressed.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Codec::Plain | Codec::Gpg => None,
            Codec::Gzip => Some("gzip"),
            Codec::Bzip2 => Some("bzip2"),
            Codec::Xz => Some("xz"),
            Codec::Zstd => Some("zstd"),
            Codec::Lz4 => Some("lz4"),
            Codec::Snappy => Some("snappy"),
        }
    }

    /// Whether [`super::decoder`] can undo it.
    pub fn is_readable(self) -> bool {
        match self {
            Codec::Plain | Codec::Gzip | Codec::Zstd | Codec::Lz4 => true,
            Codec::Bzip2 | Codec::Xz | Codec::Snappy => cfg!(feature = "legacy-codecs"),
            Codec::Gpg => false,
        }
    }

    /// What the first bytes of a WAL file say. A segment begins with the magic of its page,
    /// 0xD0xx or 0xD1xx little-endian; anything that is none of these is left to whoever
    /// checks the page.
    pub fn of_wal(first: &[u8]) -> Codec {
        match first {
            [_, 0xD0 | 0xD1, ..] => Codec::Plain,
            _ => packed(first),
        }
    }

    /// What the first bytes of an archive say. A tar header names its format at offset 257.
    pub fn of_archive(first: &[u8]) -> Codec {
        match first.get(257..262) {
            Some(b"ustar") => Codec::Plain,
            _ => packed(first),
        }
    }
}

fn packed(first: &[u8]) -> Codec {
    if let Some((_, codec)) = MAGICS.iter().find(|(magic, _)| first.starts_with(magic)) {
        return *codec;
    }
    // RFC 4880 §4.2: a public-key or symmetric-key session packet, in the old or the new form.
    match first.first() {
        Some(0x84..=0x86 | 0x8C..=0x8E | 0xC1 | 0xC3) => Codec::Gpg,
        _ => Codec::Plain,
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::Gpg => "gpg",
            codec => codec.word().unwrap_or("none"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_file_is_told_by_its_first_bytes_and_wal_of_every_version_is_plain() {
        for (magic, codec) in MAGICS {
            assert_eq!(Codec::of_wal(magic), codec);
            assert_eq!(Codec::of_archive(magic), codec);
        }
        for page in [[0x97, 0xD0], [0x98, 0xD0], [0x01, 0xD1], [0x18, 0xD1], [0x85, 0xD1]] {
            assert_eq!(Codec::of_wal(&page), Codec::Plain);
        }
        assert_eq!(Codec::of_wal(b"\x85\x01\x0c"), Codec::Gpg);
        assert_eq!(Codec::of_wal(b""), Codec::Plain);
        let mut header = [0; 512];
        header[0] = 0xC1;
        header[257..262].copy_from_slice(b"ustar");
        assert_eq!(Codec::of_archive(&header), Codec::Plain, "a member may have any name");
    }
}
