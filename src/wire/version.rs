//! What a server of a given version knows: the only place where version numbers are compared.

use std::fmt;
use std::str::FromStr;

/// The version of a server as its `server_version_num`: `150018` is 15.18.
///
/// Everything that depends on the version is a question here, so that a reader of any other
/// room sees the capability and not a number. Source of the answers: the release notes and the
/// manual chapter "Streaming Replication Protocol" of each major version.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerVersion(u32);

impl ServerVersion {
    /// The oldest major version that Tapster talks to.
    pub const OLDEST_MAJOR: u32 = 10;
    /// The newest major version that its tests run against.
    pub const NEWEST_TESTED_MAJOR: u32 = 18;

    /// From `server_version_num`.
    pub fn from_number(number: u32) -> ServerVersion {
        ServerVersion(number)
    }

    /// `server_version_num`, as `backup.info` stores it.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The major version: 15 of 15.18.
    pub fn major(self) -> u32 {
        self.0 / 10_000
    }

    /// The minor version: 18 of 15.18.
    pub fn minor(self) -> u32 {
        self.0 % 10_000
    }

    fn since(self, major: u32) -> bool {
        self.0 >= major * 10_000
    }

    /// Whether Tapster talks to it at all (10 and later).
    pub fn is_supported(self) -> bool {
        self.since(Self::OLDEST_MAJOR)
    }

    /// Whether the tests run against it (10 to 18). A newer one is spoken to as if it were the
    /// newest, with a warning.
    pub fn is_tested(self) -> bool {
        self.is_supported() && self.major() <= Self::NEWEST_TESTED_MAJOR
    }

    /// Whether it can say where a slot stands without SQL: `READ_REPLICATION_SLOT` (15).
    pub fn knows_read_replication_slot(self) -> bool {
        self.since(15)
    }

    /// Whether options stand in parentheses (15); before, they are bare words, and each form is
    /// a syntax error on the other side.
    pub fn uses_parenthesised_options(self) -> bool {
        self.since(15)
    }

    /// Whether BASE_BACKUP sends one CopyOut with sub-messages for everything (15), or one of
    /// raw tar bytes for each archive.
    pub fn sends_one_copy_for_all_archives(self) -> bool {
        self.since(15)
    }

    /// Whether archives end with two zero blocks (15); before, the client must add them.
    pub fn sends_tar_trailer(self) -> bool {
        self.since(15)
    }

    /// Whether BASE_BACKUP sends tablespaces that are directories in `pg_tblspc` themselves
    /// (16). Before, it leaves them out without a word where TABLESPACE_MAP is given.
    pub fn sends_in_place_tablespaces(self) -> bool {
        self.major() >= 16
    }

    /// The version of `backup_manifest` that it writes: 1 (13), 2 (17), none before.
    pub fn backup_manifest_version(self) -> Option<u8> {
        match self.major() {
            ..13 => None,
            13..17 => Some(1),
            17.. => Some(2),
        }
    }

    /// Whether `pg_replication_slots` has `wal_status` and slots can be invalidated by
    /// `max_slot_wal_keep_size` (13).
    pub fn has_slot_limits(self) -> bool {
        self.since(13)
    }

    /// Whether `pg_replication_slots` has `invalidation_reason` and `inactive_since` (17).
    pub fn tells_invalidation_reason(self) -> bool {
        self.since(17)
    }

    /// Whether `idle_replication_slot_timeout` can invalidate slots (18).
    pub fn invalidates_idle_slots(self) -> bool {
        self.since(18)
    }

    /// Whether START_REPLICATION refuses an invalidated physical slot (18); before, the client
    /// must look itself.
    pub fn refuses_invalidated_slots(self) -> bool {
        self.since(18)
    }

    /// Whether `wal_sender_timeout` may be given in the startup packet (12); before, giving it
    /// ends the connection.
    pub fn accepts_wal_sender_timeout_at_startup(self) -> bool {
        self.since(12)
    }

