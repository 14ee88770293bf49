//! One WAL file for whoever recovers, as `restore_command` asks for it.

use std::io::{self, Write};

use crate::codec::{Codec, Packing, StoredFile};
use crate::disk::{DiskError, DiskFile};
use crate::wal::page::PageHeader;
use crate::wal::{SegmentName, SegmentSize, TimelineHistory, WalFileName};

use super::error::RestoreError;
use super::shelf::{Shelf, unpacked};

/// How the file is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As the server wrote it.
    Plain,
    /// As it is stored.
    Stored,
    /// Packed in this way, whatever it is stored like.
    Packed(Packing),
}

/// A file that was found.
#[derive(Debug)]
pub struct FoundWal {
    file: Box<dyn DiskFile>,
    name: WalFileName,
    /// The full size of a segment that is sent although it is not complete.
    full: Option<u64>,
}

impl Shelf<'_> {
    /// Looks for a file in the archive and in what waits to be archived; with `open` also for
    /// the incomplete segment of this name. `None` when there is none that could be sent.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn find_wal(
        &self,
        name: WalFileName,
        open: bool,
    ) -> Result<Option<FoundWal>, RestoreError> {
        if let Some((_, file)) = absent_is_none(self.find(name))?
            && is_whole(name, file.as_ref())?
        {
            return Ok(Some(FoundWal { file, name, full: None }));
        }
        let WalFileName::Segment(segment) = name else { return Ok(None) };
        if !open {
            return Ok(None);
        }
        match self.find_open(segment)? {
            Some(found) => Ok(Some(found)),
            // Completed between the two looks.
            None => Ok(absent_is_none(self.find(name))?.map(|(_, file)| FoundWal {
                file,
                name,
                full: None,
            })),
        }
    }

    /// The incomplete segment, unless something supersedes it: recovery would follow its bytes
    /// on the wrong branch.
    fn find_open(&self, segment: SegmentName) -> Result<Option<FoundWal>, RestoreError> {
        let name = WalFileName::Partial(segment);
        let Some((_, file)) = absent_is_none(self.find(name))? else { return Ok(None) };
        let mut first = [0; PageHeader::LONG];
        let read = unpacked_copy(self, name)?.read(&mut first)?;
        let page = PageHeader::parse(&first[..read]).and_then(|page| page.long);
        // Nothing was written into it yet.
        let Some(size) = page.and_then(|page| SegmentSize::new(page.segment_size.into()).ok())
        else {
            return Ok(None);
        };
        let Some(number) = segment.number(size) else { return Ok(None) };
        let mut names = self.archived()?;
        for directory in self.waiting() {
            names.extend(self.waiting_files(directory)?.into_iter().map(|(name, _)| name));
        }
        for other in names {
            let supersedes = match other {
                WalFileName::Segment(other) => {
                    other.timeline() == segment.timeline() && other > segment
                }
                WalFileName::History(timeline) => {
                    self.history(timeline).is_ok_and(|history: TimelineHistory| {
                        let left_at = history.switchpoint_of(segment.timeline());
                        left_at.is_some_and(|at| at >= number.start(size))
                    })
                }
                _ => false,
            };
            if supersedes {
                return Ok(None);
            }
        }
        Ok(Some(FoundWal { file, name, full: Some(size.bytes().into()) }))
    }

    /// Up to `count` names that are there, one behind the other, the first of which is `name`.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn peek(&self, name: WalFileName, count: usize) -> Result<Vec<WalFileName>, RestoreError> {
        let mut names = Vec::new();
        let Some(found) = self.find_wal(name, false)? else { return Ok(names) };
        if count > 0 {
            names.push(name);
        }
        let (WalFileName::Segment(mut segment), Some(size)) = (name, found.segment_size()?) else {
            return Ok(names);
        };
        while names.len() < count
            && let Some(number) = segment.number(size)
        {
            segment = SegmentName::new(segment.timeline(), number.next(), size);
            let next = WalFileName::Segment(segment);
            if self.find_wal(next, false)?.is_none() {
                break;
            }
            names.push(next);
        }
        Ok(names)
    }
}

