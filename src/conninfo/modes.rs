//! The words that options choose from, as types.

use std::fmt;

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
    /// `channel_binding`: whether SCRAM is tied to the TLS connection beneath it.
    ChannelBindingMode {
        /// Never.
        Disable = "disable",
        /// If both sides can; the default.
        Prefer = "prefer",
        /// Any login without it is refused.
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

words! {
    /// A way of proving who one is, as `require_auth` names it.
    AuthMethod {
        /// The password in clear (also LDAP, PAM, RADIUS: the client cannot tell).
        Password = "password",
        /// The old hash of password and salt.
        Md5 = "md5",
        /// Kerberos; not supported here.
        Gss = "gss",
        /// Kerberos of Windows; not supported here.
        Sspi = "sspi",
        /// SCRAM-SHA-256, with or without channel binding.
        ScramSha256 = "scram-sha-256",
        /// OAuth bearer tokens; not supported here.
        Oauth = "oauth",
        /// No question asked: trust, peer, ident, client certificate.
        None = "none",
    }
}

/// `require_auth`: the ways of logging in that the user agrees to.
///
/// Checked before anything secret is sent: a server that asks for the password in clear gets
/// nothing when the user wrote `scram-sha-256`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RequireAuth {
    /// One bit per refused method; no bits: all are allowed.
    refused: u8,
}

impl RequireAuth {
    /// Every method is welcome: the option was not given.
    pub const ANY: RequireAuth = RequireAuth { refused: 0 };

    const ALL: [AuthMethod; 7] = [
        AuthMethod::Password,
        AuthMethod::Md5,
        AuthMethod::Gss,
        AuthMethod::Sspi,
        AuthMethod::ScramSha256,
        AuthMethod::Oauth,
        AuthMethod::None,
    ];

    /// Only these methods.
    pub fn only(methods: &[AuthMethod]) -> RequireAuth {
        let allowed = methods.iter().fold(0, |bits, method| bits | Self::bit(*method));
        let all = Self::ALL.iter().fold(0, |bits, method| bits | Self::bit(*method));
        RequireAuth { refused: all & !allowed }
    }

    /// Every method but these.
    pub fn except(methods: &[AuthMethod]) -> RequireAuth {
        RequireAuth { refused: methods.iter().fold(0, |bits, method| bits | Self::bit(*method)) }
    }

    /// Reads the comma list of the option: either all names are preceded by `!` or none is.
    ///
    /// # Errors
    /// The reason, as a phrase that follows "the value of require_auth".
    pub fn parse(text: &str) -> Result<RequireAuth, &'static str> {
        let mut methods = Vec::new();
        let mut negative = None;
        for item in text.split(',') {
            let (is_negative, word) = match item.strip_prefix('!') {
                Some(word) => (true, word),
                None => (false, item),
            };
            if *negative.get_or_insert(is_negative) != is_negative {
                return Err("mixes methods with and without an exclamation mark");
            }
            let method = AuthMethod::from_word(word).ok_or("names an unknown method")?;
            if methods.contains(&method) {
                return Err("names a method twice");
            }
            methods.push(method);
        }
        Ok(if negative == Some(true) { Self::except(&methods) } else { Self::only(&methods) })
    }

    /// Whether the user agrees to this method.
    pub fn allows(self, method: AuthMethod) -> bool {
        self.refused & Self::bit(method) == 0
    }

    /// Whether any method that Tapster knows is left.
    pub fn leaves_a_supported_method(self) -> bool {
        [AuthMethod::Password, AuthMethod::Md5, AuthMethod::ScramSha256, AuthMethod::None]
            .into_iter()
            .any(|method| self.allows(method))
    }

    fn bit(method: AuthMethod) -> u8 {
        1 << method as u8
    }
}

impl fmt::Display for RequireAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed: Vec<&str> = Self::ALL
            .into_iter()
            .filter(|method| self.allows(*method))
            .map(AuthMethod::as_str)
            .collect();
        f.write_str(&allowed.join(","))
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
