//! Holes: WAL that was lost for good. Nothing is restorable across one.
//!
//! ```text
//! <backup_directory>/.tapster/holes
//!
//! 1 0/3000000 0/5000000 2026-11-25T18:50:00.123456Z removed 9a3c51e0
//! timeline, from, to, since, why, check value
//! ```
//!
//! Whoever goes on behind lost WAL records the hole durably before. The file is replaced as a
//! whole, so that after a crash there is the old one or the new one.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use jiff::Timestamp;

use super::state_file::{self, STATE_FILE_MODE, STATE_MODE};
use super::{Lock, RepositoryError, ServerLayout};
use crate::disk::{self, Disk, LockFile};
use crate::wal::{Lsn, SegmentName, SegmentNumber, SegmentSize, Timeline};

/// A stretch of a timeline whose WAL is not there, or cannot be replayed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hole {
    /// The timeline.
    pub timeline: Timeline,
    /// The first byte that is lost. Everything before can be replayed.
    pub from: Lsn,
    /// The first byte behind it that is there.
    pub to: Lsn,
    /// When it was found.
    pub since: Timestamp,
    /// How it came.
    pub why: HoleCause,
}

/// How WAL was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HoleCause {
    /// The server had removed it before it was received.
    Removed,
    /// Reception was told to begin anew (`receive-wal --reset`).
    Reset,
    /// The slot was given up, so that the server's disk would not fill (`slot_wal_limit`).
    SlotGivenUp,
    /// It came damaged: a record in it cannot be replayed.
    Damaged,
}

const CAUSES: [(HoleCause, &str, &str); 4] = [
    (HoleCause::Removed, "removed", "the server had removed it before it was received"),
    (HoleCause::Reset, "reset", "receive-wal was reset to begin behind it"),
    (HoleCause::SlotGivenUp, "slot-given-up", "the slot was given up at slot_wal_limit"),
    (HoleCause::Damaged, "damaged", "it is damaged"),
];

impl HoleCause {
    /// One word, as it stands in the file.
    pub fn word(self) -> &'static str {
        CAUSES.iter().find(|(cause, ..)| *cause == self).map_or("", |(_, word, _)| word)
    }

    /// The rest of a sentence that begins with "this WAL is lost:".
    pub fn sentence(self) -> &'static str {
        CAUSES.iter().find(|(cause, ..)| *cause == self).map_or("", |(.., sentence)| sentence)
    }
}

impl FromStr for HoleCause {
    type Err = ();
    fn from_str(text: &str) -> Result<HoleCause, ()> {
        let found = CAUSES.iter().find(|(_, word, _)| *word == text);
        found.map(|(cause, ..)| *cause).ok_or(())
    }
}

impl Hole {
    /// The segments that the hole touches: they are absent, or cannot be replayed as they are.
    pub fn segments(&self, size: SegmentSize) -> impl Iterator<Item = SegmentName> {
        let (first, last) = (self.from.segment(size), self.to.segment_before(size));
        let timeline = self.timeline;
        (first.0..=last.0)
            .map(move |number| SegmentName::new(timeline, SegmentNumber(number), size))
    }

    /// Whether the hole touches this segment.
    pub fn is_in(&self, name: SegmentName, size: SegmentSize) -> bool {
        let within =
            |number| self.from.segment(size) <= number && number <= self.to.segment_before(size);
        name.timeline() == self.timeline && name.number(size).is_some_and(within)
    }

    fn touches(&self, other: &Hole) -> bool {
        self.timeline == other.timeline && self.from <= other.to && other.from <= self.to
    }

    /// Both as one. What was known first says how it came.
    fn with(self, other: Hole) -> Hole {
        let first = if other.since < self.since { other } else { self };
        Hole { from: self.from.min(other.from), to: self.to.max(other.to), ..first }
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hole { timeline, from, to, why, .. } = self;
        write!(f, "WAL of timeline {timeline} from {from} to {to} is lost: {}", why.sentence())
    }
}

/// The holes of one server, in the order of timelines and positions. None touches another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Holes(Vec<Hole>);

impl Holes {
    /// What is recorded.
    ///
    /// # Errors
    /// A line that cannot be understood: it may be the one that says what cannot be restored.
    pub fn read(disk: &dyn Disk, layout: &ServerLayout) -> Result<Holes, RepositoryError> {
        let path = layout.holes();
        let bytes = match disk::read_file(disk, &path, BYTES_MAX) {
            Err(error) if error.is_absent() => return Ok(Holes::default()),
            result => result?,
        };
        Holes::parse(&bytes).map_err(|line| RepositoryError::Holes { path, line })
    }

    /// Records a hole durably. One that is known already changes nothing, and holes that touch
    /// become one. Returns whether there is anything new.
    pub fn record(
        disk: &dyn Disk,
        layout: &ServerLayout,
        hole: Hole,
    ) -> Result<bool, RepositoryError> {
        Holes::change(disk, layout, |holes| holes.add(hole))
    }

    /// Forgets holes that were filled.
    pub fn forget(
        disk: &dyn Disk,
        layout: &ServerLayout,
        filled: &[Hole],
    ) -> Result<bool, RepositoryError> {
        Holes::change(disk, layout, |holes| holes.0.retain(|hole| !filled.contains(hole)))
    }

