//! What the configuration asks of a backup, and what of it this release does.

use super::error::BackupError;
use super::form::{Form, Sent};
use crate::codec::{Codec, Framing, FramingError, WORKERS_MOST};
use crate::config::{BackupMethod, ServerConfig, Value};
use crate::wire::{CompressionAlgorithm, ServerVersion};

/// Refuses what would otherwise be silently done in another way: a copy that somebody takes for
/// encrypted and is not is worse than none.
///
/// # Errors
/// The first option that asks for something else.
pub fn check(server: &ServerConfig, method: BackupMethod) -> Result<(), BackupError> {
    let refuse = |option, value: &str, instead| {
        Err(BackupError::Unsupported { option, value: value.to_owned(), instead })
    };
    if method != BackupMethod::Postgres {
        let instead = "set backup_method = postgres; the other methods come in a later release";
        return refuse("backup_method", method.word(), instead);
    }
    match server.settings.get("encryption") {
        Some(Value::Text(encryption)) if encryption != "none" => {
            let instead = "set encryption = none; encrypted backups come in a later release";
            refuse("encryption", encryption, instead)
        }
        _ => Ok(()),
    }
}

/// How the configuration wants the backup to be stored; `jobs` threads pack it, if that was typed.
///
/// # Errors
/// In a way that this release does not know.
pub fn form(server: &ServerConfig, jobs: Option<u32>) -> Result<Form, BackupError> {
    let text = |option| match server.settings.get(option) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let Some(word) = server.backup_compression.as_deref() else { return Ok(Form::Directory(None)) };
    let (level, workers) = (server.backup_compression_level, server.backup_compression_workers);
    // The configuration refuses `plain` where the server does not compress.
    let is_plain = text("backup_compression_format") == Some("plain");
    if text("backup_compression_location") == Some("server") && word != "none" {
        let sent = sent(word, level, workers)?;
        return Ok(if is_plain { Form::Directory(Some(sent)) } else { Form::AsSent(sent) });
    }
    match is_plain {
        true => Ok(Form::Directory(None)),
        false => {
            let workers = jobs.map(u64::from).or(workers);
            Ok(Form::Archives(Framing::choose(word, level, workers)?))
        }
    }
}

/// Compression by the server.
fn sent(word: &str, level: Option<u64>, workers: Option<u64>) -> Result<Sent, FramingError> {
    let (algorithm, codec, least, most) = match word {
        "gzip" => (CompressionAlgorithm::Gzip, Codec::Gzip, 1, 9),
        "lz4" => (CompressionAlgorithm::Lz4, Codec::Lz4, 0, 12),
        "zstd" => (CompressionAlgorithm::Zstd, Codec::Zstd, 1, 22),
        other => return Err(FramingError::Codec(other.to_owned())),
    };
    if let Some(level) = level.filter(|level| !(u64::from(least)..=u64::from(most)).contains(level))
    {
        return Err(FramingError::Level { codec, level, least, most });
    }
    if let Some(workers) = workers.filter(|workers| !(1..=WORKERS_MOST).contains(workers)) {
        return Err(FramingError::Workers(workers));
    }
    let workers = workers.map(|workers| workers as u32);
    Ok(Sent { algorithm, level: level.map(|level| level as i32), workers })
}

/// Refuses compression by a server that cannot, before anything is recorded. `built` are the
/// codecs that its build has for WAL, where it says so.
pub(super) fn check_server(
    form: Form,
    version: ServerVersion,
    built: Option<&[String]>,
) -> Result<(), BackupError> {
    let Some(sent) = form.sent() else { return Ok(()) };
    if !version.compresses_backups() {
        return Err(BackupError::Unsupported {
            option: "backup_compression_location",
            value: format!("server on PostgreSQL {}", version.major()),
            instead: "set backup_compression_location = client: servers compress from 15 on",
        });
    }
    match (sent.codec(), built) {
        // WAL is not compressed with gzip: nothing tells.
        (Codec::Gzip, _) | (_, None) => Ok(()),
        (codec, Some(built)) if built.contains(&codec.to_string()) => Ok(()),
        (codec, Some(_)) => Err(BackupError::NotBuilt(codec)),
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
    SCRIPTS.into_iter().filter(is_set).map(not_run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_that_the_server_was_built_without_is_refused_before_the_backup() {
        let form = |word| Form::AsSent(sent(word, None, None).expect("a codec"));
        let new = ServerVersion::from_number(170_004);
        let built = ["pglz", "lz4", "on", "off"].map(str::to_owned);
        for (word, is_built) in [("lz4", true), ("zstd", false), ("gzip", true)] {
            let checked = check_server(form(word), new, Some(&built));
            assert_eq!(checked.is_ok(), is_built, "{word}: {checked:?}");
            if let Err(error) = checked {
                assert_eq!(error.to_string(), "the server was built without zstd");
                assert!(error.hint().is_some_and(|hint| hint.contains("= client")));
            }
            assert!(check_server(form(word), new, None).is_ok(), "it may not say");
            check_server(form(word), ServerVersion::from_number(140_010), None)
                .expect_err("too old");
        }
        check_server(Form::Directory(None), new, Some(&[])).expect("nothing is compressed");
    }
}
