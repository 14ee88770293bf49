//! What is said of WAL is what is in it, wherever the stream was cut.
//!
//! The disaster: a backup is believed restorable to an instant that lies behind a bad record.

use allocation_counter::measure;
use rustix::io::Errno;

use super::*;
use crate::disk::{ModelDisk, RealDisk};
use crate::repository::{HoleCause, Holes, WalFacts, wal_facts};
use crate::wal::PgTimestamp;
use crate::wal::written::{SYSTEM, WalWriter};

const MIB: u64 = 1 << 20;
const START: Lsn = Lsn(5 * MIB);

fn size() -> SegmentSize {
    SegmentSize::new(MIB).expect("a power of two")
}

fn name(number: u64) -> SegmentName {
    SegmentName::containing(Timeline::FIRST, Lsn(number * MIB), size())
}

/// A repository of its own.
struct Site {
    _home: tempfile::TempDir,
    layout: ServerLayout,
    meters: Arc<Meters>,
}

impl Site {
    fn new() -> Site {
        let home = tempfile::tempdir().expect("a directory");
        let layout = ServerLayout::below(home.path(), "main".parse().expect("a name"));
        layout.create_directories(&RealDisk).expect("directories");
        Site { _home: home, layout, meters: Arc::default() }
    }

    fn inspector(&self) -> Inspector {
        let disk = Arc::new(RealDisk);
        Inspector::new(disk, &self.layout, size(), SYSTEM, Arc::clone(&self.meters))
    }

    fn facts(&self) -> WalFacts {
        wal_facts::read_all(&RealDisk, &self.layout).expect("read")
    }

    fn holes(&self) -> Vec<(Lsn, Lsn)> {
        let holes = Holes::read(&RealDisk, &self.layout).expect("read");
        let is_damage = |hole: &crate::repository::Hole| hole.why == HoleCause::Damaged;
        assert!(holes.iter().all(is_damage));
        holes.iter().map(|hole| (hole.from, hole.to)).collect()
    }

    /// Stores the WAL before `end` as a receiver leaves it.
    fn store(&self, bytes: &[u8], end: Lsn) {
        for (at, segment) in bytes[..(end - START) as usize].chunks(MIB as usize).enumerate() {
            let name = name(5 + at as u64);
            let whole = segment.len() as u64 == MIB;
            let file = if whole { name.to_string() } else { format!("{name}.partial") };
            let mut content = segment.to_vec();
            content.resize(MIB as usize, 0xEE);
            std::fs::write(self.layout.streaming().join(file), content).expect("written");
        }
    }

    fn walk(&self, bytes: &[u8]) {
        let mut inspector = self.inspector();
        inspector.begin(Timeline::FIRST, START);
        feed(&mut inspector, START, bytes);
        inspector.end();
    }
}

/// In pieces as they come from a socket.
fn feed(inspector: &mut Inspector, start: Lsn, bytes: &[u8]) {
    for (at, piece) in bytes.chunks(30_011).enumerate() {
        inspector.feed(start + at as u64 * 30_011, piece);
    }
}

/// Three segments and a half, with commits in each, records across pages and segments, and a
/// switch in the third.
fn busy(magic: u16) -> WalWriter {
    let mut writer = WalWriter::new(magic, START, size());
    let mut time = 1_000_000;
    while writer.bytes.len() < 5 * MIB as usize / 2 {
        writer.record(10, 0, &vec![time as u8; (time % 70_001) as usize]);
        writer.commit(time);
        time += 7919;
    }
    writer.switch();
    writer.record(10, 0, &[3; 5000]);
    writer.commit(time);
    writer.record(10, 0, &[3; 9000]);
    writer
}

#[test]
fn facts_of_each_segment_are_kept_and_of_the_open_one_too() {
    for magic in [0xD097, 0xD118] {
        let (site, writer) = (Site::new(), busy(magic));
        site.walk(&writer.bytes);
        let facts = site.facts();
        assert_eq!(facts.keys().copied().collect::<Vec<_>>(), [5, 6, 7, 8].map(name));
        for number in 5..8 {
            let facts = &facts[&name(number)];
            assert!(facts.is_whole(size()), "{facts:?}");
            let commits = facts.commits.expect("commits");
            assert!(facts.from < commits.first.end && commits.last.end <= facts.to, "{facts:?}");
            assert!(commits.first.end < commits.last.end);
            assert_eq!((commits.earliest, commits.latest), (commits.first.time, commits.last.time));
        }
        let open = &facts[&name(8)];
        assert_eq!((open.to, open.damage), (writer.position(), None));
        assert!(!open.is_whole(size()));
        let last = open.commits.expect("one").last;
        assert_eq!(site.holes(), []);
        let seen = site.meters.read().last_commit.expect("seen");
        assert_eq!((seen.end, seen.time), (last.end, last.time));
    }
}

