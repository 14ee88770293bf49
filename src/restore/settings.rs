//! Recovery settings as text: what is written, and what is taken out of a restored
//! configuration before the server may read it.
//!
//! Pure: bytes to bytes. Configuration files may hold any bytes, and paths too.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::wire::ServerVersion;

use super::target::{Goal, RecoveryTarget, TargetTimeline};

/// Put before a line that must not act in the restored cluster; Barman's mark.
pub const COMMENT_MARK: &str = "#BARMAN#";

/// Settings that would let a restored cluster overwrite the archive of the one it came from,
/// and what each is replaced by.
const REPLACED: [(&str, &str); 2] = [("archive_command", "false"), ("archive_library", "''")];

/// Targets of an earlier recovery: never right for this one.
const OLD_TARGETS: [&str; 8] = [
    "recovery_target",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
    "recovery_target_inclusive",
    "recovery_target_timeline",
    "recovery_target_action",
];

/// Sources of WAL of an earlier recovery. They must not act beside one that is written now.
const OLD_SOURCES: [&str; 6] = [
    "restore_command",
    "recovery_end_command",
    "archive_cleanup_command",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
];

/// Lines that read other files, which are not reviewed. Each comes before
/// `postgresql.auto.conf`, which has the last word.
const INCLUDES: [&str; 3] = ["include", "include_dir", "include_if_exists"];

/// Settings that name places on the old host. Reported, never changed: only a person knows
/// what is right on the new one.
const DANGEROUS: [&str; 14] = [
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "external_pid_file",
    "ssl_cert_file",
    "ssl_key_file",
    "ssl_ca_file",
    "ssl_crl_file",
    "unix_socket_directory",
    "unix_socket_directories",
    "include",
    "include_dir",
    "include_if_exists",
];

/// One line of a configuration file that the user has to know of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SettingLine {
    /// The file's name, relative to the data directory.
    pub file: String,
    /// The line in the file as it now is, counted from 1.
    pub line: usize,
    /// The setting's name as written.
    pub name: String,
    /// The value as written, quotes included; comments behind it are cut.
    pub value: String,
}

/// A configuration file made harmless.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reviewed {
    /// The new content.
    pub text: Vec<u8>,
    /// Lines that were put in place of others.
    pub changed: Vec<SettingLine>,
    /// Lines that a person must look at.
    pub dangerous: Vec<SettingLine>,
}

/// What becomes of `restore_command`, `primary_conninfo` and their like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OldSources {
    /// They stay: nothing recovers through them, or a standby shall.
    Keep,
    /// They are commented out: recovery has a source of its own.
    Comment,
}

/// Comments out what must not act, puts harmless values in place, and reports the rest.
/// Lines keep their numbers except behind a replaced one.
pub fn review(file: &str, text: &[u8], old_sources: OldSources) -> Reviewed {
    let mut reviewed = Reviewed::default();
    let mut number = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        number += 1;
        let Some((name, value)) = assignment(line) else {
            reviewed.text.extend_from_slice(line);
            continue;
        };
        let key = name.to_ascii_lowercase();
        let replacement = REPLACED.iter().find(|(replaced, _)| *replaced == key);
        let old = OLD_TARGETS.contains(&key.as_str())
            || (old_sources == OldSources::Comment && OLD_SOURCES.contains(&key.as_str()));
        if replacement.is_some() || old {
            reviewed.text.extend_from_slice(COMMENT_MARK.as_bytes());
        }
        reviewed.text.extend_from_slice(line);
        let entry = |line, value: &str| SettingLine {
            file: file.to_owned(),
            line,
            name: name.clone(),
            value: value.to_owned(),
        };
        if let Some((_, harmless)) = replacement {
            end_line(&mut reviewed.text);
            reviewed.text.extend_from_slice(format!("{key} = {harmless}\n").as_bytes());
            number += 1;
            reviewed.changed.push(SettingLine { name: key, ..entry(number, harmless) });
        } else if DANGEROUS.contains(&key.as_str()) {
            reviewed.dangerous.push(entry(number, &value));
        }
    }
    reviewed
}

/// Reads `name = value` or `name value`; `None` for comments, blanks and what is no setting.
/// Source: manual, "Parameter Interaction via the Configuration File".
fn assignment(line: &[u8]) -> Option<(String, String)> {
    let line = line.trim_ascii();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$');
    let end = line.iter().position(|byte| !is_name(byte)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if !name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_') {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let value = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii_start();
    let name = String::from_utf8_lossy(name).into_owned();
    Some((name, String::from_utf8_lossy(without_comment(value)).into_owned()))
}

/// Cuts `# …` behind a value, but not inside quotes.
fn without_comment(value: &[u8]) -> &[u8] {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'\'' => quoted = !quoted,
            b'#' if !quoted => return value[..at].trim_ascii_end(),
            _ => {}
        }
    }
    value
}

fn end_line(text: &mut Vec<u8>) {
    if text.last().is_some_and(|byte| *byte != b'\n') {
        text.push(b'\n');
    }
}

