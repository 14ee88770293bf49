//! Where a server may be: sockets, addresses, names.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::Secret;

/// The word of the option `host` (or, without it, nothing): what a server certificate must be
/// made out to, whatever address `hostaddr` gives.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostName(String);

impl HostName {
    /// As the user wrote it; empty when only `hostaddr` was given.
    pub fn new(text: impl Into<String>) -> HostName {
        HostName(text.into())
    }

    /// Whether there is a name to compare with.
    pub fn is_given(&self) -> bool {
        !self.0.is_empty()
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, where the text is an IP literal and no name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Unix-domain socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SocketAddress {
    /// A socket file: `<directory>/.s.PGSQL.<port>`.
    Path(PathBuf),
    /// A name in Linux' abstract namespace, without the leading zero byte:
    /// `<directory>/.s.PGSQL.<port>`, where the user wrote `@<directory>`.
    Abstract(Vec<u8>),
}

impl SocketAddress {
    /// The socket of a server that listens on `port`, in a directory as `host` gives it.
    pub fn in_directory(directory: &str, port: u16) -> SocketAddress {
        match directory.strip_prefix('@') {
            Some(name) => SocketAddress::Abstract(format!("{name}/.s.PGSQL.{port}").into_bytes()),
            None => SocketAddress::Path(Path::new(directory).join(format!(".s.PGSQL.{port}"))),
        }
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketAddress::Path(path) => write!(f, "{}", path.display()),
            SocketAddress::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// How a host is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Unix-domain sockets, tried in order. More than one only where no host was named and the
    /// usual directories are tried.
    Sockets(Vec<SocketAddress>),
    /// An address that needs no look-up.
    Address(IpAddr),
    /// A name to look up.
    Name(String),
}

/// Where a password came from, so that a refusal can name the place to mend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PasswordSource {
    /// The connection string or the service file.
    Options,
    /// The variable `PGPASSWORD`.
    Environment,
    /// A line of a password file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
}

impl fmt::Display for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordSource::Options => f.write_str("the connection string"),
            PasswordSource::Environment => f.write_str("the environment variable PGPASSWORD"),
            PasswordSource::File { path, line } => {
                write!(f, "the password file {}, line {line}", path.display())
            }
        }
    }
}

/// One of the hosts to try.
#[derive(Clone, Debug)]
pub struct Host {
    /// What the user wrote as `host`; empty when there was only `hostaddr` or nothing.
    pub name: HostName,
    /// Where to dial.
    pub target: Target,
    /// TCP port, also part of the name of a socket file.
    pub port: u16,
    /// The password for this host, and where it was found.
    pub password: Option<(Secret, PasswordSource)>,
}

impl Host {
    /// Whether the connection goes over a Unix-domain socket, where TLS is never spoken.
    pub fn is_local(&self) -> bool {
        matches!(self.target, Target::Sockets(_))
    }
}

impl fmt::Display for Host {
    /// For messages: `host db1, port 5432` or `socket /tmp/.s.PGSQL.5432`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Sockets(sockets) => {
                f.write_str("socket ")?;
                for (index, socket) in sockets.iter().enumerate() {
                    if index > 0 {
                        f.write_str(" or ")?;
                    }
                    write!(f, "{socket}")?;
                }
                Ok(())
            }
            Target::Address(address) if self.name.is_given() && self.name.ip().is_none() => {
                write!(f, "host {} ({address}), port {}", self.name, self.port)
            }
            Target::Address(address) => write!(f, "host {address}, port {}", self.port),
            Target::Name(name) => write!(f, "host {name}, port {}", self.port),
        }
    }
}
