//! From an address to a connected socket with the options that the user asked for.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::endpoint::{Address, Endpoint};
use super::stream::Stream;
use super::{NetError, peer};
use crate::conninfo::{ConnectOptions, SocketAddress};

/// Connects. The caller holds the clock: nothing here ends by itself but for the system's own
/// limits.
pub(super) async fn dial(
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<Stream, NetError> {
    let failed = |source| NetError::Dial { endpoint: endpoint.to_string(), source };
    match &endpoint.address {
        Address::Tcp(address) => {
            let socket = match address.is_ipv4() {
                true => TcpSocket::new_v4(),
                false => TcpSocket::new_v6(),
            }
            .map_err(failed)?;
            prepare(&socket, options).map_err(failed)?;
            let stream = socket.connect(*address).await.map_err(failed)?;
            finish(&stream).map_err(failed)?;
            Ok(Stream::Tcp(stream))
        }
        Address::Unix(address) => {
            let stream = UnixStream::connect(socket_path(address)).await.map_err(failed)?;
            if let Some(wanted) = &options.require_peer {
                peer::check(&stream, wanted, endpoint)?;
            }
            Ok(Stream::Unix(stream))
        }
    }
}

/// Before the connection, so that the options hold for the handshake as well.
fn prepare(socket: &TcpSocket, options: &ConnectOptions) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if options.keepalives.enabled {
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = options.keepalives.idle {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = options.keepalives.interval {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(count) = options.keepalives.count {
            keepalive = keepalive.with_retries(count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if let Some(timeout) = options.tcp_user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

fn finish(stream: &TcpStream) -> io::Result<()> {
    // Heartbeats and status updates are small and must not wait for one another.
    stream.set_nodelay(true)
}

/// The path by which tokio knows the socket: it takes a leading zero byte for the abstract
/// namespace.
fn socket_path(address: &SocketAddress) -> PathBuf {
    match address {
        SocketAddress::Path(path) => path.clone(),
        SocketAddress::Abstract(name) => {
            let mut path = vec![0];
            path.extend_from_slice(name);
            PathBuf::from(OsStr::from_bytes(&path))
        }
    }
}
