//! One archive: its structure, and the sum of each member.

use std::path::Path;

use super::error::VerifyError;
use super::finding::Finding;
use super::inspector::{Inspector, Summed};
use super::parts::Archive;
use super::stream::read_ahead;
use crate::disk::Disk;
use crate::manifest::{Algorithm, Hasher};
use crate::output::one_line;
use crate::tar::{Ending, Member, MemberKind, TarError, TarEvent, TarSplitter};

/// Reads an archive to its end, or to where it is damaged; `false` then.
pub(super) fn inspect(
    disk: &dyn Disk,
    archive: &Archive,
    inspector: &dyn Inspector,
) -> Result<bool, VerifyError> {
    let path = &archive.path;
    let file = match disk.open_read(path) {
        Ok(file) => file,
        Err(error) => {
            let error = one_line(&error);
            let archive = path.to_owned();
            inspector.finding(Finding::Packed { archive, offset: 0, error });
            return Ok(false);
        }
    };
    std::thread::scope(|scope| {
        let pieces = read_ahead(scope, file, inspector)?;
        let mut members = Members { archive, inspector, open: None, last: None };
        let mut splitter = TarSplitter::new();
        for piece in &pieces {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    let (archive, offset) = (path.to_owned(), splitter.offset());
                    let error = one_line(&error);
                    inspector.finding(Finding::Packed { archive, offset, error });
                    return Ok(false);
                }
            };
            splitter.push(piece);
            if let Err(error) = members.drain(&mut splitter) {
                members.broken(error);
                return Ok(false);
            }
        }
        match splitter.finish() {
            Ok(Ending::Trailer) => return Ok(true),
            // Whoever stored it has added one where the server sent none.
            Ok(Ending::NoTrailer) => members.no_trailer(path),
            Err(error) => members.broken(error),
        }
        Ok(false)
    })
}

/// The members of one archive as they pass.
struct Members<'a> {
    archive: &'a Archive,
    inspector: &'a dyn Inspector,
    open: Option<Open>,
    /// The last member that began, for messages.
    last: Option<String>,
}

struct Open {
    path: Vec<u8>,
    size: u64,
    modified: i64,
    algorithm: Algorithm,
    hasher: Hasher,
}

impl Members<'_> {
    fn drain(&mut self, splitter: &mut TarSplitter) -> Result<(), TarError> {
        while let Some(event) = splitter.next()? {
            match event {
                TarEvent::Member(member) => self.begin(&member),
                TarEvent::Data(bytes) => {
                    if let Some(open) = &mut self.open {
                        open.hasher.update(&bytes);
                    }
                }
                TarEvent::MemberEnd => self.end(),
                TarEvent::End => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, member: &Member) {
        let path = [&self.archive.prefix[..], member.path.as_bytes()].concat();
        self.last = Some(String::from_utf8_lossy(&path).into_owned());
        match member.kind {
            MemberKind::Directory => self.inspector.directory(&path),
            // Links of tablespaces: restore makes them anew.
            MemberKind::Symlink(_) | MemberKind::TablespaceLink => {}
            MemberKind::File => {
                let algorithm = self.inspector.algorithm(&path);
                let (size, modified) = (member.size, member.modified);
                let hasher = Hasher::new(algorithm);
                self.open = Some(Open { path, size, modified, algorithm, hasher });
            }
        }
    }

    fn end(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.inspector.file(&Summed {
            path: &open.path,
            size: open.size,
            modified: open.modified,
            algorithm: open.algorithm,
            checksum: open.hasher.finish(),
        });
    }

    fn broken(&mut self, source: TarError) {
        let archive = self.archive.path.clone();
        let member = self.last.take();
        self.inspector.finding(Finding::Archive { archive, source, member });
    }

    fn no_trailer(&self, path: &Path) {
        self.inspector.finding(Finding::NoTrailer { archive: path.to_owned() });
    }
}
