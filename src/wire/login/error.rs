//! Why a login did not succeed by our own rules.

use crate::wire::{AuthMethod, Retry, ServerVersion};

/// A login that our side ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// A method that cannot be done here.
    #[error("server asks for {what} authentication, which tapster does not know")]
    Unsupported {
        /// Its name.
        what: &'static str,
    },

    /// A demand that no version documents.
    #[error("server asks for authentication of the unknown kind {code}")]
    UnknownDemand {
        /// Its code.
        code: i32,
    },

    /// No mechanism in common.
    #[error("server offers the SASL mechanisms {offered}; tapster knows SCRAM-SHA-256")]
    NoMechanism {
        /// What it offers.
        offered: String,
    },

    /// The user's `require_auth` excludes what the server wants.
    #[error("server wants the authentication method {method}; require_auth is {required}")]
    NotAllowed {
        /// What the server wants.
        method: AuthMethod,
        /// What the user wrote.
        required: String,
    },

    /// The user wants channel binding and the server cannot or will not.
    #[error(
        "channel binding is required, but the server's authentication ({method}) goes without it"
    )]
    NotBound {
        /// What the server wants instead.
        method: AuthMethod,
    },

    /// The user wants channel binding and this connection has nothing to bind to.
    #[error("channel binding is required, but {reason}")]
    CannotBind {
        /// Why not.
        reason: &'static str,
    },

    /// A downgrade: binding is offered where there is nothing to bind to.
    #[error("server offers SCRAM-SHA-256-PLUS on a connection without TLS")]
    PlusWithoutTls,

    /// There is no password to answer with.
    #[error("server asks for a password ({method}), and none is given")]
    NoPassword {
        /// What it is needed for.
        method: AuthMethod,
    },

    /// The server's message does not follow RFC 5802.
    #[error("SCRAM message of the server is malformed: {what}")]
    Scram {
        /// In which way.
        what: String,
    },

    /// A count that would cost more time than a login is worth: perhaps an attack.
    #[error("server wants {count} iterations of SCRAM; at most {max} are accepted")]
    TooManyIterations {
        /// What it wants.
        count: u64,
        /// The bound.
        max: u64,
    },

    /// It does not know the password: an impostor, or a very broken proxy.
    #[error("server did not prove that it knows the password")]
    ServerNotVerified,

    /// It speaks no protocol that we do.
    #[error("server speaks protocol {}.{} at most", .newest >> 16, .newest & 0xFFFF)]
    Protocol {
        /// 0x00020000 is 2.0.
        newest: u32,
    },

    /// It does not say what it is.
    #[error("server did not report server_version")]
    NoVersion,

    /// Before version 10.
    #[error("server version is {version}; tapster works with 10 and later")]
    TooOld {
        /// What it is.
        version: ServerVersion,
    },

    /// A build that no supported version offers.
    #[error("server counts time in floating point (integer_datetimes is off)")]
    FloatDatetimes,

    /// It could not start a process for us.
    #[error("server refused before the session began: {text}")]
    RefusedEarly {
        /// What it said.
        text: String,
    },
}

impl LoginError {
    /// Whether a new connection can help.
    pub fn retry(&self) -> Retry {
        match self {
            LoginError::RefusedEarly { .. } => Retry::AfterBackoff,
            // The server's configuration may change; ours cannot while we run.
            LoginError::NotAllowed { .. }
            | LoginError::NotBound { .. }
            | LoginError::ServerNotVerified
            | LoginError::TooOld { .. } => Retry::Slowly,
            _ => Retry::Never,
        }
    }

    /// One sentence for the operator.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            LoginError::Unsupported { .. } | LoginError::UnknownDemand { .. } => {
                "use scram-sha-256 or a client certificate for this role in pg_hba.conf"
            }
            LoginError::NoMechanism { .. } => "use scram-sha-256 for this role in pg_hba.conf",
            LoginError::NoPassword { .. } => {
                "put the password into the passfile (~/.pgpass) of the user that runs tapster"
            }
            LoginError::TooManyIterations { .. } => {
                "lower scram_iterations on the server and set the role's password again"
            }
            LoginError::NotBound { .. } | LoginError::CannotBind { .. } => {
                "connect with TLS to a server of version 11 or later, or set \
                 channel_binding=prefer"
            }
            LoginError::ServerNotVerified => {
                "check that host and port lead to the right server, and that nobody stands between"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
