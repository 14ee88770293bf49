//! What a login is to be made with.

use std::fmt;

use zeroize::Zeroizing;

use super::LoginError;
use crate::wire::{AuthMethod, ChannelBinding, RequireAuth};

/// What carries the session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transport {
    /// A Unix-domain socket: not encrypted, and nobody on the way.
    Local,
    /// TCP without TLS.
    Clear,
    /// TLS.
    Tls {
        /// The hash of the server's certificate, `tls-server-end-point` of RFC 5929; `None`
        /// where the certificate's signature has no hash (Ed25519).
        end_point: Option<Vec<u8>>,
    },
}

/// Who logs in, with what, and by which rules.
#[derive(Clone)]
pub struct LoginOptions {
    /// The role.
    pub user: String,
    /// Its password; an empty one counts as none, as in libpq.
    pub password: Option<Zeroizing<Vec<u8>>>,
    /// The other startup parameters, such as `replication`, `database`, `application_name`,
    /// `options`.
    pub parameters: Vec<(String, String)>,
    /// What carries the session.
    pub transport: Transport,
    /// `channel_binding`.
    pub channel_binding: ChannelBinding,
    /// `require_auth`.
    pub require_auth: RequireAuth,
}

impl LoginOptions {
    /// The password, which `method` needs.
    pub(super) fn password(&self, method: AuthMethod) -> Result<&[u8], LoginError> {
        match &self.password {
            Some(password) if !password.is_empty() => Ok(password),
            _ => Err(LoginError::NoPassword { method }),
        }
    }
}

impl fmt::Debug for LoginOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginOptions")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| format_args!("***")))
            .field("transport", &self.transport)
            .field("channel_binding", &self.channel_binding)
            .field("require_auth", &self.require_auth)
            .finish_non_exhaustive()
    }
}
