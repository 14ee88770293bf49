//! `global/pg_control`: who a cluster is, how it is built, and where its last checkpoint lies.

use super::page::field;
use super::{Lsn, SegmentSize, SegmentSizeError, SystemIdentifier, Timeline};

/// What Tapster needs of `pg_control`, versions 10 to 18.
///
/// The file has 8192 bytes; what follows the checksum is zeros. Source: `ControlFileData` in
/// `src/include/catalog/pg_control.h`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ControlFile {
    /// The cluster.
    pub system: SystemIdentifier,
    /// `PG_CONTROL_VERSION`: the layout.
    pub control_version: u32,
    /// `CATALOG_VERSION_NO`: part of the names of tablespace directories.
    pub catalog_version: u32,
    /// What the server was doing.
    pub state: ClusterState,
    /// When the file was last written, in seconds since 1970.
    pub written_at: i64,
    /// The last checkpoint record.
    pub checkpoint: Lsn,
    /// Where replay would begin.
    pub redo: Lsn,
    /// The timeline of the last checkpoint.
    pub timeline: Timeline,
    /// Bytes of a data page.
    pub block_size: u32,
    /// Pages of a relation in one file (`RELSEG_SIZE`).
    pub segment_blocks: u32,
    /// Bytes of a WAL page.
    pub wal_block_size: u32,
    /// Bytes of a WAL segment.
    pub segment_size: SegmentSize,
    /// Whether data pages carry checksums.
    pub data_checksums: bool,
}

/// `DBState` in `pg_control.h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClusterState {
    /// `DB_STARTUP`
    StartingUp,
    /// `DB_SHUTDOWNED`
    ShutDown,
    /// `DB_SHUTDOWNED_IN_RECOVERY`
    ShutDownInRecovery,
    /// `DB_SHUTDOWNING`
    ShuttingDown,
    /// `DB_IN_CRASH_RECOVERY`
    InCrashRecovery,
    /// `DB_IN_ARCHIVE_RECOVERY`
    InArchiveRecovery,
    /// `DB_IN_PRODUCTION`
    InProduction,
}

/// Bytes that are no `pg_control`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlFileError {
    /// The file is cut, or something else.
    #[error("pg_control has {0} bytes; expected 8192")]
    Length(usize),
    /// A version that is too old or too new, or from a machine of the other byte order.
    #[error("pg_control has the unknown version {0}")]
    Version(u32),
    /// The copy was torn while the server wrote the file, or is damaged.
    #[error("pg_control has checksum {computed:08X}, but {stored:08X} is stored in it")]
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// A field with a value that does not exist, although the checksum is right.
    #[error("pg_control has the impossible value {value} for {field}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl ControlFileError {
    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            ControlFileError::Version(_) => {
                Some("servers of versions 10 to 18 on little-endian machines are known".to_owned())
            }
            _ => Some("take the backup again".to_owned()),
        }
    }
}

/// Where a version keeps what.
struct Layout {
    redo: usize,
    timeline: usize,
    /// Page size; the pages of a file, the WAL page size and the WAL segment size follow at 4, 8
    /// and 12.
    geometry: usize,
    checksums: usize,
    crc: usize,
}

impl Layout {
    fn of(control_version: u32) -> Option<Layout> {
        // 10 still had the position of the checkpoint before the last; 11 dropped it.
        let (redo, timeline) = if control_version == 1002 { (48, 56) } else { (40, 48) };
        let (geometry, checksums, crc) = match control_version {
            1100 => (208, 244, 280),
            1002 | 1201 | 1300 | 1700 => (216, 252, 288),
            1800 => (216, 252, 292),
            _ => return None,
        };
        Some(Layout { redo, timeline, geometry, checksums, crc })
    }
}

impl ControlFile {
    /// The length of the file in bytes (`PG_CONTROL_FILE_SIZE`).
    pub const LEN: usize = 8192;