#[test]
fn wherever_a_stream_is_cut_the_facts_are_those_of_the_whole() {
    let writer = busy(0xD116);
    let whole = Site::new();
    whole.walk(&writer.bytes);
    let cuts = (1..12).map(|step| step * 311_317 / 8 * 8).chain([MIB, 2 * MIB, 3 * MIB]);
    for cut in cuts.filter(|cut| *cut < writer.bytes.len() as u64) {
        for same_process in [true, false] {
            let site = Site::new();
            let mut inspector = site.inspector();
            inspector.begin(Timeline::FIRST, START);
            feed(&mut inspector, START, &writer.bytes[..cut as usize]);
            inspector.end();
            if !same_process {
                site.store(&writer.bytes, START + cut);
                inspector = site.inspector();
            }
            inspector.begin(Timeline::FIRST, START + cut);
            feed(&mut inspector, START + cut, &writer.bytes[cut as usize..]);
            inspector.end();
            assert_eq!(site.facts(), whole.facts(), "cut at {cut}, same process: {same_process}");
            assert_eq!(site.holes(), [], "cut at {cut}");
        }
    }
}

#[test]
fn a_bad_record_is_a_hole_at_once_and_marks_every_segment_that_it_touches() {
    let mut writer = WalWriter::new(0xD118, START, size());
    while writer.bytes.len() < MIB as usize - 20_000 {
        writer.record(10, 0, &[1; 10_000]);
    }
    // From the first segment into the second.
    let bad = writer.record(10, 0, &[2; 50_000]);
    writer.commit(5_000_000);
    while writer.bytes.len() < 3 * MIB as usize {
        writer.record(10, 0, &[1; 10_000]);
    }
    let mut bytes = writer.bytes.clone();
    bytes[(bad - START) as usize + 1000] ^= 1;
    let site = Site::new();
    let mut inspector = site.inspector();
    inspector.begin(Timeline::FIRST, START);
    let behind = (bad - START) as usize + 50_100 + 200;
    for (at, byte) in bytes[..behind].chunks(100).enumerate() {
        inspector.feed(START + at as u64 * 100, byte);
    }
    let holes = site.holes();
    assert_eq!(holes.len(), 1, "not at once");
    assert_eq!(holes[0].0, bad);
    let facts = site.facts();
    assert_eq!(facts[&name(5)].damage, Some(bad));
    assert_eq!(facts[&name(6)].damage, Some(Lsn(6 * MIB)));
    feed(&mut inspector, START + behind as u64, &bytes[behind..]);
    inspector.end();
    // Up to the first record that is good again, which is in the same segment.
    let (from, to) = site.holes()[0];
    assert_eq!((site.holes().len(), from), (1, bad));
    assert!(writer.starts.contains(&to) && to > bad + 50_000 && to < bad + 80_000, "{to}");
    let facts = site.facts();
    assert_eq!(facts[&name(6)].damage, Some(Lsn(6 * MIB)));
    assert!(facts[&name(7)].is_whole(size()), "{facts:?}");
}

#[test]
fn wal_of_another_cluster_is_a_hole_and_a_given_up_record_is_none() {
    let (site, mut writer) = (Site::new(), WalWriter::new(0xD118, START, size()));
    writer.commit(1_000_000);
    writer.abandon_record();
    writer.record(0, 0xD0, &[255, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    writer.switch();
    site.walk(&writer.bytes);
    assert_eq!(site.holes(), []);
    assert!(site.facts()[&name(5)].is_whole(size()));

    writer.system = SystemIdentifier(1);
    let foreign = writer.position();
    writer.record(10, 0, &[1; 100]);
    site.walk(&writer.bytes);
    assert_eq!(site.holes()[0].0, foreign);
}

#[test]
fn zeros_in_mid_stream_are_damage_until_the_stream_ends() {
    let (site, mut writer) = (Site::new(), WalWriter::new(0xD118, START, size()));
    writer.commit(1_000_000);
    let from = writer.position();
    let mut bytes = writer.bytes.clone();
    bytes.resize(3 * MIB as usize / 2, 0);
    site.walk(&bytes);
    assert_eq!(site.holes(), [(from, START + bytes.len() as u64)]);
    let facts = site.facts();
    assert_eq!(facts[&name(5)].commits.expect("one").last.time, PgTimestamp(1_000_000));
    assert_eq!(facts[&name(6)].damage, Some(Lsn(6 * MIB)));
}

#[test]
fn a_thousand_pieces_are_walked_without_an_allocation() {
    let (site, writer) = (Site::new(), busy(0xD118));
    let mut inspector = site.inspector();
    inspector.begin(Timeline::FIRST, START);
    let within = &writer.bytes[..MIB as usize - 1];
    let info = measure(|| {
        for (at, piece) in within.chunks(1000).enumerate() {
            inspector.feed(START + at as u64 * 1000, piece);
        }
    });
    assert_eq!(info.count_total, 0, "allocations in the inspector");
    assert!(site.meters.read().last_commit.is_some());
}

#[test]
fn a_disk_that_refuses_everything_stops_nothing() {
    let (site, writer) = (Site::new(), busy(0xD118));
    let disk = ModelDisk::new(1);
    disk.fail_from_call(0, Errno::NOSPC);
    let meters = Arc::clone(&site.meters);
    let mut inspector = Inspector::new(Arc::new(disk), &site.layout, size(), SYSTEM, meters);
    let mut bytes = writer.bytes.clone();
    bytes[300_000] ^= 1;
    inspector.begin(Timeline::FIRST, START);
    feed(&mut inspector, START, &bytes);
    inspector.end();
    let walk = inspector.walk.expect("a walk");
    assert_eq!(walk.checker.position(), writer.position());
}
