//! How much WAL belongs to a backup.

use super::ArchivedWal;
use crate::repository::BackupInfo;
use crate::wal::SegmentName;

/// WAL of a backup: from its first segment on, on its timeline, up to the end of the next
/// backup. Sizes are those of the stored files.
#[derive(Clone, Debug, PartialEq)]
pub struct WalUsage {
    /// Archived segments from begin to end of the backup.
    pub own_segments: u64,
    /// Their bytes.
    pub own_bytes: u64,
    /// Archived segments behind the end.
    pub later_segments: u64,
    /// Their bytes.
    pub later_bytes: u64,
    /// The last of all of them.
    pub last: Option<SegmentName>,
    /// Segments per second between the first and the last one; `None` when that cannot be told.
    pub segments_per_second: Option<f64>,
    /// Bytes of a segment that is not compressed.
    segment_bytes: u64,
}

impl WalUsage {
    /// `None` unless the backup knows where it begins and ends.
    pub(super) fn of(
        backup: &BackupInfo,
        next_end: Option<SegmentName>,
        wal: &ArchivedWal,
    ) -> Option<WalUsage> {
        let (begin, end) = (backup.begin_wal?, backup.end_wal?);
        let mut usage = WalUsage {
            own_segments: 0,
            own_bytes: 0,
            later_segments: 0,
            later_bytes: 0,
            last: None,
            segments_per_second: None,
            segment_bytes: u64::from(backup.xlog_segment_size.bytes()),
        };
        let (mut first_change, mut last_change) = (None, None);
        for (name, stored) in wal.segments_from(begin) {
            if name.timeline() != begin.timeline() || next_end.is_some_and(|next| name > next) {
                break;
            }
            if name <= end {
                usage.own_segments += 1;
                usage.own_bytes += stored.size;
            } else {
                usage.later_segments += 1;
                usage.later_bytes += stored.size;
            }
            if name == begin {
                first_change = Some(stored.modified);
            }
            usage.last = Some(name);
            last_change = Some(stored.modified);
        }
        let seconds = first_change.zip(last_change).map(|(first, last)| last - first);
        usage.segments_per_second = seconds
            .filter(|seconds| *seconds > 0.0)
            .map(|seconds| (usage.own_segments + usage.later_segments) as f64 / seconds);
        Some(usage)
    }

    /// What compression saves of the segments of the backup, from 0 to 1.
    pub fn own_ratio(&self) -> Option<f64> {
        self.ratio(self.own_segments, self.own_bytes)
    }

    /// The same of those behind it.
    pub fn later_ratio(&self) -> Option<f64> {
        self.ratio(self.later_segments, self.later_bytes)
    }

    fn ratio(&self, segments: u64, bytes: u64) -> Option<f64> {
        let whole = segments as f64 * self.segment_bytes as f64;
        let ratio = 1.0 - bytes as f64 / whole;
        (segments > 0 && ratio > 0.0).then_some(ratio)
    }
}
