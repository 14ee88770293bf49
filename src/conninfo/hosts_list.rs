//! The comma lists `host`, `hostaddr` and `port`, put together.

use std::net::IpAddr;

use super::hosts::{Host, HostName, SocketAddress, Target};
use super::settings::Settings;
use super::{ConninfoError, Keyword, Origin};

/// Where servers put their sockets: distributions, and builds from source. Without a host both
/// are tried, in this order.
pub const DEFAULT_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

const DEFAULT_PORT: u16 = 5432;

/// The hosts in the order written, without passwords.
///
/// # Errors
/// Lists of different lengths, an address or a port that is none.
pub fn read(settings: &Settings) -> Result<Vec<Host>, ConninfoError> {
    let names = list(settings, Keyword::Host)?;
    let addresses = list(settings, Keyword::HostAddress)?;
    let ports = list(settings, Keyword::Port)?;
    let count = [&addresses, &names].into_iter().flatten().map(|(items, _)| items.len()).next();
    let count = count.unwrap_or(1);

    // A single name does not serve several addresses; a single port serves several hosts.
    let fits = |list: &List<'_>, what, one_for_all| match list {
        Some((items, _)) if items.len() != count && !(one_for_all && items.len() == 1) => {
            Err(ConninfoError::ListLengths { what, count: items.len(), hosts: count })
        }
        _ => Ok(()),
    };
    fits(&names, "host names", false)?;
    fits(&ports, "ports", true)?;

    (0..count)
        .map(|index| {
            let port = match &ports {
                Some((items, origin)) => {
                    let item = if items.len() == 1 { items[0] } else { items[index] };
                    port(item, origin)?
                }
                None => DEFAULT_PORT,
            };
            let name = names.as_ref().map_or("", |(items, _)| items[index]);
            let target = match &addresses {
                Some((items, origin)) if !items[index].is_empty() => address(items[index], origin)?,
                _ => by_name(name, port),
            };
            Ok(Host { name: HostName::new(name), target, port, password: None })
        })
        .collect()
}

type List<'a> = Option<(Vec<&'a str>, &'a Origin)>;

fn list(settings: &Settings, keyword: Keyword) -> Result<List<'_>, ConninfoError> {
    Ok(settings.text(keyword)?.map(|(text, origin)| (text.split(',').collect(), origin)))
}

fn port(text: &str, origin: &Origin) -> Result<u16, ConninfoError> {
    let trimmed = text.trim();
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    trimmed.parse().ok().filter(|port| *port > 0).ok_or_else(|| ConninfoError::InvalidValue {
        origin: origin.clone(),
        keyword: Keyword::Port,
        value: Some(text.to_owned()),
        expected: "a number from 1 to 65535".to_owned(),
    })
}

fn address(text: &str, origin: &Origin) -> Result<Target, ConninfoError> {
    if let Ok(address) = text.parse() {
        return Ok(Target::Address(address));
    }
    // `fe80::1%eth0`: the system's look-up knows the numbers of interfaces.
    match text.split_once('%') {
        Some((address, _)) if matches!(address.parse(), Ok(IpAddr::V6(_))) => {
            Ok(Target::Name(text.to_owned()))
        }
        _ => Err(ConninfoError::InvalidValue {
            origin: origin.clone(),
            keyword: Keyword::HostAddress,
            value: Some(text.to_owned()),
            expected: "an IPv4 or IPv6 address; names belong into host".to_owned(),
        }),
    }
}

fn by_name(name: &str, port: u16) -> Target {
    if name.is_empty() {
        return Target::Sockets(
            DEFAULT_DIRECTORIES
                .iter()
                .map(|directory| SocketAddress::in_directory(directory, port))
                .collect(),
        );
    }
    if name.starts_with(['/', '@']) {
        return Target::Sockets(vec![SocketAddress::in_directory(name, port)]);
    }
    match name.parse() {
        Ok(address) => Target::Address(address),
        Err(_) => Target::Name(name.to_owned()),
    }
}
