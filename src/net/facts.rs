//! What one has to know of a server before anything of it is received.

use crate::wal::{Lsn, SegmentSize, SystemIdentifier, Timeline};
use crate::wire::{ServerVersion, WireError};

use super::{NetError, Walsender};

/// A server as its walsender describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerFacts {
    /// Its version, from `server_version_num`.
    pub version: ServerVersion,
    /// As people know it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub version_text: String,
    /// Which cluster it is.
    pub system_identifier: SystemIdentifier,
    /// Its current timeline.
    pub timeline: Timeline,
    /// How far its WAL can be streamed.
    pub xlogpos: Lsn,
    /// The size of its WAL segments.
    pub segment_size: SegmentSize,
    /// Permission bits of its data directory, 0700 or 0750: those of the backup.
    pub data_directory_mode: u32,
    /// Bytes of a block of a relation.
    pub block_size: u32,
    /// Bytes of a page of WAL.
    pub wal_block_size: u32,
    /// Whether it is a standby. Before 14, a primary that is read-only by default passes for
    /// what it is only if the role's default says so.
    pub in_recovery: bool,
    /// `synchronous_standby_names`, where the role may see it.
    pub synchronous_standby_names: Option<String>,
    /// `wal_sender_timeout` as text with unit (`1min`; `0` is none).
    pub wal_sender_timeout: String,
    /// Whether pages carry checksums.
    pub data_checksums: bool,
}

impl ServerFacts {
    /// Asks a walsender.
    ///
    /// # Errors
    /// A question that was not answered, or an answer that cannot be.
    pub async fn ask(server: &mut Walsender) -> Result<ServerFacts, NetError> {
        let system = server.identify_system().await?;
        let number = server.show("server_version_num").await?;
        let number = read(server, "server_version_num", &number, |text| text.parse().ok())?;
        let version = ServerVersion::from_number(number);
        let version_text = match server.parameters().get("server_version") {
            Some(text) => text.to_owned(),
            None => server.show("server_version").await?,
        };
        let segment_size = server.show("wal_segment_size").await?;
        let segment_size = read(server, "wal_segment_size", &segment_size, segment_size_of)?;
        let data_directory_mode = if version.has_data_directory_mode() {
            let mode = server.show("data_directory_mode").await?;
            read(server, "data_directory_mode", &mode, mode_of)?
        } else {
            0o700
        };
        let block_size = number_of(server, "block_size").await?;
        let wal_block_size = number_of(server, "wal_block_size").await?;
        Ok(ServerFacts {
            version,
            version_text,
            system_identifier: system.system_identifier,
            timeline: system.timeline,
            xlogpos: system.xlogpos,
            segment_size,
            data_directory_mode,
            block_size,
            wal_block_size,
            in_recovery: in_recovery(server).await?,
            synchronous_standby_names: server.show("synchronous_standby_names").await.ok(),
            wal_sender_timeout: server.show("wal_sender_timeout").await?,
            data_checksums: server.show("data_checksums").await? == "on",
        })
    }
}

async fn in_recovery(server: &mut Walsender) -> Result<bool, NetError> {
    if let Some(reported) = server.parameters().get("in_hot_standby") {
        return Ok(reported == "on");
    }
    let read_only = server.show("transaction_read_only").await?;
    let default = server.show("default_transaction_read_only").await?;
    Ok(super::target::State::asked(&read_only, &default).in_recovery)
}

async fn number_of(server: &mut Walsender, name: &'static str) -> Result<u32, NetError> {
    let value = server.show(name).await?;
    read(server, name, &value, |text| text.parse().ok())
}

/// Makes sense of a setting, or blames it on the server.
fn read<T>(
    server: &Walsender,
    name: &'static str,
    value: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, NetError> {
    parse(value).ok_or_else(|| {
        server.command_error("SHOW", WireError::Value { what: name, value: value.to_owned() })
    })
}

/// `16MB`, `1GB`, `1024kB`; a bare number counts bytes. Source: manual, "Setting Parameters".
pub(super) fn segment_size_of(text: &str) -> Option<SegmentSize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    let bytes = number.parse::<u32>().ok()?.checked_mul(factor)?;
    SegmentSize::new(u64::from(bytes)).ok()
}

/// `0700` or `0750`, in octal.
fn mode_of(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| matches!(mode, 0o700 | 0o750))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_sizes_are_read_with_their_units() {
        let bytes = |text| segment_size_of(text).map(|size| size.bytes());
        assert_eq!(bytes("16MB"), Some(16 << 20));
        assert_eq!(bytes("1GB"), Some(1 << 30));
        assert_eq!(bytes("1048576"), Some(1 << 20));
        assert_eq!(bytes("1024kB"), Some(1 << 20));
        for text in ["", "MB", "3MB", "8GB", "16 mb", "-1MB", "99999999999GB", "0"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_the_two_modes_that_servers_have_are_believed() {
        assert_eq!(mode_of("0750"), Some(0o750));
        assert_eq!(mode_of("0700"), Some(0o700));
        for text in ["0777", "750x", "", "4755"] {
            assert_eq!(mode_of(text), None, "{text:?}");
        }
    }
}
