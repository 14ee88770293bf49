//! Whether the places that a restore is to fill are empty, separate and large enough.

use std::path::Path;

use crate::disk::{Disk, FileKind};

use super::error::RestoreError;
use super::plan::{PlacedTablespace, RestorePlan};
use super::refusal::Refusal;
use super::tree::MARKER;

/// Directories, small files, and what a file system needs for itself.
const SLACK_BYTES: u64 = 4 << 20;

/// Refuses to write where anything stands. A mistyped path must not cost a cluster.
pub fn check_destinations(
    disk: &dyn Disk,
    destination: &Path,
    tablespaces: &[PlacedTablespace],
) -> Result<(), RestoreError> {
    if !is_empty(disk, destination)? {
        let interrupted = disk.stat(&destination.join(MARKER))?.is_some();
        let path = destination.to_owned();
        return Err(match interrupted {
            true => Refusal::Interrupted(path).into(),
            false => Refusal::DestinationNotEmpty(path).into(),
        });
    }
    for placed in tablespaces.iter().filter(|placed| !placed.in_place) {
        if !is_empty(disk, &placed.location)? {
            let (name, path) = (placed.name.clone(), placed.location.clone());
            return Err(Refusal::TablespaceNotEmpty { name, path }.into());
        }
    }
    Ok(())
}

fn is_empty(disk: &dyn Disk, path: &Path) -> Result<bool, RestoreError> {
    match disk.stat(path)? {
        None => Ok(true),
        Some(stat) if stat.kind == FileKind::Directory => Ok(disk.list(path)?.is_empty()),
        Some(_) => Err(Refusal::NotDirectory(path.to_owned()).into()),
    }
}

/// Refuses what would fill a file system. The disk may still become full while the restore
/// runs; this only spares the user the wait.
pub fn check_room(
    disk: &dyn Disk,
    plan: &RestorePlan,
    main_bytes: u64,
    tablespace_bytes: &[u64],
) -> Result<(), RestoreError> {
    let mut needs = vec![(plan.destination.as_path(), main_bytes + plan.wal_bytes())];
    for (placed, bytes) in plan.tablespaces.iter().zip(tablespace_bytes) {
        needs.push((placed.location.as_path(), *bytes));
    }
    // Two places with exactly the same number of free bytes are on one file system.
    let mut shared: Vec<(&Path, u64, u64)> = Vec::new();
    for (path, bytes) in needs {
        let free = disk.free_bytes(existing_ancestor(disk, path)?)?;
        match shared.iter_mut().find(|(_, other, _)| *other == free) {
            Some((_, _, needed)) => *needed += bytes,
            None => shared.push((path, free, bytes + SLACK_BYTES)),
        }
    }
    for (path, free, needed) in shared {
        if free < needed {
            return Err(Refusal::NoRoom { path: path.to_owned(), needed, free }.into());
        }
    }
    Ok(())
}

/// The nearest directory that exists, at or above a path.
fn existing_ancestor<'p>(disk: &dyn Disk, path: &'p Path) -> Result<&'p Path, RestoreError> {
    for ancestor in path.ancestors() {
        if disk.stat(ancestor)?.is_some() {
            return Ok(ancestor);
        }
    }
    Ok(Path::new("/"))
}
