//! The name of a backup.

use std::fmt;
use std::str::FromStr;

use jiff::Zoned;

/// A backup: the local time at which it began, `20261123T062541`.
///
/// The order of ids is the order of ages, but for the hour that comes twice in autumn.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BackupId([u8; BackupId::LEN]);

/// Text that is not of the form of a backup id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a backup id; expected the form 20261123T062541")]
pub struct ParseBackupIdError(pub String);

impl BackupId {
    /// Bytes of its text.
    pub const LEN: usize = 15;

    /// The id of a backup that begins at `time`, whose zone is that of the backup host. Two in
    /// one second would be one: the second has to wait.
    pub fn at(time: &Zoned) -> BackupId {
        let text = time.strftime("%Y%m%dT%H%M%S").to_string();
        let mut bytes = *b"00010101T000000";
        // Years of other than four digits are far away; the zero id is then refused as taken.
        if text.len() == BackupId::LEN {
            bytes.copy_from_slice(text.as_bytes());
        }
        BackupId(bytes)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // ASCII digits and a T, whichever way it was made.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for BackupId {
    type Err = ParseBackupIdError;
    fn from_str(text: &str) -> Result<BackupId, ParseBackupIdError> {
        let refused = || ParseBackupIdError(text.to_owned());
        let bytes: [u8; BackupId::LEN] = text.as_bytes().try_into().map_err(|_| refused())?;
        let digits = bytes.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'T',
            _ => byte.is_ascii_digit(),
        });
        if digits { Ok(BackupId(bytes)) } else { Err(refused()) }
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_local_time_of_its_zone() {
        let time: Zoned = "2026-11-23T06:25:41.9+01:00[+01:00]".parse().expect("a time");
        assert_eq!(BackupId::at(&time).to_string(), "20261123T062541");
    }

    #[test]
    fn only_eight_digits_a_t_and_six_digits_are_an_id() {
        assert!("20261123T062541".parse::<BackupId>().is_ok());
        for bad in ["", "latest", "20261123T06254", "20261123 062541", "2026112éT062541", "../x"] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad:?} was accepted");
        }
    }
}