    /// Decodes the file and checks its checksum.
    pub fn parse(bytes: &[u8]) -> Result<ControlFile, ControlFileError> {
        if bytes.len() != ControlFile::LEN {
            return Err(ControlFileError::Length(bytes.len()));
        }
        // Every offset below is far from the end.
        let word = |at: usize| u32::from_le_bytes(field(bytes, at).unwrap_or_default());
        let wide = |at: usize| u64::from_le_bytes(field(bytes, at).unwrap_or_default());
        let control_version = word(8);
        let layout =
            Layout::of(control_version).ok_or(ControlFileError::Version(control_version))?;
        let stored = word(layout.crc);
        let computed = crc32c::crc32c(&bytes[..layout.crc]);
        if stored != computed {
            return Err(ControlFileError::Checksum { stored, computed });
        }
        let timeline = word(layout.timeline);
        let segment_size = u64::from(word(layout.geometry + 12));
        Ok(ControlFile {
            system: SystemIdentifier(wide(0)),
            control_version,
            catalog_version: word(12),
            state: ClusterState::from_number(word(16))?,
            written_at: wide(24).cast_signed(),
            checkpoint: Lsn(wide(32)),
            redo: Lsn(wide(layout.redo)),
            timeline: Timeline::new(timeline)
                .ok_or(ControlFileError::Field { field: "timeline", value: 0 })?,
            block_size: word(layout.geometry),
            segment_blocks: word(layout.geometry + 4),
            wal_block_size: word(layout.geometry + 8),
            segment_size: SegmentSize::new(segment_size).map_err(|SegmentSizeError(value)| {
                ControlFileError::Field { field: "WAL segment size", value }
            })?,
            data_checksums: word(layout.checksums) != 0,
        })
    }
}

impl ClusterState {
    fn from_number(number: u32) -> Result<ClusterState, ControlFileError> {
        Ok(match number {
            0 => ClusterState::StartingUp,
            1 => ClusterState::ShutDown,
            2 => ClusterState::ShutDownInRecovery,
            3 => ClusterState::ShuttingDown,
            4 => ClusterState::InCrashRecovery,
            5 => ClusterState::InArchiveRecovery,
            6 => ClusterState::InProduction,
            _ => {
                let value = u64::from(number);
                return Err(ControlFileError::Field { field: "state", value });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control file of the given version with recognisable values in the named places.
    fn sample(version: u32) -> Vec<u8> {
        let mut bytes = vec![0; ControlFile::LEN];
        let layout = Layout::of(version).expect("a known version");
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &7_711_249_317_654_332_226_u64.to_le_bytes());
        put(8, &version.to_le_bytes());
        put(12, &202_209_061_u32.to_le_bytes());
        put(16, &6_u32.to_le_bytes());
        put(24, &1_790_000_000_i64.to_le_bytes());
        put(32, &0x300_0060_u64.to_le_bytes());
        put(layout.redo, &0x300_0028_u64.to_le_bytes());
        put(layout.timeline, &2_u32.to_le_bytes());
        put(layout.geometry, &8192_u32.to_le_bytes());
        put(layout.geometry + 4, &131_072_u32.to_le_bytes());
        put(layout.geometry + 8, &8192_u32.to_le_bytes());
        put(layout.geometry + 12, &(16_u32 << 20).to_le_bytes());
        put(layout.checksums, &1_u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..layout.crc]);
        bytes[layout.crc..layout.crc + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn every_version_is_read_and_its_checksum_believed_to_the_last_bit() {
        for version in [1002, 1100, 1201, 1300, 1700, 1800] {
            let mut bytes = sample(version);
            let control = ControlFile::parse(&bytes).expect("a good file");
            assert_eq!(control.system, SystemIdentifier(7_711_249_317_654_332_226));
            assert_eq!(control.redo, Lsn(0x300_0028));
            assert_eq!(control.timeline.id(), 2);
            assert_eq!(control.segment_size, SegmentSize::DEFAULT);
            assert_eq!((control.block_size, control.segment_blocks), (8192, 131_072));
            assert_eq!(control.state, ClusterState::InProduction);
            assert!(control.data_checksums);
            for at in (0..Layout::of(version).expect("known").crc + 4).filter(|at| at / 4 != 2) {
                bytes[at] ^= 1;
                let torn = ControlFile::parse(&bytes);
                assert!(matches!(torn, Err(ControlFileError::Checksum { .. })), "{version} {at}");
                bytes[at] ^= 1;
            }
        }
    }

    #[test]
    fn other_lengths_and_versions_are_no_control_files() {
        assert_eq!(ControlFile::parse(&[]), Err(ControlFileError::Length(0)));
        let mut bytes = sample(1300);
        bytes[8..12].copy_from_slice(&1300_u32.to_be_bytes());
        let swapped = 1300_u32.swap_bytes();
        assert_eq!(ControlFile::parse(&bytes), Err(ControlFileError::Version(swapped)));
    }
}
