//! Barman's configuration dialect and the one table of options. Knows no network.
//!
//! Files are found and merged (`source`), read as INI ([`ini`]), typed by the table
//! ([`options`]) and settled into servers (`server`).

pub mod ini;
pub mod options;
mod error;
mod name;
mod server;
mod settings;
mod source;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use error::ConfigError;
pub use name::{ServerName, ServerNameError};
pub use server::{BackupMethod, CreateSlot, Directories, ReceiveSynchronous, ServerConfig};
pub use settings::{Origin, Settings};
pub use source::ConfigSource;
pub use value::{CompressionLevel, Kind, SecretText, Value};

use settings::{Layer, SectionKind, read_section};
use source::Merged;

/// Everything that the files say.
#[derive(Clone, Debug)]
pub struct Config {
    /// The main file.
    pub file: PathBuf,
    /// `barman_home`.
    pub home: PathBuf,
    /// `barman_user`, the account that owns the repositories. Tapster runs as whoever can
    /// write there.
    pub user: String,
    /// `barman_lock_directory`.
    pub lock_directory: PathBuf,
    /// `lock_directory_cleanup`: whether `cron` removes lock files that nobody holds.
    pub lock_directory_cleanup: bool,
    /// Where the log goes; standard error when unset.
    pub log_file: Option<PathBuf>,
    /// `DEBUG` … `CRITICAL`, as written.
    pub log_level: String,
    servers: BTreeMap<ServerName, ServerConfig>,
}

/// A configuration, and what the user should hear about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Sentences in Barman's words, to be printed.
    pub warnings: Vec<String>,
    /// Remarks for the log.
    pub notices: Vec<String>,
}

impl Config {
    /// Reads all files. Faults in values are warnings; faults in files are errors.
    pub fn load(source: &ConfigSource) -> Result<Loaded, ConfigError> {
        let merged = source::read_all(source)?;
        let Merged { main, home, sections, mut warnings, mut notices } = merged;
        let no_program = || ConfigError::NoHome { path: main.clone() };
        let (program, _) = sections.get("barman").ok_or_else(no_program)?;
        let program = read_section(SectionKind::Program, "barman", program, &mut warnings);
        let settings = Settings::stack(&[&program], &Layer::new());
        let lock_directory = settings.path("barman_lock_directory").unwrap_or_else(|| home.clone());

        let mut models = BTreeMap::new();
        let mut layers = Vec::new();
        for (section, (raw, origin)) in sections.iter().filter(|(name, _)| *name != "barman") {
            let (path, line) = (origin.path.clone(), origin.line);
            let name: ServerName = section.parse().map_err(|source| ConfigError::BadSection {
                path: path.clone(),
                line,
                source,
            })?;
            let word = raw.entries.get("model").map_or("", |entry| entry.text.as_str());
            if !matches!(Kind::Flag.parse(word), Ok(Value::Flag(true))) {
                layers.push((name, read_section(SectionKind::Server, section, raw, &mut warnings)));
                continue;
            }
            let layer = read_section(SectionKind::Model, section, raw, &mut warnings);
            if layer.get("cluster").is_none_or(|setting| setting.value.is_none()) {
                let section = section.clone();
                return Err(ConfigError::ModelWithoutCluster { path, line, section });
            }
            models.insert(section.clone(), layer);
        }
        let mut servers = BTreeMap::new();
        for (name, layer) in layers {
            let below =
                |settings| ServerConfig::new(name.clone(), settings, &home, &lock_directory);
            let plain = below(Settings::stack(&[&layer], &program));
            let server = match active_model(&plain, &models)? {
                Some((model, overrides)) => {
                    let mut server = below(Settings::stack(&[overrides, &layer], &program));
                    server.active_model = Some(model);
                    server
                }
                None => plain,
            };
            notices.extend(server.notices.iter().cloned());
            servers.insert(name, server);
        }
        refuse_shared_directories(&servers)?;
        let config = Config {
            file: main,
            home,
            user: settings.text("barman_user").unwrap_or_default(),
            lock_directory,
            lock_directory_cleanup: settings.flag("lock_directory_cleanup"),
            log_file: settings.path("log_file"),
            log_level: settings.text("log_level").unwrap_or_default(),
            servers,
        };
        Ok(Loaded { config, warnings, notices })
    }

    /// Every server, in the order of names.
    pub fn servers(&self) -> impl Iterator<Item = &ServerConfig> {
        self.servers.values()
    }

    /// The one server of this name; `all` is refused.
    pub fn server(&self, name: &str) -> Result<&ServerConfig, ConfigError> {
        if name == "all" {
            return Err(ConfigError::AllInSingleContext);
        }
        self.servers.values().find(|server| server.name.as_str() == name).ok_or_else(|| {
            ConfigError::UnknownServer {
                name: name.to_owned(),
                known: self.servers.keys().map(ToString::to_string).collect(),
            }
        })
    }

    /// Several servers, each once and in the order given; `all`, which must stand alone, is
    /// every server in the order of names.
    pub fn servers_named(&self, names: &[String]) -> Result<Vec<&ServerConfig>, ConfigError> {
        if names.iter().any(|name| name == "all") {
            return match names.len() {
                1 => Ok(self.servers().collect()),
                _ => Err(ConfigError::AllWithOthers),
            };
        }
        let mut chosen: Vec<&ServerConfig> = Vec::with_capacity(names.len());
        for name in names {
            let server = self.server(name)?;
            if !chosen.iter().any(|other| other.name == server.name) {
                chosen.push(server);
            }
        }
        Ok(chosen)
    }
}

/// The model that `config-switch` chose for a server, as its file in the repository says.
fn active_model<'a>(
    server: &ServerConfig,
    models: &'a BTreeMap<String, Layer>,
) -> Result<Option<(String, &'a Layer)>, ConfigError> {
    let path = server.directories.backup.join(".active-model.auto");
    if models.is_empty() || !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path)
        .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    let name = text.trim();
    let fits = |layer: &&Layer| {
        let cluster = layer.get("cluster").and_then(|setting| setting.value.as_ref());
        matches!(cluster, Some(Value::Text(cluster)) if *cluster == server.cluster)
    };
    Ok(models.get(name).filter(fits).map(|layer| (name.to_owned(), layer)))
}

/// Two servers in one directory would destroy each other's backups. The xlog database carries
/// the server's name, so that its directory may be shared.
fn refuse_shared_directories(
    servers: &BTreeMap<ServerName, ServerConfig>,
) -> Result<(), ConfigError> {
    let mut taken: BTreeMap<&Path, (&ServerName, &'static str)> = BTreeMap::new();
    for (name, server) in servers {
        let Directories { backup, base, wals, incoming, streaming, errors, .. } =
            &server.directories;
        for (option, path) in [
            ("backup_directory", backup),
            ("basebackups_directory", base),
            ("wals_directory", wals),
            ("incoming_wals_directory", incoming),
            ("streaming_wals_directory", streaming),
            ("errors_directory", errors),
        ] {
            if let Some((first, first_option)) = taken.insert(path, (name, option)) {
                return Err(ConfigError::SharedDirectory {
                    first: first.to_string(),
                    first_option,
                    second: name.to_string(),
                    second_option: option,
                    path: path.clone(),
                });
            }
        }
    }
    Ok(())
}
