//! What the distance of a replication slot means for the server: how soon its disk, or the
//! slot, is at its end, and what to say about it.
//!
//! Pure: looks go in, remarks come out. A slot that does not move keeps all WAL from its
//! position on, and a server whose disk is full of WAL stops.

use std::collections::VecDeque;
use std::time::Duration;

/// What one look at the slot has found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Look {
    /// When, on a clock that only goes forward.
    pub at: Duration,
    /// How much WAL the slot keeps.
    pub kept: u64,
    /// How much more may be written before the server gives the slot up by itself
    /// (`safe_wal_size`); `None` where nothing limits it.
    pub safe: Option<i64>,
    /// Whether the server has said that WAL of the slot is gone (`wal_status = lost`).
    pub lost: bool,
    /// Whether it may remove some at the next checkpoint (`wal_status = unreserved`).
    pub unreserved: bool,
}

/// Who sets the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bound {
    /// `max_slot_wal_keep_size` of the server: there the slot is lost.
    Server,
    /// `slot_wal_limit` of ours: there we give it up.
    Own,
}

/// How things stand, and where they go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// How much WAL the slot keeps.
    pub kept: u64,
    /// By how many bytes a second that grows; negative while it shrinks. `None` before there is
    /// enough to say so.
    pub growth: Option<f64>,
    /// The next end and the bytes that are left until then.
    pub bound: Option<(Bound, u64)>,
    /// When that is, if it goes on like this.
    pub left: Option<Duration>,
}

/// What an operator is to hear. Each is said once, and again only when it gets worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Remark {
    /// The slot keeps remarkably much, or the end is in sight.
    Growing(Forecast),
    /// The end is near.
    Urgent(Forecast),
    /// The server has given it up.
    Lost,
    /// It is over.
    Eased(Forecast),
}

/// Remembers what was seen and said.
#[derive(Clone, Debug, Default)]
pub struct SlotWatch {
    looks: VecDeque<(Duration, u64)>,
    /// How bad what was said last is; 0 for nothing.
    said: u32,
}

impl SlotWatch {
    /// Takes a look into account. `limit` is `slot_wal_limit`.
    pub fn handle(&mut self, look: Look, limit: Option<u64>) -> (Forecast, Option<Remark>) {
        let forecast = self.forecast(look, limit);
        let rank = rank(look, &forecast);
        let remark = if rank > self.said {
            self.said = rank;
            Some(match rank {
                LOST => Remark::Lost,
                URGENT => Remark::Urgent(forecast),
                _ => Remark::Growing(forecast),
            })
        } else if rank == 0 && self.said > 0 && is_easy(&forecast) {
            self.said = 0;
            Some(Remark::Eased(forecast))
        } else {
            None
        };
        (forecast, remark)
    }

    /// Another slot, or another server: nothing that was seen counts any more.
    pub fn forget(&mut self) {
        *self = SlotWatch::default();
    }

    fn forecast(&mut self, look: Look, limit: Option<u64>) -> Forecast {
        self.looks.push_back((look.at, look.kept));
        while self.looks.front().is_some_and(|(at, _)| *at + WINDOW < look.at) {
            self.looks.pop_front();
        }
        let growth = self.looks.front().and_then(|&(since, before)| {
            let span = look.at.saturating_sub(since);
            let grown = look.kept as f64 - before as f64;
            (span >= SPAN).then(|| grown / span.as_secs_f64())
        });
        let server = look.safe.map(|safe| (Bound::Server, u64::try_from(safe).unwrap_or(0)));
        let own = limit.map(|limit| (Bound::Own, limit.saturating_sub(look.kept)));
        let bound = [server, own].into_iter().flatten().min_by_key(|(_, left)| *left);
        let left = match (bound, growth) {
            // Below a byte a second nothing is reached in a lifetime.
            (Some((_, bytes)), Some(growth)) if growth >= 1.0 => {
                Some(Duration::from_secs((bytes as f64 / growth) as u64))
            }
            _ => None,
        };
        Forecast { kept: look.kept, growth, bound, left }
    }
}

/// How bad it is.
fn rank(look: Look, forecast: &Forecast) -> u32 {
    if look.lost {
        return LOST;
    }
    let Some((_, left)) = forecast.bound else {
        // Nothing but the disk, of which the server tells nothing: at each doubling.
        return if look.kept < REMARKABLE { 0 } else { (look.kept / REMARKABLE).ilog2() + 1 };
    };
    let used = look.kept.saturating_mul(100) / look.kept.saturating_add(left).max(1);
    let within = |time| used >= 10 && forecast.left.is_some_and(|left| left < time);
    match () {
        () if look.unreserved || used >= 80 || within(Duration::from_secs(600)) => URGENT,
        () if used >= 50 || within(Duration::from_secs(3600)) => 1,
        () => 0,
    }
}

/// Well below where it would be remarked again.
fn is_easy(forecast: &Forecast) -> bool {
    match forecast.bound {
        Some((_, left)) => forecast.kept <= left / 2,
        None => forecast.kept <= REMARKABLE / 2,
    }
}