    fn change(
        disk: &dyn Disk,
        layout: &ServerLayout,
        change: impl FnOnce(&mut Holes),
    ) -> Result<bool, RepositoryError> {
        let _lock = LockFile::acquire_waiting(&layout.lock(Lock::State))?;
        let old = Holes::read(disk, layout)?;
        let mut new = old.clone();
        change(&mut new);
        if new != old {
            disk::create_directories(disk, &layout.state(), STATE_MODE)?;
            disk::write_file(disk, &layout.holes(), STATE_FILE_MODE, new.render().as_bytes())?;
        }
        Ok(new != old)
    }

    /// Adds one, and merges it with those that it touches.
    pub fn add(&mut self, mut hole: Hole) {
        self.0.retain(|other| {
            let touches = hole.touches(other);
            if touches {
                hole = hole.with(*other);
            }
            !touches
        });
        self.0.push(hole);
        self.0.sort_by_key(|hole| (hole.timeline, hole.from));
    }

    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Hole> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn parse(bytes: &[u8]) -> Result<Holes, usize> {
        let mut holes = Holes::default();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if !line.is_empty() {
                holes.add(parse_line(line).ok_or(index + 1)?);
            }
        }
        Ok(holes)
    }

    fn render(&self) -> String {
        let mut text = String::new();
        for Hole { timeline, from, to, since, why } in &self.0 {
            let why = why.word();
            state_file::add_line(&mut text, format_args!("{timeline} {from} {to} {since} {why}"));
        }
        text
    }
}

impl FromIterator<Hole> for Holes {
    fn from_iter<T: IntoIterator<Item = Hole>>(holes: T) -> Holes {
        let mut all = Holes::default();
        holes.into_iter().for_each(|hole| all.add(hole));
        all
    }
}

fn parse_line(line: &[u8]) -> Option<Hole> {
    let mut words = state_file::read_line(line)?;
    let hole = Hole {
        timeline: words.next()?.parse().ok()?,
        from: words.next()?.parse().ok()?,
        to: words.next()?.parse().ok()?,
        since: words.next()?.parse().ok()?,
        why: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(hole)
}

/// A line has some eighty bytes.
const BYTES_MAX: u64 = 16 << 20;

/// The hint of [`RepositoryError::Holes`].
pub(super) fn hint(path: &Path, line: usize) -> String {
    format!(
        "line {line} of {} says which WAL is lost: write down what can be read of it, remove it, \
         and take a new base backup",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::RealDisk;

    fn hole(timeline: u32, from: u64, to: u64, second: i64) -> Hole {
        Hole {
            timeline: Timeline::new(timeline).expect("not 0"),
            from: Lsn(from << 20),
            to: Lsn(to << 20),
            since: Timestamp::from_second(second).expect("a time"),
            why: if second % 2 == 0 { HoleCause::Removed } else { HoleCause::Reset },
        }
    }

    #[test]
    fn a_hole_is_recorded_once_and_holes_that_touch_become_one() {
        let home = tempfile::tempdir().expect("a directory");
        let layout = ServerLayout::below(home.path(), "main".parse().expect("a name"));
        layout.create_directories(&RealDisk).expect("directories");
        let record = |hole| Holes::record(&RealDisk, &layout, hole).expect("recorded");
        assert!(Holes::read(&RealDisk, &layout).expect("no file").is_empty());
        assert!(record(hole(1, 16, 32, 10)));
        assert!(!record(hole(1, 16, 32, 11)));
        assert!(!record(hole(1, 20, 24, 12)));
        assert!(record(hole(2, 16, 32, 13)));
        assert!(record(hole(1, 48, 64, 15)));
        // From the end of the first to the beginning of the last.
        assert!(record(hole(1, 32, 48, 17)));
        let holes = Holes::read(&RealDisk, &layout).expect("read");
        let expected = [hole(1, 16, 64, 10), hole(2, 16, 32, 13)];
        assert_eq!(holes, expected.into_iter().collect());
        assert!(Holes::forget(&RealDisk, &layout, &expected[..1]).expect("forgotten"));
        let holes = Holes::read(&RealDisk, &layout).expect("read");
        assert_eq!(holes.iter().collect::<Vec<_>>(), [&expected[1]]);
    }

    #[test]
    fn records_of_several_threads_at_once_are_all_kept() {
        let home = tempfile::tempdir().expect("a directory");
        let layout = ServerLayout::below(home.path(), "main".parse().expect("a name"));
        layout.create_directories(&RealDisk).expect("directories");
        let layout = Arc::new(layout);
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let layout = Arc::clone(&layout);
                std::thread::spawn(move || {
                    Holes::record(&RealDisk, &layout, hole(1, number * 16, number * 16 + 1, 1))
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic").expect("recorded");
        }
        assert_eq!(Holes::read(&RealDisk, &layout).expect("read").iter().count(), 8);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_never_taken_for_an_archive_without_holes() {
        let holes: Holes = [hole(1, 1, 2, 3), hole(1, 5, 6, 7)].into_iter().collect();
        let text = holes.render();
        assert_eq!(Holes::parse(text.as_bytes()), Ok(holes));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(Holes::parse(&bytes).is_err(), "byte {at}");
        }
        for cut in 1..text.len() - 1 {
            let whole = text[..cut].ends_with('\n') || text[cut..].starts_with('\n');
            assert_eq!(Holes::parse(&text.as_bytes()[..cut]).is_ok(), whole, "cut at {cut}");
        }
    }
}
