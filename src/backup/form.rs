//! How a backup is sent and stored.

use crate::codec::{Codec, Framing};
use crate::repository::backup_info::BackupCompression;
use crate::wire::{Compression, CompressionAlgorithm};

/// What becomes of the archives that the server sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// They are not stored: their members are, as files of a directory. They may come packed.
    Directory(Option<Sent>),
    /// They are stored as archives, as they are or packed by us.
    Archives(Option<Framing>),
    /// They come packed, and are stored as they come.
    AsSent(Sent),
}

/// How the server packs what it sends (15 and later).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sent {
    /// With what.
    pub algorithm: CompressionAlgorithm,
    /// How hard; `None`: as hard as it does by itself.
    pub level: Option<i32>,
    /// Threads of the server, for zstd.
    pub workers: Option<u32>,
}

impl Sent {
    /// The codec that undoes it.
    pub(super) fn codec(self) -> Codec {
        match self.algorithm {
            CompressionAlgorithm::Gzip => Codec::Gzip,
            CompressionAlgorithm::Lz4 => Codec::Lz4,
            CompressionAlgorithm::Zstd => Codec::Zstd,
        }
    }
}

impl Form {
    /// Whether members are stored instead of archives.
    pub(super) fn is_directory(self) -> bool {
        matches!(self, Form::Directory(_))
    }

    /// How the server packs what it sends.
    pub(super) fn sent(self) -> Option<Sent> {
        match self {
            Form::Directory(sent) => sent,
            Form::AsSent(sent) => Some(sent),
            Form::Archives(_) => None,
        }
    }

    /// The same, as an option of BASE_BACKUP.
    pub(super) fn compression(self) -> Option<Compression> {
        let Sent { algorithm, level, workers } = self.sent()?;
        Some(Compression { algorithm, level, workers, long: false })
    }

    /// Under what name an archive is stored that the server calls `name`, which says already how
    /// the server has packed it.
    pub(super) fn file_name(self, name: &str) -> String {
        let suffix = match self {
            Form::Archives(Some(framing)) => framing.suffix(),
            _ => "",
        };
        [name, suffix].concat()
    }

    /// What `backup.info` says of it.
    pub(super) fn recorded(self) -> Option<BackupCompression> {
        let codec = match self {
            Form::Directory(_) => return None,
            Form::Archives(framing) => framing.map(Framing::codec),
            Form::AsSent(sent) => Some(sent.codec()),
        };
        Some(match codec {
            None => BackupCompression::None,
            Some(Codec::Gzip) => BackupCompression::Gzip,
            Some(Codec::Zstd) => BackupCompression::Zstd,
            Some(_) => BackupCompression::Lz4,
        })
    }
}
