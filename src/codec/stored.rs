//! A stored file, read as it was before it was packed.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::FrameIndex;
use super::parallel::{ParallelDecoder, read_exact_at};
use super::{Codec, decoder};
use crate::disk::{DiskError, DiskFile};

/// An open file of WAL or of a backup, whatever it is packed with.
pub struct StoredFile {
    path: PathBuf,
    codec: Codec,
    file: Arc<dyn DiskFile>,
    reader: Box<dyn Read + Send>,
}

impl StoredFile {
    /// Looks at the first bytes of a WAL file, which is to be read from its beginning.
    ///
    /// # Errors
    /// It cannot be read, or is packed in a way that this program cannot undo.
    pub fn of_wal(file: Box<dyn DiskFile>) -> Result<StoredFile, DiskError> {
        let mut head = [0; Codec::HEAD_BYTES];
        let read = file.read_at(&mut head, 0)?;
        StoredFile::with(file, Codec::of_wal(&head[..read]), None)
    }

    /// Looks at the first bytes of an archive of a backup, which is to be read from its
    /// beginning. Where its frames are listed at its end, several threads unpack it.
    ///
    /// # Errors
    /// See [`StoredFile::of_wal`].
    pub fn of_archive(file: Box<dyn DiskFile>) -> Result<StoredFile, DiskError> {
        let (codec, index) = examine(file.as_ref())?;
        StoredFile::with(file, codec, index)
    }

    fn with(
        file: Box<dyn DiskFile>,
        codec: Codec,
        index: Option<FrameIndex>,
    ) -> Result<StoredFile, DiskError> {
        let path = file.path().to_owned();
        let file: Arc<dyn DiskFile> = file.into();
        let reader: io::Result<Box<dyn Read + Send>> = match index {
            Some(index) => ParallelDecoder::start(codec, &file, index)
                .map(|reader| Box::new(reader) as Box<dyn Read + Send>),
            None => decoder(codec, Box::new(FileReader { file: Arc::clone(&file), at: 0 })),
        };
        let reader = reader.map_err(|error| DiskError::new("unpack", &path, error))?;
        Ok(StoredFile { path, codec, file, reader })
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is packed.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Its length as it stands there, packed.
    pub fn stored_length(&self) -> Result<u64, DiskError> {
        self.file.length()
    }

    /// Reads until `buffer` is full or the content ends.
    ///
    /// # Errors
    /// It cannot be read, or what is packed is damaged or cut off.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(blame(&self.path, error)),
            }
        }
        Ok(filled)
    }

    /// Reads all of what should be small; more than `limit` bytes are an error.
    ///
    /// # Errors
    /// See [`StoredFile::read`].
    pub fn read_all(mut self, limit: u64) -> Result<Vec<u8>, DiskError> {
        let mut bytes = Vec::new();
        let mut reader = self.reader.by_ref().take(limit.saturating_add(1));
        reader.read_to_end(&mut bytes).map_err(|error| blame(&self.path, error))?;
        if bytes.len() as u64 > limit {
            let text = format!("it holds more than {limit} bytes");
            return Err(DiskError::new("unpack", &self.path, io::Error::other(text)));
        }
        Ok(bytes)
    }
}

/// What an archive of a backup says of itself before it is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ArchiveFacts {
    /// How it is packed.
    pub codec: Codec,
    /// Its length unpacked; `None` where only reading it would tell.
    pub plain_length: Option<u64>,
}

impl ArchiveFacts {
    /// Looks at both ends of an archive.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(file: &dyn DiskFile) -> Result<ArchiveFacts, DiskError> {
        let (codec, index) = examine(file)?;
        let plain_length = match codec {
            Codec::Plain => Some(file.length()?),
            _ => index.as_ref().map(FrameIndex::plain_length),
        };
        Ok(ArchiveFacts { codec, plain_length })
    }
}

fn examine(file: &dyn DiskFile) -> Result<(Codec, Option<FrameIndex>), DiskError> {
    let mut head = [0; 512];
    let read = file.read_at(&mut head, 0)?;
    let codec = Codec::of_archive(&head[..read]);
    let read = |buffer: &mut [u8], at| read_exact_at(file, buffer, at);
    let index = FrameIndex::find(codec, file.length()?, &read);
    Ok((codec, index.map_err(|error| blame(file.path(), error))?))
}

/// The disk's own error where it is one; otherwise the content is at fault.
fn blame(path: &Path, error: io::Error) -> DiskError {
    match error.downcast::<DiskError>() {
        Ok(error) => error,
        Err(error) => DiskError::new("unpack", path, error),
    }
}

impl fmt::Debug for StoredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredFile({}, {})", self.path.display(), self.codec)
    }
}

/// The bytes of a file, in order.
struct FileReader {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at).map_err(io::Error::other)?;
        self.at += read as u64;
        Ok(read)
    }
}
