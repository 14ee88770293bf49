//! What the files say, section by section: values read by the table of options.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::options::{self, OPTIONS, OptionSpec};
use super::value::{CompressionLevel, SecretText, Value};

/// Where a value was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// The line of the key, from 1.
    pub line: usize,
}

/// A key as written, after interpolation.
#[derive(Clone, Debug)]
pub(super) struct RawEntry {
    pub text: String,
    pub origin: Origin,
}

/// A section as written: all files merged, last value wins.
#[derive(Clone, Debug, Default)]
pub(super) struct RawSection {
    pub entries: BTreeMap<String, RawEntry>,
}

/// One option in one section. `None` as value: written, but empty, which blocks inheritance.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub value: Option<Value>,
    pub origin: Origin,
}

/// The options of one section, read.
pub(super) type Layer = BTreeMap<&'static str, Setting>;

/// Which kind of section is being read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SectionKind {
    Program,
    Server,
    Model,
}

impl SectionKind {
    /// Whether the option means something here.
    fn takes(self, option: &OptionSpec) -> bool {
        match self {
            SectionKind::Program => option.scope.program || option.scope.inherited,
            SectionKind::Server => option.scope.server || option.name == "model",
            SectionKind::Model => option.scope.model,
        }
    }
}

/// Reads a section. Faults are warnings in Barman's words, and the default stands in.
pub(super) fn read_section(
    kind: SectionKind,
    name: &str,
    raw: &RawSection,
    warnings: &mut Vec<String>,
) -> Layer {
    let mut layer = Layer::new();
    for (key, entry) in &raw.entries {
        let option = match options::find(key) {
            Some(option) if kind.takes(option) => option,
            // A server's own option in [barman] means nothing, and Barman says nothing.
            Some(option) if kind == SectionKind::Program && option.scope.server => continue,
            _ => {
                warnings
                    .push(format!("Invalid configuration option \"{key}\" in [{name}] section."));
                continue;
            }
        };
        let value = match entry.text.as_str() {
            "" => None,
            text => option.kind.parse(text).map(Some).unwrap_or_else(|why| {
                warnings.push(format!(
                    "Ignoring invalid configuration value '{text}' for key {key} in [{name}] \
                     section: {why}"
                ));
                default_of(option)
            }),
        };
        layer.insert(option.name, Setting { value, origin: entry.origin.clone() });
    }
    layer
}

/// The default of the table, read. Its texts are valid: a test proves it.
fn default_of(option: &OptionSpec) -> Option<Value> {
    (!option.default.is_empty()).then(|| option.kind.parse(option.default).ok()).flatten()
}

/// The options that hold for one server, or for the program: layers put on each other.
#[derive(Clone, Debug)]
pub struct Settings {
    values: BTreeMap<&'static str, (Option<Value>, Option<Origin>)>,
}

impl Settings {
    /// Puts layers on each other, the first one on top. The last one may be inherited from.
    pub(super) fn stack(own: &[&Layer], inherited: &Layer) -> Settings {
        let value = |option: &OptionSpec| {
            let from_own = own.iter().find_map(|layer| layer.get(option.name));
            let from_program = || inherited.get(option.name).filter(|_| option.scope.inherited);
            match from_own.or_else(from_program) {
                Some(setting) => (setting.value.clone(), Some(setting.origin.clone())),
                None => (default_of(option), None),
            }
        };
        Settings { values: OPTIONS.iter().map(|option| (option.name, value(option))).collect() }
    }

    /// The value, or `None` when it is unset.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).and_then(|(value, _)| value.as_ref())
    }

    /// Where the value was written; `None` for a default.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.values.get(name).and_then(|(_, origin)| origin.as_ref())
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn secret(&self, name: &str) -> Option<SecretText> {
        match self.get(name) {
            Some(Value::Secret(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Flag(true)))
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Value::Number(number) | Value::Size(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn seconds(&self, name: &str) -> Option<Duration> {
        match self.get(name) {
            Some(Value::Interval(interval)) => Some(*interval),
            Some(Value::Number(seconds)) => Some(Duration::from_secs(*seconds)),
            _ => None,
        }
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        match self.get(name) {
            Some(Value::Path(path)) => Some(path.clone()),
            _ => None,
        }
    }

    pub(super) fn words(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(Value::Words(words)) => words,
            _ => &[],
        }
    }

    pub(super) fn level(&self, name: &str) -> Option<CompressionLevel> {
        match self.get(name) {
            Some(Value::Level(level)) => Some(*level),
            _ => None,
        }
    }
}
