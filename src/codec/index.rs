//! Which frames a packed file consists of, written at its end.
//!
//! zstd: the seek table of the zstd seekable format (`contrib/seekable_format` of the zstd
//! project), in a skippable frame:
//!
//! | bytes | content, little-endian |
//! |---|---|
//! | 4 | 0x184D2A5E |
//! | 4 | length of all that follows |
//! | 8 each | packed length, plain length of a frame |
//! | 4 | number of frames |
//! | 1 | 0: no checksums in the table |
//! | 4 | 0x8F92EAB1 |
//!
//! lz4 has skippable frames too, and no such format: the same table is used.
//!
//! gzip has no place for it but the extra field of a header (RFC 1952 §2.3.1.1): members without
//! content hold the table in subfields `TF`, at most 8191 frames each, and a last one holds in a
//! subfield `TE` the number of frames (4 bytes) and the length of all these members (8 bytes).

use std::io;

use super::Codec;

/// Packed and plain length of each frame, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FrameIndex {
    frames: Vec<FrameLengths>,
}

/// One frame, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameLengths {
    /// As it stands in the file.
    pub packed: u32,
    /// Of what is packed in it.
    pub plain: u32,
}

const SKIPPABLE: u32 = 0x184D_2A5E;
const SEEKABLE: u32 = 0x8F92_EAB1;
const SEEK_FOOTER: usize = 9;
/// Bytes of a frame, packed or plain. Each thread of a reader holds one in memory, twice; this
/// program writes frames of a quarter of it.
const FRAME_MAX: u32 = 16 << 20;
/// Bytes of a table: eight million frames, which of this program's are 32 TiB.
const TABLE_MAX: u64 = 64 << 20;

/// A gzip header with an extra field; behind it come its length and subfields.
const GZIP_EXTRA: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
/// An empty deflate block, its CRC-32 and its length.
const GZIP_NOTHING: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const TABLE: [u8; 2] = *b"TF";
const END: [u8; 2] = *b"TE";
const GZIP_FRAMES: usize = 8191;
/// A header, the length of its extra field, the head of the subfield.
const GZIP_HEAD: usize = GZIP_EXTRA.len() + 2 + 4;
const GZIP_FOOTER: usize = GZIP_HEAD + 12 + GZIP_NOTHING.len();

/// Reads a part of a file, filling the buffer.
pub(super) type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> io::Result<()>;

impl FrameIndex {
    pub(super) fn push(&mut self, packed: usize, plain: usize) -> io::Result<()> {
        let length = |length| u32::try_from(length).map_err(io::Error::other);
        self.frames.push(FrameLengths { packed: length(packed)?, plain: length(plain)? });
        Ok(())
    }

    /// The frames, in order.
    pub fn frames(&self) -> &[FrameLengths] {
        &self.frames
    }

    /// Bytes of the content.
    pub fn plain_length(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.plain)).sum()
    }

    /// What is to stand behind the last frame: nothing, where the table would be longer than
    /// any that is read. Such a file is read from its beginning only.
    pub(super) fn render(&self, codec: Codec) -> Vec<u8> {
        match codec {
            _ if self.frames.len() as u64 * 8 > TABLE_MAX => Vec::new(),
            Codec::Gzip => self.render_gzip(),
            _ => self.render_seek_table(),
        }
    }

    fn render_seek_table(&self) -> Vec<u8> {
        let length = self.frames.len() * 8 + SEEK_FOOTER;
        let mut bytes = Vec::with_capacity(length + 8);
        bytes.extend(SKIPPABLE.to_le_bytes());
        // No more than `TABLE_MAX`.
        bytes.extend((length as u32).to_le_bytes());
        push_table(&mut bytes, &self.frames);
        bytes.extend((self.frames.len() as u32).to_le_bytes());
        bytes.push(0);
        bytes.extend(SEEKABLE.to_le_bytes());
        bytes
    }

    fn render_gzip(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frames in self.frames.chunks(GZIP_FRAMES) {
            push_gzip_head(&mut bytes, TABLE, frames.len() * 8);
            push_table(&mut bytes, frames);
            bytes.extend(GZIP_NOTHING);
        }
        let length = (bytes.len() + GZIP_FOOTER) as u64;
        push_gzip_head(&mut bytes, END, 12);
        bytes.extend((self.frames.len() as u32).to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(GZIP_NOTHING);
        bytes
    }

    /// Looks for an index at the end of a file of `length` bytes. `None` when there is none, or
    /// one that does not account for every byte of the file: it can then be read from its
    /// beginning only.
    ///
    /// # Errors
    /// The file cannot be read; or a frame has more than 16 MiB, or the table more than 64 MiB:
    /// who reads by it would need as much memory.
    pub(super) fn find(
        codec: Codec,
        length: u64,
        read: ReadAt<'_>,
    ) -> io::Result<Option<FrameIndex>> {
        let found = match codec {
            Codec::Gzip => find_gzip(length, read)?,
            Codec::Zstd | Codec::Lz4 => find_seek_table(length, read)?,
            _ => None,
        };
        let Some((frames, behind)) = found else { return Ok(None) };
        let packed: u64 = frames.iter().map(|frame| u64::from(frame.packed)).sum();
        if packed.checked_add(behind) != Some(length) {
            return Ok(None);
        }
        let largest = frames.iter().map(|frame| frame.packed.max(frame.plain)).max();
        match largest.filter(|&bytes| bytes > FRAME_MAX) {
            Some(bytes) => Err(too_large("a frame", bytes.into(), FRAME_MAX.into())),
            None => Ok(Some(FrameIndex { frames })),
        }
    }
}

