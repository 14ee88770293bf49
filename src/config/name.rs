//! Names of servers.

use std::fmt;
use std::str::FromStr;

/// The name of a server: its section in the configuration, its directory in the repository and
/// a part of the names of its lock files.
///
/// Anything that a path component may hold, but neither a name with a meaning of its own
/// (`barman`, `all`, `DEFAULT`) nor one that would leave the repository.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerName(String);

/// Text that cannot name a server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} cannot name a server")]
pub struct ServerNameError(pub String);

impl ServerName {
    /// The longest name: the name of a lock file around it must stay under 255 bytes.
    pub const BYTES_MAX: usize = 180;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;
    fn from_str(text: &str) -> Result<ServerName, ServerNameError> {
        let reserved = ["", ".", "..", "barman", "all", "DEFAULT"].contains(&text);
        let unsafe_in_a_path = text.contains('/') || text.chars().any(char::is_control);
        if reserved || unsafe_in_a_path || text.len() > ServerName::BYTES_MAX {
            return Err(ServerNameError(text.to_owned()));
        }
        Ok(ServerName(text.to_owned()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for ServerName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leads_out_of_the_repository() {
        for bad in ["", ".", "..", "a/b", "../x", "a\nb", "a\0", "all", "barman"] {
            assert!(bad.parse::<ServerName>().is_err(), "{bad:?} was accepted");
        }
        for good in ["main", "Main DB", "main-gzip", "über", "a.b"] {
            assert_eq!(good.parse::<ServerName>().expect(good).as_str(), good);
        }
    }
}
