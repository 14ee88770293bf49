//! The verdict on what the server shows in the handshake: one verifier a connection, because
//! it holds the host that was asked for.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use x509_parser::public_key::PublicKey;

use super::certificate::Certificate;
use super::chain::Trust;
use super::problem::CertificateProblem;
use super::{name, signature};

/// Shorter RSA keys cannot be used by the TLS library.
const RSA_BITS_MIN: usize = 2048;

/// Checks the server's certificate as far as `sslmode` and the root file ask for it, and its
/// handshake signature in any case: without that, encryption would be with anybody.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: any certificate will do.
    pub(super) trust: Option<Arc<Trust>>,
    /// The host to find in the certificate, under `verify-full`.
    pub(super) host: Option<String>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check(
        &self,
        server: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateProblem> {
        let certificate = Certificate::parse(server)?;
        check_key(&certificate)?;
        if let Some(trust) = &self.trust {
            trust.check(&certificate, sent, now)?;
        }
        match &self.host {
            Some(host) => name::check(&certificate, host),
            None => Ok(()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        tls13: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = Certificate::parse(server).map_err(into_rustls)?;
        let key = certificate.parsed().public_key().raw;
        signature::verify_handshake(&self.algorithms, key, message, signed, tls13)
    }
}

/// Names a key that is too short, which would otherwise end as a bad signature.
fn check_key(certificate: &Certificate<'_>) -> Result<(), CertificateProblem> {
    match certificate.parsed().public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < RSA_BITS_MIN => {
            let algorithm = format!("RSA of {} bits", key.key_size());
            Err(CertificateProblem::KeyAlgorithm { algorithm })
        }
        Ok(PublicKey::DSA(_)) => {
            Err(CertificateProblem::KeyAlgorithm { algorithm: "DSA".to_owned() })
        }
        _ => Ok(()),
    }
}

fn into_rustls(problem: CertificateProblem) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(problem))))
}

/// The problem that a verifier of ours put into the library's error.
pub(super) fn problem_in(error: &Error) -> Option<CertificateProblem> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref::<CertificateProblem>().cloned()
        }
        _ => None,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(into_rustls)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature::offered_schemes(&self.algorithms)
    }
}
