//! Timeline history files: which timelines a timeline descends from, and where each ended.

use super::{Lsn, Timeline};

/// The ancestry of one timeline, as its `.history` file tells it.
///
/// The file is text, one ancestor a line, oldest first: `<timeline> TAB <switchpoint> TAB
/// <reason>`. A line says that its timeline ended at the switchpoint (exclusive) and that the
/// next line's timeline, or the file's own after the last line, began there.
/// Source: `writeTimeLineHistory` and `readTimeLineHistory` in
/// `src/backend/access/transam/timeline.c`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TimelineHistory {
    timeline: Timeline,
    /// Timelines strictly ascend and stay below `timeline`; switchpoints never descend.
    entries: Vec<HistoryEntry>,
}

/// One ancestor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HistoryEntry {
    /// The ancestor.
    pub timeline: Timeline,
    /// Where it ended for this lineage: the first byte of its successor.
    pub switchpoint: Lsn,
    /// Why, in the server's words; not to be parsed.
    pub reason: String,
}

/// A history file that no server would have written. Lines are counted from 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The line does not begin with a timeline and a position.
    #[error(
        "line {line} of the history of timeline {timeline} is not \
         \"<timeline> <switchpoint> <reason>\": {text:?}"
    )]
    Syntax {
        /// Whose history.
        timeline: Timeline,
        /// Where.
        line: usize,
        /// The line, shortened.
        text: String,
    },
    /// Ancestors must be listed oldest first.
    #[error("line {line} of the history of timeline {timeline} names {found} after {previous}")]
    Order {
        /// Whose history.
        timeline: Timeline,
        /// Where.
        line: usize,
        /// The timeline on this line.
        found: Timeline,
        /// The timeline on the line before.
        previous: Timeline,
    },
    /// An ancestor is older than its descendant, and has the smaller number.
    #[error("line {line} of the history of timeline {timeline} names {found}, which is not older")]
    NotAncestor {
        /// Whose history.
        timeline: Timeline,
        /// Where.
        line: usize,
        /// The timeline on this line.
        found: Timeline,
    },
    /// A timeline cannot end before it began.
    #[error(
        "line {line} of the history of timeline {timeline} ends timeline {found} at {switchpoint}, \
         before its beginning at {beginning}"
    )]
    Backwards {
        /// Whose history.
        timeline: Timeline,
        /// Where.
        line: usize,
        /// The timeline on this line.
        found: Timeline,
        /// Its end.
        switchpoint: Lsn,
        /// Its beginning.
        beginning: Lsn,
    },
}

impl HistoryError {
    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        Some("compare the file with the server's copy in its pg_wal directory".to_owned())
    }
}

impl TimelineHistory {
    /// The history of a timeline without ancestors; timeline 1 has no history file.
    pub fn without_ancestors(timeline: Timeline) -> TimelineHistory {
        TimelineHistory { timeline, entries: Vec::new() }
    }

    /// Reads the content of `timeline`'s history file. Blank lines and comments (`#`) are
    /// skipped, any white space separates, and what follows the position is the reason.
    pub fn parse(timeline: Timeline, content: &[u8]) -> Result<TimelineHistory, HistoryError> {
        let mut history = TimelineHistory::without_ancestors(timeline);
        for (index, line) in content.split(|&byte| byte == b'\n').enumerate() {
            let text = String::from_utf8_lossy(line);
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let entry = parse_line(text).ok_or_else(|| HistoryError::Syntax {
                timeline,
                line: index + 1,
                text: text.chars().take(80).collect(),
            })?;
            history.check_order(&entry, index + 1)?;
            history.entries.push(entry);
        }
        Ok(history)
    }

    /// The timeline whose history this is.
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// The ancestors, oldest first.
    pub fn entries(&self) -> &[HistoryEntry] {
        &self.entries
    }

    /// Where `timeline` ended; `None` for the newest one and for strangers.
    pub fn switchpoint_of(&self, timeline: Timeline) -> Option<Lsn> {
        self.entry(timeline).map(|index| self.entries[index].switchpoint)
    }

    /// Where `timeline` began: 0/0 for the oldest one; `None` for strangers.
    pub fn beginning_of(&self, timeline: Timeline) -> Option<Lsn> {
        let index =
            if timeline == self.timeline { self.entries.len() } else { self.entry(timeline)? };
        let before = index.checked_sub(1);
        Some(before.map_or(Lsn::INVALID, |before| self.entries[before].switchpoint))
    }

    /// Whether `timeline` is this one or an ancestor of it.
    pub fn contains(&self, timeline: Timeline) -> bool {
        timeline == self.timeline || self.entry(timeline).is_some()
    }

    /// The timeline that began where `timeline` ended.
    pub fn successor_of(&self, timeline: Timeline) -> Option<Timeline> {
        let next = self.entries.get(self.entry(timeline)? + 1);
        Some(next.map_or(self.timeline, |entry| entry.timeline))
    }

