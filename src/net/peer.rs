//! `requirepeer`: whose process listens behind a Unix-domain socket.

use tokio::net::UnixStream;

use super::NetError;
use super::endpoint::Endpoint;

/// Refuses a server that runs as somebody else: anyone may put a socket into `/tmp`.
pub(super) fn check(
    stream: &UnixStream,
    wanted: &str,
    endpoint: &Endpoint,
) -> Result<(), NetError> {
    let found = stream
        .peer_cred()
        .map_err(|source| NetError::Dial { endpoint: endpoint.to_string(), source })?
        .uid();
    let accounts = std::fs::read("/etc/passwd").unwrap_or_default();
    let name = name_of(found, &accounts).or_else(|| {
        // An account from a directory service is not in the file; our own name we know.
        let own = rustix::process::geteuid().as_raw() == found;
        own.then(|| whoami::username().ok()).flatten()
    });
    if name.as_deref() == Some(wanted) {
        return Ok(());
    }
    Err(NetError::Peer {
        endpoint: endpoint.to_string(),
        wanted: wanted.to_owned(),
        found: name.unwrap_or_else(|| format!("the user with number {found}")),
    })
}

/// The name of a user by the system's table of accounts: `name:x:uid:gid:…`, one a line.
fn name_of(uid: u32, accounts: &[u8]) -> Option<String> {
    accounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let number = std::str::from_utf8(fields.nth(1)?).ok()?;
        let found = number.parse() == Ok(uid);
        found.then(|| String::from_utf8_lossy(name).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_table_of_accounts() {
        let table = b"root:x:0:0:root:/root:/bin/sh\n\nbroken\npostgres:x:101:103::/:/bin/sh\n";
        assert_eq!(name_of(0, table).as_deref(), Some("root"));
        assert_eq!(name_of(101, table).as_deref(), Some("postgres"));
        assert_eq!(name_of(103, table), None);
        assert_eq!(name_of(0, b""), None);
    }
}
