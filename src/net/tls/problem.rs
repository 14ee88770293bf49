//! What is wrong with a server's certificate. Facts and their operands; knows no TLS.

/// Why a server's certificate must not be trusted.
///
/// `certificate` fields name a certificate by subject, issuer and serial number.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// Not a certificate at all.
    #[error("the certificate cannot be read: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },

    /// The chain leads nowhere.
    #[error("no trusted root leads to certificate {certificate}")]
    Untrusted {
        /// The first one whose issuer is unknown.
        certificate: String,
        /// It vouches for itself alone.
        self_signed: bool,
    },

    /// The issuer's key did not make this signature.
    #[error("certificate {certificate} bears a signature that its issuer did not make")]
    BadSignature {
        /// Which.
        certificate: String,
    },

    /// An algorithm that is weak or unknown.
    #[error("certificate {certificate} is signed with {algorithm}, which is not accepted")]
    SignatureAlgorithm {
        /// Which.
        certificate: String,
        /// Name or object identifier.
        algorithm: String,
    },

    /// A key that the handshake cannot use.
    #[error("the server's key is of a kind that is not supported ({algorithm})")]
    KeyAlgorithm {
        /// Name or object identifier.
        algorithm: String,
    },

    /// `notAfter` has passed.
    #[error("certificate {certificate} expired at {not_after}")]
    Expired {
        /// Which.
        certificate: String,
        /// Its last moment.
        not_after: String,
    },

    /// `notBefore` is yet to come.
    #[error("certificate {certificate} is not valid before {not_before}")]
    NotYetValid {
        /// Which.
        certificate: String,
        /// Its first moment.
        not_before: String,
    },

    /// Its issuer took it back.
    #[error("certificate {certificate} was revoked")]
    Revoked {
        /// Which.
        certificate: String,
    },

    /// Revocation lists are in use, and the issuer of this one has none.
    #[error("no revocation list of the issuer of certificate {certificate}")]
    NoRevocationList {
        /// Which.
        certificate: String,
    },

    /// A list that says nothing about today.
    #[error("the revocation list of {issuer} {why}")]
    StaleRevocationList {
        /// Who issued it.
        issuer: String,
        /// `expired at …` or `is not valid before …`.
        why: String,
    },

    /// A list that cannot be relied on.
    #[error("the revocation list of {issuer} cannot be used: {why}")]
    BadRevocationList {
        /// Who issued it.
        issuer: String,
        /// What is wrong.
        why: String,
    },

    /// Its extensions forbid this use.
    #[error("certificate {certificate} may not be used by a server: {why}")]
    Purpose {
        /// Which.
        certificate: String,
        /// The extension that forbids it.
        why: &'static str,
    },

    /// It signed another one and may not.
    #[error("certificate {certificate} may not sign other certificates: {why}")]
    NotAuthority {
        /// Which.
        certificate: String,
        /// The extension that forbids it.
        why: &'static str,
    },

    /// An extension that must be understood and is not.
    #[error("certificate {certificate} has an unknown critical extension {extension}")]
    CriticalExtension {
        /// Which.
        certificate: String,
        /// Its object identifier.
        extension: String,
    },

    /// Another server's certificate.
    #[error("the certificate is for {names}, not for host {host}")]
    WrongHost {
        /// What was connected to.
        host: String,
        /// The names it bears, or that it bears none.
        names: String,
    },

    /// The library's own words, where ours end.
    #[error("certificate {certificate} is not acceptable: {reason}")]
    Other {
        /// Which.
        certificate: String,
        /// What the library says.
        reason: String,
    },
}

impl CertificateProblem {
    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            CertificateProblem::Untrusted { self_signed: true, .. } => {
                "if this is the right server, put its certificate into the root certificate file"
            }
            CertificateProblem::Untrusted { .. } => {
                "put the certificate of the authority that signed it, down to the self-signed one, \
                 into the root certificate file"
            }
            CertificateProblem::Expired { .. } | CertificateProblem::NotYetValid { .. } => {
                "renew the certificate, or see whether the clock of this machine is right"
            }
            CertificateProblem::NoRevocationList { .. }
            | CertificateProblem::StaleRevocationList { .. }
            | CertificateProblem::BadRevocationList { .. } => {
                "fetch a current revocation list of every authority in the chain, or leave sslcrl \
                 and sslcrldir out (and remove ~/.postgresql/root.crl)"
            }
            CertificateProblem::WrongHost { .. } => {
                "connect by a name that the certificate bears, give the server a certificate for this \
                 one, or use sslmode=verify-ca"
            }
            CertificateProblem::SignatureAlgorithm { .. } => {
                "have the certificate signed with SHA-256 or better by an RSA key of 2048 bits or more, \
                 an EC key on P-256 or P-384, or an Ed25519 key"
            }
            CertificateProblem::KeyAlgorithm { .. } => {
                "give the server an RSA key of 2048 bits or more, an EC key on P-256 or P-384, or an \
                 Ed25519 key"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
