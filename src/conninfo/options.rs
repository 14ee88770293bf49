//! What a connection string comes to in the end.

use std::path::PathBuf;
use std::time::Duration;

use super::{
    ChannelBindingMode, Environment, Host, LoadBalanceHosts, RequireAuth, Secret, SslCertMode,
    SslMode, SslNegotiation, TargetSessionAttrs, TlsVersion,
};
use super::{ConninfoError, resolve};

/// What the connection is for: it decides which lines of the password file fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A walsender: no database; password-file lines for the word `replication` fit.
    Replication,
    /// Ordinary SQL in a database.
    Sql,
}

/// Everything that is needed to connect, with every default filled in.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// What the connection is for.
    pub purpose: Purpose,
    /// The hosts to try, in the order written. Never empty.
    pub hosts: Vec<Host>,
    /// Whether hosts and addresses are shuffled.
    pub load_balance_hosts: LoadBalanceHosts,
    /// Which of the hosts will do.
    pub target_session_attrs: TargetSessionAttrs,
    /// The role to log in as.
    pub user: String,
    /// The database, by default the one named like the user. Not sent on replication connections.
    pub dbname: String,
    /// The ways of logging in that the user agrees to.
    pub require_auth: RequireAuth,
    /// Whether SCRAM must be bound to TLS.
    pub channel_binding: ChannelBindingMode,
    /// The longest time for one address, from the first packet to the end of the login; `None`: no limit.
    pub connect_timeout: Option<Duration>,
    /// Settings for the server process, in the form of its command line (`-c name=value`).
    pub server_options: Option<String>,
    /// What the user wants the session to be called.
    pub application_name: Option<String>,
    /// What it is called otherwise.
    pub fallback_application_name: Option<String>,
    /// TCP keepalives.
    pub keepalives: Keepalives,
    /// How long sent bytes may stay unacknowledged (Linux, TCP only); `None`: the system's default.
    pub tcp_user_timeout: Option<Duration>,
    /// The operating system user that must own the server behind a Unix-domain socket.
    pub require_peer: Option<String>,
    /// TLS.
    pub tls: TlsOptions,
    /// Oddities that the user should hear of once: a password file that was ignored, an option
    /// without effect.
    pub warnings: Vec<String>,
}

impl ConnectOptions {
    /// Works a connection string out, either form, with what the environment adds to it.
    ///
    /// Order of precedence: the string, the service file, the environment, the default.
    ///
    /// # Errors
    /// Names the option and the place where the unacceptable text stands; never shows a secret.
    pub fn resolve(
        text: &str,
        purpose: Purpose,
        environment: &dyn Environment,
    ) -> Result<ConnectOptions, ConninfoError> {
        resolve::resolve(text, purpose, environment)
    }

    /// The name that the session reports to the server: the user's, else `default`.
    pub fn application_name_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.application_name
            .as_deref()
            .or(self.fallback_application_name.as_deref())
            .unwrap_or(default)
    }
}

/// TCP keepalive settings; `None` leaves a value to the system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keepalives {
    /// Whether probes are sent at all.
    pub enabled: bool,
    /// Silence before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Unanswered probes before the connection is given up.
    pub count: Option<u32>,
}

/// A file that an option names, or that stands where libpq looks by default.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileOption {
    /// Where it is, if it is there.
    pub path: PathBuf,
    /// Whether the user named it: then it should exist.
    pub given: bool,
}

/// `sslrootcert`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RootCertificates {
    /// The system's store of trusted certificates (`system`).
    System,
    /// A file of PEM certificates. With `given: false`, `~/.postgresql/root.crt`.
    File(FileOption),
    /// No file named and no home directory to look in.
    Nowhere,
}

/// The ssl options, all resolved. See [`SslMode`] for what the modes mean.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// `sslmode`. With a root certificate file in place, `require` means `verify-ca`; that rule
    /// is left to the TLS code, which sees the file.
    pub mode: SslMode,
    /// `sslnegotiation`; direct only with `require` or stronger.
    pub negotiation: SslNegotiation,
    /// `sslrootcert`.
    pub root_certificates: RootCertificates,
    /// `sslcrl`, by default `~/.postgresql/root.crl` unless `sslcrldir` is given.
    pub crl: Option<FileOption>,
    /// `sslcrldir`: a directory of hashed CRL files.
    pub crl_directory: Option<PathBuf>,
    /// `sslcert`, by default `~/.postgresql/postgresql.crt`.
    pub certificate: Option<FileOption>,
    /// `sslkey`, by default `~/.postgresql/postgresql.key`.
    pub key: Option<FileOption>,
    /// `sslpassword`, for an encrypted key.
    pub key_password: Option<Secret>,
    /// `sslcertmode`.
    pub certificate_mode: SslCertMode,
    /// `sslsni`: whether the host's name is sent in clear in the handshake.
    pub sni: bool,
    /// `ssl_min_protocol_version`.
    pub min_version: TlsVersion,
    /// `ssl_max_protocol_version`.
    pub max_version: Option<TlsVersion>,
}
