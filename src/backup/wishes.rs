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

/// What the configuration asks for and this release does not do, or does otherwise, each a
/// sentence: whoever relies on it is to hear of it each time.
pub fn without_effect(server: &ServerConfig) -> Vec<String> {
    const SCRIPTS: [&str; 4] = [
        "pre_backup_script",
        "pre_backup_retry_script",
        "post_backup_script",
        "post_backup_retry_script",
    ];
    let is_set = |option: &&str| matches!(server.settings.get(option), Some(Value::Text(text)) if !text.is_empty());
    let not_run = |option| format!("{option} is not run: hook scripts come in a later release");
    let mut sentences: Vec<String> = SCRIPTS.into_iter().filter(is_set).map(not_run).collect();
    if server.retry_times > 0 {
        sentences.push(
            "basebackup_retry_times has no effect: a copy that fails is not tried again by this \
             release"
                .to_owned(),
        );
    }
    if let (Some(asked), Some(used)) = (server.bandwidth_limit, max_rate_kib(server))
        && asked / 1024 != u64::from(used)
    {
        let asked = asked / 1024;
        sentences.push(format!(
            "bandwidth_limit = {asked} is outside of what servers accept, 32 to 1048576 KiB a \
             second: {used} is used"
        ));
    }
    sentences
}

/// `bandwidth_limit` in the unit of MAX_RATE, within its bounds. Source: manual, BASE_BACKUP.
pub fn max_rate_kib(server: &ServerConfig) -> Option<u32> {
    server.bandwidth_limit.map(|bytes| (bytes / 1024).clamp(32, 1 << 20) as u32)
}