impl FoundWal {
    /// Writes the file to `sink`.
    ///
    /// # Errors
    /// It cannot be read or unpacked, is no whole segment, or `sink` does not take it. What was
    /// written until then is not to be used.
    pub fn send(self, form: Form, sink: &mut dyn Write) -> Result<(), RestoreError> {
        match form {
            Form::Plain => self.send_plain(sink),
            Form::Stored => send_stored(self.file.as_ref(), sink),
            Form::Packed(packing) if codec_of(self.file.as_ref())? == packing.codec() => {
                send_stored(self.file.as_ref(), sink)
            }
            Form::Packed(packing) => {
                // The length stands at the beginning of a frame: it has to be known first.
                let mut plain = Vec::new();
                self.send_plain(&mut plain)?;
                let packed = packing
                    .encoder(plain.len() as u64, &mut *sink)
                    .and_then(|mut encoder| encoder.write_all(&plain).map(|()| encoder));
                packed.and_then(|encoder| encoder.finish().map(drop)).map_err(RestoreError::Send)
            }
        }
    }

    fn send_plain(self, sink: &mut dyn Write) -> Result<(), RestoreError> {
        let mut file = unpacked(self.file)?;
        let mut buffer = vec![0; SEND_BYTES];
        let mut length = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            sink.write_all(&buffer[..read]).map_err(RestoreError::Send)?;
            length += read as u64;
        }
        let path = file.path().to_owned();
        match self.full {
            Some(full) if length < full => {
                let zeros = io::copy(&mut io::Read::take(io::repeat(0), full - length), sink);
                zeros.map(drop).map_err(RestoreError::Send)
            }
            None if is_segment(self.name) && SegmentSize::new(length).is_err() => {
                Err(RestoreError::CutSegment { path, length })
            }
            _ => Ok(()),
        }
    }

    fn segment_size(self) -> Result<Option<SegmentSize>, RestoreError> {
        let mut first = [0; PageHeader::LONG];
        let read = unpacked(self.file)?.read(&mut first)?;
        let page = PageHeader::parse(&first[..read]).and_then(|page| page.long);
        Ok(page.and_then(|page| SegmentSize::new(page.segment_size.into()).ok()))
    }
}

fn unpacked_copy(shelf: &Shelf<'_>, name: WalFileName) -> Result<StoredFile, RestoreError> {
    shelf.find(name).and_then(|(_, file)| unpacked(file))
}

fn send_stored(file: &dyn DiskFile, sink: &mut dyn Write) -> Result<(), RestoreError> {
    let mut buffer = vec![0; SEND_BYTES];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(());
        }
        sink.write_all(&buffer[..read]).map_err(RestoreError::Send)?;
        at += read as u64;
    }
}

fn absent_is_none<T>(found: Result<T, RestoreError>) -> Result<Option<T>, RestoreError> {
    match found {
        Err(RestoreError::Disk(error)) if error.is_absent() => Ok(None),
        result => result.map(Some),
    }
}

/// A plain segment has a size that segments have: one that is shorter is still being delivered.
fn is_whole(name: WalFileName, file: &dyn DiskFile) -> Result<bool, RestoreError> {
    let is_packed = codec_of(file)? != Codec::Plain;
    Ok(!is_segment(name) || is_packed || SegmentSize::new(file.length()?).is_ok())
}

fn is_segment(name: WalFileName) -> bool {
    matches!(name, WalFileName::Segment(_))
}

fn codec_of(file: &dyn DiskFile) -> Result<Codec, DiskError> {
    let mut head = [0; Codec::HEAD_BYTES];
    let read = file.read_at(&mut head, 0)?;
    Ok(Codec::of_wal(&head[..read]))
}

const SEND_BYTES: usize = 256 << 10;
