//! Root certificates and revocation lists from files and from the system. Reads only.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::certificate::Certificate;
use super::chain::Trust;
use super::error::TlsError;
use super::revocation::{self, RevocationLists};
use crate::conninfo::{FileOption, RootCertificates, SslMode, TlsOptions};

const ROOT_FILE: &str = "root certificate file";
const CRL_FILE: &str = "certificate revocation list";

/// What the server's certificate is checked against, and where it came from (for messages).
#[derive(Debug)]
pub(super) struct LoadedTrust {
    /// `root certificate file /…/root.crt`, `root certificates of the system`.
    pub(super) origin: String,
    pub(super) trust: Trust,
}

/// Loads what `sslrootcert`, `sslcrl`, `sslcrldir` and libpq's default files give.
///
/// `None` means that the certificate is not checked: no root file, and a mode that does not
/// insist. Where there is a root file, the chain is checked in every mode.
pub(super) fn load(
    options: &TlsOptions,
    algorithms: WebPkiSupportedAlgorithms,
) -> Result<Option<LoadedTrust>, TlsError> {
    let insists = options.mode >= SslMode::VerifyCa;
    let FileOption { path, given } = match &options.root_certificates {
        RootCertificates::System => return load_system(options, algorithms).map(Some),
        RootCertificates::File(file) => file.clone(),
        RootCertificates::Nowhere if insists => {
            return Err(TlsError::NoHome { sslmode: options.mode });
        }
        RootCertificates::Nowhere => return Ok(None),
    };
    let Some(pem) = read_if_there(ROOT_FILE, &path)? else {
        if insists {
            return Err(TlsError::RootFileMissing { path, sslmode: options.mode });
        }
        if given {
            tracing::warn!(
                "root certificate file {} does not exist: sslmode={} goes on without checking \
                 the server's certificate",
                path.display(),
                options.mode
            );
        }
        return Ok(None);
    };
    let malformed =
        |reason: String| TlsError::Malformed { what: ROOT_FILE, path: path.clone(), reason };
    let trusted = certificates_in(&pem).map_err(malformed)?;
    let revocation = load_revocation(options.crl.as_ref(), options)?;
    let trust = Trust::new(trusted, revocation, algorithms)
        .map_err(|problem| malformed(problem.to_string()))?;
    if trust.root_count() == 0 {
        return Err(malformed(
            "it holds no self-signed certificate, and every chain must end at one".to_owned(),
        ));
    }
    Ok(Some(LoadedTrust { origin: format!("{ROOT_FILE} {}", path.display()), trust }))
}

fn load_system(
    options: &TlsOptions,
    algorithms: WebPkiSupportedAlgorithms,
) -> Result<LoadedTrust, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    // The system's store is not the user's work: an odd certificate in it is passed over.
    let trusted: Vec<_> =
        found.certs.into_iter().filter(|der| Certificate::parse(der).is_ok()).collect();
    let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
    let none = |reason: String| TlsError::NoSystemRoots { reason };
    // As in libpq, ~/.postgresql/root.crl belongs to ~/.postgresql/root.crt.
    let revocation = load_revocation(options.crl.as_ref().filter(|file| file.given), options)?;
    let trust =
        Trust::new(trusted, revocation, algorithms).map_err(|problem| none(problem.to_string()))?;
    if trust.root_count() == 0 {
        let nothing = "none found in the usual places".to_owned();
        return Err(none(if reasons.is_empty() { nothing } else { reasons.join("; ") }));
    }
    Ok(LoadedTrust { origin: "root certificates of the system".to_owned(), trust })
}

/// All certificates of a PEM file; at least one.
pub(super) fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("malformed PEM: {error}"))?;
    match certificates.is_empty() {
        true => Err("it holds no PEM block BEGIN CERTIFICATE".to_owned()),
        false => Ok(certificates),
    }
}

/// The lists of a file, if there is one, and of `sslcrldir`.
fn load_revocation(
    file: Option<&FileOption>,
    options: &TlsOptions,
) -> Result<Option<RevocationLists>, TlsError> {
    let mut lists = Vec::new();
    if let Some(FileOption { path, given }) = file {
        match read_if_there(CRL_FILE, path)? {
            Some(bytes) => lists.extend(lists_in(&bytes, path)?),
            // As libpq, whose manual says "if it exists"; but not in silence.
            None if *given => {
                tracing::warn!(
                    "{CRL_FILE} {} does not exist: nothing is revoked by it",
                    path.display()
                );
            }
            None => {}
        }
    }
    if let Some(directory) = &options.crl_directory {
        lists.extend(lists_of_directory(directory)?);
    }
    Ok(if lists.is_empty() { None } else { Some(RevocationLists::new(lists)) })
}

fn lists_in(
    bytes: &[u8],
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let malformed =
        |reason: String| TlsError::Malformed { what: CRL_FILE, path: path.to_owned(), reason };
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| malformed(format!("malformed PEM: {error}")))?;
    if lists.is_empty() {
        return Err(malformed("it holds no PEM block BEGIN X509 CRL".to_owned()));
    }
    if let Some(index) = lists.iter().position(|list| !revocation::is_list(list)) {
        return Err(malformed(format!("revocation list {} in it cannot be read", index + 1)));
    }
    Ok(lists)
}

/// The lists under the names that `openssl rehash` gives: `<eight hex digits>.r<number>`.
///
/// A directory without any is an error: OpenSSL would refuse every certificate, one by one.
fn lists_of_directory(
    directory: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let what = "directory of certificate revocation lists";
    let unreadable = |source| TlsError::Unreadable { what, path: directory.to_owned(), source };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_name().to_str().is_some_and(is_hashed_name) {
            paths.push(entry.path());
        }
    }
    if paths.is_empty() {
        return Err(TlsError::Malformed {
            what,
            path: directory.to_owned(),
            reason: "it holds no list under a hashed name; run openssl rehash there".to_owned(),
        });
    }
    paths.sort();
    let mut lists = Vec::new();
    for path in paths {
        let bytes = fs::read(&path).map_err(|source| TlsError::Unreadable {
            what: CRL_FILE,
            path: path.clone(),
            source,
        })?;
        lists.extend(lists_in(&bytes, &path)?);
    }
    Ok(lists)
}

fn is_hashed_name(name: &str) -> bool {
    let Some((hash, number)) = name.split_once(".r") else { return false };
    hash.len() == 8
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The contents of a file, or `None` when there is no such file.
pub(super) fn read_if_there(what: &'static str, path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(TlsError::Unreadable { what, path: path.to_owned(), source }),
    }
}
