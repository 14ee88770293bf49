//! A start at the wrong place leaves a hole, or files of a branch that is dead, or loops.

use super::*;

const MIB: u64 = 1 << 20;
const SEGMENT: u64 = 16 * MIB;

fn timeline(id: u32) -> Timeline {
    Timeline::new(id).expect("not 0")
}

/// The history of the last timeline: each but the last with its end.
fn history(ends: &[(u32, u64)], newest: u32) -> TimelineHistory {
    let text: String =
        ends.iter().map(|(id, end)| format!("{id}\t{}\tno reason\n", Lsn(*end))).collect();
    TimelineHistory::parse(timeline(newest), text.as_bytes()).expect("well-formed")
}

struct Case {
    local: Option<(u32, u64)>,
    server: (u32, u64),
    history: TimelineHistory,
    slot: Option<(Option<u64>, Option<u32>)>,
    local_histories: Vec<TimelineHistory>,
}

impl Case {
    fn new(server: (u32, u64)) -> Case {
        Case {
            local: None,
            server,
            history: history(&[], server.0),
            slot: None,
            local_histories: Vec::new(),
        }
    }

    fn local(self, id: u32, position: u64) -> Case {
        Case { local: Some((id, position)), ..self }
    }

    fn slot(self, restart: Option<u64>, id: Option<u32>) -> Case {
        Case { slot: Some((restart, id)), ..self }
    }

    fn history(self, ends: &[(u32, u64)]) -> Case {
        Case { history: history(ends, self.server.0), ..self }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            segment_size: SegmentSize::DEFAULT,
            repository_system: Some(SystemIdentifier(7)),
            local: self
                .local
                .map(|(id, position)| LocalEnd { timeline: timeline(id), position: Lsn(position) }),
            local_histories: &self.local_histories,
            server: ServerEnd {
                system: SystemIdentifier(7),
                timeline: timeline(self.server.0),
                flushed: Lsn(self.server.1),
            },
            history: &self.history,
            slot: self.slot.map(|(restart, id)| SlotPosition {
                restart: restart.map(Lsn),
                timeline: id.map(timeline),
            }),
        }
    }

    fn decide(&self) -> Result<Decision, Refusal> {
        self.facts().decide()
    }

    fn streams(&self) -> (u32, u64, Vec<Remark>) {
        match self.decide() {
            Ok(Decision::Stream { timeline, position, remarks }) => {
                (timeline.id(), position.0, remarks)
            }
            other => panic!("no stream: {other:?}"),
        }
    }
}

#[test]
fn with_nothing_stored_the_slot_decides_and_without_a_slot_the_server() {
    let at = 5 * SEGMENT + 77;
    assert_eq!(Case::new((1, at)).streams(), (1, 5 * SEGMENT, vec![Remark::FromServer]));
    let slot = Case::new((1, at)).slot(Some(3 * SEGMENT + 9), Some(1));
    assert_eq!(slot.streams(), (1, 3 * SEGMENT, vec![Remark::FromSlot]));
    let empty = Case::new((1, at)).slot(None, None);
    assert_eq!(empty.streams(), (1, 5 * SEGMENT, vec![Remark::FromServer]));
}

#[test]
fn a_slot_without_a_timeline_starts_on_the_one_that_was_current_there() {
    let case = Case::new((3, 9 * SEGMENT)).history(&[(1, 2 * SEGMENT + 8), (2, 4 * SEGMENT)]);
    let slot = |lsn| Case { slot: Some((Some(lsn), None)), ..case_of(&case) }.streams();
    assert_eq!(slot(2 * SEGMENT).0, 1);
    assert_eq!(slot(2 * SEGMENT + 8).0, 2);
    assert_eq!(slot(4 * SEGMENT).0, 3);
}

#[test]
fn a_missing_slot_is_made_again_after_a_failover_and_otherwise_only_on_request() {
    let at = 9 * SEGMENT;
    for (case, is_made) in [
        // Nothing is stored: whoever configures a slot makes it.
        (Case::new((1, at)), false),
        // Dropped by somebody.
        (Case::new((2, at)).local(2, at), false),
        // Another primary.
        (Case::new((2, at)).local(1, at).history(&[(1, at)]), true),
        (Case::new((4, at)).local(1, 5).history(&[(1, 9), (3, at)]), true),
        // An old primary, which is refused anyway.
        (Case::new((1, at)).local(2, at), false),
    ] {
        assert_eq!(case.facts().misses_slot_after_failover(), is_made, "{:?}", case.server);
    }
}

