//! Packs one segment beside its place, and holds what was written against what was read.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::ArchiveError;
use crate::codec::{Packing, StoredFile};
use crate::disk::{self, Disk, DiskError, DiskFile, FileStat};

/// The helper file of a packed segment, by Barman's name for it: whoever packs holds the lock of
/// the archiver, and one that a crash left is overwritten when its segment comes again.
pub(super) fn temporary(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".compressed");
    PathBuf::from(name)
}

/// Packs `source` into the helper file of `to`. It is durable afterwards, carries mode and time
/// of the source, and has been read back and compared; on an error it is gone.
pub(super) fn pack(
    disk: &dyn Disk,
    source: &dyn DiskFile,
    stat: &FileStat,
    to: &Path,
    packing: Packing,
) -> Result<(), ArchiveError> {
    let path = temporary(to);
    let packed = write(disk, source, stat, &path, packing);
    if packed.is_err() {
        // Best effort: the error that is already on its way says more than this one.
        let _ = disk.remove_file(&path);
    }
    packed
}

fn write(
    disk: &dyn Disk,
    source: &dyn DiskFile,
    stat: &FileStat,
    path: &Path,
    packing: Packing,
) -> Result<(), ArchiveError> {
    let target = disk::create_afresh(disk, path, stat.mode)?;
    let read = encode(source, stat.length, target.as_ref(), packing)?;
    let stored = Content::of(StoredFile::of_wal(disk.open_read(path)?)?)?;
    if stored != read {
        return Err(ArchiveError::Verification { path: source.path().to_owned() });
    }
    target.set_modified(stat.modified)?;
    Ok(target.sync_all()?)
}

/// What two files have in common that hold the same.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Content {
    length: u64,
    crc: u32,
}

impl Content {
    fn take(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
    }

    fn of(mut file: StoredFile) -> Result<Content, DiskError> {
        let mut content = Content::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(content),
                read => content.take(&buffer[..read]),
            }
        }
    }
}

fn encode(
    source: &dyn DiskFile,
    length: u64,
    target: &dyn DiskFile,
    packing: Packing,
) -> Result<Content, DiskError> {
    let blame = |error: io::Error| match error.downcast::<DiskError>() {
        Ok(error) => error,
        Err(error) => DiskError::new("pack", source.path(), error),
    };
    let sink = FileWriter { file: target, at: 0 };
    let mut encoder = packing.encoder(length, sink).map_err(blame)?;
    let mut content = Content::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = source.read_at(&mut buffer, content.length)?;
        if read == 0 {
            break;
        }
        content.take(&buffer[..read]);
        encoder.write_all(&buffer[..read]).map_err(blame)?;
    }
    encoder.finish().map_err(blame)?;
    Ok(content)
}

/// The bytes of a new file, in order.
struct FileWriter<'a> {
    file: &'a dyn DiskFile,
    at: u64,
}

impl Write for FileWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at).map_err(io::Error::other)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Small beside what a codec keeps for itself.
const BUFFER_BYTES: usize = 256 << 10;
