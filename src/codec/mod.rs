//! Compression: what is written, and everything that Barman ever wrote.
//!
//! Written are zstd, gzip and lz4, in frames that the formats' own programs and Barman read.
//! bzip2, xz and snappy are read (feature `legacy-codecs`). Knows bytes, not names.
//!
//! A segment of WAL is one frame. An archive of a backup is many, listed at its end, so that
//! several threads pack it and several unpack it.

mod kind;
mod pack;
mod unpack;

mod framing;
mod index;
mod crew;
mod frame;
mod parallel;

mod stored;
#[cfg(test)]
mod tests;

pub use self::framing::{FRAME_BYTES, Framing, FramingError, WORKERS_MOST};
pub use self::kind::Codec;
pub use self::pack::{Encoder, Packing, PackingError};
pub use self::parallel::ParallelEncoder;
pub use self::stored::{ArchiveFacts, StoredFile};
pub use self::unpack::decoder;