#[test]
fn lost_wal_is_lost_to_each_timeline_that_it_belongs_to() {
    let case = Case::new((4, 9 * SEGMENT)).history(&[(1, 2 * SEGMENT), (3, 4 * SEGMENT)]);
    let lost = |from, to| -> Vec<(u32, u64, u64)> {
        let lost = case.facts().lost(Lsn(from), Lsn(to)).into_iter();
        lost.map(|(timeline, from, to)| (timeline.id(), from.0, to.0)).collect()
    };
    assert_eq!(lost(SEGMENT, 2 * SEGMENT), [(1, SEGMENT, 2 * SEGMENT)]);
    let all =
        [(1, SEGMENT, 2 * SEGMENT), (3, 2 * SEGMENT, 4 * SEGMENT), (4, 4 * SEGMENT, 5 * SEGMENT)];
    assert_eq!(lost(SEGMENT, 5 * SEGMENT), all);
    assert_eq!(lost(4 * SEGMENT, 5 * SEGMENT), all[2..]);
    assert_eq!(lost(SEGMENT, SEGMENT), []);
}

fn case_of(case: &Case) -> Case {
    Case {
        local: case.local,
        server: case.server,
        history: case.history.clone(),
        slot: case.slot,
        local_histories: case.local_histories.clone(),
    }
}

#[test]
fn on_the_same_timeline_it_goes_on_in_mid_segment() {
    let position = 3 * SEGMENT + 4242;
    let case = Case::new((1, 5 * SEGMENT)).local(1, position).slot(Some(3 * SEGMENT + 1), Some(1));
    assert_eq!(case.streams(), (1, position, vec![]));
    let at_the_end = Case::new((1, position)).local(1, position);
    assert_eq!(at_the_end.streams(), (1, position, vec![]));
}

#[test]
fn a_server_that_is_behind_is_waited_for_and_one_far_behind_raises_an_alarm() {
    for (ahead, expected) in [(1, false), (SEGMENT, false), (SEGMENT + 1, true)] {
        let server = 5 * SEGMENT;
        let case = Case::new((1, server)).local(1, server + ahead);
        let wait =
            Decision::Wait { server: Lsn(server), local: Lsn(server + ahead), alarming: expected };
        assert_eq!(case.decide(), Ok(wait), "ahead by {ahead}");
    }
}

#[test]
fn a_timeline_that_ended_later_is_followed_to_its_end() {
    let position = 3 * SEGMENT + 100;
    let case = Case::new((2, 5 * SEGMENT)).local(1, position).history(&[(1, 3 * SEGMENT + 200)]);
    assert_eq!(case.streams(), (1, position, vec![]));
}

#[test]
fn at_the_exact_end_of_a_timeline_its_successor_is_asked_for_from_the_segment_start() {
    let inside = 3 * SEGMENT + 200;
    let case = Case::new((2, 5 * SEGMENT)).local(1, inside).history(&[(1, inside)]);
    assert_eq!(case.streams(), (2, 3 * SEGMENT, vec![]));
    // On a boundary a request for the old timeline would be answered without a stream, for ever.
    let boundary = 4 * SEGMENT;
    let case = Case::new((2, 5 * SEGMENT)).local(1, boundary).history(&[(1, boundary)]);
    assert_eq!(case.streams(), (2, boundary, vec![]));
}

#[test]
fn several_switches_at_one_boundary_are_followed_to_the_last() {
    let boundary = 4 * SEGMENT;
    let case = Case::new((4, 6 * SEGMENT)).local(1, boundary).history(&[
        (1, boundary),
        (2, boundary),
        (3, boundary + 5),
    ]);
    assert_eq!(case.streams(), (3, boundary, vec![]));
}

#[test]
fn of_several_switches_each_is_followed_from_where_the_stored_wal_ends() {
    let (first, second, third) = (3 * SEGMENT + 200, 5 * SEGMENT, 5 * SEGMENT + 300);
    let history = [(1, first), (2, second), (3, third)];
    let diverged = |id, switchpoint, end| Remark::Diverged {
        timeline: timeline(id),
        switchpoint: Lsn(switchpoint),
        end: Lsn(end),
    };
    for (local, expected) in [
        ((1, first - 1), (1, first - 1, vec![])),
        ((1, first), (2, 3 * SEGMENT, vec![])),
        ((2, first + 1), (2, first + 1, vec![])),
        ((2, second), (3, second, vec![])),
        ((3, third - 1), (3, third - 1, vec![])),
        ((3, third), (4, second, vec![])),
        // A tail of a dead branch, however many branches have been left since.
        ((1, 9 * SEGMENT), (2, 3 * SEGMENT, vec![diverged(1, first, 9 * SEGMENT)])),
        ((2, second + 1), (3, second, vec![diverged(2, second, second + 1)])),
        ((3, 7 * SEGMENT), (4, second, vec![diverged(3, third, 7 * SEGMENT)])),
    ] {
        let case = Case::new((4, 8 * SEGMENT)).local(local.0, local.1).history(&history);
        assert_eq!(case.streams(), expected, "stored up to {local:?}");
    }
}

