//! Ending a command from outside: a connection of its own that carries one packet.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::NetError;
use super::dial::dial;
use super::encrypt::{Encryption, encrypt};
use super::endpoint::Endpoint;
use super::tls::TlsClient;
use crate::conninfo::ConnectOptions;
use crate::wire::{CancelKey, frontend};

/// What it takes to cancel the command of one session.
#[derive(Clone, Debug)]
pub struct Canceller {
    pub(super) endpoint: Endpoint,
    pub(super) options: ConnectOptions,
    pub(super) encrypted: bool,
    /// Absent behind middleware that gives none: then there is nothing to send.
    pub(super) key: Option<CancelKey>,
}

impl Canceller {
    /// The longest that a cancellation may take.
    const TIMEOUT: Duration = Duration::from_secs(10);

    /// Asks the server to end what the session does. The session itself learns of it by error
    /// 57014; this returns when the server has taken the request in.
    ///
    /// # Errors
    /// No connection, or none in time.
    pub async fn cancel(&self) -> Result<(), NetError> {
        let Some(key) = &self.key else { return Ok(()) };
        tokio::time::timeout(Self::TIMEOUT, self.send(key)).await.unwrap_or_else(|_| {
            let endpoint = self.endpoint.to_string();
            Err(NetError::ConnectTimeout { endpoint, after: Self::TIMEOUT })
        })
    }

    async fn send(&self, key: &CancelKey) -> Result<(), NetError> {
        let lost = |source| NetError::Lost { endpoint: self.endpoint.to_string(), source };
        let mut stream = dial(&self.endpoint, &self.options).await?;
        if self.encrypted {
            let client = TlsClient::new(&self.options.tls)
                .map_err(|source| NetError::Tls { endpoint: None, source: Box::new(source) })?;
            let negotiation = self.options.tls.negotiation;
            stream =
                encrypt(stream, Encryption::Always, negotiation, &client, &self.endpoint).await?;
        }
        let mut out = BytesMut::new();
        frontend::cancel_request(key, &mut out);
        stream.write_all(&out).await.map_err(lost)?;
        stream.flush().await.map_err(lost)?;
        // The server answers by closing; many close TLS without its farewell, which is no loss.
        let _ = stream.read(&mut [0]).await;
        Ok(())
    }
}
