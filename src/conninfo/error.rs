//! What can be wrong with a connection string and its surroundings.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Keyword;

/// The place where a piece of text stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The connection string; characters counted from 1.
    ConnectionString {
        /// Where the piece begins.
        position: usize,
    },
    /// A line of a service file, counted from 1.
    ServiceFile {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::ConnectionString { position } => {
                write!(f, "connection string, position {position}")
            }
            Origin::ServiceFile { path, line } => {
                write!(f, "service file {}, line {line}", path.display())
            }
            Origin::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// A connection string, or a file or variable that completes it, that cannot be used.
///
/// No variant carries the text of the string itself: a mistake in quoting would put pieces of a
/// password into it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConninfoError {
    /// Text of the wrong shape.
    #[error("{origin}: {problem}")]
    Syntax {
        /// Where it stands.
        origin: Origin,
        /// What is wrong, as a clause.
        problem: &'static str,
    },

    /// A keyword that no version of libpq knows.
    #[error("{origin}: {} is not a connection option", name.as_deref().map_or("this".to_owned(), |name| format!("{name:?}")))]
    UnknownOption {
        /// Where it stands.
        origin: Origin,
        /// The word; absent where it may be a piece of a password.
        name: Option<String>,
    },

    /// A value outside of what the option accepts.
    #[error("{origin}: {keyword} {}; expected {expected}", shown(.value))]
    InvalidValue {
        /// Where it stands.
        origin: Origin,
        /// The option.
        keyword: Keyword,
        /// What was written; absent for secrets and where it may be a piece of one.
        value: Option<String>,
        /// What would have been accepted.
        expected: String,
    },

    /// An option, or a value of one, that libpq knows and Tapster cannot serve.
    #[error("{origin}: {keyword}{} is not supported: {reason}", with_value(.value))]
    NotSupported {
        /// Where it stands.
        origin: Origin,
        /// The option.
        keyword: Keyword,
        /// What was written, where it matters.
        value: Option<String>,
        /// Why, as a clause.
        reason: &'static str,
    },

    /// Comma lists whose lengths do not fit.
    #[error("{count} {what} cannot be matched to {hosts} hosts")]
    ListLengths {
        /// What the shorter or longer list holds: `ports`, `host names`.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many hosts there are.
        hosts: usize,
    },

    /// Two options that exclude each other.
    #[error("{first} cannot be used with sslmode={mode}, which is too weak")]
    WeakSslMode {
        /// `sslrootcert=system` or `sslnegotiation=direct`.
        first: &'static str,
        /// The mode.
        mode: &'static str,
        /// The modes that would do.
        remedy: &'static str,
    },

    /// The service stands in none of the files.
    #[error("service {service:?} is defined in none of: {}", listed(.looked_in))]
    ServiceNotFound {
        /// Its name.
        service: String,
        /// The files that were looked for.
        looked_in: Vec<PathBuf>,
    },

    /// A service file that was named and cannot be read.
    #[error("cannot read service file {}", path.display())]
    ServiceFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// No user name given, and the operating system knows none.
    #[error("no user name is given, and the operating system has none for this process")]
    NoUser,
}

impl ConninfoError {
    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConninfoError::Syntax { .. } | ConninfoError::UnknownOption { name: None, .. } => Some(
                "write keyword='value' with \\' for a quote inside, or postgresql://user@host:port/ \
                 with %XX for special characters"
                    .to_owned(),
            ),
            ConninfoError::UnknownOption { name: Some(name), .. } => {
                let nearest = nearest_keyword(name)?;
                Some(format!("did you mean {nearest}?"))
            }
            ConninfoError::InvalidValue { .. } => None,
            ConninfoError::NotSupported { keyword, .. } => {
                Some(format!("remove {keyword}, or choose another way to log in"))
            }
            ConninfoError::ListLengths { .. } => {
                Some("give one value for all hosts, or one for each".to_owned())
            }
            ConninfoError::WeakSslMode { remedy, .. } => Some(format!("use sslmode={remedy}")),
            ConninfoError::ServiceNotFound { service, looked_in } => looked_in
                .first()
                .map(|path| format!("add a section [{service}] to {}", path.display())),
            ConninfoError::ServiceFile { .. } => {
                Some("check the path in servicefile or PGSERVICEFILE".to_owned())
            }
            ConninfoError::NoUser => Some("add user=<role> to the connection string".to_owned()),
        }
    }
}

fn shown(value: &Option<String>) -> String {
    match value {
        Some(value) => format!("is {value:?}"),
        None => "has an unacceptable value".to_owned(),
    }
}

fn with_value(value: &Option<String>) -> String {
    value.as_ref().map_or(String::new(), |value| format!("={value}"))
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The keyword that differs least, if it differs by at most two letters.
fn nearest_keyword(word: &str) -> Option<&'static str> {
    Keyword::ALL
        .iter()
        .map(|keyword| (distance(word, keyword.as_str()), keyword.as_str()))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, keyword)| keyword)
}

/// Letters to insert, remove or change to come from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
