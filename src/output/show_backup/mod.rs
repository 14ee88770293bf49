//! `show-backup`: everything that is known of one backup.
//!
//! [`facts`] derives the numbers, [`text`] and [`json`] say them in Barman's two forms.

mod facts;
mod json;
mod text;

use super::{OutputFormat, Reporter};
use crate::catalog::Catalog;
use crate::repository::BackupInfo;
use facts::Facts;

/// What the policy says, in words: `VALID`, …, or `not enforced`.
pub type RetentionWord = &'static str;

/// Prints one backup.
pub fn show_backup(
    out: &mut Reporter,
    catalog: &Catalog,
    backup: &BackupInfo,
    retention: RetentionWord,
) {
    let facts = Facts::of(catalog, backup, retention);
    match out.format() {
        OutputFormat::Json => out.member(catalog.server().as_str(), json::object(&facts)),
        OutputFormat::Console => {
            for line in text::lines(&facts) {
                out.info(line);
            }
        }
    }
}
