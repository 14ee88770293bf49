//! An older backup of a chain gives the blocks that no newer one has.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::disk::DiskFile;
use crate::manifest::Hasher;
use crate::pages::{Blocks, FilePlan, Piece};

use super::check::ManifestCheck;
use super::combine::{CombinedFile, Combiner, LAYOUT, fill, place, with_prefix, without_prefix};
use super::error::RestoreError;
use super::members::Members;
use super::path::InnerPath;
use super::tree::{CONTROL_FILE, Tree};
use super::unpack::{CONTROL_FILE_MAX, Origin, listed_name};

/// Takes the members of an older backup; most of them are none of its business.
#[derive(Debug)]
pub struct Older<'t, 'd> {
    combiner: &'t mut Combiner,
    newest: &'t ManifestCheck,
    trees: &'t [(Origin, &'t Tree<'d>)],
    origin: Origin,
    source: PathBuf,
    check: &'t mut ManifestCheck,
    open: Option<Open>,
    control_file: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Open {
    Blocks(Box<OpenBlocks>),
    ControlFile(InnerPath, Option<Box<Hasher>>, Vec<u8>),
}

#[derive(Debug)]
struct OpenBlocks {
    /// In this backup.
    listed: InnerPath,
    /// Where the newest manifest lists it.
    at: usize,
    plan: FilePlan,
    blocks: Blocks,
    incremental: bool,
    /// Where the file ended or was cut off before, in blocks, as an incremental one and its
    /// record say.
    end: Option<u32>,
    limit: u32,
    /// The result is this file as it is.
    exactly: bool,
    hasher: Option<Hasher>,
    file: Box<dyn DiskFile>,
}

impl<'t, 'd> Older<'t, 'd> {
    /// Members of `origin` in an older backup, for files in `trees` that `newest` lists; `source`
    /// is named in messages.
    pub fn new(
        combiner: &'t mut Combiner,
        newest: &'t ManifestCheck,
        trees: &'t [(Origin, &'t Tree<'d>)],
        origin: Origin,
        source: &Path,
        check: &'t mut ManifestCheck,
    ) -> Older<'t, 'd> {
        let source = source.to_owned();
        Older { combiner, newest, trees, origin, source, check, open: None, control_file: None }
    }

    /// What `global/pg_control` held, if it came.
    pub fn into_control_file(self) -> Option<Vec<u8>> {
        self.control_file
    }

    fn blocks(&mut self, listed: InnerPath, size: u64) -> Result<Option<OpenBlocks>, RestoreError> {
        let stripped = without_prefix(&listed);
        let incremental = stripped.is_some();
        let part = if incremental { Some(listed.clone()) } else { with_prefix(&listed) };
        let Some(at) = part.and_then(|part| self.newest.index(&part)) else { return Ok(None) };
        let limit = stripped.as_ref().and_then(|name| self.combiner.limit(name));
        let Some((origin, name)) = place(stripped.as_ref().unwrap_or(&listed)) else {
            return Ok(None);
        };
        let Some((_, tree)) = self.trees.iter().find(|(other, _)| *other == origin) else {
            return Ok(None);
        };
        let Some(plan) = self.combiner.take_plan(at) else { return Ok(None) };
        let page = LAYOUT.page_size.bytes() as u64;
        let whole_pages = size.is_multiple_of(page) && !incremental;
        Ok(Some(OpenBlocks {
            exactly: whole_pages && plan.is_exactly(size / page),
            hasher: self.check.begin(&listed, size)?,
            file: tree.open(&name)?,
            blocks: Blocks::new(LAYOUT, incremental),
            limit: limit.unwrap_or(u32::MAX),
            listed,
            at,
            plan,
            incremental,
            end: None,
        }))
    }

    fn end_of_blocks(&mut self, open: OpenBlocks) -> Result<(), RestoreError> {
        let OpenBlocks { listed, at, mut plan, blocks, hasher, .. } = open;
        let mut whole = None;
        let broken = |source| {
            let (name, path) = (listed.to_text(), self.source.clone());
            RestoreError::Incremental { name, path, source }
        };
        blocks.finish().map_err(broken)?;
        if let Some(hasher) = hasher {
            let checksum = self.check.end(&listed, hasher)?;
            whole = checksum.filter(|_| open.exactly);
        }
        if let Some(end) = open.end {
            plan.end_at(end);
        }
        // A whole file ends the search: what it lacks is zeros.
        let missing = open.incremental && !plan.is_complete();
        self.combiner.put_plan(at, missing.then_some(plan), whole);
        let length = self.combiner.get(at).map_or(0, CombinedFile::length);
        if length >= super::tree::SMALL_BYTES {
            open.file.start_writeback(0, length)?;
        }
        Ok(())
    }
}

impl Members for Older<'_, '_> {
    fn directory(&mut self, _: &InnerPath, _: u32) -> Result<(), RestoreError> {
        Ok(())
    }

    fn link(&mut self, _: &InnerPath) -> Result<(), RestoreError> {
        Ok(())
    }

    fn file(
        &mut self,
        name: InnerPath,
        size: u64,
        _: u32,
        _: Option<SystemTime>,
    ) -> Result<(), RestoreError> {
        self.open = if self.origin == Origin::Main && name.is(CONTROL_FILE) {
            let hasher = self.check.begin(&name, size)?;
            Some(Open::ControlFile(name, hasher.map(Box::new), Vec::new()))
        } else {
            let listed = listed_name(self.origin, &name)?;
            self.blocks(listed, size)?.map(|open| Open::Blocks(Box::new(open)))
        };
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        match &mut self.open {
            None => Ok(()),
            Some(Open::ControlFile(_, hasher, content)) => {
                if let Some(hasher) = hasher {
                    hasher.update(bytes);
                }
                let room = CONTROL_FILE_MAX as usize - content.len();
                content.extend_from_slice(&bytes[..bytes.len().min(room)]);
                Ok(())
            }
            Some(Open::Blocks(open)) => {
                let OpenBlocks { plan, blocks, hasher, file, listed, end, limit, .. } =
                    open.as_mut();
                if let Some(hasher) = hasher {
                    hasher.update(bytes);
                }
                let filled = blocks.push(bytes, &mut |piece| match piece {
                    Piece::Header(header) => {
                        *end = Some(header.truncation_blocks.min(*limit));
                        Ok(())
                    }
                    Piece::Run { first, bytes } => fill(file.as_ref(), plan, first, bytes),
                });
                filled.map_err(|fault| fault.of(listed, &self.source))
            }
        }
    }

    fn end_of_file(&mut self) -> Result<(), RestoreError> {
        match self.open.take() {
            None => Ok(()),
            Some(Open::ControlFile(name, hasher, content)) => {
                if let Some(hasher) = hasher {
                    self.check.end(&name, *hasher)?;
                }
                self.control_file = Some(content);
                Ok(())
            }
            Some(Open::Blocks(open)) => self.end_of_blocks(*open),
        }
    }
}