fn too_large(what: &str, bytes: u64, most: u64) -> io::Error {
    io::Error::other(format!(
        "{what} has {bytes} bytes, and no more than {most} are read; unpack it \
         with the program of its codec, and leave the result in its place without the suffix"
    ))
}

/// Refuses a table that would take too much memory.
fn check_table(bytes: u64) -> io::Result<()> {
    match bytes > TABLE_MAX {
        true => Err(too_large("the list of frames", bytes, TABLE_MAX)),
        false => Ok(()),
    }
}

/// Frames, and the bytes behind them.
type Found = Option<(Vec<FrameLengths>, u64)>;

fn find_seek_table(length: u64, read: ReadAt<'_>) -> io::Result<Found> {
    let Some(at) = length.checked_sub(SEEK_FOOTER as u64) else { return Ok(None) };
    let mut footer = [0; SEEK_FOOTER];
    read(&mut footer, at)?;
    if u32_at(&footer, 5) != SEEKABLE {
        return Ok(None);
    }
    // Others write a checksum behind the two lengths; the other bits are reserved.
    let entry = match footer[4] {
        0 => 8,
        0x80 => 12,
        _ => return Ok(None),
    };
    let table = u64::from(u32_at(&footer, 0)) * entry;
    let behind = table + SEEK_FOOTER as u64 + 8;
    let Some(at) = length.checked_sub(behind) else { return Ok(None) };
    let mut head = [0; 8];
    read(&mut head, at)?;
    if u32_at(&head, 0) != SKIPPABLE || u64::from(u32_at(&head, 4)) + 8 != behind {
        return Ok(None);
    }
    check_table(table)?;
    let mut bytes = vec![0; table as usize];
    read(&mut bytes, at + 8)?;
    Ok(Some((bytes.chunks_exact(entry as usize).map(lengths).collect(), behind)))
}

fn find_gzip(length: u64, read: ReadAt<'_>) -> io::Result<Found> {
    let Some(at) = length.checked_sub(GZIP_FOOTER as u64) else { return Ok(None) };
    let mut footer = [0; GZIP_FOOTER];
    read(&mut footer, at)?;
    let Some(end) = gzip_subfield(&footer, END).filter(|end| end.len() == 12) else {
        return Ok(None);
    };
    let count = u32_at(end, 0) as usize;
    let behind = u64::from(u32_at(end, 4)) | u64::from(u32_at(end, 8)) << 32;
    let members = count.div_ceil(GZIP_FRAMES);
    let expected = count * 8 + members * (GZIP_HEAD + GZIP_NOTHING.len()) + GZIP_FOOTER;
    let Some(at) = length.checked_sub(behind).filter(|_| behind == expected as u64) else {
        return Ok(None);
    };
    check_table(count as u64 * 8)?;
    let mut bytes = vec![0; expected - GZIP_FOOTER];
    read(&mut bytes, at)?;
    let mut frames = Vec::with_capacity(count);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let Some(table) = gzip_subfield(rest, TABLE) else { return Ok(None) };
        frames.extend(table.chunks_exact(8).map(lengths));
        rest = rest.get(GZIP_HEAD + table.len() + GZIP_NOTHING.len()..).unwrap_or_default();
    }
    Ok((frames.len() == count).then_some((frames, behind)))
}

/// What the only subfield of the member at the beginning holds.
fn gzip_subfield(member: &[u8], id: [u8; 2]) -> Option<&[u8]> {
    let rest = member.strip_prefix(&GZIP_EXTRA)?;
    let (head, rest) = rest.split_at_checked(6)?;
    let (extra, length) = (u16_at(head, 0), u16_at(head, 4));
    let alone = extra == length.checked_add(4)? && head[2..4] == id;
    if alone { rest.get(..usize::from(length)) } else { None }
}

fn push_gzip_head(bytes: &mut Vec<u8>, id: [u8; 2], length: usize) {
    // At most 65528: see `GZIP_FRAMES`.
    let length = length as u16;
    bytes.extend(GZIP_EXTRA);
    bytes.extend((length + 4).to_le_bytes());
    bytes.extend(id);
    bytes.extend(length.to_le_bytes());
}

fn push_table(bytes: &mut Vec<u8>, frames: &[FrameLengths]) {
    for frame in frames {
        bytes.extend(frame.packed.to_le_bytes());
        bytes.extend(frame.plain.to_le_bytes());
    }
}

