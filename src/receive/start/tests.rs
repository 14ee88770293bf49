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
}

#[test]
fn another_cluster_is_refused_whatever_is_stored() {
    let case = Case::new((1, 5 * SEGMENT));
    let facts = Facts { repository_system: Some(SystemIdentifier(8)), ..case.facts() };
    let refusal = facts.decide().expect_err("streamed");
    let expected =
        Refusal::OtherSystem { server: SystemIdentifier(7), repository: SystemIdentifier(8) };
    assert_eq!(refusal, expected);
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
