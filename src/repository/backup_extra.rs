//! `meta/<id>-tapster.json`: what Tapster knows of a backup beyond Barman's keys.
//!
//! Barman refuses a `backup.info` with a key that it does not know, and leaves this file alone.
//! Nothing depends on it: a backup without it is restored all the same. Damage that was taken along
//! stands in the same file: see [`KnownDamage`](super::KnownDamage).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layout::FILE_MODE;
use super::{BackupId, RepositoryError, ServerLayout};
use crate::disk::{self, Disk};

/// The file's content.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct BackupExtra {
    /// Of archives that do not say themselves how long they are unpacked: their bytes then, by
    /// the names of the files.
    pub plain_lengths: BTreeMap<String, u64>,
}

/// A backup has an archive for each tablespace, and there are not many.
const BYTES_MAX: u64 = 16 << 20;

impl BackupExtra {
    /// Knows the lengths of these archives.
    pub fn of_lengths(lengths: &[(String, u64)]) -> BackupExtra {
        BackupExtra { plain_lengths: lengths.iter().cloned().collect() }
    }

    /// What is known; nothing where the file is not there or cannot be understood.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn read(
        disk: &dyn Disk,
        layout: &ServerLayout,
        id: BackupId,
    ) -> Result<BackupExtra, RepositoryError> {
        match disk::read_file(disk, &layout.backup_extra(id), BYTES_MAX) {
            Err(error) if error.is_absent() => Ok(BackupExtra::default()),
            result => Ok(serde_json::from_slice(&result?).unwrap_or_default()),
        }
    }

    /// Writes it down, durably, beside what stands there; nothing when there is nothing to say.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn write(
        &self,
        disk: &dyn Disk,
        layout: &ServerLayout,
        id: BackupId,
    ) -> Result<(), RepositoryError> {
        if *self == BackupExtra::default() {
            return Ok(());
        }
        let path = layout.backup_extra(id);
        let there = match disk::read_file(disk, &path, BYTES_MAX) {
            Err(error) if error.is_absent() => Vec::new(),
            result => result?,
        };
        let mut all: serde_json::Map<String, Value> =
            serde_json::from_slice(&there).unwrap_or_default();
        // Maps of texts and numbers can always be written.
        if let Ok(Value::Object(own)) = serde_json::to_value(self) {
            all.extend(own);
        }
        let text = serde_json::to_vec(&all).unwrap_or_default();
        Ok(disk::write_file(disk, &path, FILE_MODE, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::ModelDisk;
    use crate::repository::KnownDamage;

    #[test]
    fn what_is_written_is_read_and_what_is_not_there_or_not_understood_is_nothing() {
        let layout = ServerLayout::below(Path::new("/home"), "main".parse().expect("a name"));
        let (disk, id) = (ModelDisk::new(0), "20261123T062541".parse().expect("an id"));
        disk.put_directory(&layout.meta());
        let read = || BackupExtra::read(&disk, &layout, id).expect("readable");
        BackupExtra::default().write(&disk, &layout, id).expect("nothing to do");
        assert_eq!((read(), disk.files().len()), (BackupExtra::default(), 0));
        let extra = BackupExtra::of_lengths(&[("base.tar.zst".to_owned(), 1 << 40)]);
        extra.write(&disk, &layout, id).expect("written");
        assert_eq!(read(), extra);
        let damage = r#"{"damaged_pages": {"count": 0, "server": null, "first": []}}"#;
        disk.put(&layout.backup_extra(id), damage.as_bytes());
        let known = KnownDamage::read(&disk, &layout, id).expect("readable");
        extra.write(&disk, &layout, id).expect("written");
        assert_eq!(KnownDamage::read(&disk, &layout, id).expect("readable"), known);
        assert_eq!(read(), extra);
        for text in ["", "[]", "{\"plain_lengths\": 1}", "{\"later\": {}}"] {
            disk.put(&layout.backup_extra(id), text.as_bytes());
            assert_eq!(read(), BackupExtra::default(), "{text}");
        }
    }
}
