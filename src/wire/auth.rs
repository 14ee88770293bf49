//! Ways to log in, and what the user allows of them.

use std::fmt;
use std::str::FromStr;

/// A way in which a server can make sure who we are, by the names of `require_auth`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthMethod {
    /// The server asked for nothing: trust, peer, ident, or a client certificate.
    None,
    /// The password itself.
    Password,
    /// Its md5 hash.
    Md5,
    /// SCRAM-SHA-256, with or without channel binding.
    ScramSha256,
    /// Kerberos. Cannot be done.
    Gss,
    /// Windows. Cannot be done.
    Sspi,
    /// OAuth tokens. Cannot be done.
    OAuth,
}

impl AuthMethod {
    const ALL: [AuthMethod; 7] = [
        AuthMethod::None,
        AuthMethod::Password,
        AuthMethod::Md5,
        AuthMethod::ScramSha256,
        AuthMethod::Gss,
        AuthMethod::Sspi,
        AuthMethod::OAuth,
    ];

    /// Its name in `require_auth`.
    pub fn name(self) -> &'static str {
        match self {
            AuthMethod::None => "none",
            AuthMethod::Password => "password",
            AuthMethod::Md5 => "md5",
            AuthMethod::ScramSha256 => "scram-sha-256",
            AuthMethod::Gss => "gss",
            AuthMethod::Sspi => "sspi",
            AuthMethod::OAuth => "oauth",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The methods that the user allows: `require_auth`, by libpq's rules. All, by default.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequireAuth {
    allowed: u8,
    /// As the user wrote it, for messages.
    text: String,
}

impl RequireAuth {
    /// Whether the method may be used.
    pub fn allows(&self, method: AuthMethod) -> bool {
        self.allowed & method.bit() != 0
    }
}

impl Default for RequireAuth {
    fn default() -> RequireAuth {
        RequireAuth { allowed: u8::MAX, text: String::new() }
    }
}

impl fmt::Display for RequireAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A value of `require_auth` or `channel_binding` that libpq would refuse too.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseAuthError {
    /// Not a method.
    #[error("require_auth has no method {0:?}")]
    UnknownMethod(String),
    /// Twice the same.
    #[error("require_auth names {0} more than once")]
    Twice(AuthMethod),
    /// `!` at some methods, not at others.
    #[error("require_auth must negate all methods or none, not only some: {0:?}")]
    Mixed(String),
    /// Not a mode.
    #[error("channel_binding cannot be {0:?}; expected disable, prefer or require")]
    ChannelBinding(String),
}

impl FromStr for RequireAuth {
    type Err = ParseAuthError;

    /// A comma-separated list of methods, either all or none of them with a `!` before.
    fn from_str(text: &str) -> Result<RequireAuth, ParseAuthError> {
        if text.is_empty() {
            return Ok(RequireAuth::default());
        }
        let negated = text.trim_start().starts_with('!');
        let mut named = 0;
        for item in text.split(',').map(str::trim) {
            if item.starts_with('!') != negated {
                return Err(ParseAuthError::Mixed(text.to_owned()));
            }
            let name = item.strip_prefix('!').unwrap_or(item);
            let method = AuthMethod::ALL
                .into_iter()
                .find(|method| method.name() == name)
                .ok_or_else(|| ParseAuthError::UnknownMethod(name.to_owned()))?;
            if named & method.bit() != 0 {
                return Err(ParseAuthError::Twice(method));
            }
            named |= method.bit();
        }
        let allowed = if negated { !named } else { named };
        Ok(RequireAuth { allowed, text: text.to_owned() })
    }
}

/// Whether a SCRAM exchange is tied to the TLS connection it runs in: `channel_binding`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where both sides can.
    #[default]
    Prefer,
    /// Always: no other way to log in is accepted.
    Require,
}

impl FromStr for ChannelBinding {
    type Err = ParseAuthError;

    fn from_str(text: &str) -> Result<ChannelBinding, ParseAuthError> {
        match text {
            "disable" => Ok(ChannelBinding::Disable),
            "prefer" => Ok(ChannelBinding::Prefer),
            "require" => Ok(ChannelBinding::Require),
            _ => Err(ParseAuthError::ChannelBinding(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_allows_what_it_names_and_a_negated_list_all_the_rest() {
        let only: RequireAuth = "scram-sha-256,none".parse().expect("a list");
        assert!(only.allows(AuthMethod::ScramSha256) && only.allows(AuthMethod::None));
        assert!(!only.allows(AuthMethod::Md5) && !only.allows(AuthMethod::Password));
        let not: RequireAuth = "!password, !md5".parse().expect("a list");
        assert!(not.allows(AuthMethod::ScramSha256) && not.allows(AuthMethod::None));
        assert!(!not.allows(AuthMethod::Md5) && !not.allows(AuthMethod::Password));
        let all: RequireAuth = "".parse().expect("empty");
        assert!(AuthMethod::ALL.into_iter().all(|method| all.allows(method)));
    }

    #[test]
    fn a_list_that_libpq_refuses_is_refused() {
        for text in ["md5,!none", "!md5,none", "md5,md5", "krb5", "md5,", "!", "!!md5"] {
            assert!(text.parse::<RequireAuth>().is_err(), "{text:?} was accepted");
        }
        assert!("Require".parse::<ChannelBinding>().is_err());
    }
}