    /// Whether recovery is told by signal files and ordinary settings (12), or by
    /// `recovery.conf`.
    pub fn recovery_settings_in_postgresql_conf(self) -> bool {
        self.since(12)
    }

    /// Whether `recovery_target_timeline` is `latest` unless set (12), or `current`.
    pub fn recovers_to_latest_timeline_by_default(self) -> bool {
        self.since(12)
    }

    /// Whether a library may archive instead of a command: `archive_library` (15).
    pub fn has_archive_library(self) -> bool {
        self.since(15)
    }

    /// Whether BASE_BACKUP checks page checksums (11).
    pub fn verifies_checksums(self) -> bool {
        self.since(11)
    }

    /// Whether `SHOW data_directory_mode` works (11).
    pub fn has_data_directory_mode(self) -> bool {
        self.since(11)
    }

    /// Whether initdb chooses the segment size (11); before, only a special build.
    pub fn chooses_segment_size_at_initdb(self) -> bool {
        self.since(11)
    }

    /// Whether backups leave unlogged and temporary relations out (11).
    pub fn excludes_unlogged_relations(self) -> bool {
        self.since(11)
    }

    /// Whether `backup_label` has a `START TIMELINE` line (11).
    pub fn writes_timeline_in_backup_label(self) -> bool {
        self.since(11)
    }

    /// Whether the rest of a segment after a switch is zeros (11); in 10 it is pages with
    /// headers only.
    pub fn zeroes_pages_after_switch(self) -> bool {
        self.since(11)
    }

    /// Whether walsenders are counted apart from `max_connections` (12).
    pub fn counts_walsenders_apart(self) -> bool {
        self.since(12)
    }

    /// Whether the retention setting is `wal_keep_size` (13), or `wal_keep_segments`.
    pub fn has_wal_keep_size(self) -> bool {
        self.since(13)
    }

    /// Whether `in_hot_standby` is reported as a parameter (14).
    pub fn reports_hot_standby(self) -> bool {
        self.since(14)
    }

    /// Whether BASE_BACKUP can compress (15).
    pub fn compresses_backups(self) -> bool {
        self.since(15)
    }

    /// Whether its zstd knows `long` (16).
    pub fn compresses_with_long_distance_matching(self) -> bool {
        self.since(16)
    }

    /// Whether BASE_BACKUP has TARGET (15).
    pub fn knows_backup_targets(self) -> bool {
        self.since(15)
    }

    /// Whether the low-level functions are `pg_backup_start` and `pg_backup_stop` (15), or
    /// `pg_start_backup` and `pg_stop_backup`.
    pub fn names_backup_functions_pg_backup(self) -> bool {
        self.since(15)
    }

    /// Whether resource managers of extensions may appear in WAL (15).
    pub fn has_custom_resource_managers(self) -> bool {
        self.since(15)
    }

    /// Whether it takes incremental backups and knows UPLOAD_MANIFEST (17).
    pub fn takes_incremental_backups(self) -> bool {
        self.since(17)
    }

    /// Whether WAL summaries tell of bits that were cleared in visibility maps, so that the maps
    /// of incremental backups can be believed: 17.11, 18.6 (commit 10911fde0).
    pub fn summarizes_visibility_maps(self) -> bool {
        match self.major() {
            17 => self.minor() >= 11,
            18 => self.minor() >= 6,
            major => major > 18,
        }
    }

    /// Whether TLS may start at once, without SSLRequest (17).
    pub fn accepts_direct_tls(self) -> bool {
        self.since(17)
    }

    /// Whether a walsender of this minor version may refuse further commands after streaming
    /// has ended: fixed in 10.16, 11.11, 12.6 and 13.2.
    pub fn may_refuse_commands_after_streaming(self) -> bool {
        match self.major() {
            10 => self.minor() < 16,
            11 => self.minor() < 11,
            12 => self.minor() < 6,
            13 => self.minor() < 2,
            _ => false,
        }
    }

