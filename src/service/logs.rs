//! Where log lines go, and in which form.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// One line of text: time, level, message, fields.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("unknown log format {text:?}; expected text or json")),
        }
    }
}

/// What the configuration and the command line say about logs.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// `log_file`; standard error when absent.
    pub file: Option<PathBuf>,
    /// `log_level` in the words of the configuration: DEBUG, INFO, WARNING, ERROR, CRITICAL.
    pub level: Option<String>,
    /// The form of a line.
    pub format: LogFormat,
}

/// Logs that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file is not to be had.
    #[error("cannot open log file {}", path.display())]
    Open {
        /// The configured file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No such level.
    #[error("unknown log level {0:?}; expected DEBUG, INFO, WARNING, ERROR or CRITICAL")]
    Level(String),
}

/// Starts the process's logs. Only the first call has an effect.
///
/// Without a `file`, lines go to standard error; a caller whose terminal output stands there
/// chooses the level accordingly.
///
/// # Errors
/// [`LogError`] when the file cannot be opened for appending or the level has no meaning.
pub fn start_logs(options: &LogOptions) -> Result<(), LogError> {
    let filter = EnvFilter::new(filter_of(options.level.as_deref().unwrap_or("INFO"))?);
    let to_terminal = options.file.is_none();
    let writer = match &options.file {
        Some(path) => BoxMakeWriter::new(open(path)?),
        None => BoxMakeWriter::new(io::stderr),
    };
    install(filter, writer, options.format, to_terminal);
    Ok(())
}

fn install<W>(filter: EnvFilter, writer: W, format: LogFormat, to_terminal: bool)
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // A second call finds the logs already started, which is what it asks for.
    let _ = match format {
        LogFormat::Text => {
            let ansi = to_terminal && io::IsTerminal::is_terminal(&io::stderr());
            builder.with_ansi(ansi).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).try_init(),
    };
}

fn open(path: &Path) -> Result<Arc<std::fs::File>, LogError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map(Arc::new)
        .map_err(|source| LogError::Open { path: path.to_owned(), source })
}

/// Python's level names, which the dialect uses, in the words of `tracing`.
fn filter_of(level: &str) -> Result<&'static str, LogError> {
    match level.to_ascii_uppercase().as_str() {
        "DEBUG" => Ok("tapster=debug,warn"),
        "INFO" => Ok("tapster=info,warn"),
        "WARNING" | "WARN" => Ok("warn"),
        "ERROR" | "CRITICAL" => Ok("error"),
        _ => Err(LogError::Level(level.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_configuration_dialect() {
        for level in ["debug", "INFO", "Warning", "ERROR", "CRITICAL"] {
            assert!(filter_of(level).is_ok(), "{level}");
        }
        let refused = filter_of("LOUD").expect_err("no such level");
        assert!(refused.to_string().contains("LOUD"));
    }
}
