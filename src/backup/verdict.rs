//! Whether what was stored is what the server meant to send. Pure.

use std::fmt;

use super::error::BackupError;
use super::reader::Span;
use super::writer::Stored;
use crate::manifest::{Difference, Manifest, compare};
use crate::wal::{ControlFile, Lsn, SystemIdentifier};

/// How many differences a message names; there may be as many as files.
pub const DIFFERENCES_SHOWN: usize = 10;

/// What differs between a backup and its manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Differences(pub Vec<Difference>);

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, difference) in self.0.iter().take(DIFFERENCES_SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{difference}")?;
        }
        match self.0.len().checked_sub(DIFFERENCES_SHOWN) {
            Some(more @ 1..) => write!(f, "; and {more} more"),
            _ => Ok(()),
        }
    }
}

/// What a good backup holds beside its archives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Verdict {
    /// The text of `backup_label`.
    pub(super) label: String,
    /// Whether page checksums are on, as the copy itself says.
    pub(super) data_checksums: bool,
}

/// Judges what was stored. `system` is the cluster that was asked; `manifest_due` whether the
/// server was asked for a manifest.
pub(super) fn judge(
    stored: &Stored,
    span: Span,
    system: SystemIdentifier,
    manifest_due: bool,
) -> Result<Verdict, BackupError> {
    let label = stored.members.label.as_deref().ok_or(BackupError::Lacks("backup_label"))?;
    let control = stored.members.control.as_deref();
    let control = ControlFile::parse(control.ok_or(BackupError::Lacks("global/pg_control"))?)?;
    if control.system != system {
        return Err(BackupError::ControlSystem { found: control.system, expected: system });
    }
    if manifest_due {
        check_manifest(stored, span, system)?;
    }
    Ok(Verdict {
        label: String::from_utf8_lossy(label).into_owned(),
        data_checksums: control.data_checksums,
    })
}

fn check_manifest(
    stored: &Stored,
    span: Span,
    expected: SystemIdentifier,
) -> Result<(), BackupError> {
    let manifest: &Manifest = match &stored.manifest {
        None => return Err(BackupError::Lacks(Manifest::FILE_NAME)),
        Some(Err(error)) => return Err(error.clone().into()),
        Some(Ok(manifest)) => manifest,
    };
    if let Some(listed) = manifest.system.filter(|&listed| listed != expected) {
        return Err(BackupError::ManifestSystem { listed, expected });
    }
    // Newest first: the oldest range begins with the backup, the newest ends with it.
    let ranges = &manifest.wal_ranges;
    let listed_start = ranges.last().map_or(Lsn::INVALID, |range| range.start);
    let listed_end = ranges.first().map_or(Lsn::INVALID, |range| range.end);
    let (start, end) = (span.start.lsn, span.end.lsn);
    if (listed_start, listed_end) != (start, end) {
        return Err(BackupError::ManifestRange { listed_start, listed_end, start, end });
    }
    let differences = compare(&manifest.files, &stored.members.files);
    if differences.is_empty() {
        Ok(())
    } else {
        Err(BackupError::Differs(Differences(differences)))
    }
}
