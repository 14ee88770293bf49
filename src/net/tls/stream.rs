//! An encrypted connection: bytes in, bytes out, and what the handshake found.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::binding::BindingData;
use super::client::classify;

/// A TLS connection over `S`, after the handshake and all checks.
#[derive(Debug)]
pub struct TlsStream<S> {
    inner: tokio_rustls::client::TlsStream<S>,
    binding: BindingData,
}

impl<S> TlsStream<S> {
    pub(super) fn new(
        inner: tokio_rustls::client::TlsStream<S>,
        binding: BindingData,
    ) -> TlsStream<S> {
        TlsStream { inner, binding }
    }

    /// The data for SCRAM-SHA-256-PLUS, or why there is none.
    pub fn channel_binding(&self) -> &BindingData {
        &self.binding
    }

    /// The protocol version, as PostgreSQL writes it (`TLSv1.3`).
    pub fn version(&self) -> &'static str {
        match self.inner.get_ref().1.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        }
    }

    /// The cipher suite, under the name that the library gives it (`TLS13_AES_256_GCM_SHA384`).
    pub fn cipher(&self) -> Option<&'static str> {
        let suite = self.inner.get_ref().1.negotiated_cipher_suite()?;
        suite.suite().as_str()
    }

    /// The socket below, for its options; reading from it would break the connection.
    pub fn socket(&self) -> &S {
        self.inner.get_ref().0
    }
}

/// Replaces the library's errors by ours: a server of TLS 1.3 refuses the client's
/// certificate only after the handshake, in the first answer.
fn named<T>(result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    result.map_err(|error| {
        let kind = error.kind();
        match error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            true => io::Error::new(kind, classify(error, "")),
            false => error,
        }
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        named(Pin::new(&mut self.inner).poll_read(cx, buf))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        named(Pin::new(&mut self.inner).poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        named(Pin::new(&mut self.inner).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        named(Pin::new(&mut self.inner).poll_shutdown(cx))
    }
}
