//! What can go wrong with TLS, and what the operator can do about it.

use std::io;
use std::path::PathBuf;

use super::problem::CertificateProblem;
use crate::conninfo::SslMode;
use crate::wire::Retry;

/// Why there is no encrypted connection. Names files and parameters, never a key or a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// `verify-ca` and `verify-full` need a root to begin with.
    #[error("root certificate file {} does not exist, and sslmode={sslmode} needs it", path.display())]
    RootFileMissing {
        /// The file.
        path: PathBuf,
        /// The mode that needs it.
        sslmode: SslMode,
    },

    /// The default root file lies below a home directory, and there is none.
    #[error(
        "no home directory to look for .postgresql/root.crt in, and sslmode={sslmode} needs it"
    )]
    NoHome {
        /// The mode that needs it.
        sslmode: SslMode,
    },

    /// A file that must be readable is not.
    #[error("cannot read {what} {}", path.display())]
    Unreadable {
        /// `root certificate file`, `certificate file`, …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A file does not hold what its parameter promises.
    #[error("{what} {}: {reason}", path.display())]
    Malformed {
        /// `root certificate file`, `certificate file`, …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// `sslrootcert=system`, and the system has none.
    #[error("the system has no trusted root certificates: {reason}")]
    NoSystemRoots {
        /// What was found instead.
        reason: String,
    },

    /// `verify-full` compares the certificate with `host`.
    #[error("sslmode=verify-full needs a host name to compare the certificate with")]
    NoHostName,

    /// No version is left between the two.
    #[error(
        "ssl_min_protocol_version and ssl_max_protocol_version leave neither TLSv1.2 nor TLSv1.3"
    )]
    NoVersion,

    /// A certificate without its key proves nothing.
    #[error("certificate {} is there, but not its private key file {}", certificate.display(), key.display())]
    KeyMissing {
        /// The certificate file.
        certificate: PathBuf,
        /// Where the key was expected.
        key: PathBuf,
    },

    /// A device, a directory or a pipe.
    #[error("private key file {} is not a regular file", path.display())]
    KeyNotRegular {
        /// The key file.
        path: PathBuf,
    },

    /// Others could read the key.
    #[error("private key file {} has group or world access (mode {mode:04o})", path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Root's keys may be readable by a group.
        owned_by_root: bool,
    },

    /// An OpenSSL engine holds the key; there is no OpenSSL here.
    #[error("sslkey={name} names a key in an OpenSSL engine, which is not supported")]
    KeyInEngine {
        /// The value of `sslkey`.
        name: String,
    },

    /// Encrypted, and no `sslpassword`.
    #[error("private key file {} is encrypted, and no sslpassword was given", path.display())]
    KeyNeedsPassword {
        /// The key file.
        path: PathBuf,
    },

    /// The password does not decrypt it.
    #[error("sslpassword does not decrypt private key file {}", path.display())]
    KeyWrongPassword {
        /// The key file.
        path: PathBuf,
    },

    /// `Proc-Type: 4,ENCRYPTED`, or a PKCS#8 cipher that is too old.
    #[error("private key file {} is encrypted in a way not supported here ({scheme})", path.display())]
    KeyEncryption {
        /// The key file.
        path: PathBuf,
        /// How it is encrypted.
        scheme: String,
    },

    /// A kind of key that cannot be used.
    #[error("private key file {} cannot be used: {reason}", path.display())]
    KeyUnusable {
        /// The key file.
        path: PathBuf,
        /// Why.
        reason: String,
    },

    /// Two halves that do not belong together.
    #[error("certificate {} does not match private key file {}", certificate.display(), key.display())]
    KeyMismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },

    /// The server showed a certificate that must not be trusted.
    #[error("server certificate was refused; checked against: {root}")]
    Certificate {
        /// What it was checked against.
        root: String,
        /// What is wrong with it.
        source: CertificateProblem,
    },

    /// The other side ended the handshake or the connection.
    #[error("server ended TLS with alert {alert}")]
    Alert {
        /// The alert's name in the standard.
        alert: String,
    },

    /// Something that is not TLS, or an impossible offer.
    #[error("TLS handshake was not completed")]
    Protocol {
        /// What the TLS library says.
        source: rustls::Error,
    },

    /// An RSA-PSS key under TLS 1.2, which the library does not know how to combine.
    #[error(
        "the server has an RSA-PSS key, which can be used with TLS 1.3 only, and speaks TLS 1.2"
    )]
    KeyNeedsTls13,

    /// The socket broke.
    #[error("connection lost during the TLS handshake")]
    Lost {
        /// How.
        source: io::Error,
    },

    /// Without ALPN a direct connection might talk to another kind of server.
    #[error("direct TLS connection was established without the ALPN protocol postgresql")]
    NoAlpn,

    /// `sslcertmode=require` means that the server must ask.
    #[error("server did not request a certificate, and sslcertmode=require needs that")]
    CertificateNotRequested,

    /// `sslcertmode=require`, and there is nothing to show.
    #[error("server requested a certificate, sslcertmode=require, and there is none to show")]
    NoClientCertificate,
}

