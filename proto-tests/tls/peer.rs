//! The other side of a handshake, in the same thread.

use std::sync::{Arc, Mutex};

use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tapster::conninfo::{HostName, TlsOptions};
use tapster::net::tls::{BindingData, CertificateProblem, TlsClient, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::workshop::{Authority, Issued};

/// A server that shows a certificate and then echoes.
pub struct Peer {
    config: ServerConfig,
    pub hello: Arc<Hello>,
}

/// What the client said first.
#[derive(Debug)]
pub struct Hello {
    pair: SingleCertAndKey,
    pub server_name: Mutex<Option<String>>,
}

impl ResolvesServerCert for Hello {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        *self.server_name.lock().unwrap() = hello.server_name().map(str::to_owned);
        self.pair.resolve(hello)
    }
}

/// What came of a handshake that succeeded.
#[derive(Debug)]
pub struct Connected {
    pub binding: BindingData,
    pub version: &'static str,
    /// The client's certificate, as the server saw it.
    pub client_certificate: Option<Vec<u8>>,
}

impl Peer {
    pub fn new(server: &Issued) -> Peer {
        Peer::with_versions(server, rustls::ALL_VERSIONS, None)
    }

    /// A peer that speaks these versions and, if told so, demands certificates from `clients`.
    pub fn with_versions(
        server: &Issued,
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<(&Authority, bool)>,
    ) -> Peer {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = provider.key_provider.load_private_key(server.private_key()).unwrap();
        // Without the library's check that both belong together: it reads no version 1.
        let pair = CertifiedKey::new(server.chain.clone(), key);
        let hello =
            Arc::new(Hello { pair: SingleCertAndKey::from(pair), server_name: Mutex::default() });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some((authority, required)) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.as_server().chain[0].clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_cert_resolver(Arc::<Hello>::clone(&hello));
        Peer { config, hello }
    }

    pub fn speaking(mut self, alpn: &[&str]) -> Peer {
        self.config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Shakes hands with a client of these options; an echo proves that bytes pass.
    pub fn connect(self, options: &TlsOptions, host: &str) -> Result<Connected, TlsError> {
        self.connect_with(&TlsClient::new(options)?, host)
    }

    /// The same with a client that is there already.
    pub fn connect_with(self, client: &TlsClient, host: &str) -> Result<Connected, TlsError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.shake_hands(client, host))
    }

    async fn shake_hands(self, client: &TlsClient, host: &str) -> Result<Connected, TlsError> {
        let (here, there) = tokio::io::duplex(1 << 16);
        let server = async {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(self.config));
            let mut stream = acceptor.accept(there).await.ok()?;
            let certificate = stream.get_ref().1.peer_certificates();
            let certificate = certificate.and_then(|chain| chain.first()).map(|der| der.to_vec());
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.ok()?;
            stream.write_all(&bytes).await.ok()?;
            stream.flush().await.ok()?;
            Some(certificate)
        };
        let host = HostName::new(host);
        let client = async {
            let mut stream = client.connect(here, &host).await?;
            let lost = |error: std::io::Error| match error.downcast::<TlsError>() {
                Ok(named) => named,
                Err(source) => TlsError::Lost { source },
            };
            stream.write_all(b"ping").await.map_err(lost)?;
            stream.flush().await.map_err(lost)?;
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.map_err(lost)?;
            assert_eq!(&bytes, b"ping");
            Ok((stream.channel_binding().clone(), stream.version()))
        };
        let (client_certificate, connected) = tokio::join!(server, client);
        let (binding, version) = connected?;
        let client_certificate = client_certificate.flatten();
        Ok(Connected { binding, version, client_certificate })
    }
}

/// The problem with the certificate that a connection was refused for.
#[track_caller]
pub fn problem(result: Result<Connected, TlsError>) -> CertificateProblem {
    match result {
        Err(TlsError::Certificate { source, .. }) => source,
        other => panic!("refused for its certificate was expected, not {other:?}"),
    }
}
