//! An archive that the server has compressed: unpacked on the side, so that what is in it is
//! checked like any other while it passes.

use std::io::{self, Read};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use bytes::{Bytes, BytesMut};

use super::archive_file::ArchiveFile;
use super::error::BackupError;
use super::member::Members;
use super::output::Output;
use super::pieces::Pieces;
use crate::codec::{Codec, decoder};

/// The thread that unpacks, and where what it unpacks is stored as it came.
#[derive(Debug)]
pub(super) struct Aside {
    /// `None` where only the members are stored.
    stored: Option<Output>,
    name: String,
    packed: Option<SyncSender<Bytes>>,
    thread: Option<JoinHandle<Result<Unpacked, BackupError>>>,
}

/// What the thread has made of an archive.
#[derive(Debug)]
struct Unpacked {
    members: Members,
    /// Bytes of the archive, unpacked.
    length: u64,
}

/// Bytes of an archive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Lengths {
    pub(super) stored: u64,
    pub(super) plain: u64,
}

const UNPACK_BYTES: usize = 256 << 10;

impl Aside {
    /// Starts the thread. `inner` is where members go; `members` come back at the end.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(
        codec: Codec,
        name: String,
        stored: Option<Output>,
        inner: ArchiveFile,
        members: Members,
    ) -> Result<Aside, BackupError> {
        let (packed, queue) = Pieces::new();
        let archive = name.clone();
        let thread = std::thread::Builder::new()
            .name("backup-unpacker".to_owned())
            .spawn(move || unpack(codec, queue, &archive, inner, members))
            .map_err(BackupError::Thread)?;
        Ok(Aside { stored, name, packed: Some(packed), thread: Some(thread) })
    }

    /// Takes the next bytes of the archive.
    pub(super) fn take(&mut self, bytes: Bytes) -> Result<(), BackupError> {
        if let Some(stored) = &mut self.stored {
            stored.take(bytes.clone())?;
        }
        let sent = self.packed.as_ref().map(|packed| packed.send(bytes));
        if matches!(sent, Some(Err(_))) {
            // It has ended before its time, and has the reason.
            self.join()?;
        }
        Ok(())
    }

    /// The archive is complete. Puts what was in it into `members`.
    pub(super) fn finish(mut self, members: &mut Members) -> Result<Lengths, BackupError> {
        self.packed = None;
        let unpacked = self.join()?;
        *members = unpacked.members;
        let stored = self.stored.take().map(Output::finish).transpose()?;
        Ok(Lengths { stored: stored.unwrap_or(0), plain: unpacked.length })
    }

    fn join(&mut self) -> Result<Unpacked, BackupError> {
        self.packed = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(unpacked)) => unpacked,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {
                let error = io::Error::other("its thread is gone");
                Err(BackupError::Unpack { archive: self.name.clone(), source: error })
            }
        }
    }
}

/// Nothing is written any more when it is gone.
impl Drop for Aside {
    fn drop(&mut self) {
        self.packed = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn unpack(
    codec: Codec,
    queue: Pieces,
    name: &str,
    mut inner: ArchiveFile,
    mut members: Members,
) -> Result<Unpacked, BackupError> {
    let broken = |source| BackupError::Unpack { archive: name.to_owned(), source };
    let mut reader = decoder(codec, Box::new(queue)).map_err(broken)?;
    let mut length = 0;
    loop {
        let mut buffer = BytesMut::zeroed(UNPACK_BYTES);
        let read = match reader.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        if read == 0 {
            break;
        }
        length += read as u64;
        buffer.truncate(read);
        inner.take(buffer.freeze(), &mut members)?;
    }
    inner.finish()?;
    Ok(Unpacked { members, length })
}
