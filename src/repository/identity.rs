//! `identity.json`: which cluster a repository belongs to.

use serde::Deserialize;

use super::layout::FILE_MODE;
use super::{RepositoryError, ServerLayout};
use crate::disk::{self, Disk};
use crate::wal::SystemIdentifier;

/// The cluster that a repository was begun for. Written at the first backup, never changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Its system identifier.
    pub system_identifier: SystemIdentifier,
    /// Its major version: `15`, `9.6`.
    pub version: String,
}

#[derive(Deserialize)]
struct File {
    systemid: String,
    version: String,
}

/// Far above the 63 bytes that Barman writes.
const BYTES_MAX: u64 = 64 << 10;

impl Identity {
    /// What the repository says; `None` before its first backup.
    pub fn read(
        disk: &dyn Disk,
        layout: &ServerLayout,
    ) -> Result<Option<Identity>, RepositoryError> {
        let path = layout.identity();
        let bytes = match disk::read_file(disk, &path, BYTES_MAX) {
            Err(error) if error.is_absent() => return Ok(None),
            result => result?,
        };
        Identity::parse(&bytes).map(Some).ok_or(RepositoryError::Identity { path })
    }

    /// Reads the file's bytes.
    pub fn parse(bytes: &[u8]) -> Option<Identity> {
        let file: File = serde_json::from_slice(bytes).ok()?;
        let system_identifier = file.systemid.parse().ok()?;
        Some(Identity { system_identifier, version: file.version })
    }

    /// The file's bytes: keys in order, four blanks of indent, a newline at the end.
    pub fn render(&self) -> String {
        let version = serde_json::Value::from(self.version.as_str());
        format!(
            "{{\n    \"systemid\": \"{}\",\n    \"version\": {version}\n}}\n",
            self.system_identifier
        )
    }

    /// Writes the file unless it is there; then it has to say the same, or the repository
    /// belongs to another cluster.
    pub fn establish(&self, disk: &dyn Disk, layout: &ServerLayout) -> Result<(), RepositoryError> {
        match Identity::read(disk, layout)? {
            None => {
                let path = layout.identity();
                Ok(disk::write_file(disk, &path, FILE_MODE, self.render().as_bytes())?)
            }
            Some(stored) if stored == *self => Ok(()),
            Some(stored) => Err(RepositoryError::OtherCluster {
                server: layout.server().clone(),
                stored,
                found: self.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_byte_for_byte_barmans() {
        let text = "{\n    \"systemid\": \"7711248655412678424\",\n    \"version\": \"15\"\n}\n";
        let identity = Identity::parse(text.as_bytes()).expect("an identity");
        assert_eq!(identity.system_identifier, SystemIdentifier(7_711_248_655_412_678_424));
        assert_eq!(identity.render(), text);
        for cut in 0..text.len() - 2 {
            assert_eq!(Identity::parse(&text.as_bytes()[..cut]), None, "cut at {cut}");
        }
    }
}
