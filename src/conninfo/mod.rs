//! Connection strings, environment, password and service files, by libpq's rules.
//!
//! Text goes in, [`ConnectOptions`] come out, resolved to the last default, so that nothing later
//! has to ask the environment again. Knows no network, and reaches files and variables only
//! through [`Environment`], so that a test describes a machine instead of changing one.
//!
//! Source of the rules: PostgreSQL manual, "Database Connection Control Functions" (strings and
//! keywords), "Environment Variables", "The Password File", "The Connection Service File".

mod options;
mod modes;
mod hosts;
mod hosts_list;
mod keyword;
mod settings;
mod keyword_value;
mod uri;
mod service;
mod passfile;
mod resolve;
mod unsupported;
mod environment;
mod secret;
mod error;

#[cfg(test)]
mod tests;

pub use environment::{Environment, RealEnvironment, SourceFile};
pub use error::{ConninfoError, Origin};
pub use hosts::{Host, HostName, PasswordSource, SocketAddress, Target};
pub use keyword::Keyword;
pub use modes::{
    AuthMethod, ChannelBindingMode, LoadBalanceHosts, RequireAuth, SslCertMode, SslMode,
    SslNegotiation, TargetSessionAttrs, TlsVersion,
};
pub use options::{ConnectOptions, FileOption, Keepalives, Purpose, RootCertificates, TlsOptions};
pub use secret::Secret;
