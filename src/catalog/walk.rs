//! Reads archived segments again: what is in them, and whether a hole was filled.

use crate::codec::StoredFile;
use crate::disk::Disk;
use crate::repository::{Hole, Holes, RepositoryError, SegmentFacts, ServerLayout};
use crate::wal::{Finding, Lsn, SegmentName, SegmentSize, WalChecker, WalFileName};

/// Walks segments that follow upon each other on one timeline, as far as they stand in `wals/`,
/// packed or not.
///
/// The facts are those that an inspector would have kept, but for the beginning of the first
/// segment: a record that began before it is not looked at.
pub fn walk(
    disk: &dyn Disk,
    layout: &ServerLayout,
    names: impl IntoIterator<Item = SegmentName>,
    size: SegmentSize,
) -> Result<Vec<SegmentFacts>, RepositoryError> {
    let mut walked = Vec::new();
    let mut checker: Option<WalChecker> = None;
    for name in names {
        let Some(start) = name.number(size).map(|number| number.start(size)) else { break };
        let checker =
            checker.get_or_insert_with(|| WalChecker::new(name.timeline(), None, size, start));
        match segment(disk, layout, name, size, checker)? {
            Some(facts) => walked.push(facts),
            None => break,
        }
    }
    Ok(walked)
}

fn segment(
    disk: &dyn Disk,
    layout: &ServerLayout,
    name: SegmentName,
    size: SegmentSize,
    checker: &mut WalChecker,
) -> Result<Option<SegmentFacts>, RepositoryError> {
    let file = match disk.open_read(&layout.wal(WalFileName::Segment(name))) {
        Err(error) if error.is_absent() => return Ok(None),
        result => result?,
    };
    let mut file = StoredFile::of_wal(file)?;
    let length = u64::from(size.bytes());
    let start = checker.position();
    let mut facts = SegmentFacts::begin(name, start);
    facts.damage = checker.damage().map(|_| start);
    let mut findings = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    while checker.position() < start + length {
        let at = checker.position();
        let left = start + length - at;
        let wanted = buffer.len().min(left as usize);
        // What is packed and damaged, or cut off, is no segment.
        let read = file.read(&mut buffer[..wanted]).unwrap_or(0);
        if read == 0 {
            return Ok(None);
        }
        checker.feed(at, &buffer[..read], &mut findings);
        let damaged = findings.drain(..).find(|finding| is_bad(*finding));
        if damaged.is_some() {
            let from = checker.damage().unwrap_or(at).max(start);
            facts.damage.get_or_insert(from);
        }
    }
    facts.to = checker.position();
    facts.commits = checker.take_commit_times();
    facts.from = checker.verified_from(start);
    Ok(Some(facts))
}

/// In an archived segment, zeros where a record would begin are damage too.
fn is_bad(finding: Finding) -> bool {
    finding.is_damage() || matches!(finding, Finding::EndOfWal { .. })
}

/// The holes that are none any more: every segment that such a hole touches stands in `wals/`
/// again, and every record in it is good.
pub fn filled(
    disk: &dyn Disk,
    layout: &ServerLayout,
    holes: &Holes,
    size: SegmentSize,
) -> Result<Vec<Hole>, RepositoryError> {
    let mut filled = Vec::new();
    for hole in holes.iter() {
        if is_filled(disk, layout, hole, size)? {
            filled.push(*hole);
        }
    }
    Ok(filled)
}

fn is_filled(
    disk: &dyn Disk,
    layout: &ServerLayout,
    hole: &Hole,
    size: SegmentSize,
) -> Result<bool, RepositoryError> {
    for name in hole.segments(size) {
        // By the names first: a hole is seldom filled, and to read it takes long.
        if disk.stat(&layout.wal(WalFileName::Segment(name)))?.is_none() {
            return Ok(false);
        }
    }
    let walked = walk(disk, layout, hole.segments(size), size)?;
    let last = walked.last().map_or(Lsn::INVALID, |facts| facts.to);
    Ok(last >= hole.to && walked.iter().all(|facts| facts.damage.is_none()))
}

const READ_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::disk::RealDisk;
    use crate::repository::HoleCause;
    use crate::wal::Timeline;
    use crate::wal::written::WalWriter;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_hole_is_none_any_more_when_whole_and_good_segments_stand_in_its_place() {
        let home = tempfile::tempdir().expect("a directory");
        let layout = ServerLayout::below(home.path(), "main".parse().expect("a name"));
        layout.create_directories(&RealDisk).expect("directories");
        let size = SegmentSize::new(MIB).expect("a power of two");
        let mut writer = WalWriter::new(0xD118, Lsn(3 * MIB), size);
        while writer.bytes.len() < 3 * MIB as usize {
            writer.record(10, 0, &[5; 20_000]);
            writer.commit(writer.bytes.len() as i64);
        }
        let name = |number: u64| SegmentName::containing(Timeline::FIRST, Lsn(number * MIB), size);
        let path = |number| layout.wal(WalFileName::Segment(name(number)));
        let put = |number: u64, bytes: &[u8]| {
            std::fs::create_dir_all(path(number).parent().expect("one")).expect("made");
            std::fs::write(path(number), bytes).expect("written");
        };
        let segments: Vec<&[u8]> = writer.bytes.chunks(MIB as usize).collect();
        let hole = Hole {
            timeline: Timeline::FIRST,
            from: Lsn(4 * MIB + 100),
            to: Lsn(6 * MIB),
            since: Timestamp::UNIX_EPOCH,
            why: HoleCause::Removed,
        };
        let holes: Holes = [hole].into_iter().collect();
        let filled = || filled(&RealDisk, &layout, &holes, size).expect("read");
        put(3, segments[0]);
        put(4, segments[1]);
        assert_eq!(filled(), [], "a segment is missing");
        put(5, &segments[2][..100_000]);
        assert_eq!(filled(), [], "a segment is cut");
        let mut bad = segments[2].to_vec();
        bad[500_000] ^= 1;
        put(5, &bad);
        assert_eq!(filled(), [], "a record is bad");
        put(5, segments[2]);
        assert_eq!(filled(), [hole]);
        let facts = walk(&RealDisk, &layout, [3, 4, 5].map(name), size).expect("read");
        assert!(facts.iter().all(|facts| facts.is_whole(size)), "{facts:?}");
    }
}