#[test]
fn a_timeline_that_ended_where_it_began_is_passed_through() {
    for (switchpoint, expected) in
        [(3 * SEGMENT + 200, (2, 3 * SEGMENT)), (4 * SEGMENT, (3, 4 * SEGMENT))]
    {
        let case = Case::new((3, 6 * SEGMENT))
            .local(1, switchpoint)
            .history(&[(1, switchpoint), (2, switchpoint)]);
        assert_eq!(case.streams(), (expected.0, expected.1, vec![]), "at {switchpoint:X}");
    }
}

#[test]
fn a_diverged_tail_is_kept_and_said_and_the_right_branch_is_followed() {
    let (switchpoint, end) = (3 * SEGMENT + 200, 4 * SEGMENT + 5);
    let case = Case::new((2, 5 * SEGMENT)).local(1, end).history(&[(1, switchpoint)]);
    let diverged =
        Remark::Diverged { timeline: timeline(1), switchpoint: Lsn(switchpoint), end: Lsn(end) };
    assert_eq!(case.streams(), (2, 3 * SEGMENT, vec![diverged]));
}

#[test]
fn an_old_primary_and_an_unknown_branch_are_refused() {
    let mut case = Case::new((1, 5 * SEGMENT)).local(2, 4 * SEGMENT);
    let refusal = case.decide().expect_err("streamed");
    assert_eq!(refusal, Refusal::UnknownBranch { server: timeline(1), local: timeline(2) });
    case.local_histories = vec![history(&[(1, 3 * SEGMENT)], 2)];
    let refusal = case.decide().expect_err("streamed");
    assert_eq!(refusal, Refusal::OldPrimary { server: timeline(1), local: timeline(2) });
    let case = Case::new((3, 5 * SEGMENT)).local(2, 4 * SEGMENT).history(&[(1, 3 * SEGMENT)]);
    let refusal = case.decide().expect_err("streamed");
    assert_eq!(refusal, Refusal::UnknownBranch { server: timeline(3), local: timeline(2) });
    // Left behind by two failovers.
    let mut case = Case::new((1, 9 * SEGMENT)).local(3, 4 * SEGMENT);
    case.local_histories = vec![history(&[(1, 2 * SEGMENT), (2, 3 * SEGMENT)], 3)];
    let refusal = case.decide().expect_err("streamed");
    assert_eq!(refusal, Refusal::OldPrimary { server: timeline(1), local: timeline(3) });
    // A sister branch is nobody's ancestor.
    let mut case = Case::new((2, 9 * SEGMENT)).local(3, 4 * SEGMENT).history(&[(1, SEGMENT)]);
    case.local_histories = vec![history(&[(1, 2 * SEGMENT)], 3)];
    let refusal = case.decide().expect_err("streamed");
    assert_eq!(refusal, Refusal::UnknownBranch { server: timeline(2), local: timeline(3) });
}

#[test]
fn another_cluster_is_refused_whatever_is_stored() {
    let at = 5 * SEGMENT;
    let expected =
        Refusal::OtherSystem { server: SystemIdentifier(7), repository: SystemIdentifier(8) };
    for case in [
        Case::new((1, at)),
        // What looks like the same history, like a failover, like a server that lags.
        Case::new((1, at)).local(1, at).slot(Some(at), Some(1)),
        Case::new((2, at)).local(1, at).history(&[(1, at)]),
        Case::new((1, at)).local(1, at + 1),
    ] {
        let facts = Facts { repository_system: Some(SystemIdentifier(8)), ..case.facts() };
        assert_eq!(facts.decide(), Err(expected.clone()), "{:?}", case.local);
        let facts = Facts { repository_system: None, ..case.facts() };
        assert!(facts.decide().is_ok(), "a repository that knows no cluster: {:?}", case.local);
    }
}

