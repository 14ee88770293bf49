//! The WAL segments that make a backup consistent, and which of them are archived.

use super::error::BackupError;
use super::reader::Span;
use crate::disk::{Disk, DiskError, FileKind};
use crate::repository::ServerLayout;
use crate::wal::{Lsn, SegmentName, SegmentNumber, SegmentSize, TimelineHistory, WalFileName};

/// The segments from the start of a backup to its end. `history` is that of the timeline at the
/// end; on a standby it may be newer than that of the start.
pub(super) fn needed(span: Span, history: &TimelineHistory, size: SegmentSize) -> Vec<SegmentName> {
    let first = span.start.lsn.segment(size);
    let last = span.end.lsn.segment_before(size).max(first);
    (first.0..=last.0)
        .map(|number| {
            // A segment in which the timeline switches is wanted under its newer name: it holds
            // the older one's bytes too.
            let end = SegmentNumber(number).end(size).min(span.end.lsn);
            let timeline = history.timeline_at(Lsn(end.0.saturating_sub(1)));
            let timeline = timeline.max(span.start.timeline);
            SegmentName::new(timeline, SegmentNumber(number), size)
        })
        .collect()
}

/// Those that are not in the archive, in order. An empty file, as a power cut leaves it where
/// names reach the disk before content, is none.
pub(super) fn missing(
    disk: &dyn Disk,
    layout: &ServerLayout,
    needed: &[SegmentName],
) -> Result<Vec<SegmentName>, DiskError> {
    let mut missing = Vec::new();
    for &name in needed {
        let stored = disk.stat(&layout.wal(WalFileName::Segment(name)))?;
        if stored.is_none_or(|stat| stat.kind == FileKind::File && stat.length == 0) {
            missing.push(name);
        }
    }
    Ok(missing)
}

/// Makes the names of archived segments durable, whoever archived them.
pub(super) fn secure(
    disk: &dyn Disk,
    layout: &ServerLayout,
    needed: &[SegmentName],
) -> Result<(), BackupError> {
    let mut directories: Vec<_> =
        needed.iter().map(|&name| layout.wal_directory(WalFileName::Segment(name))).collect();
    directories.dedup();
    for directory in directories {
        disk.sync_directory(&directory)?;
    }
    disk.sync_directory(layout.wals())?;
    match missing(disk, layout, needed)?.first() {
        Some(gone) => Err(BackupError::SegmentGone(gone.to_string())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::reader::Position;
    use crate::wal::Timeline;

    fn names(start: u64, end: u64, end_timeline: u32, history: &[u8]) -> Vec<String> {
        let timeline = Timeline::new(end_timeline).expect("not 0");
        let span = Span {
            start: Position { lsn: Lsn(start), timeline: Timeline::FIRST },
            end: Position { lsn: Lsn(end), timeline },
        };
        let history = TimelineHistory::parse(timeline, history).expect("a history");
        let names = needed(span, &history, SegmentSize::DEFAULT);
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_end_on_a_boundary_needs_the_segment_before_and_no_more() {
        assert_eq!(names(0x500_0028, 0x600_0000, 1, b""), ["000000010000000000000005"]);
        assert_eq!(
            names(0x500_0028, 0x600_0001, 1, b""),
            ["000000010000000000000005", "000000010000000000000006"]
        );
    }

    #[test]
    fn across_a_switch_of_timelines_each_segment_has_the_newer_name() {
        assert_eq!(
            names(0x400_0028, 0x600_0100, 2, b"1\t0/5000100\twhy\n"),
            ["000000010000000000000004", "000000020000000000000005", "000000020000000000000006"]
        );
    }
}
