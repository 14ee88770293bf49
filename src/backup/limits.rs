//! Where relations were cut off since the parent of an incremental backup: asked of the server.
//!
//! Its WAL summaries have it (`pg_available_wal_summaries()`, `pg_wal_summary_contents()`), which
//! anybody may read unless that was revoked. They are asked for when the server has said where the
//! backup begins: then it has read them itself, and nothing has come yet. Only those count that lie
//! between the two backups as a whole, and only if they leave nothing out: then they are those that
//! the server chose the blocks by, or say the same. (Both backups begin where a checkpoint does, and
//! so do summaries.) What the numbers mean stands in [`crate::pages::LimitBlocks`].

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use super::Plan;
use super::parent::Parent;
use super::reader::Position;
use crate::net::{NetError, SqlClient};
use crate::output::one_line;
use crate::pages::{Fork, LimitBlocks, PageSize, RelationFork, WrittenBehind};
use crate::wal::{Lsn, SystemIdentifier, Timeline, TimelineHistory};

/// What the server is asked when an incremental backup begins.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) plan: &'a Plan,
    pub(super) parent: &'a Parent,
    /// The cluster that is backed up.
    pub(super) system: SystemIdentifier,
}

/// A stretch of a timeline, and a summary, which is one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Stretch {
    timeline: Timeline,
    start: Lsn,
    end: Lsn,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("conninfo leads to system {0}, not to the one that is backed up")]
    OtherSystem(String),
    #[error("the server's timeline does not come from that of backup {0}")]
    Timeline(String),
    #[error(
        "the WAL summaries that conninfo leads to do not cover timeline {timeline} from {lsn} on"
    )]
    NotCovered { timeline: Timeline, lsn: Lsn },
    #[error("more than {MOST} relations were cut off, or places written behind that")]
    TooMany,
    #[error("the server's answer about WAL summaries cannot be understood: {0:?}")]
    Answer(String),
}

/// Rows of an answer that are taken; each takes about 200 bytes while it is read.
const MOST: usize = 20_000;
/// Summaries of ten days can take a while to be read.
const PATIENCE: Duration = Duration::from_secs(600);

const SYSTEM: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";

impl Question<'_> {
    /// Asks; what cannot be found out leaves a reason and a log line with the remedy.
    pub(super) async fn ask(self, start: Position) -> LimitBlocks {
        match self.answer(start).await {
            Ok(limits) => limits,
            Err(Unasked::Net(error)) if is_denied(&error) => LimitBlocks::unknown(format!(
                "{}; as a superuser: GRANT EXECUTE ON FUNCTION pg_control_system(), \
                     pg_available_wal_summaries(), \
                     pg_wal_summary_contents(bigint, pg_lsn, pg_lsn) TO {}",
                one_line(&error),
                crate::net::quote_identifier(&self.plan.sql.user),
            )),
            Err(error) => LimitBlocks::unknown(one_line(&error)),
        }
    }

    async fn answer(&self, start: Position) -> Result<LimitBlocks, Unasked> {
        let info = &self.parent.info;
        let from = info.timeline.zip(info.begin_xlog);
        let stretches = from.and_then(|(timeline, lsn)| {
            stretches(&self.parent.history, Position { timeline, lsn }, start)
        });
        let stretches = stretches.ok_or_else(|| Unasked::Timeline(info.id.to_string()))?;
        // Others are not continued.
        let segment_blocks = PageSize::DEFAULT.usual_segment_blocks();
        if stretches.is_empty() {
            // No WAL, no truncation.
            return Ok(LimitBlocks::new(Vec::new(), Vec::new(), segment_blocks));
        }
        let mut sql = SqlClient::connect(&self.plan.sql, &self.plan.application_name).await?;
        sql.set_statement_timeout(PATIENCE);
        // Not by the session of before: of several hosts it may be another one now.
        let system = sql.value("identify the cluster", SYSTEM).await?;
        if system.parse().ok().map(i64::cast_unsigned) != Some(self.system.0) {
            return Err(Unasked::OtherSystem(system));
        }
        let rows = sql.rows("list the WAL summaries", &summaries_query(&stretches)).await?;
        let summaries = texts(&rows).map(stretch).collect::<Result<Vec<_>, _>>()?;
        check_coverage(&stretches, &summaries)?;
        let what = "look for truncations in the WAL summaries";
        let rows = sql.rows(what, &limits_query(&summaries)).await?;
        let limits = texts(&rows).map(limit).collect::<Result<Vec<_>, _>>()?;
        let written = match limits.is_empty() {
            true => Vec::new(),
            false => {
                let what = "look for what was written behind truncations";
                let rows = sql.rows(what, &written_query(&summaries)).await?;
                texts(&rows).map(written).collect::<Result<Vec<_>, _>>()?
            }
        };
        if limits.len().max(written.len()) > MOST {
            return Err(Unasked::TooMany);
        }
        Ok(LimitBlocks::new(limits, written, segment_blocks))
    }
}

/// Whether the role may not call a function: `insufficient_privilege`.
fn is_denied(error: &NetError) -> bool {
    matches!(error, NetError::Sql { source, .. } if source.code() == Some("42501"))
}

