//! Ways to log in, and what the user allows of them.

use std::fmt;

/// A way of proving who one is, as `require_auth` names it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AuthMethod {
    /// The password in clear (also LDAP, PAM, RADIUS: the client cannot tell).
    Password,
    /// The old hash of password and salt.
    Md5,
    /// Kerberos; not supported here.
    Gss,
    /// Kerberos of Windows; not supported here.
    Sspi,
    /// SCRAM-SHA-256, with or without channel binding.
    ScramSha256,
    /// OAuth bearer tokens; not supported here.
    Oauth,
    /// No question asked: trust, peer, ident, client certificate.
    None,
}

impl AuthMethod {
    const ALL: [AuthMethod; 7] = [
        AuthMethod::Password,
        AuthMethod::Md5,
        AuthMethod::Gss,
        AuthMethod::Sspi,
        AuthMethod::ScramSha256,
        AuthMethod::Oauth,
        AuthMethod::None,
    ];

    /// The method of a word; libpq compares case-sensitively.
    pub fn from_word(word: &str) -> Option<AuthMethod> {
        Self::ALL.into_iter().find(|method| method.as_str() == word)
    }

    /// The word as libpq writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            AuthMethod::Password => "password",
            AuthMethod::Md5 => "md5",
            AuthMethod::Gss => "gss",
            AuthMethod::Sspi => "sspi",
            AuthMethod::ScramSha256 => "scram-sha-256",
            AuthMethod::Oauth => "oauth",
            AuthMethod::None => "none",
        }
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `channel_binding`: whether SCRAM is tied to the TLS connection beneath it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If both sides can.
    #[default]
    Prefer,
    /// Any login without it is refused.
    Require,
}

impl ChannelBinding {
    /// All words, for messages.
    pub const WORDS: &'static [&'static str] = &["disable", "prefer", "require"];

    /// The mode of a word; libpq compares case-sensitively.
    pub fn from_word(word: &str) -> Option<ChannelBinding> {
        match word {
            "disable" => Some(ChannelBinding::Disable),
            "prefer" => Some(ChannelBinding::Prefer),
            "require" => Some(ChannelBinding::Require),
            _ => None,
        }
    }

    /// The word as libpq writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            ChannelBinding::Disable => "disable",
            ChannelBinding::Prefer => "prefer",
            ChannelBinding::Require => "require",
        }
    }
}

impl fmt::Display for ChannelBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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

    /// Only these methods.
    pub fn only(methods: &[AuthMethod]) -> RequireAuth {
        let allowed = methods.iter().fold(0, |bits, method| bits | Self::bit(*method));
        let all = AuthMethod::ALL.iter().fold(0, |bits, method| bits | Self::bit(*method));
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
        let allowed: Vec<&str> = AuthMethod::ALL
            .into_iter()
            .filter(|method| self.allows(*method))
            .map(AuthMethod::as_str)
            .collect();
        f.write_str(&allowed.join(","))
    }
}
