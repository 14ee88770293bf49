//! Replication commands, rendered for the version of the server that is to understand them.
//!
//! Source: manual, "Streaming Replication Protocol", and the grammar `repl_gram.y` of each
//! version. Keywords are upper-case only: in lower case a walsender takes them for SQL.

use std::fmt;
use std::str::FromStr;

use bytes::BytesMut;

use super::{BaseBackupOptions, ServerVersion, WireError, frontend};
use crate::wal::{Lsn, Timeline};

/// A command for a walsender.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Who the cluster is and where it stands. Also serves as the ping.
    IdentifySystem,
    /// The value of a setting.
    Show(String),
    /// The history file of a timeline.
    TimelineHistory(Timeline),
    /// A physical slot.
    CreateSlot {
        /// Its name.
        name: SlotName,
        /// Whether it vanishes with the session.
        temporary: bool,
        /// Whether it holds WAL at once, from the last checkpoint's redo position on. Without
        /// it WAL can vanish between creation and first use.
        reserve_wal: bool,
    },
    /// Drops a slot.
    DropSlot {
        /// Its name.
        name: SlotName,
        /// Whether to wait until its user is gone, or to fail.
        wait: bool,
    },
    /// Where a slot stands (15 and later).
    ReadSlot(SlotName),
    /// Streams WAL.
    StartReplication {
        /// The slot that keeps WAL for us.
        slot: Option<SlotName>,
        /// The first byte wanted; may lie anywhere.
        start: Lsn,
        /// The timeline. Always given: the server's current one may change under us.
        timeline: Timeline,
    },
    /// Copies the cluster.
    BaseBackup(BaseBackupOptions),
    /// Hands over the manifest of the backup that the next one builds on (17 and later).
    UploadManifest,
}

impl Command {
    /// The text of the command.
    ///
    /// # Errors
    /// An option or a command that the version does not know, by name, or a value out of range.
    pub fn render(&self, version: ServerVersion) -> Result<String, CommandError> {
        let parenthesised = version.uses_parenthesised_options();
        Ok(match self {
            Command::IdentifySystem => "IDENTIFY_SYSTEM".to_owned(),
            Command::Show(name) => {
                let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
                if name.is_empty() || !name.bytes().all(word) {
                    return Err(CommandError::SettingName { name: name.clone() });
                }
                format!("SHOW {name}")
            }
            Command::TimelineHistory(timeline) => format!("TIMELINE_HISTORY {timeline}"),
            Command::CreateSlot { name, temporary, reserve_wal } => {
                let temporary = if *temporary { " TEMPORARY" } else { "" };
                let reserve = match (*reserve_wal, parenthesised) {
                    (false, _) => "",
                    (true, false) => " RESERVE_WAL",
                    (true, true) => " (RESERVE_WAL)",
                };
                format!("CREATE_REPLICATION_SLOT \"{name}\"{temporary} PHYSICAL{reserve}")
            }
            Command::DropSlot { name, wait } => {
                let wait = if *wait { " WAIT" } else { "" };
                format!("DROP_REPLICATION_SLOT \"{name}\"{wait}")
            }
            Command::ReadSlot(name) => {
                known("READ_REPLICATION_SLOT", version.knows_read_replication_slot(), version, 15)?;
                format!("READ_REPLICATION_SLOT \"{name}\"")
            }
            Command::StartReplication { slot, start, timeline } => {
                let slot = slot.as_ref().map(|name| format!("SLOT \"{name}\" "));
                let slot = slot.unwrap_or_default();
                format!("START_REPLICATION {slot}PHYSICAL {start} TIMELINE {timeline}")
            }
            Command::BaseBackup(options) => options.render(version)?,
            Command::UploadManifest => {
                known("UPLOAD_MANIFEST", version.takes_incremental_backups(), version, 17)?;
                "UPLOAD_MANIFEST".to_owned()
            }
        })
    }

    /// Appends the command as a message.
    ///
    /// # Errors
    /// Those of [`Command::render`].
    pub fn encode(&self, version: ServerVersion, out: &mut BytesMut) -> Result<(), WireError> {
        frontend::query(&self.render(version)?, out)
    }

    /// Its keyword, for messages.
    pub fn keyword(&self) -> &'static str {
        match self {
            Command::IdentifySystem => "IDENTIFY_SYSTEM",
            Command::Show(_) => "SHOW",
            Command::TimelineHistory(_) => "TIMELINE_HISTORY",
            Command::CreateSlot { .. } => "CREATE_REPLICATION_SLOT",
            Command::DropSlot { .. } => "DROP_REPLICATION_SLOT",
            Command::ReadSlot(_) => "READ_REPLICATION_SLOT",
            Command::StartReplication { .. } => "START_REPLICATION",
            Command::BaseBackup(_) => "BASE_BACKUP",
            Command::UploadManifest => "UPLOAD_MANIFEST",
        }
    }
}

/// Refuses a word by name when the version does not know it.
pub(super) fn known(
    word: &'static str,
    is_known: bool,
    version: ServerVersion,
    since: u32,
) -> Result<(), CommandError> {
    if is_known { Ok(()) } else { Err(CommandError::NotKnown { word, version, since }) }
}

/// A string constant: quotes doubled, no other escapes exist.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The name of a replication slot: 1 to 63 lower-case letters, digits and underscores.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SlotName(String);

impl SlotName {
    /// Checks a name.
    ///
    /// # Errors
    /// A name that servers refuse.
    pub fn new(name: &str) -> Result<SlotName, CommandError> {
        let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if (1..=63).contains(&name.len()) && name.bytes().all(valid) {
            Ok(SlotName(name.to_owned()))
        } else {
            Err(CommandError::SlotName { name: name.to_owned() })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SlotName {
    type Err = CommandError;
    fn from_str(text: &str) -> Result<SlotName, CommandError> {
        SlotName::new(text)
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A command that cannot be put to this server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// A command or an option of later versions.
    #[error("server version {version} does not know {word}, which came with {since}")]
    NotKnown {
        /// The word.
        word: &'static str,
        /// The server.
        version: ServerVersion,
        /// The major version that brought it.
        since: u32,
    },

    /// Not a slot name.
    #[error("{name:?} is not a slot name")]
    SlotName {
        /// What was given.
        name: String,
    },

    /// Not the name of a setting.
    #[error("{name:?} is not the name of a setting")]
    SettingName {
        /// What was given.
        name: String,
    },

    /// A value that the server would refuse.
    #[error("{option} cannot be {value}; expected {expected}")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is accepted.
        expected: &'static str,
    },

    /// Two options that exclude each other, or one that needs another.
    #[error("{option} needs {needs}")]
    Needs {
        /// The option.
        option: &'static str,
        /// What it needs.
        needs: &'static str,
    },
}

impl CommandError {
    /// One sentence for the operator.
    pub fn hint(&self) -> Option<String> {
        match self {
            CommandError::SlotName { .. } => {
                Some("use 1 to 63 lower-case letters, digits and underscores".to_owned())
            }
            _ => None,
        }
    }
}