/// What keeps files that are included from archiving over the archive of the old cluster:
/// harmless values for the end of `postgresql.auto.conf`. `None` when nothing is included.
pub fn against_includes(version: ServerVersion, dangerous: &[SettingLine]) -> Option<Vec<u8>> {
    let includes = |line: &SettingLine| INCLUDES.iter().any(|i| line.name.eq_ignore_ascii_case(i));
    dangerous.iter().any(includes).then(|| {
        let known = |name: &str| name != "archive_library" || version.has_archive_library();
        let harmless = REPLACED.iter().filter(|(name, _)| known(name));
        harmless.map(|(name, value)| format!("{name} = {value}\n")).collect::<String>().into()
    })
}

/// How the restored server finds WAL that is not in its own WAL directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WalDirectory {
    /// The absolute path of the directory, raw bytes.
    pub path: Vec<u8>,
}

impl WalDirectory {
    /// The one in a data directory.
    pub fn in_directory(destination: &Path) -> WalDirectory {
        let path = destination.join(super::plan::RECOVERY_WAL);
        WalDirectory { path: path.into_os_string().into_vec() }
    }

    /// The `restore_command`: a plain `cp`, which fails for a missing file as it must.
    fn restore_command(&self) -> Vec<u8> {
        let mut source = self.path.clone();
        source.extend_from_slice(b"/");
        let mut command = b"cp ".to_vec();
        command.extend(shell_word(&double_percent(&source)));
        command.extend_from_slice(b"%f %p");
        command
    }

    /// The `recovery_end_command`: the copies have served their purpose.
    fn end_command(&self) -> Vec<u8> {
        let mut command = b"rm -fr ".to_vec();
        command.extend(shell_word(&double_percent(&self.path)));
        command
    }
}

/// The server replaces `%f`, `%p`, `%r`; `%%` is one percent sign.
fn double_percent(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        out.push(*byte);
        if *byte == b'%' {
            out.push(b'%');
        }
    }
    out
}

/// One word for `sh`: as it is when nothing in it is special, else in single quotes.
fn shell_word(text: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(byte);
    if !text.is_empty() && text.iter().all(plain) {
        return text.to_vec();
    }
    let mut out = vec![b'\''];
    for byte in text {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            _ => out.push(*byte),
        }
    }
    out.push(b'\'');
    out
}

/// A value in the quotes of a configuration file: `'` doubled, `\` and line ends escaped.
/// Source: `GUC_scanstr` reads `\n`, `\r`, `\\` and `''`.
fn quoted(value: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for byte in value {
        match byte {
            b'\'' => out.extend_from_slice(b"''"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => out.push(*byte),
        }
    }
    out.push(b'\'');
    out
}

/// The file whose presence tells the server to recover, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignalFile {
    /// Archive recovery up to a target, then open.
    Recovery,
    /// Archive recovery for ever.
    Standby,
}

impl SignalFile {
    /// Its name in the data directory (12 and later).
    pub fn name(self) -> &'static str {
        match self {
            SignalFile::Recovery => "recovery.signal",
            SignalFile::Standby => "standby.signal",
        }
    }
}

/// The recovery settings of one restore.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecoverySettings {
    /// The lines, each with its end; empty when nothing has to be said.
    pub lines: Vec<u8>,
    /// The signal, in the form of a file (12 and later) or of a line in `recovery.conf`.
    pub signal: Option<SignalFile>,
}

/// Renders the settings in Barman's order.
///
/// `timeline` is what is written as `recovery_target_timeline`; `None` leaves the server to
/// its default. A number is not quoted, as Barman writes it.
pub fn recovery_settings(
    version: ServerVersion,
    goal: &Goal,
    wal: Option<&WalDirectory>,
    timeline: Option<TargetTimeline>,
) -> RecoverySettings {
    let signal = if goal.standby {
        Some(SignalFile::Standby)
    } else {
        goal.is_point_in_time().then_some(SignalFile::Recovery)
    };
    let mut lines = Vec::new();
    let mut set = |name: &str, value: &[u8]| {
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(b" = ");
        lines.extend_from_slice(value);
        lines.push(b'\n');
    };
    if goal.standby && !version.recovery_settings_in_postgresql_conf() {
        set("standby_mode", b"'on'");
    }
    if let Some(wal) = wal {
        set("restore_command", &quoted(&wal.restore_command()));
        set("recovery_end_command", &quoted(&wal.end_command()));
    }
    match &goal.target {
        Some(RecoveryTarget::Immediate) => set("recovery_target", b"'immediate'"),
        Some(target) => {
            let name = format!("recovery_target_{}", target.word());
            set(&name, &quoted(target.to_string().as_bytes()));
        }
        None => {}
    }
    if goal.exclusive && goal.target.as_ref().is_some_and(RecoveryTarget::may_be_exclusive) {
        set("recovery_target_inclusive", b"'False'");
    }
    // `current` is the default, and no word that recovery.conf knows, before 12.
    match timeline {
        Some(TargetTimeline::Current) if !version.recovery_settings_in_postgresql_conf() => {}
        Some(timeline) => set("recovery_target_timeline", timeline.to_string().as_bytes()),
        None => {}
    }
    if let Some(action) = goal.action {
        set("recovery_target_action", &quoted(action.word().as_bytes()));
    }
    RecoverySettings { lines, signal }
}

/// `text` with the settings behind it, after an empty line.
pub fn append(text: &[u8], lines: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    if !lines.is_empty() {
        end_line(&mut out);
        if !out.is_empty() {
            out.push(b'\n');
        }
        out.extend_from_slice(lines);
    }
    out
}

#[cfg(test)]
#[path = "tests/settings.rs"]
mod tests;
