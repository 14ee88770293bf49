//! `meta/<id>-tapster.json`: what Tapster knows of a backup beyond Barman's keys.
//!
//! Barman refuses a `backup.info` with a key that it does not know, and leaves this file alone.
//! Nothing depends on it: a backup without it is restored all the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layout::FILE_MODE;
use super::{BackupId, KnownDamage, KnownLimits, RepositoryError, ServerLayout};
use crate::disk::{self, Disk, durable};

/// The file's content.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct BackupExtra {
    /// Of archives that do not say themselves how long they are unpacked: their bytes then, by
    /// the names of the files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plain_lengths: BTreeMap<String, u64>,
    /// Damage that was taken along; written here, and read by [`KnownDamage::read`], which does
    /// not take a record that it cannot understand for none.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub damaged_pages: Option<KnownDamage>,
    /// Of an incremental backup: what older ones may not add to its files; read by
    /// [`KnownLimits::read`].
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub limit_blocks: Option<KnownLimits>,
}

/// A backup has an archive for each tablespace, and there are not many; the limits are bounded.
const BYTES_MAX: u64 = 16 << 20;

impl BackupExtra {
    /// Knows the lengths of these archives, and this damage.
    pub fn new(lengths: &[(String, u64)], damaged_pages: Option<KnownDamage>) -> BackupExtra {
        let plain_lengths = lengths.iter().cloned().collect();
        BackupExtra { plain_lengths, damaged_pages, limit_blocks: None }
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
        let text = BackupExtra::text(disk, layout, id)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default())
    }

    /// The file as it stands there, for who reads a part of it in a stricter way; `None` where
    /// there is none.
    pub(super) fn text(
        disk: &dyn Disk,
        layout: &ServerLayout,
        id: BackupId,
    ) -> Result<Option<Vec<u8>>, RepositoryError> {
        match disk::read_file(disk, &layout.backup_extra(id), BYTES_MAX) {
            Err(error) if error.is_absent() => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// Writes it down, durably, in place of what stands there. There is no file when there is
    /// nothing to say.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn write(
        &self,
        disk: &dyn Disk,
        layout: &ServerLayout,
        id: BackupId,
    ) -> Result<(), RepositoryError> {
        let path = layout.backup_extra(id);
        if *self == BackupExtra::default() {
            // An earlier try may have had something to say.
            return match disk.stat(&path)? {
                Some(_) => Ok(durable::remove_file(disk, &path)?),
                None => Ok(()),
            };
        }
        // Texts and numbers can always be written.
        let text = serde_json::to_vec(self).unwrap_or_default();
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
        let lengths = [("base.tar.zst".to_owned(), 1 << 40)];
        let known = KnownDamage { count: 1, server: Some("said".to_owned()), first: Vec::new() };
        for damage in [None, Some(known)] {
            BackupExtra::new(&lengths, damage.clone()).write(&disk, &layout, id).expect("written");
            assert_eq!(read(), BackupExtra::new(&lengths, None));
            assert_eq!(KnownDamage::read(&disk, &layout, id).expect("readable"), damage);
        }
        // The next try has none of it.
        BackupExtra::default().write(&disk, &layout, id).expect("removed");
        assert_eq!((read(), disk.files().len()), (BackupExtra::default(), 0));
        let damage = r#"{"plain_lengths": {"base.tar.zst": 1099511627776}, "damaged_pages": 1}"#;
        disk.put(&layout.backup_extra(id), damage.as_bytes());
        assert_eq!(read(), BackupExtra::new(&lengths, None));
        KnownDamage::read(&disk, &layout, id).expect_err("not taken for none");
        for text in ["", "[]", "{\"plain_lengths\": 1}", "{\"later\": {}}"] {
            disk.put(&layout.backup_extra(id), text.as_bytes());
            assert_eq!(read(), BackupExtra::default(), "{text}");
        }
    }
}
