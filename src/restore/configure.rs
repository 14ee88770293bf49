//! The configuration of a restored data directory: made harmless, told how to recover.

use super::error::RestoreError;
use super::path::InnerPath;
use super::plan::RestorePlan;
use super::settings::{SettingLine, against_includes, append, review};
use super::tree::Tree;

/// Larger than any configuration that a person wrote.
const CONFIGURATION_BYTES_MAX: u64 = 16 << 20;
const MAIN: &str = "postgresql.conf";
const AUTOMATIC: &str = "postgresql.auto.conf";
const BEFORE_12: &str = "recovery.conf";
/// Files without which a server does not start, or lets nobody in.
const EXPECTED: [&str; 3] = [MAIN, "pg_hba.conf", "pg_ident.conf"];

/// What the configuration had in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Configured {
    /// Lines that were put in place of others.
    pub changed: Vec<SettingLine>,
    /// Lines that a person must look at.
    pub dangerous: Vec<SettingLine>,
    /// Files that the backup does not hold, because the server keeps them elsewhere.
    pub missing: Vec<&'static str>,
}

/// Reviews both configuration files, keeping the originals beside them as `<file>.origin`, and
/// writes the recovery settings and the signal file of the plan.
pub fn configure(tree: &mut Tree<'_>, plan: &RestorePlan) -> Result<Configured, RestoreError> {
    let in_configuration = plan.backup.version.recovery_settings_in_postgresql_conf();
    let settings = &plan.settings;
    let mut configured = Configured::default();
    for file in [MAIN, AUTOMATIC] {
        let name = InnerPath::parse(file.as_bytes())?;
        let original = tree.read(&name, CONFIGURATION_BYTES_MAX)?;
        let before = original.as_deref().unwrap_or_default();
        let reviewed = review(file, before, plan.old_sources);
        let mut text = reviewed.text;
        configured.changed.extend(reviewed.changed);
        configured.dangerous.extend(reviewed.dangerous);
        if file == AUTOMATIC
            && let Some(lines) = against_includes(plan.backup.version, &configured.dangerous)
        {
            text = append(&text, &lines);
            configured.changed.extend(last_lines(&text, &lines));
        }
        if in_configuration && file == AUTOMATIC {
            text = append(&text, &settings.lines);
        }
        match &original {
            Some(original) => {
                let origin = InnerPath::parse(format!("{file}.origin").as_bytes())?;
                tree.write(&origin, 0o600, original)?;
                if text != *original {
                    tree.replace(&name, &text)?;
                }
            }
            None if text.is_empty() => {}
            None => tree.write(&name, 0o600, &text)?,
        }
    }
    if !in_configuration && (settings.signal.is_some() || !settings.lines.is_empty()) {
        tree.write(&InnerPath::parse(BEFORE_12.as_bytes())?, 0o600, &settings.lines)?;
    }
    if let Some(signal) = settings.signal.filter(|_| in_configuration) {
        tree.write(&InnerPath::parse(signal.name().as_bytes())?, 0o600, b"")?;
    }
    configured.missing = EXPECTED.into_iter().filter(|file| !tree.holds(file)).collect();
    Ok(configured)
}

/// The `lines` with which `text` ends, as the user is told of them.
fn last_lines(text: &[u8], lines: &[u8]) -> Vec<SettingLine> {
    let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    let first = count(text) - count(lines) + 1;
    let lines = String::from_utf8_lossy(lines);
    let assignments = lines.lines().enumerate();
    let entry = |(at, line): (usize, &str)| {
        let (name, value) = line.split_once(" = ")?;
        let (file, name, value) = (AUTOMATIC.to_owned(), name.to_owned(), value.to_owned());
        Some(SettingLine { file, line: first + at, name, value })
    };
    assignments.filter_map(entry).collect()
}
