//! Receives over one connection, from timeline to timeline.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use tracing::{error, info, warn};

use super::feedback::Rhythm;
use super::history::HistoryPlaces;
use super::positions::Progress;
use super::reader::{End, Event};
use super::start::{Decision, Facts, LocalEnd, Remark, ServerEnd};
use super::stream::{Request, stream};
use super::target::Target;
use super::{Inspection, Inspector, Meters, ReceiveError, settings};
use crate::disk::Disk;
use crate::net::{NetError, ServerFacts, Walsender};
use crate::repository::ServerLayout;
use crate::service::Shutdown;
use crate::wal::{Lsn, SegmentSize, SystemIdentifier, Timeline, TimelineHistory};
use crate::wire::{NextTimeline, SlotName, SqlState};

/// A receiver on one connection: `receive-wal`'s for as long as the connection lasts, or a
/// base backup's own for the WAL that it needs.
#[derive(Debug)]
pub struct Receiver {
    /// The server's name in the configuration, for the log.
    pub server: String,
    /// Where segments are written.
    pub target: Target,
    /// The archive, in which history files are looked for.
    pub wals: PathBuf,
    /// The slot that keeps WAL for us.
    pub slot: Option<SlotName>,
    /// Intervals of the conversation.
    pub rhythm: Rhythm,
    /// The highest position that the server may have been told to be flushed; 0/0 if it was
    /// told none. Grows with each report; on another branch it begins anew.
    pub floor: Lsn,
    /// The end of what was received last and is surely durable: more than verification of the
    /// files can find, which stops before a record that is not whole.
    pub known: Option<LocalEnd>,
}

/// Where reception ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// Why: never [`End::Timeline`].
    pub end: End,
    /// The timeline at the end.
    pub timeline: Timeline,
    /// How far it came. All of it is durable.
    pub progress: Progress,
}

impl Receiver {
    /// The rhythm that a server's settings ask for.
    pub fn rhythm_of(facts: &ServerFacts) -> Rhythm {
        let timeout = settings::duration(&facts.wal_sender_timeout);
        Rhythm::for_server(timeout.filter(|timeout| !timeout.is_zero()))
    }

