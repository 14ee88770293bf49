//! The words that options choose from, as types.

use std::fmt;

pub use crate::wire::{AuthMethod, ChannelBinding as ChannelBindingMode, RequireAuth};

/// Declares an enum whose variants are words of a connection option.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All words, for messages.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The variant of a word; libpq compares case-sensitively.
            pub fn from_word(word: &str) -> Option<$name> {
                match word {
                    $($word => Some($name::$variant),)+
                    _ => None,
                }
            }

            /// The word as libpq writes it.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// `sslmode`: how much TLS is wanted, weakest first, so that modes can be compared.
    SslMode {
        /// Never.
        Disable = "disable",
        /// Only where the server refuses a login in clear.
        Allow = "allow",
        /// If the server can; the default.
        Prefer = "prefer",
        /// Always; the certificate is checked only where a root certificate file exists.
        Require = "require",
        /// Always; the certificate must lead to a trusted root.
        VerifyCa = "verify-ca",
        /// The same, and it must be made out to the host that was asked for.
        VerifyFull = "verify-full",
    }
}

words! {
    /// `sslnegotiation`: how TLS begins.
    SslNegotiation {
        /// The server is asked first (SSLRequest); the default.
        Postgres = "postgres",
        /// The handshake is the first thing sent (servers of 17 and later).
        Direct = "direct",
    }
}

words! {
    /// `sslcertmode`: whether a client certificate is sent.
    SslCertMode {
        /// Never, though one is there.
        Disable = "disable",
        /// If the server asks and one is there; the default.
        Allow = "allow",
        /// The server must ask for one.
        Require = "require",
    }
}

words! {
    /// `target_session_attrs`: which of several servers will do.
    TargetSessionAttrs {
        /// Any that answers; the default.
        Any = "any",
        /// One that accepts writes.
        ReadWrite = "read-write",
        /// One that does not.
        ReadOnly = "read-only",
        /// One that is not in recovery.
        Primary = "primary",
        /// One that is.
        Standby = "standby",
        /// One in recovery if there is any, else any.
        PreferStandby = "prefer-standby",
    }
}

words! {
    /// `load_balance_hosts`: the order in which hosts and their addresses are tried.
    LoadBalanceHosts {
        /// As written; the default.
        Disable = "disable",
        /// Shuffled anew for each connection.
        Random = "random",
    }
}

/// A TLS version, for `ssl_min_protocol_version` and `ssl_max_protocol_version`.
///
/// TLS 1.0 and 1.1 are broken and not spoken here: as a minimum they mean 1.2, as a maximum
/// they are refused.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    /// TLS 1.0; only ever a minimum.
    V1_0,
    /// TLS 1.1; only ever a minimum.
    V1_1,
    /// TLS 1.2, the default minimum.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl TlsVersion {
    /// Reads `TLSv1`, `TLSv1.1`, `TLSv1.2`, `TLSv1.3`, in any case, as libpq does.
    pub fn from_word(word: &str) -> Option<TlsVersion> {
        match word.to_ascii_lowercase().as_str() {
            "tlsv1" => Some(TlsVersion::V1_0),
            "tlsv1.1" => Some(TlsVersion::V1_1),
            "tlsv1.2" => Some(TlsVersion::V1_2),
            "tlsv1.3" => Some(TlsVersion::V1_3),
            _ => None,
        }
    }
}
