//! From what the user calls a backup to the backup.

use super::Catalog;
use crate::repository::{BackupId, BackupInfo, BackupStatus, ServerName};

/// Words that mean a backup by its place, and can therefore not be names.
pub const SHORTCUTS: &[&str] =
    &["latest", "last", "oldest", "first", "last-failed", "latest-full", "last-full", "auto"];

/// Reads a name for a new backup: not empty, and nothing that [`Catalog::find`] would take for
/// something else. The texts are Barman's.
pub fn parse_backup_name(text: &str) -> Result<String, String> {
    let refused = |why: &str| Err(format!("Backup name '{text}' is not allowed: {why}"));
    if SHORTCUTS.contains(&text) {
        return refused("reserved word");
    }
    if text.parse::<BackupId>().is_ok() {
        return refused("backup ID");
    }
    if text.is_empty() || text == "None" || text.chars().any(char::is_control) {
        return refused("empty, None or with control characters");
    }
    Ok(text.to_owned())
}

/// A backup that is not there, or not there alone. The texts are Barman's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FindError {
    /// Nothing of this name, id or place.
    #[error("Unknown backup '{wanted}' for server '{server}'")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// Whose backups were looked at.
        server: ServerName,
    },
    /// Names need not be unique.
    #[error(
        "Multiple backups found matching name '{name}' (try using backup ID instead): {}",
        join(.ids)
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// Who carries it, oldest first.
        ids: Vec<BackupId>,
    },
}

fn join(ids: &[BackupId]) -> String {
    ids.iter().map(BackupId::as_str).collect::<Vec<_>>().join(" ")
}

impl FindError {
    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            FindError::Unknown { server, .. } => Some(format!("tapster list-backups {server}")),
            FindError::Ambiguous { .. } => None,
        }
    }
}

impl Catalog {
    /// The backup that `wanted` means: a shortcut, an id, or the name of a copied backup.
    pub fn find(&self, wanted: &str) -> Result<&BackupInfo, FindError> {
        let full = |backup: &&BackupInfo| !backup.is_incremental();
        let failed = |backup: &&BackupInfo| backup.status == BackupStatus::Failed;
        let found = match wanted {
            "latest" | "last" => self.copied().next_back(),
            "oldest" | "first" => self.copied().next(),
            "latest-full" | "last-full" => self.copied().rev().find(full),
            "last-failed" => self.backups.iter().rev().find(failed),
            _ => match wanted.parse() {
                Ok(id) => self.get(id),
                Err(_) => self.named(wanted)?,
            },
        };
        found.ok_or_else(|| FindError::Unknown {
            wanted: wanted.to_owned(),
            server: self.server.clone(),
        })
    }

    fn named(&self, name: &str) -> Result<Option<&BackupInfo>, FindError> {
        let named: Vec<&BackupInfo> =
            self.copied().filter(|backup| backup.backup_name.as_deref() == Some(name)).collect();
        if named.len() > 1 {
            let ids = named.iter().map(|backup| backup.id).collect();
            return Err(FindError::Ambiguous { name: name.to_owned(), ids });
        }
        Ok(named.into_iter().next())
    }
}
