//! What the user asked of TLS: the `ssl*` connection parameters, resolved. Knows no files.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Everything that decides whether and how a connection is encrypted.
///
/// One field a connection parameter, under libpq's name. Paths are taken as they are;
/// `None` stands for libpq's default file below `~/.postgresql`.
/// Source: PostgreSQL manual, "Parameter Key Words" and "SSL Support" of libpq.
#[derive(Clone)]
pub struct TlsOptions {
    /// Whether to encrypt, and how much of the server's certificate to check.
    pub sslmode: SslMode,
    /// Whether to ask first or to begin with the handshake.
    pub sslnegotiation: SslNegotiation,
    /// Where the trusted root certificates are.
    pub sslrootcert: RootCertificates,
    /// File of revoked certificates; default `~/.postgresql/root.crl`, which may be missing.
    pub sslcrl: Option<PathBuf>,
    /// Directory of revocation lists under hashed names (`openssl rehash`).
    pub sslcrldir: Option<PathBuf>,
    /// The client's certificate chain; default `~/.postgresql/postgresql.crt`.
    pub sslcert: Option<PathBuf>,
    /// The client's private key; default `~/.postgresql/postgresql.key`.
    pub sslkey: Option<PathBuf>,
    /// What decrypts an encrypted private key.
    pub sslpassword: Option<Zeroizing<String>>,
    /// Whether to show a client certificate.
    pub sslcertmode: SslCertMode,
    /// Whether the handshake names the host in clear (SNI).
    pub sslsni: bool,
    /// The oldest version to speak; `None` is TLS 1.2.
    pub ssl_min_protocol_version: Option<TlsVersion>,
    /// The newest version to speak; `None` is the newest there is.
    pub ssl_max_protocol_version: Option<TlsVersion>,
    /// The home directory, for the default files; `None` when there is none.
    pub home: Option<PathBuf>,
}

impl Default for TlsOptions {
    /// libpq's defaults, without a home directory.
    fn default() -> TlsOptions {
        TlsOptions {
            sslmode: SslMode::Prefer,
            sslnegotiation: SslNegotiation::Postgres,
            sslrootcert: RootCertificates::DefaultFile,
            sslcrl: None,
            sslcrldir: None,
            sslcert: None,
            sslkey: None,
            sslpassword: None,
            sslcertmode: SslCertMode::Allow,
            sslsni: true,
            ssl_min_protocol_version: None,
            ssl_max_protocol_version: None,
            home: None,
        }
    }
}

impl TlsOptions {
    /// `~/.postgresql/<name>`, where libpq looks for what no parameter names.
    pub(super) fn default_file(&self, name: &str) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(".postgresql").join(name))
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("sslmode", &self.sslmode)
            .field("sslnegotiation", &self.sslnegotiation)
            .field("sslrootcert", &self.sslrootcert)
            .field("sslcrl", &self.sslcrl)
            .field("sslcrldir", &self.sslcrldir)
            .field("sslcert", &self.sslcert)
            .field("sslkey", &self.sslkey)
            .field("sslpassword", &self.sslpassword.as_ref().map(|_| "***"))
            .field("sslcertmode", &self.sslcertmode)
            .field("sslsni", &self.sslsni)
            .field("ssl_min_protocol_version", &self.ssl_min_protocol_version)
            .field("ssl_max_protocol_version", &self.ssl_max_protocol_version)
            .field("home", &self.home)
            .finish()
    }
}

/// Where trust begins (`sslrootcert`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum RootCertificates {
    /// `~/.postgresql/root.crt`.
    #[default]
    DefaultFile,
    /// The operating system's store (`sslrootcert=system`); needs `verify-full`.
    System,
    /// A PEM file with one or more certificates.
    File(PathBuf),
}

/// A word that stands for none of the values of its parameter.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid {parameter} value {value:?}; expected one of {expected}")]
pub struct UnknownValue {
    /// The connection parameter.
    pub parameter: &'static str,
    /// What was written.
    pub value: String,
    /// What may be written.
    pub expected: &'static str,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $parameter:literal, $expected:literal,
     { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The word as it stands in a connection string.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownValue;

            fn from_str(text: &str) -> Result<$name, UnknownValue> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err(UnknownValue {
                        parameter: $parameter,
                        value: text.to_owned(),
                        expected: $expected,
                    }),
                }
            }
        }
    };
}

words! {
    /// How much protection a connection must have (`sslmode`), weakest first.
    SslMode, "sslmode", "disable, allow, prefer, require, verify-ca, verify-full", {
        /// Never encrypt.
        Disable = "disable",
        /// Encrypt only after the server refused a clear connection.
        Allow = "allow",
        /// Encrypt if the server can.
        Prefer = "prefer",
        /// Encrypt; check the chain only when a root certificate file exists.
        Require = "require",
        /// Encrypt; the chain must lead to a trusted root.
        VerifyCa = "verify-ca",
        /// The same, and the certificate must name the host.
        VerifyFull = "verify-full",
    }
}

words! {
    /// How encryption begins (`sslnegotiation`).
    SslNegotiation, "sslnegotiation", "postgres, direct", {
        /// Ask with an SSLRequest message first; any server understands it.
        Postgres = "postgres",
        /// Begin with the TLS handshake; servers from version 17 on.
        Direct = "direct",
    }
}

words! {
    /// Whether the client shows a certificate (`sslcertmode`).
    SslCertMode, "sslcertmode", "disable, allow, require", {
        /// Never, though one be there.
        Disable = "disable",
        /// When the server asks and one is there.
        Allow = "allow",
        /// The server must ask for one.
        Require = "require",
    }
}

words! {
    /// A version of the TLS protocol.
    TlsVersion, "ssl_min_protocol_version or ssl_max_protocol_version", "TLSv1, TLSv1.1, TLSv1.2, TLSv1.3", {
        /// TLS 1.0, which nothing here speaks any more.
        V1 = "TLSv1",
        /// TLS 1.1, the same.
        V1_1 = "TLSv1.1",
        /// TLS 1.2.
        V1_2 = "TLSv1.2",
        /// TLS 1.3.
        V1_3 = "TLSv1.3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_as_itself_and_others_are_refused_by_name() {
        for word in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
            assert_eq!(word.parse::<SslMode>().unwrap().to_string(), word);
        }
        for word in ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] {
            assert_eq!(word.parse::<TlsVersion>().unwrap().to_string(), word);
        }
        let refused = "verify".parse::<SslMode>().unwrap_err().to_string();
        assert!(refused.contains("sslmode") && refused.contains("verify-full"), "{refused}");
        assert!("Require".parse::<SslMode>().is_err());
    }

    #[test]
    fn the_password_of_the_key_is_not_in_the_debug_form() {
        let options =
            TlsOptions { sslpassword: Some("hunter2".to_owned().into()), ..Default::default() };
        let text = format!("{options:?}");
        assert!(text.contains("***") && !text.contains("hunter2"), "{text}");
    }
}
