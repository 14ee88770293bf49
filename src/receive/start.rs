//! Where to begin to stream, and what to say about it.
//!
//! Pure: what the repository holds and what the server says go in, a decision comes out.
//! Knows no sockets and no files.

use crate::wal::{Lsn, SegmentSize, SystemIdentifier, Timeline, TimelineHistory};

/// Everything that the decision depends on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The segment size of the server.
    pub segment_size: SegmentSize,
    /// The cluster that the repository belongs to, if it holds anything that says so.
    pub repository_system: Option<SystemIdentifier>,
    /// The end of the WAL that is stored.
    pub local: Option<LocalEnd>,
    /// The history files that are stored.
    pub local_histories: &'a [TimelineHistory],
    /// What IDENTIFY_SYSTEM says.
    pub server: ServerEnd,
    /// The ancestry of the server's timeline.
    pub history: &'a TimelineHistory,
    /// The slot, if one is used and it exists.
    pub slot: Option<SlotPosition>,
}

/// The end of stored WAL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LocalEnd {
    /// In the name of the newest file.
    pub timeline: Timeline,
    /// Everything before is there and verified as far as it can be.
    pub position: Lsn,
}

/// Where a server stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServerEnd {
    /// Which cluster it is.
    pub system: SystemIdentifier,
    /// Its timeline.
    pub timeline: Timeline,
    /// How far WAL can be streamed.
    pub flushed: Lsn,
}

impl ServerEnd {
    /// Refuses a server that is another cluster than the one that the repository belongs to.
    ///
    /// # Errors
    /// [`Refusal::OtherSystem`].
    pub fn check_system(&self, repository: Option<SystemIdentifier>) -> Result<(), Refusal> {
        match repository {
            Some(repository) if repository != self.system => {
                Err(Refusal::OtherSystem { server: self.system, repository })
            }
            _ => Ok(()),
        }
    }
}

/// Where a slot stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SlotPosition {
    /// The oldest WAL that it keeps; `None` if it keeps none.
    pub restart: Option<Lsn>,
    /// The timeline that was current there, where the server says so.
    pub timeline: Option<Timeline>,
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Stream from here.
    Stream {
        /// The timeline to ask for.
        timeline: Timeline,
        /// The first byte to ask for: inside a segment only where its beginning is stored.
        position: Lsn,
        /// What the operator is to know, in the order of the files concerned.
        remarks: Vec<Remark>,
    },
    /// The server has not yet got what is stored here.
    Wait {
        /// Where the server stands.
        server: Lsn,
        /// Where the stored WAL ends.
        local: Lsn,
        /// More than a segment: no standby lags so far behind its own stream, and the server
        /// may be an old copy.
        alarming: bool,
    },
}

/// Something remarkable about a start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Remark {
    /// Nothing is stored: streaming begins where the slot does.
    FromSlot,
    /// Nothing is stored and no slot keeps WAL: streaming begins at the server's position.
    FromServer,
    /// The stored tail belongs to a branch that the server left before. It is kept.
    Diverged {
        /// The timeline of the tail.
        timeline: Timeline,
        /// Where the server's history leaves that timeline.
        switchpoint: Lsn,
        /// Where the stored tail ends.
        end: Lsn,
    },
    /// The slot does not keep the WAL that is needed next; the server may have it all the same.
    SlotAhead {
        /// What is needed next.
        needed: Lsn,
        /// What the slot keeps.
        slot: Lsn,
    },
    /// WAL that no longer exists on the server is missing here.
    Gap {
        /// The first missing byte.
        from: Lsn,
        /// Behind the last missing byte.
        to: Lsn,
    },
}

/// Why nothing may be streamed. A person must look.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The WAL of another cluster would end up between the files of this one.
    #[error("server is cluster {server}, but the repository belongs to cluster {repository}")]
    OtherSystem {
        /// What the server says.
        server: SystemIdentifier,
        /// What the repository holds.
        repository: SystemIdentifier,
    },
    /// The server is on an ancestor of a timeline that is stored: it was left behind by a
    /// failover.
    #[error(
        "server is on timeline {server}, but the repository holds its successor {local}: an old \
         primary has come back"
    )]
    OldPrimary {
        /// The server's timeline.
        server: Timeline,
        /// The newest stored timeline.
        local: Timeline,
    },
    /// The stored timeline and the server's have no known relation.
    #[error(
        "stored WAL ends on timeline {local}, which is not in the history of timeline {server}"
    )]
    UnknownBranch {
        /// The server's timeline.
        server: Timeline,
        /// The newest stored timeline.
        local: Timeline,
    },
}

impl Refusal {
    /// One sentence for the operator.
    pub fn hint(&self) -> String {
        match self {
            Refusal::OtherSystem { .. } => {
                "give the other cluster a server entry of its own, with its own directories"
            }
            Refusal::OldPrimary { .. } => {
                "point streaming_conninfo to the present primary, or give this server an entry of \
                 its own"
            }
            Refusal::UnknownBranch { .. } => {
                "give the server an entry of its own, or move the newer files out of streaming/ \
                 and wals/"
            }
        }
        .to_owned()
    }
}

