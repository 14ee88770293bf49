//! `backup_label`: what it says of the backup before. Pure.
//!
//! ```text
//! INCREMENTAL FROM LSN: 0/4000028
//! INCREMENTAL FROM TLI: 1
//! ```
//!
//! Source: `build_backup_content` in `src/backend/access/transam/xlogbackup.c`.

use crate::wal::{Lsn, Timeline};

const FROM_LSN: &str = "INCREMENTAL FROM LSN: ";
const FROM_TLI: &str = "INCREMENTAL FROM TLI: ";

/// Where the backup began that an incremental one continues; `None` in the label of a full one,
/// and in one that cannot be understood.
pub fn incremental_from(label: &str) -> Option<(Timeline, Lsn)> {
    let value = |key| label.lines().find_map(|line| line.strip_prefix(key));
    let timeline = Timeline::new(value(FROM_TLI)?.trim().parse().ok()?)?;
    Some((timeline, value(FROM_LSN)?.trim().parse().ok()?))
}

/// Whether a label says that its backup is incremental.
pub fn is_incremental(label: &str) -> bool {
    label.lines().any(|line| line.starts_with(FROM_LSN) || line.starts_with(FROM_TLI))
}

/// The label of the full backup that an incremental one and those before it make together.
pub fn combined(label: &[u8]) -> Vec<u8> {
    let ours =
        |line: &&[u8]| ![FROM_LSN, FROM_TLI].iter().any(|key| line.starts_with(key.as_bytes()));
    label.split_inclusive(|&byte| byte == b'\n').filter(ours).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "START WAL LOCATION: 0/6000028 (file 000000010000000000000006)\n\
        LABEL: x\nSTART TIMELINE: 1\nINCREMENTAL FROM LSN: 0/4000028\nINCREMENTAL FROM TLI: 1\n";

    #[test]
    fn the_lines_that_tie_a_backup_to_the_one_before_are_read_and_taken_out() {
        assert_eq!(incremental_from(LABEL), Some((Timeline::FIRST, Lsn(0x400_0028))));
        assert!(is_incremental(LABEL));
        let full = String::from_utf8(combined(LABEL.as_bytes())).expect("text");
        assert!(full.ends_with("LABEL: x\nSTART TIMELINE: 1\n"), "{full}");
        assert_eq!((incremental_from(&full), is_incremental(&full)), (None, false));
        assert_eq!(incremental_from("INCREMENTAL FROM LSN: 0/x\nINCREMENTAL FROM TLI: 1\n"), None);
        assert_eq!(incremental_from("INCREMENTAL FROM LSN: 0/4\nINCREMENTAL FROM TLI: 0\n"), None);
    }
}
