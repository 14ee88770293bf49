//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! One archive on its way to the disk.

use bytes::Bytes;

use super::direct::DirectTail;
use super::error::BackupError;
use super::member::Members;
use super::output::Output;
use crate::tar::{Ending, TRAILER, TarError, TarEvent, TarSplitter};

/// An archive that is being stored, under a temporary name.
#[derive(Debug)]
pub(super) struct ArchiveFile {
    output: Output,
    /// `base.tar` or `<oid>.tar`.
    name: String,
    /// What the manifest puts before the names in it: nothing, or `pg_tblspc/<oid>/`.
    prefix: Vec<u8>,
    splitter: TarSplitter,
    /// How much was read to its place and not looked at yet.
    unseen: usize,
}

impl ArchiveFile {
    /// Begins with an empty file.
    pub(super) fn new(output: Output, name: String, prefix: Vec<u8>) -> ArchiveFile {
        ArchiveFile { output, name, prefix, splitter: TarSplitter::new(), unseen: 0 }
    }

    /// Takes the next bytes of the archive.
    pub(super) fn take(&mut self, bytes: Bytes, members: &mut Members) -> Result<(), BackupError> {
        self.look(members)?;
        self.splitter.push(Bytes::clone(&bytes));
        self.split(members)?;
        Ok(self.output.take(bytes)?)
    }

    /// Where the next bytes can be read to, at least one: an archive that is stored as it comes
    /// needs no copy of them. `None`: give them to `take`. The bytes before are looked at when
    /// `look` is called, while they are in the processor's cache, or here when they have to go.
    pub(super) fn room(&mut self, members: &mut Members) -> Result<Option<&mut [u8]>, BackupError> {
        if self.output.place().is_some_and(|tail| tail.is_full()) {
            self.look(members)?;
        }
        Ok(self.output.place().map(DirectTail::room).transpose()?)
    }

    /// So many bytes were read into the room.
    pub(super) fn fill(&mut self, length: usize) {
        if let Some(tail) = self.output.place() {
            tail.fill(length);
            self.unseen += length;
        }
    }

    /// How much was read to its place and not looked at yet.
    pub(super) fn unseen(&self) -> usize {
        self.unseen
    }

    /// Looks at what was read to its place.
    pub(super) fn look(&mut self, members: &mut Members) -> Result<(), BackupError> {
        let unseen = std::mem::take(&mut self.unseen);
        let Some(tail) = self.output.place().filter(|_| unseen > 0) else { return Ok(()) };
        let filled = tail.filled();
        let mut input = &filled[filled.len() - unseen..];
        loop {
            let event = self.splitter.split(&mut input);
            let event = event.map_err(|error| broken(&self.name, error))?;
            match event {
                None => return Ok(()),
                Some(TarEvent::Member(member)) => members.begin(member, &self.prefix),
                Some(TarEvent::Data(bytes)) => members.data(bytes),
                Some(TarEvent::MemberEnd) => members.end(&self.prefix),
                Some(TarEvent::End) => {}
            }
        }
    }

    fn split(&mut self, members: &mut Members) -> Result<(), BackupError> {
        while let Some(event) = self.splitter.next().map_err(|error| broken(&self.name, error))? {
            match event {
                TarEvent::Member(member) => {
                    self.output.begin(&member)?;
                    members.begin(member, &self.prefix);
                }
                TarEvent::Data(bytes) => {
                    members.data(&bytes);
                    self.output.content(bytes)?;
                }
                TarEvent::MemberEnd => {
                    self.output.end()?;
                    members.end(&self.prefix);
                }
                TarEvent::End => {}
            }
        }
        Ok(())
    }

    /// Adds the trailer where the server sent none, and makes everything durable. Returns the
    /// length of the file.
    pub(super) fn finish(mut self) -> Result<u64, BackupError> {
        let ending = self.splitter.finish().map_err(|error| broken(&self.name, error))?;
        if ending == Ending::NoTrailer {
            self.output.take(Bytes::from_static(&TRAILER))?;
        }
        Ok(self.output.finish()?)
    }
}

fn broken(archive: &str, source: TarError) -> BackupError {
    BackupError::Tar { archive: archive.into(), source }
}