    /// The timeline whose bytes count at this position.
    pub fn timeline_at(&self, lsn: Lsn) -> Timeline {
        let ended = self.entries.partition_point(|entry| entry.switchpoint <= lsn);
        self.entries.get(ended).map_or(self.timeline, |entry| entry.timeline)
    }

    fn entry(&self, timeline: Timeline) -> Option<usize> {
        self.entries.binary_search_by_key(&timeline, |entry| entry.timeline).ok()
    }

    fn check_order(&self, entry: &HistoryEntry, line: usize) -> Result<(), HistoryError> {
        let timeline = self.timeline;
        let found = entry.timeline;
        if let Some(previous) = self.entries.last() {
            if found <= previous.timeline {
                let previous = previous.timeline;
                return Err(HistoryError::Order { timeline, line, found, previous });
            }
            if entry.switchpoint < previous.switchpoint {
                let (switchpoint, beginning) = (entry.switchpoint, previous.switchpoint);
                let error =
                    HistoryError::Backwards { timeline, line, found, switchpoint, beginning };
                return Err(error);
            }
        }
        if found >= timeline {
            return Err(HistoryError::NotAncestor { timeline, line, found });
        }
        Ok(())
    }
}

fn parse_line(text: &str) -> Option<HistoryEntry> {
    let (timeline, rest) = text.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (switchpoint, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Some(HistoryEntry {
        timeline: timeline.parse().ok()?,
        switchpoint: switchpoint.parse().ok()?,
        reason: reason.trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tli(id: u32) -> Timeline {
        Timeline::new(id).expect("not 0")
    }

    fn parse(id: u32, text: &str) -> Result<TimelineHistory, HistoryError> {
        TimelineHistory::parse(tli(id), text.as_bytes())
    }

    #[test]
    fn a_lineage_tells_who_wrote_each_byte() {
        let text = "# copied\n\n1\t0/33CFC48\tno recovery target specified\n\
                    \n  3 \t 0/5000000   before 2026-01-01\n";
        let history = parse(7, text).expect("a history");
        assert_eq!(history.entries()[0].reason, "no recovery target specified");
        assert_eq!(history.switchpoint_of(tli(1)), Some(Lsn(0x33C_FC48)));
        assert_eq!(history.switchpoint_of(tli(7)), None);
        assert_eq!(history.successor_of(tli(1)), Some(tli(3)));
        assert_eq!(history.successor_of(tli(3)), Some(tli(7)));
        assert_eq!(history.successor_of(tli(7)), None);
        assert_eq!(history.beginning_of(tli(1)), Some(Lsn::INVALID));
        assert_eq!(history.beginning_of(tli(7)), Some(Lsn(0x500_0000)));
        assert_eq!(history.beginning_of(tli(2)), None);
        assert!(history.contains(tli(3)) && history.contains(tli(7)));
        assert!(!history.contains(tli(2)));
        assert_eq!(history.timeline_at(Lsn(0x33C_FC47)), tli(1));
        assert_eq!(history.timeline_at(Lsn(0x33C_FC48)), tli(3));
        assert_eq!(history.timeline_at(Lsn(u64::MAX)), tli(7));
    }

    #[test]
    fn a_padded_position_a_missing_reason_and_foreign_letters_are_read() {
        let history =
            TimelineHistory::parse(tli(2), b"1\t0/033CFC48\n").expect("no reason, no matter");
        assert_eq!(history.switchpoint_of(tli(1)), Some(Lsn(0x33C_FC48)));
        let history = TimelineHistory::parse(tli(2), b"1\t0/1\tpoint \xE9t\xE9").expect("latin-1");
        assert_eq!(history.entries().len(), 1);
        assert_eq!(parse(1, ""), Ok(TimelineHistory::without_ancestors(tli(1))));
    }

    #[test]
    fn a_file_that_no_server_wrote_is_refused_with_its_line() {
        assert!(matches!(parse(2, "\nx\t0/1\tr\n"), Err(HistoryError::Syntax { line: 2, .. })));
        assert!(matches!(parse(2, "1\n"), Err(HistoryError::Syntax { line: 1, .. })));
        assert!(matches!(parse(2, "0\t0/1\tr\n"), Err(HistoryError::Syntax { .. })));
        assert!(matches!(parse(2, "1\t01\tr\n"), Err(HistoryError::Syntax { .. })));
        let order = parse(9, "3\t0/1\tr\n2\t0/2\tr\n");
        assert!(matches!(order, Err(HistoryError::Order { line: 2, .. })));
        assert!(matches!(parse(2, "2\t0/1\tr\n"), Err(HistoryError::NotAncestor { .. })));
        let backwards = parse(9, "1\t0/9\tr\n2\t0/2\tr\n");
        assert!(matches!(backwards, Err(HistoryError::Backwards { line: 2, .. })));
    }
}
