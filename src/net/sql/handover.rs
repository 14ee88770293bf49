//! Hands a session that is open already to tokio-postgres.
//!
//! tokio-postgres insists on opening a session itself: it sends a startup packet and waits for
//! AuthenticationOk, settings and ReadyForQuery. Here it talks to a stream that swallows that
//! packet and answers as a server with `trust` would; from then on bytes pass untouched.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::Stream;
use crate::wire::Parameters;

/// A stream in front of which a login is played.
pub(super) struct LoggedIn {
    stream: Stream,
    /// The startup packet as far as it has come; `None` once it is complete.
    startup: Option<BytesMut>,
    /// What is to be read before the stream: the answers to the startup packet, and what the
    /// server sent behind its own.
    answer: BytesMut,
    /// Who waits for the answer.
    reader: Option<Waker>,
}

impl LoggedIn {
    /// Wraps a session. `behind` is what was read after the login.
    pub(super) fn new(stream: Stream, behind: &[u8], parameters: &Parameters) -> LoggedIn {
        let mut answer = BytesMut::new();
        message(b'R', &0u32.to_be_bytes(), &mut answer);
        for status in parameters.iter() {
            let body = [status.name.as_bytes(), b"\0", status.value.as_bytes(), b"\0"].concat();
            message(b'S', &body, &mut answer);
        }
        // The key is not given away: statements are cancelled by our own means.
        message(b'K', &[0; 8], &mut answer);
        message(b'Z', b"I", &mut answer);
        answer.extend_from_slice(behind);
        LoggedIn { stream, startup: Some(BytesMut::new()), answer, reader: None }
    }

    /// Swallows bytes of the startup packet; how many of `bytes` belong to it.
    fn swallow(&mut self, bytes: &[u8]) -> usize {
        let Some(startup) = &mut self.startup else { return 0 };
        let before = startup.len();
        startup.extend_from_slice(bytes);
        let Some(length) = startup.first_chunk::<4>() else { return bytes.len() };
        let length = u32::from_be_bytes(*length) as usize;
        if startup.len() < length {
            return bytes.len();
        }
        self.startup = None;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        length - before
    }
}

/// Appends a message: type, length that counts itself, body.
fn message(tag: u8, body: &[u8], out: &mut BytesMut) {
    out.put_u8(tag);
    out.put_u32(4 + body.len() as u32);
    out.put_slice(body);
}

impl AsyncRead for LoggedIn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.startup.is_some() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.answer.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.answer.len().min(buffer.remaining());
        buffer.put_slice(&self.answer[..length]);
        self.answer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LoggedIn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.swallow(bytes) {
            0 => Pin::new(&mut self.stream).poll_write(cx, bytes),
            swallowed => Poll::Ready(Ok(swallowed)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
