//! `meta/<id>-tapster.json`: where the files of an incremental backup were cut off since its parent
//! and have become longer again, or why nobody knows. The format of incremental files has no room
//! for it. [`BackupExtra`] writes it.
//!
//! ```json
//! {"limit_blocks": {"files": {"base/5/16384": 321}}}
//! {"limit_blocks": {"unknown": "permission denied for function pg_wal_summary_contents"}}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BackupExtra, BackupId, BackupInfo, RepositoryError, ServerLayout};
use crate::disk::Disk;

/// What is known of the limit blocks of an incremental backup.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownLimits {
    /// By the path of the whole file in the manifest: blocks from this one on, counted from the
    /// start of the file, are not taken from older backups. Files that are not listed have none.
    Files(BTreeMap<String, u32>),
    /// Nothing, for this reason.
    Unknown(String),
}

#[derive(Deserialize)]
struct File {
    limit_blocks: Option<KnownLimits>,
}

impl KnownLimits {
    /// What is on record of a backup. Of one that others have taken nothing is.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn on_record(
        disk: &dyn Disk,
        layout: &ServerLayout,
        id: BackupId,
    ) -> Result<Option<KnownLimits>, RepositoryError> {
        let Some(text) = BackupExtra::text(disk, layout, id)? else { return Ok(None) };
        let file: Result<File, _> = serde_json::from_slice(&text);
        let path = layout.backup_extra(id);
        Ok(match file {
            Ok(file) => file.limit_blocks,
            Err(_) => {
                Some(KnownLimits::Unknown(format!("{} cannot be understood", path.display())))
            }
        })
    }

    /// The same for who has to know: without a record nothing is known.
    ///
    /// # Errors
    /// Those of [`KnownLimits::on_record`].
    pub fn read(
        disk: &dyn Disk,
        layout: &ServerLayout,
        id: BackupId,
    ) -> Result<KnownLimits, RepositoryError> {
        let known = KnownLimits::on_record(disk, layout, id)?;
        Ok(known.unwrap_or_else(KnownLimits::nobody_asked))
    }

    /// What is not known of a backup, as a sentence for who relies on it; `None` for a full one and
    /// where all is known.
    ///
    /// # Errors
    /// Those of [`KnownLimits::read`].
    pub fn why_unknown(
        disk: &dyn Disk,
        layout: &ServerLayout,
        info: &BackupInfo,
    ) -> Result<Option<String>, RepositoryError> {
        if info.parent_backup_id.is_none() {
            return Ok(None);
        }
        Ok(match KnownLimits::read(disk, layout, info.id)? {
            KnownLimits::Files(_) => None,
            KnownLimits::Unknown(why) => Some(why),
        })
    }

    /// From which block on a file is not to be taken from backups before this one.
    pub fn of(&self, path: &[u8]) -> Option<u32> {
        match self {
            KnownLimits::Files(files) => files.get(std::str::from_utf8(path).ok()?).copied(),
            KnownLimits::Unknown(_) => None,
        }
    }

    fn nobody_asked() -> KnownLimits {
        KnownLimits::Unknown("nobody asked the server when it was taken".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ModelDisk;

    #[test]
    fn limits_on_record_are_read_again_and_whatever_else_stands_there_is_no_knowledge() {
        let disk = ModelDisk::new(0);
        let home = std::path::Path::new("/repository");
        let layout = ServerLayout::below(home, "main".parse().expect("a name"));
        layout.create_directories(&disk).expect("directories");
        let id: BackupId = "20261123T062541".parse().expect("an id");
        let read = || KnownLimits::read(&disk, &layout, id).expect("readable");
        assert_eq!(read(), KnownLimits::nobody_asked(), "no file");
        let files = BTreeMap::from([("base/5/16384.1".to_owned(), 7)]);
        for limits in [
            KnownLimits::Files(files),
            KnownLimits::Files(BTreeMap::new()),
            KnownLimits::Unknown("so".to_owned()),
        ] {
            let extra =
                BackupExtra { limit_blocks: Some(limits.clone()), ..BackupExtra::default() };
            extra.write(&disk, &layout, id).expect("written");
            assert_eq!(read(), limits);
        }
        let of = |text: &str| {
            disk.put(&layout.backup_extra(id), text.as_bytes());
            read().of(b"base/5/16384")
        };
        assert_eq!(of(r#"{"limit_blocks": {"files": {"base/5/16384": 3}}}"#), Some(3));
        for text in [
            "{}",
            "{\"limit",
            r#"{"limit_blocks": {"files": {"base/5/16384": -3}}}"#,
            r#"{"limit_blocks": {"later": {}}}"#,
        ] {
            assert_eq!(of(text), None);
            assert!(matches!(read(), KnownLimits::Unknown(_)), "{text}");
        }
        let mut info = BackupInfo::new(id, "main");
        let why = |info: &BackupInfo| KnownLimits::why_unknown(&disk, &layout, info);
        assert_eq!(why(&info).expect("readable"), None, "a full one needs none");
        info.parent_backup_id = Some("20261122T062541".parse().expect("an id"));
        assert!(why(&info).expect("readable").is_some());
    }
}