#[test]
fn what_is_stored_decides_wherever_the_slot_stands() {
    let at = 3 * SEGMENT + 4242;
    let ahead = |slot| vec![Remark::SlotAhead { needed: Lsn(at), slot: Lsn(slot) }];
    for (slot, remarks) in [
        // None is used; it was lost or invalidated; it was just made without reserved WAL.
        (None, vec![]),
        (Some((None, None)), vec![]),
        (Some((None, Some(1))), vec![]),
        // Behind us: we had not reported yet what is stored.
        (Some((Some(SEGMENT), Some(1))), vec![]),
        (Some((Some(at), Some(1))), vec![]),
        // Ahead of us, but whole segments are kept.
        (Some((Some(4 * SEGMENT - 1), Some(1))), vec![]),
        (Some((Some(4 * SEGMENT), None)), ahead(4 * SEGMENT)),
        (Some((Some(6 * SEGMENT + 1), Some(1))), ahead(6 * SEGMENT + 1)),
    ] {
        let case = Case { slot, ..Case::new((1, 9 * SEGMENT)).local(1, at) };
        assert_eq!(case.streams(), (1, at, remarks), "slot {slot:?}");
    }
    // Made on the new primary after the failover: the branch we need begins before it.
    let case = Case::new((2, 9 * SEGMENT))
        .local(1, at)
        .history(&[(1, at)])
        .slot(Some(4 * SEGMENT), Some(2));
    let remark = Remark::SlotAhead { needed: Lsn(3 * SEGMENT), slot: Lsn(4 * SEGMENT) };
    assert_eq!(case.streams(), (2, 3 * SEGMENT, vec![remark]));
}

#[test]
fn behind_removed_wal_it_goes_on_where_there_is_some_on_the_timeline_of_that_place() {
    let (first, second) = (3 * SEGMENT + 200, 6 * SEGMENT + 5);
    let stored = 2 * SEGMENT + 77;
    for (slot, (id, start)) in [
        // The slot keeps something: on an ancestor, in a segment with a switch, on the present one.
        (Some((Some(5 * SEGMENT + 9), Some(2))), (2, 5 * SEGMENT)),
        (Some((Some(first), None)), (2, 3 * SEGMENT)),
        (Some((Some(second + 1), None)), (3, 6 * SEGMENT)),
        (Some((Some(8 * SEGMENT), Some(3))), (3, 8 * SEGMENT)),
        // It keeps nothing, or promises what is gone.
        (None, (3, 9 * SEGMENT)),
        (Some((None, None)), (3, 9 * SEGMENT)),
        (Some((Some(SEGMENT), Some(1))), (3, 9 * SEGMENT)),
        (Some((Some(stored), None)), (3, 9 * SEGMENT)),
    ] {
        let case =
            Case::new((3, 9 * SEGMENT + 5)).local(1, stored).history(&[(1, first), (2, second)]);
        let case = Case { slot, ..case };
        let remarks = vec![Remark::Gap { from: Lsn(stored), to: Lsn(start) }];
        let (timeline, position) = (timeline(id), Lsn(start));
        let expected = Decision::Stream { timeline, position, remarks };
        assert_eq!(case.facts().decide_behind_gap(Lsn(stored)), expected, "slot {slot:?}");
    }
}

#[test]
fn what_is_stored_of_the_segment_with_the_switch_is_no_part_of_the_gap() {
    let switchpoint = 3 * SEGMENT + 200;
    // Up to the switch, or on a branch that died behind it: the successor's segment is gone.
    for end in [switchpoint, switchpoint + 9, 5 * SEGMENT] {
        let case = Case::new((2, 9 * SEGMENT)).local(1, end).history(&[(1, switchpoint)]);
        let Decision::Stream { position, remarks, .. } =
            case.facts().decide_behind_gap(Lsn(3 * SEGMENT))
        else {
            panic!("no stream")
        };
        let gap = Remark::Gap { from: Lsn(switchpoint), to: position };
        assert_eq!(remarks, [gap], "stored up to {end:X}");
        let lost = case.facts().lost(Lsn(switchpoint), position);
        assert_eq!(lost, [(timeline(2), Lsn(switchpoint), Lsn(9 * SEGMENT))]);
    }
}

#[test]
fn a_slot_ahead_of_us_is_remarked_and_the_wal_is_asked_for_all_the_same() {
    let needed = 3 * SEGMENT;
    let case = Case::new((1, 9 * SEGMENT)).local(1, needed).slot(Some(4 * SEGMENT), Some(1));
    let remark = Remark::SlotAhead { needed: Lsn(needed), slot: Lsn(4 * SEGMENT) };
    assert_eq!(case.streams(), (1, needed, vec![remark]));
    let gap = |slot| {
        let case = Case::new((1, 9 * SEGMENT + 5)).local(1, needed).slot(slot, Some(1));
        case.facts().decide_behind_gap(Lsn(needed))
    };
    for (slot, start) in [
        (Some(4 * SEGMENT + 3), 4 * SEGMENT),
        (Some(2 * SEGMENT), 9 * SEGMENT),
        (None, 9 * SEGMENT),
    ] {
        let remarks = vec![Remark::Gap { from: Lsn(needed), to: Lsn(start) }];
        let position = Lsn(start);
        let expected = Decision::Stream { timeline: timeline(1), position, remarks };
        assert_eq!(gap(slot), expected, "slot at {slot:?}");
    }
}
