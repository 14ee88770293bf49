//! From a socket to an encrypted one, as `sslmode` and `sslnegotiation` want it.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::NetError;
use super::endpoint::Endpoint;
use super::stream::Stream;
use super::tls::TlsClient;
use crate::conninfo::{SslMode, SslNegotiation};
use crate::wire::frontend::{self, SslAnswer};

/// How one attempt treats encryption.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encryption {
    /// In clear.
    Never,
    /// TLS; in clear on the same connection if the server has none.
    IfOffered,
    /// TLS or nothing.
    Always,
}

impl Encryption {
    /// The attempts on one address, in order. The second one is made only where the first one
    /// failed in a way that encryption can have caused.
    pub fn attempts(mode: SslMode, local: bool) -> &'static [Encryption] {
        match mode {
            // libpq too ignores sslmode where nobody can listen.
            _ if local => &[Encryption::Never],
            SslMode::Disable => &[Encryption::Never],
            SslMode::Allow => &[Encryption::Never, Encryption::Always],
            SslMode::Prefer => &[Encryption::IfOffered, Encryption::Never],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encryption::Always],
        }
    }
}

/// Encrypts a fresh connection.
pub(super) async fn encrypt(
    stream: Stream,
    how: Encryption,
    negotiation: SslNegotiation,
    client: &TlsClient,
    endpoint: &Endpoint,
) -> Result<Stream, NetError> {
    let mut socket = match (stream, how) {
        (stream, Encryption::Never) => return Ok(stream),
        (Stream::Tcp(socket), _) => socket,
        (other, _) => return Ok(other),
    };
    if negotiation == SslNegotiation::Postgres && !ask(&mut socket, endpoint).await? {
        return match how {
            Encryption::Always => Err(NetError::NoTls { endpoint: endpoint.to_string() }),
            Encryption::IfOffered | Encryption::Never => Ok(Stream::Tcp(socket)),
        };
    }
    match client.connect(socket, &endpoint.host).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(source) => {
            Err(NetError::Tls { endpoint: Some(endpoint.to_string()), source: Box::new(source) })
        }
    }
}

/// Whether the server is ready for a handshake.
async fn ask(socket: &mut TcpStream, endpoint: &Endpoint) -> Result<bool, NetError> {
    let lost = |source| NetError::Lost { endpoint: endpoint.to_string(), source };
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await.map_err(lost)?;
    // One byte and not one more: what an attacker put behind it stays in the socket, where the
    // handshake finds that it is no TLS.
    let mut answer = [0];
    if socket.read(&mut answer).await.map_err(lost)? == 0 {
        return Err(NetError::Closed {
            endpoint: endpoint.to_string(),
            waiting_for: "answer to the request for TLS",
        });
    }
    match SslAnswer::from_byte(answer[0]) {
        SslAnswer::Start => Ok(true),
        SslAnswer::Refused => Ok(false),
        SslAnswer::Error => Err(NetError::TlsRefused { endpoint: endpoint.to_string() }),
        SslAnswer::Other(byte) => {
            Err(NetError::NotPostgres { endpoint: endpoint.to_string(), byte })
        }
    }
}
