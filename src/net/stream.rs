//! The socket under a session, encrypted or not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
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
    /// Lent to a thread: see [`Lend`].
    Away,
}

/// A socket in clear that a thread waits for itself.
#[derive(Debug)]
pub enum Lent {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix-domain socket.
    Unix(std::os::unix::net::UnixStream),
}

/// What can be lent to a thread that has no runtime.
pub trait Lend {
    /// The socket, whose reads and writes wait no longer than `patience`. `None`: it cannot be
    /// lent, because it is encrypted.
    ///
    /// # Errors
    /// The socket is lost.
    fn lend(&mut self, patience: Duration) -> io::Result<Option<Lent>>;

    /// The other way round.
    ///
    /// # Errors
    /// The socket is lost.
    fn give_back(&mut self, lent: Lent) -> io::Result<()>;
}

impl Lend for Stream {
    fn lend(&mut self, patience: Duration) -> io::Result<Option<Lent>> {
        /// The two kinds of sockets have these calls in common, and no trait for them.
        macro_rules! waits {
            ($socket:expr) => {{
                let socket = $socket.into_std()?;
                socket.set_nonblocking(false)?;
                socket.set_read_timeout(Some(patience))?;
                socket.set_write_timeout(Some(patience))?;
                socket
            }};
        }
        Ok(match std::mem::replace(self, Stream::Away) {
            Stream::Tcp(socket) => Some(Lent::Tcp(waits!(socket))),
            Stream::Unix(socket) => Some(Lent::Unix(waits!(socket))),
            other => {
                *self = other;
                None
            }
        })
    }

    fn give_back(&mut self, lent: Lent) -> io::Result<()> {
        // The time limits mean nothing to a socket that never waits.
        *self = match lent {
            Lent::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Stream::Tcp(TcpStream::from_std(socket)?)
            }
            Lent::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Stream::Unix(UnixStream::from_std(socket)?)
            }
        };
        Ok(())
    }
}

/// Whether a read or a write of a [`Lent`] socket was only a wait that was long enough, or
/// disturbed.
pub fn is_no_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

impl io::Read for Lent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Lent::Tcp(socket) => socket.read(buffer),
            Lent::Unix(socket) => socket.read(buffer),
        }
    }

    fn read_vectored(&mut self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Lent::Tcp(socket) => socket.read_vectored(buffers),
            Lent::Unix(socket) => socket.read_vectored(buffers),
        }
    }
}

impl Lent {
    /// Reads what comes within `patience`.
    ///
    /// A blocking read of a Unix-domain socket also wakes up when the other side takes what was
    /// sent to it (`unix_write_space` in the kernel), and goes to sleep again: with an answer to
    /// each message, once a message. A poll sleeps through that.
    ///
    /// # Errors
    /// `WouldBlock`: nothing came. Unless [`is_no_fault`] the socket is lost.
    pub fn read_within(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<usize> {
        let mut watched = [match self {
            Lent::Tcp(socket) => PollFd::new(socket, PollFlags::IN),
            Lent::Unix(socket) => PollFd::new(socket, PollFlags::IN),
        }];
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        poll(&mut watched, Some(&patience))?;
        self.read_now(buffer)
    }

    /// Reads what is there already.
    ///
    /// # Errors
    /// `WouldBlock`: there is nothing. Unless [`is_no_fault`] the socket is lost.
    pub fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (read, _) = match self {
            Lent::Tcp(socket) => recv(socket, buffer, RecvFlags::DONTWAIT),
            Lent::Unix(socket) => recv(socket, buffer, RecvFlags::DONTWAIT),
        }?;
        Ok(read)
    }
}

impl io::Write for Lent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Lent::Tcp(socket) => socket.write(bytes),
            Lent::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// What the login has to know of the connection beneath it.
    pub(super) fn transport(&self) -> Transport {
        match self {
            Stream::Tcp(_) => Transport::Clear,
            Stream::Unix(_) | Stream::Away => Transport::Local,
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
            Stream::Unix(_) | Stream::Away => None,
            Stream::Tls(stream) => Some(stream.socket()),
        }
    }

    /// What is beneath, for a line of a report: `TLSv1.3, TLS13_AES_256_GCM_SHA384`.
    pub fn describe(&self) -> String {
        match self {
            Stream::Tcp(_) => "TCP without TLS".to_owned(),
            Stream::Unix(_) => "Unix-domain socket".to_owned(),
            Stream::Away => "socket in another thread".to_owned(),
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
            Stream::Away => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
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