/// Doublings of what is kept stay below: 2^58 bytes are more than any disk has.
const URGENT: u32 = 100;
const LOST: u32 = 101;
/// A receiver that keeps up leaves no more than a few segments on the server.
const REMARKABLE: u64 = 1 << 30;
/// What growth is measured over.
const WINDOW: Duration = Duration::from_secs(300);
/// Less says nothing: the slot moves in steps.
const SPAN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn look(second: u64, kept: u64, safe: Option<i64>) -> Look {
        let at = Duration::from_secs(second);
        Look { at, kept, safe, lost: false, unreserved: false }
    }

    /// The remarks of a slot that grows by `step` each ten seconds.
    fn remarks(step: u64, count: u64, limit: Option<u64>, server: Option<u64>) -> Vec<Remark> {
        let mut watch = SlotWatch::default();
        let looks = (0..count).map(|n| {
            let safe = server.map(|size| size as i64 - (n * step) as i64);
            look(n * 10, n * step, safe)
        });
        looks.filter_map(|look| watch.handle(look, limit).1).collect()
    }

    #[test]
    fn a_slot_that_grows_towards_a_bound_is_told_of_twice_with_the_time_that_is_left() {
        // 1 MiB a second towards 10 GiB: half is used before an hour is left.
        for (limit, server, bound) in
            [(Some(10 * GIB), None, Bound::Own), (None, Some(10 * GIB), Bound::Server)]
        {
            let remarks = remarks(10 * MIB, 1000, limit, server);
            let [Remark::Growing(first), Remark::Urgent(second)] = remarks[..] else {
                panic!("{remarks:?}");
            };
            assert_eq!(first.kept, 5 * GIB);
            assert_eq!(first.left, Some(Duration::from_secs(5 * 1024)));
            // 80 % lie between two looks.
            assert_eq!(second.kept, 8200 * MIB);
            assert_eq!(second.left, Some(Duration::from_secs(2040)));
            assert_eq!(second.bound, Some((bound, 2040 * MIB)));
            assert_eq!(second.growth, Some(MIB as f64));
        }
    }

    #[test]
    fn fast_growth_is_told_of_by_the_time_that_is_left_and_not_only_by_the_share() {
        // 100 MiB a second towards 100 GiB: after 30 s it is known, and 10 % are used after 102.
        let remarks = remarks(1000 * MIB, 12, Some(100 * GIB), None);
        let [Remark::Growing(first)] = remarks[..] else { panic!("{remarks:?}") };
        assert_eq!(first.kept, 11_000 * MIB);
        assert!(first.left.is_some_and(|left| left < Duration::from_secs(1000)));
    }

    #[test]
    fn the_nearer_of_two_bounds_counts() {
        let mut watch = SlotWatch::default();
        let (forecast, _) = watch.handle(look(0, GIB, Some(GIB as i64)), Some(10 * GIB));
        assert_eq!(forecast.bound, Some((Bound::Server, GIB)));
        let (forecast, _) = watch.handle(look(0, GIB, Some(GIB as i64)), Some(GIB + 1));
        assert_eq!(forecast.bound, Some((Bound::Own, 1)));
    }

    #[test]
    fn without_a_bound_each_doubling_is_told_of_once() {
        let kept: Vec<u64> = remarks(256 * MIB, 100, None, None)
            .into_iter()
            .map(|remark| match remark {
                Remark::Growing(forecast) => forecast.kept / GIB,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kept, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn a_lost_slot_is_told_of_once_and_an_unreserved_one_is_urgent() {
        let mut watch = SlotWatch::default();
        let unreserved = Look { unreserved: true, ..look(0, 10, None) };
        let bounded = Look { safe: Some(-5), ..unreserved };
        assert!(matches!(watch.handle(bounded, None).1, Some(Remark::Urgent(_))));
        assert_eq!(watch.handle(bounded, None).1, None);
        let lost = Look { lost: true, ..bounded };
        assert_eq!(watch.handle(lost, None).1, Some(Remark::Lost));
        assert_eq!(watch.handle(lost, None).1, None);
    }

    #[test]
    fn what_has_eased_is_said_once_and_may_be_remarked_again() {
        let mut watch = SlotWatch::default();
        let mut tell = |second, kept| watch.handle(look(second, kept, None), Some(GIB)).1;
        assert!(matches!(tell(0, 600 * MIB), Some(Remark::Growing(_))));
        assert_eq!(tell(10, 400 * MIB), None, "not yet: it would flutter");
        assert!(matches!(tell(20, 100 * MIB), Some(Remark::Eased(_))));
        assert_eq!(tell(30, 90 * MIB), None);
        assert!(matches!(tell(40, 600 * MIB), Some(Remark::Growing(_))));
    }

    #[test]
    fn a_slot_that_is_being_caught_up_with_has_no_time_left_to_tell() {
        let mut watch = SlotWatch::default();
        for second in 0..10 {
            let kept = 900 * MIB - second * 10 * MIB;
            let (forecast, _) = watch.handle(look(second * 10, kept, None), Some(GIB));
            assert_eq!(forecast.left, None);
        }
    }
}