/// The WAL between two positions, along the history of the later one's timeline.
fn stretches(history: &TimelineHistory, from: Position, to: Position) -> Option<Vec<Stretch>> {
    let mut found = Vec::new();
    let (mut timeline, mut start) = (from.timeline, from.lsn);
    while timeline != to.timeline {
        let end = history.switchpoint_of(timeline).filter(|end| *end >= start)?;
        found.push(Stretch { timeline, start, end });
        (timeline, start) = (history.successor_of(timeline)?, end);
    }
    found.push(Stretch { timeline, start, end: to.lsn });
    found.retain(|stretch| stretch.start != stretch.end);
    (start <= to.lsn).then_some(found)
}

/// Whether summaries, all of which lie in one of the stretches, leave nothing of these out.
fn check_coverage(stretches: &[Stretch], summaries: &[Stretch]) -> Result<(), Unasked> {
    for stretch in stretches {
        let timeline = stretch.timeline;
        let own: BTreeSet<&Stretch> =
            summaries.iter().filter(|summary| summary.timeline == timeline).collect();
        let mut covered = stretch.start;
        for summary in own {
            if summary.start > covered {
                break;
            }
            covered = covered.max(summary.end);
        }
        if covered < stretch.end {
            return Err(Unasked::NotCovered { timeline, lsn: covered });
        }
    }
    Ok(())
}

/// Stretches as a table `s` of that query language.
fn table(stretches: &[Stretch]) -> String {
    let mut text = String::from("(VALUES ");
    for (index, Stretch { timeline, start, end }) in stretches.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // To write to a string never fails.
        let _ = write!(
            text,
            "{separator}({timeline}::pg_catalog.int8, '{start}'::pg_catalog.pg_lsn, \
             '{end}'::pg_catalog.pg_lsn)"
        );
    }
    text + ") AS s (tli, first, behind)"
}

fn summaries_query(stretches: &[Stretch]) -> String {
    format!(
        "SELECT pg_catalog.concat_ws(' ', w.tli, w.start_lsn, w.end_lsn) FROM {}, \
         pg_catalog.pg_available_wal_summaries() AS w \
         WHERE w.tli = s.tli AND w.start_lsn >= s.first AND w.end_lsn <= s.behind \
         ORDER BY w.tli, w.start_lsn",
        table(stretches)
    )
}

/// What the summaries say of the forks that files may hold in part: the content and visibility
/// maps; those of databases as a whole have no relation. A summary that is gone by now is an error.
fn contents(summaries: &[Stretch]) -> String {
    format!(
        "SELECT s.first AS at, c.reltablespace AS t, c.reldatabase AS d, c.relfilenode AS r, \
         c.relforknumber AS f, c.relblocknumber AS b, c.is_limit_block AS l FROM {}, \
         LATERAL pg_catalog.pg_wal_summary_contents(s.tli, s.first, s.behind) AS c \
         WHERE c.relforknumber IN (0, 2) AND c.relfilenode <> 0",
        table(summaries)
    )
}

/// The lowest limit of each fork that was not cut off, or made, as a whole: files of such are sent
/// whole.
fn limits_query(summaries: &[Stretch]) -> String {
    format!(
        "SELECT pg_catalog.concat_ws(' ', t, d, r, f, pg_catalog.min(b)) FROM ({} \
         AND c.is_limit_block) AS c GROUP BY t, d, r, f HAVING pg_catalog.min(b) > 0 \
         LIMIT {}",
        contents(summaries),
        MOST + 1
    )
}

/// Runs of blocks that WAL says were written at or behind the limit of an older summary, and not
/// cut off by a newer one. Positions grow along the history, over all of its timelines.
fn written_query(summaries: &[Stretch]) -> String {
    format!(
        "WITH limits AS MATERIALIZED (SELECT * FROM ({contents} AND c.is_limit_block) AS c), \
         cut AS MATERIALIZED (SELECT t, d, r, f FROM limits GROUP BY t, d, r, f \
             HAVING pg_catalog.min(b) > 0), \
         written AS (SELECT c.* FROM ({contents} AND NOT c.is_limit_block) AS c \
             JOIN cut USING (t, d, r, f)), \
         behind AS (SELECT DISTINCT t, d, r, f, b FROM written AS w \
             WHERE EXISTS (SELECT FROM limits AS o WHERE (o.t, o.d, o.r, o.f) = (w.t, w.d, w.r, w.f) \
                 AND o.at < w.at AND o.b <= w.b) \
             AND NOT EXISTS (SELECT FROM limits AS n WHERE (n.t, n.d, n.r, n.f) = (w.t, w.d, w.r, w.f) \
                 AND n.at > w.at AND n.b <= w.b)) \
         SELECT pg_catalog.concat_ws(' ', t, d, r, f, pg_catalog.min(b), pg_catalog.max(b)) \
         FROM (SELECT *, b - pg_catalog.row_number() OVER (PARTITION BY t, d, r, f ORDER BY b) AS run \
             FROM behind) AS runs GROUP BY t, d, r, f, run LIMIT {most}",
        contents = contents(summaries),
        most = MOST + 1
    )
}

