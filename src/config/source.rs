//! Which files are read, and what they say together.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::ini::{self, IniFile, IniSection};
use super::settings::{Origin, RawEntry, RawSection};

/// Where the configuration comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigSource {
    /// This file, which must exist.
    File(PathBuf),
    /// The first of these that exists.
    Search(Vec<PathBuf>),
}

impl ConfigSource {
    /// `-c`, else `$TAPSTER_CONFIG_FILE`, else `$BARMAN_CONFIG_FILE`, else the usual places,
    /// Tapster's own before Barman's.
    pub fn from_command_line(option: Option<PathBuf>) -> ConfigSource {
        let named = |variable: &str| {
            env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let file =
            option.or_else(|| named("TAPSTER_CONFIG_FILE")).or_else(|| named("BARMAN_CONFIG_FILE"));
        match file {
            Some(file) => ConfigSource::File(file),
            None => ConfigSource::Search(usual_places(named("HOME").as_deref())),
        }
    }

    /// The main file.
    fn find(&self) -> Result<PathBuf, ConfigError> {
        match self {
            ConfigSource::File(path) => Ok(path.clone()),
            ConfigSource::Search(places) => places
                .iter()
                .find(|place| place.is_file())
                .cloned()
                .ok_or_else(|| ConfigError::NoFile { tried: places.clone() }),
        }
    }
}

fn usual_places(home: Option<&Path>) -> Vec<PathBuf> {
    let at_home = |name: &str| home.map(|home| home.join(name));
    [
        at_home(".tapster.conf"),
        Some("/etc/tapster.conf".into()),
        at_home(".barman.conf"),
        Some("/etc/barman.conf".into()),
        Some("/etc/barman/barman.conf".into()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All files, merged.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub main: PathBuf,
    pub home: PathBuf,
    pub sections: BTreeMap<String, (RawSection, Origin)>,
    pub warnings: Vec<String>,
    pub notices: Vec<String>,
}

const PROGRAM: &str = "barman";
const DEFAULT: &str = "DEFAULT";

/// Reads the main file, then those of `configuration_files_directory`, then what
/// `config-update` wrote.
pub(super) fn read_all(source: &ConfigSource) -> Result<Merged, ConfigError> {
    let main = read_file(&source.find()?)?;
    let mut merged = Merged { main: main.path.clone(), ..Merged::default() };
    merged.home = home_of(&main)?;
    merged.add(&main)?;
    let program = |key: &str, merged: &Merged| {
        let (section, _) = merged.sections.get(PROGRAM)?;
        section.entries.get(key).map(|entry| entry.text.clone()).filter(|text| !text.is_empty())
    };
    if let Some(directory) = program("configuration_files_directory", &merged) {
        for path in fragments(Path::new(&directory))? {
            merged.add_fragment(&read_file(&path)?)?;
        }
    }
    let automatic = merged.home.join(".barman.auto.conf");
    if automatic.is_file() {
        merged.add_fragment(&read_file(&automatic)?)?;
    }
    merged.spread_defaults();
    Ok(merged)
}

fn read_file(path: &Path) -> Result<IniFile, ConfigError> {
    let bytes =
        fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    IniFile::parse(path, &bytes).map_err(|(line, fault)| ConfigError::Syntax {
        path: path.to_owned(),
        line,
        fault,
    })
}

/// `barman_home`, which other values may refer to.
fn home_of(main: &IniFile) -> Result<PathBuf, ConfigError> {
    let missing = || ConfigError::NoHome { path: main.path.clone() };
    let section = main.section(PROGRAM).ok_or_else(missing)?;
    let entry = section.entry("barman_home").ok_or_else(missing)?;
    let text = interpolated(main, section, &entry.key, Path::new(""))?.text;
    let text = ini::unquote(&text);
    if text.is_empty() || text == "None" {
        return Err(missing());
    }
    if !text.starts_with('/') {
        let home = text.to_owned();
        return Err(ConfigError::RelativeHome { path: main.path.clone(), home });
    }
    Ok(PathBuf::from(text))
}

/// The `*.conf` of a directory, by name. One that does not exist holds none, as in Barman.
fn fragments(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// One value with its references resolved: names of the same section in the same file or in
/// its `[DEFAULT]`, then those that Barman writes itself.
fn interpolated(
    file: &IniFile,
    section: &IniSection,
    key: &str,
    home: &Path,
) -> Result<ini::Interpolated, ConfigError> {
    let entry = section.entry(key);
    let (value, line) = entry.map_or(("", section.line), |entry| (&entry.value, entry.line));
    let builtin = |name: &str| {
        let home = home.display();
        match name {
            "name" => Some(section.name.clone()),
            "barman_home" => Some(home.to_string()),
            "backup_directory" => Some(format!("{home}/{}", section.name)),
            _ => None,
        }
    };
    let lookup = |name: &str| {
        let own = section.entry(name);
        let entry = own.or_else(|| file.section(DEFAULT).and_then(|section| section.entry(name)));
        entry.map(|entry| entry.value.clone()).or_else(|| builtin(name))
    };
    ini::interpolate(value, &lookup).map_err(|fault| ConfigError::Interpolation {
        path: file.path.clone(),
        line,
        section: section.name.clone(),
        key: key.to_owned(),
        fault,
    })
}

impl Merged {
    fn add_fragment(&mut self, file: &IniFile) -> Result<(), ConfigError> {
        if let Some(section) = file.section(PROGRAM) {
            let (path, line) = (file.path.clone(), section.line);
            return Err(ConfigError::GlobalElsewhere { path, line });
        }
        self.add(file)
    }

    fn add(&mut self, file: &IniFile) -> Result<(), ConfigError> {
        for section in &file.sections {
            let mut entries = Vec::with_capacity(section.entries.len());
            for entry in &section.entries {
                let value = interpolated(file, section, &entry.key, &self.home)?;
                let origin = Origin { path: file.path.clone(), line: entry.line };
                if value.foreign {
                    self.notices.push(format!(
                        "{}:{}: option {} holds a percent sign that Barman reads only when \
                         written %%%%",
                        file.path.display(),
                        entry.line,
                        entry.key
                    ));
                }
                let text = match value.text.as_str() {
                    "None" => String::new(),
                    text => ini::unquote(text).to_owned(),
                };
                entries.push((entry.key.clone(), RawEntry { text, origin }));
            }
            let origin = Origin { path: file.path.clone(), line: section.line };
            let merged = self.sections.entry(section.name.clone());
            let (section, _) = merged.or_insert_with(|| (RawSection::default(), origin));
            section.entries.extend(entries);
        }
        Ok(())
    }

    /// `[DEFAULT]` is a layer below every section.
    fn spread_defaults(&mut self) {
        let Some((defaults, origin)) = self.sections.remove(DEFAULT) else { return };
        self.warnings.push(format!(
            "Section [DEFAULT] in {} applies to every server; options for all servers belong \
             in [barman].",
            origin.path.display()
        ));
        let defaults: HashMap<_, _> = defaults.entries.into_iter().collect();
        for (section, _) in self.sections.values_mut() {
            for (key, entry) in &defaults {
                section.entries.entry(key.clone()).or_insert_with(|| entry.clone());
            }
        }
    }
}
