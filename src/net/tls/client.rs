//! The client's side of the handshake: settings loaded once, one configuration a connection.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, PeerMisbehaved, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::binding::BindingData;
use super::chain::Trust;
use super::client_certificate::{self, ClientCertificate};
use super::error::TlsError;
use super::stream::TlsStream;
use super::trust_files;
use super::verifier::{Verifier, problem_in};
use crate::conninfo::{HostName, SslCertMode, SslMode, SslNegotiation, TlsOptions, TlsVersion};

/// The protocol's name in ALPN. Source: PostgreSQL manual, "SSL Session Encryption" of the
/// frontend/backend protocol.
const ALPN: &[u8] = b"postgresql";

/// Encrypts connections as one set of connection parameters asks for it. Files were read and
/// checked when it was made; make a new one to see changed files.
#[derive(Debug)]
pub struct TlsClient {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    /// What to check against; `None` checks nothing.
    trust: Option<Arc<Trust>>,
    /// Where `trust` came from, for messages.
    trust_origin: String,
    client_pair: Option<Arc<CertifiedKey>>,
    verify_host: bool,
    direct: bool,
    certificate_mode: SslCertMode,
    name_host: bool,
}

impl TlsClient {
    /// Reads and checks the files that the options name or imply.
    pub fn new(options: &TlsOptions) -> Result<TlsClient, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let versions = versions(options)?;
        let (trust, trust_origin) = match trust_files::load(options, algorithms)? {
            Some(loaded) => (Some(Arc::new(loaded.trust)), loaded.origin),
            None => (None, "no root certificate file".to_owned()),
        };
        Ok(TlsClient {
            client_pair: client_certificate::load(options, &provider)?,
            provider,
            versions,
            trust,
            trust_origin,
            verify_host: options.mode == SslMode::VerifyFull,
            direct: options.negotiation == SslNegotiation::Direct,
            certificate_mode: options.certificate_mode,
            name_host: options.sni,
        })
    }

    /// Whether the server's certificate will be checked at all.
    pub fn checks_certificate(&self) -> bool {
        self.trust.is_some()
    }

    /// Shakes hands over `stream`, on which the server awaits a ClientHello, and checks what
    /// the options ask for. `host` is the name that the user wrote, never a resolved address.
    pub async fn connect<S>(&self, stream: S, host: &HostName) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = host.is_given().then_some(host.as_str());
        if self.verify_host && host.is_none() {
            return Err(TlsError::NoHostName);
        }
        let client_certificate = Arc::new(ClientCertificate::new(self.client_pair.clone()));
        let config = self.config(host, Arc::clone(&client_certificate))?;
        let name = host.and_then(sni_name);
        // The verifier has the host as it was written; the library needs some name, and
        // sends none when `name` is missing.
        let name = name.unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()));
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = connected.map_err(|error| classify(error, &self.trust_origin))?;
        self.check_handshake(stream.get_ref().1, &client_certificate)?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let binding = match certificates.first() {
            Some(certificate) => BindingData::of(certificate),
            None => BindingData::Impossible("the server showed no certificate".to_owned()),
        };
        Ok(TlsStream::new(stream, binding))
    }

    fn config(
        &self,
        host: Option<&str>,
        client_certificate: Arc<ClientCertificate>,
    ) -> Result<ClientConfig, TlsError> {
        let verifier = Verifier {
            trust: self.trust.clone(),
            host: host.filter(|_| self.verify_host).map(str::to_owned),
            algorithms: self.provider.signature_verification_algorithms,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .map_err(|source| TlsError::Protocol { source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(client_certificate);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = self.name_host && host.and_then(sni_name).is_some();
        // A resumed session would not show the certificate again.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn check_handshake(
        &self,
        connection: &rustls::ClientConnection,
        client_certificate: &ClientCertificate,
    ) -> Result<(), TlsError> {
        if self.direct && connection.alpn_protocol() != Some(ALPN) {
            return Err(TlsError::NoAlpn);
        }
        if self.certificate_mode == SslCertMode::Require {
            if !client_certificate.was_asked() {
                return Err(TlsError::CertificateNotRequested);
            }
            if self.client_pair.is_none() {
                return Err(TlsError::NoClientCertificate);
            }
        }
        Ok(())
    }
}

fn versions(options: &TlsOptions) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let max = options.max_version.unwrap_or(TlsVersion::V1_3);
    let spoken = [(TlsVersion::V1_2, &TLS12), (TlsVersion::V1_3, &TLS13)];
    let allowed =
        spoken.into_iter().filter(|(version, _)| (options.min_version..=max).contains(version));
    let allowed: Vec<_> = allowed.map(|(_, version)| version).collect();
    if allowed.is_empty() { Err(TlsError::NoVersion) } else { Ok(allowed) }
}

/// The host for the server name indication, which is for names and not for addresses.
/// libpq takes what consists of digits and dots, or has a colon, for an address.
fn sni_name(host: &str) -> Option<ServerName<'static>> {
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric || host.contains(':') {
        return None;
    }
    match ServerName::try_from(host.to_owned()) {
        Ok(name @ ServerName::DnsName(_)) => Some(name),
        _ => None,
    }
}

/// Sorts what the library and the socket report. `root` says what was checked against.
pub(super) fn classify(error: io::Error, root: &str) -> TlsError {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return TlsError::Lost { source: error };
    };
    if let Some(source) = problem_in(inner) {
        return TlsError::Certificate { root: root.to_owned(), source };
    }
    match inner {
        rustls::Error::AlertReceived(alert) => TlsError::Alert { alert: format!("{alert:?}") },
        rustls::Error::PeerMisbehaved(PeerMisbehaved::SignedKxWithWrongAlgorithm) => {
            TlsError::KeyNeedsTls13
        }
        other => TlsError::Protocol { source: other.clone() },
    }
}
