//! The socket under a session, encrypted or not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::{BindingData, TlsStream};
use crate::wire::Transport;

/// A connected socket of whatever kind.
#[derive(Debug)]
pub enum Stream {
    /// TCP in clear.
    Tcp(TcpStream),
    /// A Unix-domain socket; never encrypted.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// What the login has to know of the connection beneath it.
    pub(super) fn transport(&self) -> Transport {
        match self {
            Stream::Tcp(_) => Transport::Clear,
            Stream::Unix(_) => Transport::Local,
            Stream::Tls(stream) => Transport::Tls {
                end_point: match stream.channel_binding() {
                    BindingData::EndPoint(hash) => Some(hash.clone()),
                    BindingData::Impossible(_) => None,
                },
            },
        }
    }

    /// Whether what is sent is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// The TCP socket beneath, if there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(stream) => Some(stream),
            Stream::Unix(_) => None,
            Stream::Tls(stream) => Some(stream.socket()),
        }
    }

    /// What is beneath, for a line of a report: `TLSv1.3, TLS13_AES_256_GCM_SHA384`.
    pub fn describe(&self) -> String {
        match self {
            Stream::Tcp(_) => "TCP without TLS".to_owned(),
            Stream::Unix(_) => "Unix-domain socket".to_owned(),
            Stream::Tls(stream) => match stream.cipher() {
                Some(cipher) => format!("{}, {cipher}", stream.version()),
                None => stream.version().to_owned(),
            },
        }
    }
}

/// Calls the same method of whichever stream is inside.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
