//! The client's certificate and private key, by libpq's rules for the files.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pkcs8::EncryptedPrivateKeyInfo;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};
use zeroize::Zeroizing;

use super::error::TlsError;
use super::trust_files::{certificates_in, read_if_there};
use crate::conninfo::{FileOption, Secret, SslCertMode, TlsOptions};

const CERTIFICATE_FILE: &str = "certificate file";
const KEY_FILE: &str = "private key file";

/// Loads what `sslcert` and `sslkey` (or the default files) hold. No certificate file: no
/// client certificate, which is an error only if the server insists. No key for it: an error.
pub(super) fn load(
    options: &TlsOptions,
    provider: &CryptoProvider,
) -> Result<Option<Arc<CertifiedKey>>, TlsError> {
    if options.certificate_mode == SslCertMode::Disable {
        return Ok(None);
    }
    let Some(FileOption { path, given }) = &options.certificate else { return Ok(None) };
    let Some(pem) = read_if_there(CERTIFICATE_FILE, path)? else {
        if *given {
            tracing::warn!(
                "{CERTIFICATE_FILE} {} does not exist: none will be shown",
                path.display()
            );
        }
        return Ok(None);
    };
    let chain = certificates_in(&pem).map_err(|reason| TlsError::Malformed {
        what: CERTIFICATE_FILE,
        path: path.clone(),
        reason,
    })?;
    let key_path = key_path(options, path)?;
    let key = load_key(&key_path, path, options.key_password.as_ref())?;
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(pair) => Ok(Some(Arc::new(pair))),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(TlsError::KeyMismatch { certificate: path.clone(), key: key_path })
        }
        Err(Error::InvalidCertificate(problem)) => Err(TlsError::Malformed {
            what: CERTIFICATE_FILE,
            path: path.clone(),
            reason: problem.to_string(),
        }),
        Err(_) => Err(TlsError::KeyUnusable {
            path: key_path,
            reason: "it is malformed or of a kind that is not supported".to_owned(),
        }),
    }
}

fn key_path(options: &TlsOptions, certificate: &Path) -> Result<PathBuf, TlsError> {
    match &options.key {
        // libpq: anything with a colon is "engine:key".
        Some(FileOption { path, given: true }) if path.to_string_lossy().contains(':') => {
            Err(TlsError::KeyInEngine { name: path.to_string_lossy().into_owned() })
        }
        Some(FileOption { path, .. }) => Ok(path.clone()),
        None => Err(TlsError::KeyMissing {
            certificate: certificate.to_owned(),
            key: PathBuf::from("~/.postgresql/postgresql.key"),
        }),
    }
}

fn load_key(
    path: &Path,
    certificate: &Path,
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let unreadable =
        |source| TlsError::Unreadable { what: KEY_FILE, path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(TlsError::KeyMissing {
                certificate: certificate.to_owned(),
                key: path.to_owned(),
            });
        }
        Err(error) => return Err(unreadable(error)),
    };
    check_exposure(path, &metadata)?;
    let bytes = Zeroizing::new(fs::read(path).map_err(unreadable)?);
    parse_key(path, &bytes, password)
}

/// A regular file, 0600 or stricter; if it belongs to root, 0640 or stricter.
fn check_exposure(path: &Path, metadata: &Metadata) -> Result<(), TlsError> {
    if !metadata.is_file() {
        return Err(TlsError::KeyNotRegular { path: path.to_owned() });
    }
    let owned_by_root = metadata.uid() == 0;
    let mode = metadata.mode() & 0o7777;
    let forbidden = if owned_by_root { 0o037 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(TlsError::KeyExposed { path: path.to_owned(), mode, owned_by_root });
    }
    Ok(())
}

/// PEM (PKCS #8, PKCS #1, SEC 1, encrypted PKCS #8) or plain DER.
fn parse_key(
    path: &Path,
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let encryption =
        |scheme: &str| TlsError::KeyEncryption { path: path.to_owned(), scheme: scheme.to_owned() };
    if let Some(body) = pem_body(bytes, "ENCRYPTED PRIVATE KEY") {
        let text: Zeroizing<Vec<u8>> = Zeroizing::new(
            body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect(),
        );
        let der = BASE64_STANDARD.decode(&*text).map_err(|_| malformed(path))?;
        return decrypt(path, &der, password);
    }
    if !contains(bytes, b"-----BEGIN ") {
        // OpenSSL tries PEM first and DER next.
        if EncryptedPrivateKeyInfo::try_from(bytes).is_ok() {
            return decrypt(path, bytes, password);
        }
        return PrivateKeyDer::try_from(bytes)
            .map(|key| key.clone_key())
            .map_err(|_| malformed(path));
    }
    if contains(bytes, b"Proc-Type: 4,ENCRYPTED") {
        return Err(encryption("traditional PEM encryption, Proc-Type: 4,ENCRYPTED"));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_| malformed(path))
}

fn malformed(path: &Path) -> TlsError {
    TlsError::Malformed {
        what: KEY_FILE,
        path: path.to_owned(),
        reason: "it holds no private key in PEM or DER form".to_owned(),
    }
}

fn decrypt(
    path: &Path,
    der: &[u8],
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let Some(password) = password.filter(|password| !password.expose().is_empty()) else {
        return Err(TlsError::KeyNeedsPassword { path: path.to_owned() });
    };
    let encrypted = EncryptedPrivateKeyInfo::try_from(der).map_err(|_| unknown_cipher(path))?;
    if encrypted.encryption_algorithm.pbes2().is_none() {
        return Err(unknown_cipher(path));
    }
    match encrypted.decrypt(password.expose()) {
        Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs8::pkcs5::Error::NoPbes1CryptSupport,
        )) => Err(unknown_cipher(path)),
        Err(_) => Err(TlsError::KeyWrongPassword { path: path.to_owned() }),
    }
}

fn unknown_cipher(path: &Path) -> TlsError {
    TlsError::KeyEncryption {
        path: path.to_owned(),
        scheme: "PKCS #8 with a cipher or key derivation that is not PBES2 with AES and SHA-2"
            .to_owned(),
    }
}

/// The lines between BEGIN and END of the first block with this label.
fn pem_body<'a>(bytes: &'a [u8], label: &str) -> Option<&'a [u8]> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let start = find(bytes, begin.as_bytes())? + begin.len();
    let length = find(&bytes[start..], end.as_bytes())?;
    Some(&bytes[start..start + length])
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    find(bytes, wanted).is_some()
}

/// Shows the certificate when the server asks, and remembers that it asked. One a connection.
pub(super) struct ClientCertificate {
    pair: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl ClientCertificate {
    pub(super) fn new(pair: Option<Arc<CertifiedKey>>) -> ClientCertificate {
        ClientCertificate { pair, asked: AtomicBool::new(false) }
    }

    /// Whether the server asked for a certificate in this handshake.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        // Whatever authorities the server names: it may know more than it says, as in libpq.
        self.pair.clone()
    }

    fn has_certs(&self) -> bool {
        self.pair.is_some()
    }
}