impl Facts<'_> {
    /// Decides where to begin.
    ///
    /// # Errors
    /// What is stored and what the server has do not belong together.
    pub fn decide(&self) -> Result<Decision, Refusal> {
        self.server.check_system(self.repository_system)?;
        match self.local {
            None => Ok(self.first_start()),
            Some(local) if local.timeline == self.server.timeline => Ok(self.same_timeline(local)),
            Some(local) if self.history.contains(local.timeline) => Ok(self.ancestor(local)),
            Some(local) => Err(self.stranger(local)),
        }
    }

    /// Decides where to begin after the server has said that the WAL at `needed` no longer
    /// exists: at the next place where it does, with the gap named.
    pub fn decide_behind_gap(&self, needed: Lsn) -> Decision {
        let mut decision = self.first_start();
        if let Decision::Stream { timeline, position, remarks } = &mut decision {
            if *position <= needed {
                // The slot promises what is gone: it was invalidated.
                *timeline = self.server.timeline;
                *position = self.server.flushed.segment_start(self.segment_size).max(needed);
            }
            *remarks = vec![Remark::Gap { from: needed.max(self.shared_end()), to: *position }];
        }
        decision
    }

    /// Where the stored WAL ends that the server has in its past. A successor's first segment is
    /// asked for whole, and begins before.
    fn shared_end(&self) -> Lsn {
        let end = |local: LocalEnd| match self.history.switchpoint_of(local.timeline) {
            Some(switchpoint) => local.position.min(switchpoint),
            None => local.position,
        };
        self.local.map_or(Lsn::INVALID, end)
    }

    /// Whether a slot that is missing is made without anybody having asked for it: on another
    /// timeline than ours, after a failover. Slots are not replicated, so that the new primary
    /// never had it, and removes WAL that we need until somebody makes it. On our own timeline
    /// somebody has dropped it, and knows why.
    pub fn misses_slot_after_failover(&self) -> bool {
        self.local.is_some_and(|local| local.timeline < self.server.timeline)
    }

    /// Each timeline of the history with what of the WAL from `from` to `to` belongs to it.
    pub fn lost(&self, from: Lsn, to: Lsn) -> Vec<(Timeline, Lsn, Lsn)> {
        let ancestors = self.history.entries().iter();
        let ends = ancestors.map(|entry| (entry.timeline, Some(entry.switchpoint)));
        let mut begin = from;
        let mut lost = Vec::new();
        for (timeline, end) in ends.chain([(self.server.timeline, None)]) {
            let end = end.map_or(to, |end| end.min(to));
            if begin < end {
                lost.push((timeline, begin, end));
                begin = end;
            }
        }
        lost
    }

    fn first_start(&self) -> Decision {
        let (lsn, timeline, remark) = match self.slot {
            Some(SlotPosition { restart: Some(restart), timeline }) => {
                let derived = self.history.timeline_at(restart);
                let known = timeline.filter(|&timeline| self.history.contains(timeline));
                (restart, known.unwrap_or(derived), Remark::FromSlot)
            }
            _ => (self.server.flushed, self.server.timeline, Remark::FromServer),
        };
        let start = lsn.segment_start(self.segment_size);
        self.stream(timeline, start, vec![remark])
    }

    fn same_timeline(&self, local: LocalEnd) -> Decision {
        if local.position <= self.server.flushed {
            return self.stream(local.timeline, local.position, Vec::new());
        }
        let ahead = local.position - self.server.flushed;
        Decision::Wait {
            server: self.server.flushed,
            local: local.position,
            alarming: ahead > u64::from(self.segment_size.bytes()),
        }
    }

    /// The server has gone on to another timeline since: follow it from where it left ours.
    fn ancestor(&self, local: LocalEnd) -> Decision {
        let LocalEnd { mut timeline, mut position } = local;
        let mut remarks = Vec::new();
        while let Some(switchpoint) = self.history.switchpoint_of(timeline) {
            if position < switchpoint {
                break;
            }
            if position > switchpoint {
                remarks.push(Remark::Diverged { timeline, switchpoint, end: position });
            }
            // To ask for the end of a timeline gives no stream: where it lies exactly on a
            // segment boundary, one could ask for ever. The successor's first segment is
            // wanted whole, and holds what came before the switch.
            let Some(successor) = self.history.successor_of(timeline) else { break };
            timeline = successor;
            position = switchpoint.segment_start(self.segment_size);
        }
        self.stream(timeline, position, remarks)
    }

    fn stranger(&self, local: LocalEnd) -> Refusal {
        let server = self.server.timeline;
        let descends = |history: &TimelineHistory| {
            history.timeline() == local.timeline && history.contains(server)
        };
        if local.timeline > server && self.local_histories.iter().any(descends) {
            Refusal::OldPrimary { server, local: local.timeline }
        } else {
            Refusal::UnknownBranch { server, local: local.timeline }
        }
    }

    fn stream(&self, timeline: Timeline, position: Lsn, mut remarks: Vec<Remark>) -> Decision {
        let kept = self.slot.and_then(|slot| slot.restart);
        if let Some(slot) = kept.filter(|slot| slot.segment_start(self.segment_size) > position) {
            remarks.push(Remark::SlotAhead { needed: position, slot });
        }
        Decision::Stream { timeline, position, remarks }
    }
}

#[cfg(test)]
mod tests;