    /// Receives from `start` on `timeline`, following switches of the timeline, until `until`
    /// is reached (everything before it is then durable), `shutdown` asks for the end, or the
    /// server shuts down.
    ///
    /// `start` is a segment's start, or lies in a segment whose `.partial` holds all before it.
    ///
    /// # Errors
    /// What ended the connection or the writer. Positions that were reported stay true.
    pub async fn receive(
        &mut self,
        session: &mut Walsender,
        (mut timeline, mut start): (Timeline, Lsn),
        until: Option<Lsn>,
        shutdown: &Shutdown,
    ) -> Result<Received, ReceiveError> {
        loop {
            let request = Request {
                slot: self.slot.clone(),
                timeline,
                start,
                until,
                floor: self.floor,
                rhythm: self.rhythm,
            };
            let server = self.server.clone();
            let directory = self.target.directory.clone();
            let mut observe = |event: Event<'_>| match event {
                Event::Started => info!(%server, %timeline, position = %start, "streaming WAL"),
                Event::Notice(notice) => info!(%server, "server says: {notice}"),
                Event::DiskFull => error!(
                    %server, directory = %directory.display(),
                    "no room for WAL: reception waits, the server keeps what comes; make room"
                ),
                Event::DiskHasRoom => info!(%server, "there is room again: reception goes on"),
                Event::NotFirst(refusal) => say_that_commits_wait(&server, &refusal),
            };
            let outcome = stream(session, &request, &self.target, shutdown, &mut observe).await;
            self.floor = outcome.floor;
            let progress = outcome.progress;
            self.known = Some(LocalEnd { timeline, position: progress.flushed });
            match outcome.result? {
                End::Timeline(next) => {
                    let local = LocalEnd { timeline, position: progress.flushed };
                    (timeline, start) = self.follow(session, local, next).await?;
                }
                end => return Ok(Received { end, timeline, progress }),
            }
        }
    }

    /// Where to go on after the server has ended a timeline.
    async fn follow(
        &mut self,
        session: &mut Walsender,
        local: LocalEnd,
        next: Option<NextTimeline>,
    ) -> Result<(Timeline, Lsn), ReceiveError> {
        let server = self.server.clone();
        let Some(next) = next else { return Err(closed(session)) };
        // Releases before 10.16, 11.11, 12.6 and 13.2 may refuse commands after a stream.
        if session.version().may_refuse_commands_after_streaming() {
            info!(%server, timeline = %next.timeline, "timeline ended; connecting anew");
            return Err(closed(session));
        }
        let history = self.histories().fetch(session, next.timeline).await?;
        let identified = session.identify_system().await?;
        let facts = Facts {
            segment_size: self.target.segment_size,
            repository_system: None,
            local: Some(local),
            local_histories: &[],
            server: ServerEnd {
                system: identified.system_identifier,
                timeline: next.timeline,
                flushed: identified.xlogpos,
            },
            history: &history,
            slot: None,
        };
        match facts.decide()? {
            Decision::Stream { timeline, position, remarks } if timeline != local.timeline => {
                let (old, at) = (local.timeline, next.switchpoint);
                info!(%server, old = %old, switchpoint = %at, new = %timeline, "timeline switch");
                self.say(&remarks);
                self.raise_floor(None, identified.xlogpos);
                Ok((timeline, position))
            }
            // One of the two is about to change.
            _ => {
                warn!(
                    %server,
                    "server says that timeline {} is over, and its history does not; connecting \
                     anew",
                    local.timeline
                );
                Err(closed(session))
            }
        }
    }

    /// Takes into account what the slot says that was reported, and where the server stands
    /// now: a server cannot have been told more than it has. A floor above that is of a branch
    /// that is dead, and would hide from commits of the new one that they are durable here.
    pub(super) fn raise_floor(&mut self, slot: Option<Lsn>, server: Lsn) {
        self.floor = self.floor.max(slot.unwrap_or_default()).min(server);
    }

    /// Says what is remarkable about a start.
    pub(super) fn say(&self, remarks: &[Remark]) {
        let server = &self.server;
        for remark in remarks {
            match remark {
                Remark::FromSlot => {
                    info!(%server, "no WAL is stored yet: beginning at the slot's position");
                }
                Remark::FromServer => warn!(
                    %server,
                    "no WAL is stored yet and no slot keeps any: beginning at the server's position"
                ),
                Remark::Diverged { timeline, switchpoint, end } => warn!(
                    %server, %timeline, %switchpoint, %end,
                    "the server left this timeline before the end of the stored WAL; the stored \
                     tail is kept"
                ),
                Remark::SlotAhead { needed, slot } => warn!(
                    %server, %needed, %slot,
                    "the slot does not keep the WAL that comes next; asking for it all the same"
                ),
                Remark::Gap { from, to } => error!(
                    %server, %from, %to,
                    "WAL is missing in the archive: no backup before the gap can be restored to \
                     a time behind it; take a new base backup"
                ),
            }
        }
    }

    pub(super) fn histories(&self) -> HistoryPlaces<'_> {
        HistoryPlaces {
            disk: self.target.disk.as_ref(),
            streaming: &self.target.directory,
            wals: &self.wals,
        }
    }

    /// The history file of an ancestor of the server's timeline, before its first segment. Not
    /// every server has kept it; its descendant's file says all that it said.
    pub(super) async fn fetch_ancestors_history(
        &self,
        session: &mut Walsender,
        timeline: Timeline,
    ) -> Result<(), ReceiveError> {
        match self.fetch_history(session, timeline).await {
            Err(ReceiveError::Net(error)) if error.has_code(SqlState::UNDEFINED_FILE) => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// The ancestry of the server's timeline, stored durably.
    ///
    /// # Errors
    /// See [`HistoryPlaces::fetch`].
    pub async fn fetch_history(
        &self,
        session: &mut Walsender,
        timeline: Timeline,
    ) -> Result<TimelineHistory, ReceiveError> {
        self.histories().fetch(session, timeline).await
    }
}

/// The thread that looks into the WAL of a cluster: its segment size and identifier. Without it
/// WAL is received all the same, which is said.
pub fn start_inspection(
    disk: &Arc<dyn Disk>,
    layout: &ServerLayout,
    (segment_size, system): (SegmentSize, SystemIdentifier),
    meters: &Arc<Meters>,
) -> Option<Inspection> {
    let (disk, meters) = (Arc::clone(disk), Arc::clone(meters));
    let inspector = Inspector::new(disk, layout, segment_size, system, meters);
    match Inspection::start(inspector) {
        Ok(inspection) => Some(inspection),
        Err(error) => {
            let server = layout.server();
            warn!(%server, %error, "no thread is left: WAL is received and not verified");
            None
        }
    }
}

fn closed(session: &Walsender) -> ReceiveError {
    let endpoint = session.endpoint().to_owned();
    NetError::Closed { endpoint, waiting_for: "next timeline" }.into()
}

/// Once in the life of the process: it stays so.
fn say_that_commits_wait(server: &str, refusal: &io::Error) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        info!(
            %server, %refusal,
            "a bulk load goes on, and commits may wait for a processor: the system refuses a lower \
             nice value to the thread that they wait for. LimitNICE=-10 in the systemd unit allows \
             it, and so does the capability CAP_SYS_NICE; said once"
        );
    });
}
