//! Writing: which codecs, how hard, and the encoders themselves.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use zstd::zstd_safe::CParameter;

use super::Codec;
use crate::config::CompressionLevel;

/// A codec that is written, and how hard it works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packing {
    codec: Codec,
    level: i32,
    haste: Haste,
}

/// Whether speed may count more than size.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Haste {
    /// Somebody chose the level, or there is but one.
    Never,
    /// When it is asked for.
    Possible,
    /// It is asked for.
    Now,
}

/// A word of the configuration that asks for what cannot be written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PackingError {
    /// A codec that is only read.
    #[error("compression = {0} can be read but not written")]
    ReadOnly(String),
    /// A filter of the user's, which would have to be run by a shell.
    #[error("compression = custom is not supported: no filter program is run on WAL")]
    Custom,
    /// The level does not exist.
    #[error("compression_level = {level} does not exist for {codec}: {least} to {most}")]
    Level {
        /// The codec.
        codec: Codec,
        /// What was asked for.
        level: i32,
        /// The lowest one.
        least: i32,
        /// The highest one.
        most: i32,
    },
}

impl PackingError {
    /// What can be chosen instead.
    pub fn hint(&self) -> String {
        match self {
            PackingError::ReadOnly(_) | PackingError::Custom => {
                "set compression to zstd, lz4, gzip or none; what is archived already stays \
                 as it is"
            }
            PackingError::Level { .. } => "set compression_level to low, medium or high",
        }
        .to_owned()
    }
}

impl Packing {
    /// What the options `compression` and `compression_level` ask for; `None` for none.
    ///
    /// `pigz` and `pygzip` are other programs for the gzip format. Without a level it is one
    /// that keeps pace with a busy server.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn choose(
        word: Option<&str>,
        level: Option<CompressionLevel>,
    ) -> Result<Option<Packing>, PackingError> {
        let codec = match word {
            None | Some("none") => return Ok(None),
            Some("gzip" | "pigz" | "pygzip") => Codec::Gzip,
            Some("zstd") => Codec::Zstd,
            Some("lz4") => Codec::Lz4,
            Some("custom") => return Err(PackingError::Custom),
            Some(other) => return Err(PackingError::ReadOnly(other.to_owned())),
        };
        // The levels that Barman means by its words, and the range that it takes.
        let (words, least, most) = match codec {
            Codec::Gzip => ([1, 6, 9], 1, 9),
            Codec::Zstd => ([1, 4, 9], -22, 22),
            _ => ([0, 6, 10], 0, 16),
        };
        let level = match level {
            // On zstd level 4 takes more than twice the processor time of level 1, for a tenth of the size.
            None if codec == Codec::Zstd => {
                return Ok(Some(Packing { codec, level: words[0], haste: Haste::Possible }));
            }
            Some(CompressionLevel::Low) => words[0],
            None | Some(CompressionLevel::Medium) => words[1],
            Some(CompressionLevel::High) => words[2],
            Some(CompressionLevel::Number(level)) if (least..=most).contains(&level) => level,
            Some(CompressionLevel::Number(level)) => {
                return Err(PackingError::Level { codec, level, least, most });
            }
        };
        Ok(Some(Packing { codec, level, haste: Haste::Never }))
    }

    /// The same codec for a pile that grows: faster and larger, unless somebody chose the level.
    pub fn hurried(self) -> Packing {
        match self.haste {
            Haste::Possible => Packing { haste: Haste::Now, ..self },
            Haste::Never | Haste::Now => self,
        }
    }

    /// gzip, as Barman sends it.
    pub const GZIP: Packing = Packing { codec: Codec::Gzip, level: 6, haste: Haste::Never };

    /// bzip2, as Barman sends it. For those who ask for it: nothing is stored like this.
    pub const BZIP2: Option<Packing> = match cfg!(feature = "legacy-codecs") {
        true => Some(Packing { codec: Codec::Bzip2, level: 5, haste: Haste::Never }),
        false => None,
    };

    /// The codec.
    pub fn codec(self) -> Codec {
        self.codec
    }

    /// An encoder for `length` bytes, which go to `sink` packed. The length stands in the frame
    /// where the format has a place for it, and so does a check value of the content.
    pub fn encoder<W: Write>(self, length: u64, sink: W) -> io::Result<Encoder<W>> {
        Ok(match self.codec {
            Codec::Zstd => {
                let hurries = self.haste == Haste::Now;
                let level = if hurries { HURRIED_LEVEL } else { self.level };
                let mut encoder = zstd::Encoder::new(sink, level)?;
                if hurries {
                    encoder.window_log(HURRIED_WINDOW_LOG)?;
                    encoder.set_parameter(CParameter::MinMatch(HURRIED_MATCH))?;
                }
                encoder.set_pledged_src_size(Some(length))?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
            Codec::Gzip => {
                let level = flate2::Compression::new(self.level.unsigned_abs());
                Encoder::Gzip(GzEncoder::new(sink, level))
            }
            #[cfg(feature = "legacy-codecs")]
            Codec::Bzip2 => {
                let level = bzip2::Compression::new(self.level.unsigned_abs());
                Encoder::Bzip2(bzip2::write::BzEncoder::new(sink, level))
            }
            // There is one way to write it: the fast one.
            _ => {
                let frame = FrameInfo::new()
                    .block_size(BlockSize::Max1MB)
                    .content_checksum(true)
                    .content_size(Some(length));
                Encoder::Lz4(Box::new(FrameEncoder::with_frame_info(frame, sink)))
            }
        })
    }
}

/// Takes plain bytes and hands packed ones on. What was not finished is no frame.
pub enum Encoder<W: Write> {
    /// zstd.
    Zstd(zstd::Encoder<'static, W>),
    /// gzip.
    Gzip(GzEncoder<W>),
    /// bzip2.
    #[cfg(feature = "legacy-codecs")]
    Bzip2(bzip2::write::BzEncoder<W>),
    /// lz4.
    Lz4(Box<FrameEncoder<W>>),
}

impl<W: Write> Encoder<W> {
    /// Writes the end of the frame.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Gzip(encoder) => encoder.finish(),
            #[cfg(feature = "legacy-codecs")]
            Encoder::Bzip2(encoder) => encoder.finish(),
            Encoder::Lz4(encoder) => encoder.finish().map_err(io::Error::from),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::Zstd(encoder) => encoder.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            #[cfg(feature = "legacy-codecs")]
            Encoder::Bzip2(encoder) => encoder.write(bytes),
            Encoder::Lz4(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::Zstd(encoder) => encoder.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            #[cfg(feature = "legacy-codecs")]
            Encoder::Bzip2(encoder) => encoder.flush(),
            Encoder::Lz4(encoder) => encoder.flush(),
        }
    }
}

impl<W: Write> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Encoder::Zstd(_) => "Encoder::Zstd",
            Encoder::Gzip(_) => "Encoder::Gzip",
            #[cfg(feature = "legacy-codecs")]
            Encoder::Bzip2(_) => "Encoder::Bzip2",
            Encoder::Lz4(_) => "Encoder::Lz4",
        })
    }
}

/// As fast as LZ4, and smaller: measured on WAL, with the two settings below.
const HURRIED_LEVEL: i32 = -3;
/// A whole block of 128 KiB then looks only into itself, and never into two pieces of the encoder's
/// buffer, which would cost a tenth of its time. Blocks that the encoder splits still may.
const HURRIED_WINDOW_LOG: u32 = 17;
/// Shorter matches, in bytes, save less than they cost.
const HURRIED_MATCH: u32 = 7;
