//! One frame: packed and unpacked as a whole, between two buffers that are used again and again.

use std::io::{self, Read, Write};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use lz4_flex::frame::{BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound};

use super::crew::Worker;
use super::framing::{FRAME_BYTES, Framing};
use super::{Codec, decoder};

/// A header without name and time. Source: RFC 1952 §2.3.1.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A worker that packs `plain` into `packed`.
///
/// # Errors
/// The codec refuses its level.
pub(super) fn packer(framing: Framing) -> io::Result<Worker> {
    Ok(match framing.codec() {
        Codec::Gzip => gzip(framing.level()),
        Codec::Zstd => zstd(framing.level())?,
        _ => lz4(),
    })
}

/// A worker that unpacks `packed` into `plain`, which has to become `plain_length` long.
pub(super) fn unpacker(codec: Codec) -> io::Result<Worker> {
    let mut unpack: Worker = match codec {
        Codec::Zstd => {
            let mut zstd = Decompressor::new()?;
            Box::new(move |piece| {
                piece.plain.clear();
                piece.plain.reserve(piece.plain_length);
                zstd.decompress_to_buffer(&piece.packed, &mut piece.plain).map(|_| ())
            })
        }
        Codec::Lz4 => Box::new(|piece| {
            let frame = FrameDecoder::new(&piece.packed[..]);
            read_frame(frame, piece.plain_length, &mut piece.plain)
        }),
        codec => Box::new(move |piece| {
            let frame = decoder(codec, Box::new(&piece.packed[..]))?;
            read_frame(frame, piece.plain_length, &mut piece.plain)
        }),
    };
    Ok(Box::new(move |piece| {
        unpack(piece)?;
        if piece.plain.len() == piece.plain_length {
            return Ok(());
        }
        let (found, listed) = (piece.plain.len(), piece.plain_length);
        let text = format!("a frame holds {found} bytes, and its index says {listed}");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }))
}

/// Reads one more byte than is expected, so that a longer frame is told from a whole one.
fn read_frame(frame: impl Read, length: usize, plain: &mut Vec<u8>) -> io::Result<()> {
    plain.clear();
    plain.reserve(length + 1);
    frame.take(length as u64 + 1).read_to_end(plain).map(|_| ())
}

fn gzip(level: Option<u32>) -> Worker {
    // Where zlib's usual level 6 made 114.0 MB, this library's 5 made 112.7 MB in a third of the
    // time, its 6 112.0 MB in half of it.
    let mut deflate = Compress::new(Compression::new(level.unwrap_or(5)), false);
    Box::new(move |piece| {
        deflate.reset();
        let packed = &mut piece.packed;
        packed.clear();
        packed.extend(GZIP_HEAD);
        loop {
            let done = deflate.total_in() as usize;
            packed.reserve((piece.plain.len() - done).max(1 << 10));
            let rest = &piece.plain[done..];
            let status = deflate.compress_vec(rest, packed, FlushCompress::Finish)?;
            if status == Status::StreamEnd {
                break;
            }
        }
        let mut crc = Crc::new();
        crc.update(&piece.plain);
        packed.extend(crc.sum().to_le_bytes());
        packed.extend(crc.amount().to_le_bytes());
        Ok(())
    })
}

fn zstd(level: Option<u32>) -> io::Result<Worker> {
    let mut zstd = match level {
        Some(level) => Compressor::new(level as i32)?,
        None => {
            // Level 3 sees 2 MiB at once; a frame is longer. Short matches cost more than they
            // bring in pages: 91.6 MB became 90.9 MB, no slower.
            let mut zstd = Compressor::new(3)?;
            zstd.set_parameter(CParameter::WindowLog(FRAME_BYTES.ilog2()))?;
            zstd.set_parameter(CParameter::MinMatch(6))?;
            zstd
        }
    };
    zstd.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(Box::new(move |piece| {
        piece.packed.clear();
        piece.packed.reserve(compress_bound(piece.plain.len()));
        zstd.compress_to_buffer(&piece.plain, &mut piece.packed).map(|_| ())
    }))
}

fn lz4() -> Worker {
    // One block a frame: nothing is forgotten in it.
    let info = FrameInfo::new().block_size(BlockSize::Max4MB).content_checksum(true);
    let mut lz4 = FrameEncoder::with_frame_info(info, Vec::new());
    Box::new(move |piece| {
        std::mem::swap(lz4.get_mut(), &mut piece.packed);
        lz4.get_mut().clear();
        let packed = lz4.write_all(&piece.plain).and_then(|()| Ok(lz4.try_finish()?));
        std::mem::swap(lz4.get_mut(), &mut piece.packed);
        packed
    })
}
