//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! One archive on its way to the disk.

use bytes::Bytes;

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
}

impl ArchiveFile {
    /// Begins with an empty file.
    pub(super) fn new(output: Output, name: String, prefix: Vec<u8>) -> ArchiveFile {
        ArchiveFile { output, name, prefix, splitter: TarSplitter::new() }
    }

    /// Takes the next bytes of the archive.
    pub(super) fn take(&mut self, bytes: Bytes, members: &mut Members) -> Result<(), BackupError> {
        self.splitter.push(Bytes::clone(&bytes));
        self.split(members)?;
        Ok(self.output.take(bytes)?)
    }

    fn split(&mut self, members: &mut Members) -> Result<(), BackupError> {
        while let Some(event) = self.splitter.next().map_err(|error| self.broken(error))? {
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

    fn broken(&self, source: TarError) -> BackupError {
        BackupError::Tar { archive: String::clone(&self.name), source }
    }

    /// Adds the trailer where the server sent none, and makes everything durable. Returns the
    /// length of the file.
    pub(super) fn finish(mut self) -> Result<u64, BackupError> {
        let ending = self.splitter.finish().map_err(|error| self.broken(error))?;
        if ending == Ending::NoTrailer {
            self.output.take(Bytes::from_static(&TRAILER))?;
        }
        Ok(self.output.finish()?)
    }
}
