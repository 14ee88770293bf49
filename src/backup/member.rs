//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! The members of the archives as they pass: summed up, and two of them kept.

use crate::manifest::{Algorithm, FileTable, Hasher};
use crate::pages::{LimitBlocks, PageChecker, PagedFile};
use crate::tar::{Member, MemberKind, MemberPath};

/// What is known of the members that have passed.
#[derive(Debug)]
pub(super) struct Members {
    algorithm: Algorithm,
    /// Every file, with the path that the manifest has for it.
    pub(super) files: FileTable,
    /// Content of `backup_label`.
    pub(super) label: Option<Vec<u8>>,
    /// Content of `global/pg_control`.
    pub(super) control: Option<Vec<u8>>,
    /// Looks at the pages of relations.
    pub(super) pages: PageChecker,
    /// Of an incremental backup: where relations were cut off since its parent.
    pub(super) limits: Option<Box<LimitBlocks>>,
    open: Option<OpenMember>,
}

#[derive(Debug)]
struct OpenMember {
    path: MemberPath,
    size: u64,
    hasher: Hasher,
    kept: Option<Vec<u8>>,
}

/// Longer than these two files ever are; of a longer one the beginning is kept.
const KEPT_MAX: usize = 64 << 10;
const LABEL: &[u8] = b"backup_label";
const CONTROL: &[u8] = b"global/pg_control";

impl Members {
    /// None so far; files are to be summed up with `algorithm`.
    pub(super) fn new(algorithm: Algorithm, pages: PageChecker) -> Members {
        let files = FileTable::new();
        Members { algorithm, files, label: None, control: None, pages, limits: None, open: None }
    }

    /// Everything that is known, which is then no longer here.
    pub(super) fn take(&mut self) -> Members {
        let none = Members::new(self.algorithm, self.pages.clone());
        std::mem::replace(self, none)
    }

    /// A member begins. `prefix` is what the manifest puts before names in this archive.
    pub(super) fn begin(&mut self, member: Member, prefix: &[u8]) {
        if member.kind != MemberKind::File {
            return;
        }
        let path = member.path.as_bytes();
        let paged = match prefix {
            b"" => PagedFile::at(path),
            _ => PagedFile::in_tablespace(path),
        };
        if let Some(file) = paged {
            self.pages.begin(file);
        }
        let kept = prefix.is_empty() && (path == LABEL || path == CONTROL);
        self.open = Some(OpenMember {
            size: member.size,
            hasher: Hasher::new(self.algorithm),
            kept: kept.then(Vec::new),
            path: member.path,
        });
    }

    /// Content of the open member.
    pub(super) fn data(&mut self, bytes: &[u8]) {
        let Some(open) = &mut self.open else { return };
        open.hasher.update(bytes);
        self.pages.push(bytes);
        if let Some(kept) = &mut open.kept {
            let room = KEPT_MAX - kept.len();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The open member is complete.
    pub(super) fn end(&mut self, prefix: &[u8]) {
        let Some(open) = self.open.take() else { return };
        let path = open.path.as_bytes();
        if let Some(header) = self.pages.end([prefix, path])
            && let Some(limits) = &mut self.limits
        {
            limits.note([prefix, path], &header);
        }
        self.files.push_passed([prefix, path], open.size, self.algorithm, open.hasher.finish());
        match open.kept {
            Some(kept) if path == LABEL => self.label = Some(kept),
            Some(kept) => self.control = Some(kept),
            None => {}
        }
    }
}