/// The only column of each row.
fn texts(rows: &[crate::net::TextRow]) -> impl Iterator<Item = &str> {
    rows.iter().map(|row| row.first().and_then(Option::as_deref).unwrap_or_default())
}

fn stretch(text: &str) -> Result<Stretch, Unasked> {
    let read = || {
        let mut words = text.split(' ');
        let timeline = Timeline::new(words.next()?.parse().ok()?)?;
        let (start, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        (start < end && words.next().is_none()).then_some(Stretch { timeline, start, end })
    };
    read().ok_or_else(|| Unasked::Answer(text.to_owned()))
}

/// A fork and `N` block numbers.
fn fork<const N: usize>(text: &str) -> Result<(RelationFork, [u32; N]), Unasked> {
    let read = || {
        let numbers: Result<Vec<u32>, _> = text.split(' ').map(str::parse).collect();
        let numbers = numbers.ok()?;
        let (&[tablespace, database, relation, fork], blocks) = numbers.split_first_chunk()?;
        let fork = match fork {
            0 => Fork::Main,
            2 => Fork::Visibility,
            _ => return None,
        };
        let of = RelationFork { tablespace, database, relation, fork };
        Some((of, blocks.try_into().ok()?))
    };
    read().ok_or_else(|| Unasked::Answer(text.to_owned()))
}

fn limit(text: &str) -> Result<(RelationFork, u32), Unasked> {
    fork::<1>(text).map(|(of, [block])| (of, block))
}

fn written(text: &str) -> Result<WrittenBehind, Unasked> {
    match fork(text)? {
        (of, [first, last]) if first <= last => Ok(WrittenBehind { of, first, last }),
        _ => Err(Unasked::Answer(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(timeline: u32, start: u64, end: u64) -> Stretch {
        let timeline = Timeline::new(timeline).expect("a timeline");
        Stretch { timeline, start: Lsn(start), end: Lsn(end) }
    }

    #[test]
    fn the_wal_between_two_backups_follows_the_timelines() {
        let third = Timeline::new(3).expect("a timeline");
        let text = b"1\t0/300\tno reason\n2\t0/500\tno reason\n";
        let history = TimelineHistory::parse(third, text).expect("a history");
        let between = |(from, start): (u32, u64), (to, end): (u32, u64)| {
            let at = |timeline, lsn| Position {
                timeline: Timeline::new(timeline).expect("a timeline"),
                lsn: Lsn(lsn),
            };
            stretches(&history, at(from, start), at(to, end))
        };
        let all = vec![on(1, 0x100, 0x300), on(2, 0x300, 0x500), on(3, 0x500, 0x700)];
        assert_eq!(between((1, 0x100), (3, 0x700)), Some(all));
        assert_eq!(between((3, 0x600), (3, 0x700)), Some(vec![on(3, 0x600, 0x700)]));
        assert_eq!(between((2, 0x500), (3, 0x500)), Some(vec![]));
        for (from, to) in
            [((1, 0x400), (3, 0x700)), ((4, 0x100), (3, 0x700)), ((3, 0x800), (3, 0x700))]
        {
            assert_eq!(between(from, to), None, "{from:?} {to:?}");
        }
    }

    #[test]
    fn summaries_that_leave_something_out_tell_nothing() {
        let stretches = [on(1, 0x100, 0x300), on(2, 0x300, 0x500)];
        let covered = |summaries: &[Stretch]| check_coverage(&stretches, summaries).is_ok();
        let whole = [on(1, 0x100, 0x180), on(1, 0x180, 0x300), on(2, 0x300, 0x500)];
        assert!(covered(&whole));
        assert!(covered(&[whole[2], whole[1], whole[0], whole[1]]), "in any order");
        for left_out in 0..3 {
            let mut some = whole.to_vec();
            some.remove(left_out);
            assert!(!covered(&some), "without {left_out}");
        }
        assert!(!covered(&[whole[0], on(1, 0x188, 0x300), whole[2]]));
    }

    #[test]
    fn numbers_of_a_server_that_cannot_be_are_no_answer() {
        let of = RelationFork { tablespace: 1663, database: 5, relation: 16384, fork: Fork::Main };
        assert_eq!(limit("1663 5 16384 0 321").expect("a limit"), (of, 321));
        let run = WrittenBehind { of, first: 3, last: 7 };
        assert_eq!(written("1663 5 16384 0 3 7").expect("a run"), run);
        assert_eq!(stretch("1 0/100 0/300").expect("a summary"), on(1, 0x100, 0x300));
        for text in
            ["", "1663 5 16384 0", "1663 5 16384 1 3", "1663 5 16384 0 -1", "1 1 1 0 4294967296"]
        {
            limit(text).expect_err(text);
        }
        written("1663 5 16384 0 7 3").expect_err("backwards");
        for text in ["", "0 0/100 0/300", "1 0/300 0/100", "1 0/100", "1 0/100 0/300 0"] {
            stretch(text).expect_err(text);
        }
    }
}
