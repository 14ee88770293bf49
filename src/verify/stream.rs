//! A stored archive read ahead, and unpacked, by threads of its own.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use bytes::{Bytes, BytesMut};

use super::error::VerifyError;
use super::inspector::Inspector;
use crate::codec::StoredFile;
use crate::disk::{DiskError, DiskFile};

/// Unpacked bytes at once; a reader is ahead by no more than [`AHEAD`] of them.
const PIECE_BYTES: usize = 1 << 20;
const AHEAD: usize = 4;

/// What the thread hands over: pieces in order, at last perhaps an error.
pub(super) type Pieces = Receiver<Result<Bytes, DiskError>>;

/// Begins to read as restore does: an archive whose frames are listed is unpacked by several
/// threads. The thread ends when the file does, or when nobody takes its pieces.
pub(super) fn read_ahead<'scope>(
    scope: &'scope Scope<'scope, '_>,
    file: Box<dyn DiskFile>,
    inspector: &'scope dyn Inspector,
) -> Result<Pieces, VerifyError> {
    let (sender, receiver) = sync_channel(AHEAD);
    let work = move || {
        let mut archive = match StoredFile::of_archive(file) {
            Ok(archive) => archive,
            Err(error) => return drop(sender.send(Err(error))),
        };
        loop {
            let mut piece = BytesMut::zeroed(PIECE_BYTES);
            match archive.read(&mut piece) {
                Ok(0) => return,
                Ok(read) => {
                    piece.truncate(read);
                    inspector.read(read as u64);
                    if sender.send(Ok(piece.freeze())).is_err() {
                        return;
                    }
                }
                Err(error) => return drop(sender.send(Err(error))),
            }
        }
    };
    std::thread::Builder::new()
        .name("verify-read".to_owned())
        .spawn_scoped(scope, work)
        .map_err(VerifyError::Thread)?;
    Ok(receiver)
}
