//! Damaged pages of a copy: whether it may be called a backup all the same.

use super::error::BackupError;
use super::verdict::Verdict;
use super::writer::Stored;
use crate::net::NetError;
use crate::output::one_line;
use crate::pages::DamagedPages;
use crate::repository::KnownDamage;
use crate::wire::ServerVersion;

/// What decides about damage.
pub(super) struct Rules {
    /// The server's.
    pub(super) version: ServerVersion,
    /// The user takes a backup with damaged pages for better than none.
    pub(super) allowed: bool,
    /// The manifest vouches for what came: damage in it is the source's.
    pub(super) verified: bool,
}

/// Judges the pages of a copy that is otherwise what the server meant to send. Damage that may
/// stay is returned, to be put on record. `said` is the server's own word on its pages.
pub(super) fn judge(
    stored: &Stored,
    verdict: &Verdict,
    said: Option<NetError>,
    rules: &Rules,
) -> Result<Option<KnownDamage>, BackupError> {
    let none = DamagedPages::new();
    let found = stored.members.pages.damaged();
    let pages = if verdict.data_checksums || found.has_broken_files() { found } else { &none };
    if pages.is_empty() && said.is_none() {
        return Ok(None);
    }
    let at_the_source = said.is_some() || rules.verified;
    // A server of 10 does not look at what it sends: a page may have been read while it was
    // written, which replay puts right. Later ones read such a page again.
    let may_be_torn = !rules.version.verifies_checksums();
    if pages.has_broken_files() || !(may_be_torn || rules.allowed && at_the_source) {
        return Err(BackupError::Damaged { pages: pages.clone(), source: said.map(Box::new) });
    }
    Ok(Some(KnownDamage::new(pages, said.map(|error| one_line(&error)))))
}
