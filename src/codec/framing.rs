//! How a backup's archives are packed: in frames of a fixed length, by several threads.

use std::num::NonZero;

use super::Codec;

/// Plain bytes in a frame. On half a gigabyte of tables and indexes of a PostgreSQL 15 (zstd at
/// its default level) frames of 2 MiB were 0.7 % larger than those of 4 MiB, those of 8 MiB 0.2 %
/// smaller, and each thread holds a frame in memory, twice.
pub const FRAME_BYTES: usize = 4 << 20;

/// More threads than this have to be asked for: their buffers take 8 MiB each.
const WORKERS_USUAL: usize = 8;
/// More threads than this are a slip of the pen: zstd knows no more than 200 either.
pub const WORKERS_MOST: u64 = 200;

/// A codec, how hard it works, and how many threads work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Framing {
    codec: Codec,
    /// `None`: the one that is made for this program's frames.
    level: Option<u32>,
    workers: usize,
}

/// What the configuration asks for and cannot be done.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FramingError {
    /// A codec of another release, or a misspelt one.
    #[error("backup_compression = {0} is not known")]
    Codec(String),
    /// The level does not exist.
    #[error("backup_compression_level = {level} does not exist for {codec}: {least} to {most}")]
    Level {
        /// The codec.
        codec: Codec,
        /// What was asked for.
        level: u64,
        /// The lowest one.
        least: u32,
        /// The highest one.
        most: u32,
    },
    /// Too many threads, or none.
    #[error("backup_compression_workers = {0} is not between 1 and {WORKERS_MOST}")]
    Workers(u64),
}

impl FramingError {
    /// What can be chosen instead.
    pub fn hint(&self) -> String {
        match self {
            FramingError::Codec(_) => "set backup_compression to zstd, lz4, gzip or none",
            FramingError::Level { codec: Codec::Lz4, most: 1, .. } => {
                "remove backup_compression_level: lz4 is packed here in one way, the fast one; \
                 zstd packs better, and backup_compression_location = server knows more levels"
            }
            FramingError::Level { .. } => "remove backup_compression_level, or set one of these",
            FramingError::Workers(_) => "remove backup_compression_workers",
        }
        .to_owned()
    }
}

impl Framing {
    /// What the options `backup_compression`, `_level` and `_workers` ask for; `None` for
    /// `none`.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn choose(
        word: &str,
        level: Option<u64>,
        workers: Option<u64>,
    ) -> Result<Option<Framing>, FramingError> {
        let (codec, least, most) = match word {
            "none" => return Ok(None),
            "gzip" => (Codec::Gzip, 1, 9),
            "zstd" => (Codec::Zstd, 1, 22),
            "lz4" => (Codec::Lz4, 0, 1),
            other => return Err(FramingError::Codec(other.to_owned())),
        };
        let level = match level.map(|level| (level, u32::try_from(level))) {
            None => None,
            Some((_, Ok(level))) if (least..=most).contains(&level) => Some(level),
            Some((level, _)) => return Err(FramingError::Level { codec, level, least, most }),
        };
        let workers = match workers {
            None => usual_workers(),
            Some(workers @ 1..=WORKERS_MOST) => workers as usize,
            Some(workers) => return Err(FramingError::Workers(workers)),
        };
        Ok(Some(Framing { codec, level, workers }))
    }

    /// The codec.
    pub fn codec(self) -> Codec {
        self.codec
    }

    /// What is put behind the name of an archive, as Barman does.
    pub fn suffix(self) -> &'static str {
        match self.codec {
            Codec::Gzip => ".gz",
            Codec::Zstd => ".zst",
            _ => ".lz4",
        }
    }

    pub(super) fn level(self) -> Option<u32> {
        self.level
    }

    pub(super) fn workers(self) -> usize {
        self.workers
    }
}

/// A thread for each processor, up to [`WORKERS_USUAL`].
pub(super) fn usual_workers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_USUAL)
}