impl TlsError {
    /// Whether a new connection can help. Another server, or the same one after somebody
    /// renewed its certificate, may do better; the files on this side are read anew only by
    /// a new [`super::TlsClient`].
    pub fn retry(&self) -> Retry {
        match self {
            TlsError::Lost { .. } => Retry::AfterBackoff,
            TlsError::Certificate { .. }
            | TlsError::Alert { .. }
            | TlsError::Protocol { .. }
            | TlsError::KeyNeedsTls13
            | TlsError::NoAlpn
            | TlsError::CertificateNotRequested => Retry::Slowly,
            _ => Retry::Never,
        }
    }

    /// One sentence for the operator, if there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            TlsError::RootFileMissing { .. } | TlsError::NoHome { .. } => {
                "give the file with sslrootcert=<file>, use the system's trusted roots with \
                 sslrootcert=system, or lower sslmode to require, which checks no certificate"
            }
            TlsError::NoSystemRoots { .. } => {
                "install the package ca-certificates, or name a file in sslrootcert"
            }
            TlsError::NoHostName => "add host=<name> beside hostaddr, or use sslmode=verify-ca",
            TlsError::NoVersion => {
                "leave ssl_max_protocol_version out, or set it to TLSv1.2 or TLSv1.3"
            }
            TlsError::KeyMissing { .. } => {
                "put the key there, name it in sslkey, or set sslcertmode=disable"
            }
            TlsError::KeyExposed { path, owned_by_root, .. } => {
                let mode = if *owned_by_root { "0640" } else { "0600" };
                return Some(format!("chmod {mode} {}", path.display()));
            }
            TlsError::KeyInEngine { .. } => "keep the key in a file and name it in sslkey",
            TlsError::KeyNeedsPassword { .. } => {
                "add sslpassword=<password> to the connection string"
            }
            TlsError::KeyEncryption { path, .. } => {
                let path = path.display();
                return Some(format!(
                    "convert the key: openssl pkcs8 -topk8 -v2 aes-256-cbc -in {path} -out {path}.pk8"
                ));
            }
            TlsError::KeyUnusable { .. } => {
                "use an RSA key of 2048 bits or more, an EC key on P-256 or P-384, or an Ed25519 key"
            }
            TlsError::Certificate { source, .. } => return source.hint(),
            TlsError::Alert { alert } => return alert_hint(alert).map(str::to_owned),
            TlsError::Protocol { .. } => {
                "see whether host and port lead to a PostgreSQL server with ssl = on"
            }
            TlsError::KeyNeedsTls13 => {
                "let server and client speak TLSv1.3, or give the server an ordinary RSA key"
            }
            TlsError::NoAlpn => {
                "sslnegotiation=direct needs PostgreSQL 17 or later; use sslnegotiation=postgres"
            }
            TlsError::CertificateNotRequested => {
                "set ssl_ca_file on the server, or sslcertmode=allow here"
            }
            TlsError::NoClientCertificate => "name a certificate in sslcert and its key in sslkey",
            TlsError::Unreadable { .. }
            | TlsError::Malformed { .. }
            | TlsError::KeyNotRegular { .. }
            | TlsError::KeyWrongPassword { .. }
            | TlsError::KeyMismatch { .. }
            | TlsError::Lost { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// What the alerts that a PostgreSQL server sends mean to the client's administrator.
fn alert_hint(alert: &str) -> Option<&'static str> {
    match alert {
        "ProtocolVersion" => Some(
            "client and server share no version: TLSv1.2 and TLSv1.3 are spoken here, within \
             ssl_min_protocol_version and ssl_max_protocol_version; see the same settings of the server",
        ),
        "HandshakeFailure" => Some(
            "no cipher or signature in common: the server's key must be RSA of 2048 bits or more, EC on \
             P-256 or P-384, or Ed25519, and its ssl_ciphers must contain an ECDHE cipher with AES-GCM or ChaCha20",
        ),
        "UnknownCA" | "BadCertificate" | "CertificateUnknown" | "CertificateRevoked"
        | "CertificateExpired" | "DecryptError" => Some(
            "the server refuses the certificate in sslcert: compare it with ssl_ca_file and ssl_crl_file of the server",
        ),
        "CertificateRequired" => Some("name a certificate in sslcert and its key in sslkey"),
        "NoApplicationProtocol" => Some(
            "the server does not know the ALPN protocol postgresql: see whether host and port lead to PostgreSQL",
        ),
        _ => None,
    }
}
