//! One place to dial, and the order in which places are tried.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use super::NetError;
use crate::conninfo::{Host, HostName, LoadBalanceHosts, SocketAddress, Target};

/// Where exactly a connection goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(SocketAddress),
}

/// One address of one host.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// As written by the user; the server's certificate is compared with it.
    pub host: HostName,
    pub address: Address,
}

impl fmt::Display for Endpoint {
    /// `db1 (10.0.0.1), port 5432`, `10.0.0.1, port 5432` or `socket /tmp/.s.PGSQL.5432`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(socket) => write!(f, "socket {socket}"),
            Address::Tcp(address) => {
                let (ip, port) = (address.ip().to_string(), address.port());
                if !self.host.is_given() || self.host.as_str() == ip {
                    write!(f, "{ip}, port {port}")
                } else {
                    write!(f, "{} ({ip}), port {port}", self.host)
                }
            }
        }
    }
}

/// All addresses of a host, in the order in which to try them.
pub(super) async fn endpoints(
    host: &Host,
    order: LoadBalanceHosts,
    timeout: Duration,
) -> Result<Vec<Endpoint>, NetError> {
    let addresses: Vec<Address> = match &host.target {
        // Directories are tried in the order of preference, whatever is shuffled.
        Target::Sockets(sockets) => sockets.iter().cloned().map(Address::Unix).collect(),
        Target::Address(ip) => vec![Address::Tcp(SocketAddr::new(*ip, host.port))],
        Target::Name(name) => {
            let mut found = look_up(name, host.port, timeout).await?;
            if order == LoadBalanceHosts::Random {
                shuffle(&mut found);
            }
            found.into_iter().map(Address::Tcp).collect()
        }
    };
    let name = &host.name;
    Ok(addresses.into_iter().map(|address| Endpoint { host: name.clone(), address }).collect())
}

async fn look_up(name: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>, NetError> {
    let failed = |source| NetError::LookUp { host: name.to_owned(), source };
    let found = tokio::time::timeout(timeout, tokio::net::lookup_host((name, port)))
        .await
        .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
        .map_err(failed)?;
    let found: Vec<SocketAddr> = found.collect();
    if found.is_empty() {
        return Err(failed(std::io::ErrorKind::NotFound.into()));
    }
    Ok(found)
}

/// Puts the items into a random order (Fisher and Yates).
pub(super) fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        // Each RandomState has fresh random keys; the hash of nothing under them is random too.
        let random = RandomState::new().build_hasher().finish();
        let chosen = (random % (last as u64 + 1)) as usize;
        items.swap(last, chosen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_loses_nothing_and_reaches_every_order() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..400 {
            let mut items = [1, 2, 3];
            shuffle(&mut items);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6, "{seen:?}");
    }

    #[test]
    fn an_endpoint_shows_name_and_address_once() {
        let tcp = |host: &str, address: &str| {
            let address = Address::Tcp(address.parse().unwrap());
            Endpoint { host: HostName::new(host), address }.to_string()
        };
        assert_eq!(tcp("db1", "10.0.0.1:5432"), "db1 (10.0.0.1), port 5432");
        assert_eq!(tcp("10.0.0.1", "10.0.0.1:5432"), "10.0.0.1, port 5432");
        assert_eq!(tcp("", "[::1]:6000"), "::1, port 6000");
    }
}