    /// The magic number of its WAL pages (`XLOG_PAGE_MAGIC` in `xlog_internal.h`); `None` for
    /// versions whose number is not known.
    pub fn wal_page_magic(self) -> Option<u16> {
        Some(match self.major() {
            10 => 0xD097,
            11 => 0xD098,
            12 => 0xD101,
            13 => 0xD106,
            14 => 0xD10D,
            15 => 0xD110,
            16 => 0xD113,
            17 => 0xD116,
            18 => 0xD118,
            _ => return None,
        })
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.since(10) {
            write!(f, "{}.{}", self.major(), self.minor())
        } else {
            write!(f, "{}.{}.{}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100)
        }
    }
}

impl fmt::Debug for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that does not begin with a version number.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a server version; expected a number such as 15.18")]
pub struct ParseVersionError(pub String);

impl FromStr for ServerVersion {
    type Err = ParseVersionError;

    /// Reads the parameter `server_version`, which may carry the vendor's words:
    /// `15.18 (Debian 15.18-1.pgdg12+1)`, `17beta1`, `10devel`.
    fn from_str(text: &str) -> Result<ServerVersion, ParseVersionError> {
        parse(text).ok_or_else(|| ParseVersionError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<ServerVersion> {
    let (major, rest) = leading_number(text)?;
    let next = |rest: &mut &str| -> Option<u32> {
        let (number, after) = leading_number(rest.strip_prefix('.')?)?;
        *rest = after;
        Some(number)
    };
    let mut rest = rest;
    let second = next(&mut rest).unwrap_or(0);
    if major >= 10 {
        (major < 1_000 && second < 10_000).then(|| ServerVersion(major * 10_000 + second))
    } else {
        let third = next(&mut rest).unwrap_or(0);
        (second < 100 && third < 100).then(|| ServerVersion(major * 10_000 + second * 100 + third))
    }
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_vendors_do_not_hide_the_number() {
        for (text, number) in [
            ("15.18 (Debian 15.18-1.pgdg12+1)", 150_018),
            ("17beta1", 170_000),
            ("10devel", 100_000),
            ("18.4", 180_004),
            ("9.6.24", 90_624),
            ("15.4.0-vendor", 150_004),
        ] {
            assert_eq!(text.parse().map(ServerVersion::number), Ok(number), "{text}");
        }
        for text in ["", "devel", " 15", "99999999999.1", "1000.0", "15.10000"] {
            assert!(text.parse::<ServerVersion>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_version_is_printed_as_people_say_it() {
        assert_eq!(ServerVersion::from_number(150_018).to_string(), "15.18");
        assert_eq!(ServerVersion::from_number(90_624).to_string(), "9.6.24");
    }

    #[test]
    fn a_capability_begins_with_its_major_version_and_stays() {
        let at = |major: u32| ServerVersion::from_number(major * 10_000 + 3);
        assert!(!at(9).is_supported() && at(10).is_supported() && at(19).is_supported());
        assert!(at(18).is_tested() && !at(19).is_tested());
        assert!(!at(14).uses_parenthesised_options() && at(15).uses_parenthesised_options());
        let manifests: Vec<_> = (12..=19).map(|v| at(v).backup_manifest_version()).collect();
        let [one, two] = [Some(1), Some(2)];
        assert_eq!(manifests, [None, one, one, one, one, two, two, two]);
        assert!(!at(11).accepts_wal_sender_timeout_at_startup());
        assert!(at(12).accepts_wal_sender_timeout_at_startup());
    }

    #[test]
    fn the_walsender_that_refuses_commands_after_streaming_is_known_by_its_minor_version() {
        let refuses = |n| ServerVersion::from_number(n).may_refuse_commands_after_streaming();
        assert!(refuses(100_015) && refuses(110_010) && refuses(120_005) && refuses(130_001));
        assert!(!refuses(100_016) && !refuses(110_011) && !refuses(120_006) && !refuses(130_002));
        assert!(!refuses(140_000) && !refuses(180_004));
    }
}
