//! `meta/<id>-tapster.json`: damage that a backup has brought along from its cluster, where the
//! user allowed that. Barman knows no word for it, so that it stands in a file of our own, which
//! [`BackupExtra`] writes.
//!
//! ```json
//! {"damaged_pages": {"count": 1, "server": null, "first": [
//!     {"path": "base/5/16384", "block": 1, "found": 26916, "expected": 4711}]}}
//! ```

use serde::{Deserialize, Serialize};

use super::{BackupExtra, BackupId, RepositoryError, ServerLayout};
use crate::disk::Disk;
use crate::pages::{Damage, DamagedPages};

/// Damaged pages in a backup that was taken in spite of them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KnownDamage {
    /// How many pages were found damaged.
    pub count: u64,
    /// What the server itself said, if it looked.
    pub server: Option<String>,
    /// The first of them.
    pub first: Vec<KnownPage>,
}

/// One page.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KnownPage {
    /// Of its file, relative to the data directory.
    pub path: String,
    /// Counted over all files of the relation.
    pub block: u32,
    /// The checksum that the page says.
    pub found: u16,
    /// The one that its content demands.
    pub expected: u16,
}

#[derive(Deserialize)]
struct File {
    damaged_pages: Option<KnownDamage>,
}

impl KnownDamage {
    /// What was found, and what the server said.
    pub fn new(pages: &DamagedPages, server: Option<String>) -> KnownDamage {
        let known = pages.first().iter().filter_map(|file| match file.damage {
            Damage::Page { block, found, expected } => {
                Some(KnownPage { path: file.path.clone(), block, found, expected })
            }
            Damage::Incremental(_) => None,
        });
        KnownDamage { count: pages.count(), server, first: known.collect() }
    }

    /// What is on record of a backup; `None` when nothing is.
    pub fn read(
        disk: &dyn Disk,
        layout: &ServerLayout,
        id: BackupId,
    ) -> Result<Option<KnownDamage>, RepositoryError> {
        let Some(text) = BackupExtra::text(disk, layout, id)? else { return Ok(None) };
        let file: Result<File, _> = serde_json::from_slice(&text);
        let path = layout.backup_extra(id);
        file.map(|file| file.damaged_pages).map_err(|_| RepositoryError::KnownDamage { path })
    }
}

impl std::fmt::Display for KnownDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.server {
            Some(server) if self.count == 0 => return write!(f, "{server}"),
            _ => write!(f, "{} damaged page(s)", self.count)?,
        }
        for (index, page) in self.first.iter().take(crate::pages::DAMAGE_SHOWN).enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}block {} in {:?}", page.block, page.path)?;
        }
        match self.count.checked_sub(crate::pages::DAMAGE_SHOWN as u64) {
            Some(more @ 1..) => write!(f, "; and {more} more"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ModelDisk;

    #[test]
    fn damage_on_record_is_read_again_and_a_record_that_is_none_is_an_error() {
        let disk = ModelDisk::new(0);
        let home = std::path::Path::new("/repository");
        let layout = ServerLayout::below(home, "main".parse().expect("a name"));
        layout.create_directories(&disk).expect("directories");
        let id: BackupId = "20261123T062541".parse().expect("an id");
        assert_eq!(KnownDamage::read(&disk, &layout, id).expect("readable"), None);
        let mut pages = DamagedPages::new();
        pages.add([b"base/5/", b"16384"], Damage::Page { block: 7, found: 1, expected: 2 });
        let known = KnownDamage::new(&pages, Some("checksum verification failure".to_owned()));
        let extra = BackupExtra::new(&[], Some(known.clone()));
        extra.write(&disk, &layout, id).expect("written");
        let read = KnownDamage::read(&disk, &layout, id).expect("readable");
        assert_eq!(read.as_ref(), Some(&known));
        assert_eq!(known.to_string(), "1 damaged page(s): block 7 in \"base/5/16384\"");
        disk.put(&layout.backup_extra(id), b"{\"damaged");
        let broken = KnownDamage::read(&disk, &layout, id);
        assert!(matches!(broken, Err(RepositoryError::KnownDamage { .. })));
    }
}