fn lengths(entry: &[u8]) -> FrameLengths {
    FrameLengths { packed: u32_at(entry, 0), plain: u32_at(entry, 4) }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(codec: Codec, file: &[u8]) -> Option<FrameIndex> {
        look(codec, file, 0).expect("readable")
    }

    /// Looks into a file of which only what follows `before` bytes is held in memory.
    fn look(codec: Codec, file: &[u8], before: u64) -> io::Result<Option<FrameIndex>> {
        let read = |buffer: &mut [u8], at: u64| {
            let at = (at - before) as usize;
            buffer.copy_from_slice(&file[at..at + buffer.len()]);
            Ok(())
        };
        FrameIndex::find(codec, before + file.len() as u64, &read)
    }

    fn index(frames: usize) -> FrameIndex {
        let mut index = FrameIndex::default();
        for n in 0..frames {
            index.push(n % 7 + 1, n % 1000).expect("small");
        }
        index
    }

    #[test]
    fn an_index_is_found_again_however_many_frames_there_are() {
        for codec in [Codec::Zstd, Codec::Lz4, Codec::Gzip] {
            for frames in [0, 1, 2, 8191, 8192, 20_000] {
                let index = index(frames);
                let packed: usize = index.frames.iter().map(|f| f.packed as usize).sum();
                let file = [vec![7; packed], index.render(codec)].concat();
                assert_eq!(find(codec, &file), Some(index), "{codec} {frames}");
            }
        }
    }

    #[test]
    fn the_seek_table_is_that_of_the_zstd_project() {
        let mut index = FrameIndex::default();
        index.push(0x1234, 0x56_789A).expect("small");
        // Magic, length 17, one entry, one frame, no flags, magic.
        let expected = [
            0x5e, 0x2a, 0x4d, 0x18, 17, 0, 0, 0, 0x34, 0x12, 0, 0, 0x9a, 0x78, 0x56, 0, 1, 0, 0, 0,
            0, 0xb1, 0xea, 0x92, 0x8f,
        ];
        assert_eq!(index.render(Codec::Zstd), expected);
    }

    #[test]
    fn an_index_that_does_not_fit_the_file_is_none() {
        for codec in [Codec::Zstd, Codec::Lz4, Codec::Gzip] {
            let index = index(50);
            let packed: usize = index.frames.iter().map(|f| f.packed as usize).sum();
            let file = [vec![7; packed], index.render(codec)].concat();
            for cut in 0..file.len() {
                assert_eq!(find(codec, &file[..cut]), None, "{codec}: cut at {cut}");
            }
            assert_eq!(find(codec, &file[1..]), None, "{codec}: a byte less");
            for at in packed..file.len() {
                for bit in 0..8 {
                    let mut file = file.clone();
                    file[at] ^= 1 << bit;
                    // Of a plain length nothing is known until the frame is unpacked, unless
                    // it is larger than any.
                    match look(codec, &file, 0) {
                        Ok(None) => {}
                        Ok(Some(found)) => {
                            let mut same = found.frames.iter().zip(&index.frames);
                            assert!(same.all(|(a, b)| a.packed == b.packed), "{codec} {at}");
                        }
                        Err(error) => {
                            assert!(error.to_string().contains("a frame has"), "{codec} {error}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_or_a_list_that_would_take_too_much_memory_is_refused_and_named() {
        let most = FRAME_MAX as usize;
        for codec in [Codec::Zstd, Codec::Lz4, Codec::Gzip] {
            for (packed, plain) in [(most, most), (most + 1, 1), (1, most + 1)] {
                let mut index = FrameIndex::default();
                index.push(packed, plain).expect("it fits");
                let found = look(codec, &index.render(codec), packed as u64);
                match found {
                    Ok(found) => assert_eq!((found, packed), (Some(index), most)),
                    Err(error) => {
                        assert!(packed.max(plain) > most, "{error}");
                        let said = "a frame has 16777217 bytes, and no more than 16777216";
                        assert!(error.to_string().contains(said), "{error}");
                    }
                }
            }
            let count = TABLE_MAX as usize / 8;
            let mut index =
                FrameIndex { frames: vec![FrameLengths { packed: 0, plain: 0 }; count] };
            let listed = index.render(codec);
            assert_eq!(find(codec, &listed).map(|found| found.frames.len()), Some(count));
            index.frames.push(FrameLengths { packed: 0, plain: 0 });
            assert!(index.render(codec).is_empty(), "what is not read is not written");
        }
        let count = TABLE_MAX as u32 / 8 + 1;
        let mut forged = vec![0; count as usize * 8 + 8];
        forged[..4].copy_from_slice(&SKIPPABLE.to_le_bytes());
        forged[4..8].copy_from_slice(&(count * 8 + SEEK_FOOTER as u32).to_le_bytes());
        forged.extend(count.to_le_bytes());
        forged.push(0);
        forged.extend(SEEKABLE.to_le_bytes());
        let error = look(Codec::Zstd, &forged, 0).expect_err("too long").to_string();
        assert!(error.contains("the list of frames has 67108872 bytes"), "{error}");
    }
}
