//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

use super::ini::{IniFault, InterpolationFault};
use super::name::ServerNameError;

/// A configuration that cannot be used, or a question to it that has no answer.
///
/// Never carries the value of an option: connection strings hold passwords.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// None of the usual files exists.
    #[error("no configuration file; looked for {}", paths(.tried))]
    NoFile {
        /// The places, in the order of the search.
        tried: Vec<PathBuf>,
    },
    /// A file that was named, or that exists, cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line that is no INI.
    #[error("{}:{line}: {fault}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: IniFault,
    },
    /// A `%(reference)s` that cannot be resolved.
    #[error("{}:{line}: option {key} in [{section}]: {fault}", path.display())]
    Interpolation {
        /// The file.
        path: PathBuf,
        /// The line of the key, from 1.
        line: usize,
        /// The section.
        section: String,
        /// The key.
        key: String,
        /// What is wrong.
        fault: InterpolationFault,
    },
    /// There is no `[barman]` section or no `barman_home` in it.
    #[error("{}: section [barman] with barman_home is missing", path.display())]
    NoHome {
        /// The main file.
        path: PathBuf,
    },
    /// `barman_home` is not an absolute path.
    #[error("{}: barman_home = {home} is not an absolute path", path.display())]
    RelativeHome {
        /// The main file.
        path: PathBuf,
        /// The value.
        home: String,
    },
    /// A section whose name is reserved or unfit for a directory.
    #[error("{}:{line}: section [{}]", path.display(), source.0)]
    BadSection {
        /// The file.
        path: PathBuf,
        /// The line of the header, from 1.
        line: usize,
        /// Why not.
        source: ServerNameError,
    },
    /// A packaged file sets global options.
    #[error("{}:{line}: section [barman] is allowed in the main file only", path.display())]
    GlobalElsewhere {
        /// The file in `configuration_files_directory`.
        path: PathBuf,
        /// The line of the header, from 1.
        line: usize,
    },
    /// A model that says which cluster it is for is required.
    #[error("{}:{line}: model [{section}] has no option cluster", path.display())]
    ModelWithoutCluster {
        /// The file.
        path: PathBuf,
        /// The line of the header, from 1.
        line: usize,
        /// The model.
        section: String,
    },
    /// Two servers would write into one directory.
    #[error(
        "servers {first} and {second} share the directory {}: {first_option} of the one is \
         {second_option} of the other", path.display()
    )]
    SharedDirectory {
        /// The first server, in the order of names.
        first: String,
        /// Its option.
        first_option: &'static str,
        /// The second server, which may be the first again.
        second: String,
        /// Its option.
        second_option: &'static str,
        /// The directory.
        path: PathBuf,
    },
    /// No such server. The text is Barman's.
    #[error("Unknown server '{name}'")]
    UnknownServer {
        /// What was asked for.
        name: String,
        /// The servers that there are.
        known: Vec<String>,
    },
    /// `all` where one server is meant. The text is Barman's.
    #[error("You cannot use 'all' in a single server context")]
    AllInSingleContext,
    /// `all` beside other names. The text is Barman's.
    #[error("You cannot use 'all' with other server names")]
    AllWithOthers,
}

fn paths(paths: &[PathBuf]) -> String {
    let texts: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    texts.join(", ")
}

impl ConfigError {
    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            ConfigError::NoFile { .. } => {
                "write /etc/tapster.conf, or name a file with -c or $TAPSTER_CONFIG_FILE".into()
            }
            ConfigError::Read { source, path } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    format!("let this user read it, for instance: chmod a+r {}", path.display())
                }
                io::ErrorKind::NotFound => {
                    "check the path given with -c or in the environment".into()
                }
                _ => return None,
            },
            ConfigError::Syntax { fault, .. } => match fault {
                IniFault::NoSection => "begin the file with [barman] or [server-name]".into(),
                IniFault::NoDelimiter => {
                    "write key = value; indent the line to continue the one above; begin a \
                     comment with #"
                        .into()
                }
                IniFault::NoKey => "write key = value".into(),
                IniFault::BadHeader => "write [server-name] on a line of its own".into(),
                IniFault::NotUtf8 => "save the file as UTF-8".into(),
            },
            ConfigError::Interpolation { .. } => {
                "name a key of the same section, or write %%%% for a percent sign".into()
            }
            ConfigError::NoHome { path } => {
                format!("add to {}: [barman] and barman_home = /var/lib/barman", path.display())
            }
            ConfigError::RelativeHome { .. } => "write the path from / on".into(),
            ConfigError::BadSection { .. } => "give the server another name".into(),
            ConfigError::GlobalElsewhere { .. } => "move its options to the main file".into(),
            ConfigError::ModelWithoutCluster { section, .. } => {
                format!("add cluster = <server> to [{section}]")
            }
            ConfigError::SharedDirectory { .. } => "give each server directories of its own".into(),
            ConfigError::UnknownServer { known, .. } if known.is_empty() => {
                "no server is configured: add a section [server-name] with conninfo".into()
            }
            ConfigError::UnknownServer { known, .. } => {
                format!("configured servers are {}", known.join(", "))
            }
            ConfigError::AllInSingleContext => "name one server".into(),
            ConfigError::AllWithOthers => "give either all or names".into(),
        };
        Some(hint)
    }
}
