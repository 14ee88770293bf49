//! Reading: one reader for each codec, whatever wrote it.
//!
//! A file may hold several frames, one behind the other: `cat a.gz b.gz` is a gzip file, and
//! parallel compressors write such.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;

use super::Codec;

/// A reader of what `source` holds packed. Bytes that are cut off or damaged are an error, not
/// an end.
///
/// # Errors
/// It cannot be read by this program.
pub fn decoder<'a>(
    codec: Codec,
    source: Box<dyn Read + Send + 'a>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let buffered = BufReader::with_capacity(BUFFER_BYTES, source);
    Ok(match codec {
        Codec::Plain => buffered.into_inner(),
        Codec::Gzip => Box::new(MultiGzDecoder::new(buffered)),
        Codec::Zstd => Box::new(zstd::Decoder::with_buffer(buffered)?),
        Codec::Lz4 => {
            let source = Edge { source: buffered, head: Cursor::default(), met: false };
            Box::new(Lz4Frames { decoder: FrameDecoder::new(source), ended: false })
        }
        Codec::Gpg => {
            let text = "it is encrypted with gpg, which is not supported";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        Codec::Bzip2 | Codec::Xz | Codec::Snappy => legacy(codec, buffered)?,
    })
}

#[cfg(feature = "legacy-codecs")]
fn legacy<'a>(
    codec: Codec,
    source: BufReader<Box<dyn Read + Send + 'a>>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match codec {
        Codec::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
        Codec::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(source)),
        _ => Box::new(snap::read::FrameDecoder::new(source)),
    })
}

#[cfg(not(feature = "legacy-codecs"))]
fn legacy<'a>(
    codec: Codec,
    _: BufReader<Box<dyn Read + Send + 'a>>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let text =
        format!("it is packed with {codec}, and this program was built without legacy-codecs");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// The decoder ends with its frame; the next one begins where it ended.
///
/// It also ends, without a word, where its source ends between two blocks or in the frame's
/// head. A whole frame ends with a mark (LZ4 Frame Format, "EndMark"), behind which the decoder
/// asks for nothing: one that met the end of its source was cut off. Skippable frames, which hold
/// no content, are passed over here: the decoder takes them for an error.
struct Lz4Frames<R: BufRead> {
    decoder: FrameDecoder<Edge<R>>,
    /// The last frame was whole and nothing follows it: who asks again gets the same answer.
    ended: bool,
}

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended {
            let read = self.decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let edge = self.decoder.get_mut();
            if edge.met {
                let text = "the lz4 frame is cut off: its end mark is missing";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            self.ended = !edge.seek_frame()?;
        }
        Ok(0)
    }
}

/// A source that knows whether somebody has read up to its end, and the first bytes of the frame
/// that begins.
struct Edge<R> {
    source: R,
    head: Cursor<Vec<u8>>,
    met: bool,
}

impl<R: BufRead> Edge<R> {
    /// Goes to the next frame that has content. `false` when none follows.
    fn seek_frame(&mut self) -> io::Result<bool> {
        loop {
            let mut head = Vec::with_capacity(4);
            self.source.by_ref().take(4).read_to_end(&mut head)?;
            // Sixteen magic numbers mean: pass over as many bytes as the next four say.
            let skippable = matches!(head[..], [0x50..=0x5f, 0x2a, 0x4d, 0x18]);
            if !skippable {
                let some = !head.is_empty();
                self.head = Cursor::new(head);
                return Ok(some);
            }
            let mut length = [0; 4];
            self.source.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            let passed = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
            if passed < length {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
    }
}

impl<R: Read> Read for Edge<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.head.read(buffer)? {
            0 => self.source.read(buffer)?,
            read => read,
        };
        self.met |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

/// What is asked of the file at once.
const BUFFER_BYTES: usize = 128 << 10;
