//! How a backup is sent and stored.

use std::fmt;

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

    /// `plain` for a directory, `tar` for archives: Barman's words.
    pub fn format(self) -> &'static str {
        if self.is_directory() { "plain" } else { "tar" }
    }

    /// What compresses it, on the way or for good.
    pub fn codec(self) -> Option<Codec> {
        match self {
            Form::Archives(framing) => framing.map(Framing::codec),
            Form::Directory(_) | Form::AsSent(_) => self.sent().map(Sent::codec),
        }
    }

    /// Who compresses it, `client` or `server`: Barman's words.
    pub fn location(self) -> Option<&'static str> {
        self.codec().map(|_| if self.sent().is_some() { "server" } else { "client" })
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

/// In words, for who is told how a backup would be stored.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.format())?;
        match (self.location(), self.codec()) {
            (Some("server"), Some(codec)) => write!(f, ", compressed with {codec} by the server"),
            (_, Some(codec)) => write!(f, ", compressed with {codec} here"),
            (_, None) => Ok(()),
        }
    }
}
