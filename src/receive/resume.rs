//! Goes on with a segment file that an earlier run left incomplete.

use std::path::{Path, PathBuf};

use super::segment::{OpenSegment, SegmentFile};
use super::target::Target;
use crate::disk::{self, Disk, DiskError, DiskFile};
use crate::wal::{Lsn, SegmentName, SegmentSize, Timeline, WalFileName};

/// The file of a segment that is not complete.
pub(super) fn partial_path(directory: &Path, name: SegmentName) -> PathBuf {
    directory.join(WalFileName::Partial(name).to_string())
}

/// The file of a complete segment.
pub(super) fn complete_path(directory: &Path, name: SegmentName) -> PathBuf {
    directory.join(name.to_string())
}

/// Opens the `.partial` of the segment around `position`, if there is one. The bytes before
/// `position` are durable afterwards; those behind it stay until they are received again.
pub(super) fn open_partial(
    target: &Target,
    timeline: Timeline,
    position: Lsn,
) -> Result<Option<OpenSegment>, DiskError> {
    let size = target.segment_size;
    let name = SegmentName::containing(timeline, position, size);
    let path = partial_path(&target.directory, name);
    if target.disk.stat(&path)?.is_none() {
        if position == position.segment_start(size) {
            return Ok(None);
        }
        let absent = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(DiskError::new("resume", &path, absent));
    }
    let file = target.disk.open(&path)?;
    give_size(file.as_ref(), size)?;
    rewrite(file.as_ref(), position.segment_offset(size))?;
    file.sync_all()?;
    target.disk.sync_directory(&target.directory)?;
    let direct = if target.direct { target.disk.open_direct(&path)? } else { None };
    let file = SegmentFile { file, direct };
    let segment = OpenSegment::new(file, path, name, range(position, size), position);
    Ok(Some(segment.left_behind()))
}

/// Gives a segment its final name whose content is complete although its name is not.
pub(super) fn finish_partial(
    disk: &dyn Disk,
    directory: &Path,
    name: SegmentName,
    size: SegmentSize,
) -> Result<(), DiskError> {
    let path = partial_path(directory, name);
    let file = disk.open(&path)?;
    give_size(file.as_ref(), size)?;
    rewrite(file.as_ref(), size.bytes())?;
    file.sync_all()?;
    disk::rename(disk, &path, &complete_path(directory, name))
}

/// An incomplete segment of another program may be shorter, or longer; under its final name it
/// has its size.
fn give_size(file: &dyn DiskFile, size: SegmentSize) -> Result<(), DiskError> {
    let size = u64::from(size.bytes());
    match file.length()? {
        length if length < size => file.allocate(0, size),
        length if length > size => file.set_length(size),
        _ => Ok(()),
    }
}

fn range(position: Lsn, size: SegmentSize) -> (Lsn, Lsn) {
    let number = position.segment(size);
    (number.start(size), number.end(size))
}

/// Writes the first `length` bytes over themselves.
///
/// A sync that failed in an earlier life has left pages that look clean and are not on the
/// disk: reads return them, and no sync would write them, unless they are written again. To
/// write the same bytes cannot do harm, wherever it is interrupted.
fn rewrite(file: &dyn DiskFile, length: u32) -> Result<(), DiskError> {
    let length = u64::from(length);
    let mut buffer = vec![0; REWRITE_BYTES.min(length as usize)];
    let mut offset = 0;
    while offset < length {
        let wanted = buffer.len().min((length - offset) as usize);
        let read = file.read_at(&mut buffer[..wanted], offset)?;
        if read == 0 {
            let short = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(DiskError::new("read", file.path(), short));
        }
        file.write_all_at(&buffer[..read], offset)?;
        offset += read as u64;
    }
    Ok(())
}

const REWRITE_BYTES: usize = 1 << 20;
