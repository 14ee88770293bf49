//! What the configuration asks of a backup, and what of it this release does.

use super::error::BackupError;
use crate::config::{BackupMethod, ServerConfig, Value};

/// Refuses what would otherwise be silently done in another way: a copy that somebody takes for
/// encrypted and is not is worse than none.
///
/// # Errors
/// The first option that asks for something else.
pub fn check(server: &ServerConfig) -> Result<(), BackupError> {
    let refuse = |option, value: &str, instead| {
        Err(BackupError::Unsupported { option, value: value.to_owned(), instead })
    };
    if server.backup_method != BackupMethod::Postgres {
        let instead = "set backup_method = postgres; the other methods come in a later release";
        return refuse("backup_method", server.backup_method.word(), instead);
    }
    if let Some(compression) = server.backup_compression.as_deref().filter(|word| *word != "none") {
        let instead = "set backup_compression = none, or remove the line; compressed backups come \
                       in the next release";
        return refuse("backup_compression", compression, instead);
    }
    match server.settings.get("encryption") {
        Some(Value::Text(encryption)) if encryption != "none" => {
            let instead = "set encryption = none; encrypted backups come in a later release";
            refuse("encryption", encryption, instead)
        }
        _ => Ok(()),
    }
}

/// Options that are set and have no effect on a backup in this release: whoever relies on one is
/// to hear of it each time.
pub fn without_effect(server: &ServerConfig) -> Vec<&'static str> {
    const OPTIONS: [&str; 4] = [
        "pre_backup_script",
        "pre_backup_retry_script",
        "post_backup_script",
        "post_backup_retry_script",
    ];
    let is_set = |option: &&str| matches!(server.settings.get(option), Some(Value::Text(text)) if !text.is_empty());
    OPTIONS.into_iter().filter(is_set).collect()
}
