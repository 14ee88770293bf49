//! `receive-wal` for its whole life: connects, decides, receives, and tries again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::backoff::Backoff;
use super::start::{Decision, Facts, LocalEnd, ServerEnd, SlotPosition};
use super::stored::Places;
use super::writer::Target;
use super::{End, Preparation, ReceiveError, Received, Receiver, settings, slot, spare};
use crate::archive::{self, ArchiveWorker};
use crate::conninfo::ConnectOptions;
use crate::disk::Disk;
use crate::net::{ServerFacts, Walsender};
use crate::repository::{Identity, ServerLayout};
use crate::service::{Shutdown, Urgency};
use crate::wal::{Lsn, SystemIdentifier, Timeline};
use crate::wire::{Retry, SlotName};

/// What `receive-wal` works with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The repository; its directories exist, and the caller holds its receive-wal lock.
    pub layout: ServerLayout,
    /// How to reach the walsender.
    pub streaming: ConnectOptions,
    /// How to ask about slots a server that has no command for it (before 15).
    pub sql: Option<ConnectOptions>,
    /// What the session is called in `pg_stat_replication`, unless the options say otherwise.
    pub application_name: String,
    /// The slot that keeps WAL for us.
    pub slot: Option<SlotName>,
    /// Whether the slot is made when it is missing.
    pub create_slot: bool,
}

/// Receives until `shutdown` asks for the end, through every loss of the connection.
///
/// # Errors
/// Only what no further try can mend.
pub async fn serve(plan: &Plan, shutdown: &Shutdown) -> Result<(), ReceiveError> {
    spare::clear(plan.disk.as_ref(), plan.layout.streaming())?;
    let archive = ArchiveWorker::start(Arc::clone(&plan.disk), plan.layout.clone())
        .map_err(ReceiveError::Thread)?;
    let mut service = Service {
        plan,
        archive: &archive,
        floor: Lsn::INVALID,
        known: None,
        removed: None,
        has_connected: false,
        has_streamed: false,
        said: None,
        backoff: Backoff::default(),
    };
    while !shutdown.requested() {
        let result = tokio::select! {
            result = service.session(shutdown) => result,
            () = shutdown.reaches(Urgency::Now) => {
                // What is on the disk is consistent at every moment.
                info!(server = %plan.layout.server(), "left at once");
                archive.abandon();
                return Ok(());
            }
        };
        match service.judge(result)? {
            None => break,
            Some(wait) => {
                // The second arm wins at once when the end was asked for meanwhile.
                let _ = tokio::time::timeout(wait, shutdown.reaches(Urgency::Finish)).await;
            }
        }
    }
    let position = service.known.map_or(Lsn::INVALID, |end| end.position);
    info!(server = %plan.layout.server(), %position, "stopped");
    Ok(())
}

/// What outlives a connection.
struct Service<'a> {
    plan: &'a Plan,
    archive: &'a ArchiveWorker,
    floor: Lsn,
    known: Option<LocalEnd>,
    /// The server has said that the WAL here is gone: said once, it is asked again; said twice,
    /// it is believed.
    removed: Option<(Lsn, u32)>,
    /// A connection was good enough to be asked where the server stands.
    has_connected: bool,
    has_streamed: bool,
    /// The trouble that was logged last: it is logged once, however often it comes.
    said: Option<String>,
    backoff: Backoff,
}

/// A connection that can begin to receive.
struct Prepared {
    session: Walsender,
    receiver: Receiver,
    slot: Option<SlotPosition>,
    timeline: Timeline,
    position: Lsn,
}

impl Service<'_> {
    /// What a session's end means: how long to wait before the next, or `None` for the end.
    fn judge(
        &mut self,
        result: Result<Received, ReceiveError>,
    ) -> Result<Option<Duration>, ReceiveError> {
        let server = self.plan.layout.server();
        match result {
            Ok(Received { end: End::Shutdown, progress, .. }) => {
                info!(%server, position = %progress.flushed, "server shut down; all its WAL is here");
                Ok(self.backoff.handle_failure(Retry::AfterBackoff, jitter()))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                let mut retry = error.retry();
                if retry == Retry::Slowly && !self.has_connected {
                    // A password that never fitted is a mistake of whoever starts us, and who
                    // is there to read it. Later it is somebody else's, and will be mended.
                    retry = Retry::Never;
                }
                let Some(wait) = self.backoff.handle_failure(retry, jitter()) else {
                    return Err(error);
                };
                if let ReceiveError::Removed { needed, .. } = error {
                    let times = self.removed.filter(|(at, _)| *at == needed).map_or(0, |(_, n)| n);
                    self.removed = Some((needed, times + 1));
                }
                self.tell(&error, retry);
                Ok(Some(wait))
            }
        }
    }

    fn tell(&mut self, error: &ReceiveError, retry: Retry) {
        let server = self.plan.layout.server();
        let text = archive::chain(error);
        if self.said.as_ref() == Some(&text) {
            return;
        }
        let hint = error.hint().unwrap_or_default();
        match (error, retry) {
            (ReceiveError::Net(_), Retry::Now | Retry::AfterBackoff) => {
                info!(%server, error = %text, "not connected; trying again");
            }
            (_, Retry::Now | Retry::AfterBackoff) => {
                warn!(%server, error = %text, hint, "reception interrupted; trying again");
            }
            _ => error!(%server, error = %text, hint, "cannot receive; trying again"),
        }
        self.said = Some(text);
    }

    /// One connection, from the first question to its end.
    async fn session(&mut self, shutdown: &Shutdown) -> Result<Received, ReceiveError> {
        let prepared = tokio::select! {
            prepared = self.prepare() => prepared?,
            () = shutdown.reaches(Urgency::Finish) => return Ok(self.nothing()),
        };
        let Prepared { mut session, mut receiver, slot, timeline, position } = prepared;
        let result = receiver.receive(&mut session, (timeline, position), None, shutdown).await;
        self.remember(&receiver, position);
        match result {
            Err(ReceiveError::Net(error)) => Err(slot::explain(self.plan, slot, error)),
            Ok(received) => {
                session.close().await;
                Ok(received)
            }
            Err(error) => Err(error),
        }
    }

    /// Connects, looks at both sides, and decides where to begin.
    async fn prepare(&mut self) -> Result<Prepared, ReceiveError> {
        let plan = self.plan;
        let mut session = Walsender::connect(&plan.streaming, &plan.application_name).await?;
        let facts = ServerFacts::ask(&mut session).await?;
        self.has_connected = true;
        let slot = slot::find(plan, &mut session, &facts, self.has_streamed).await?;
        let mut receiver = self.receiver(&facts);
        if let Some(restart) = slot.and_then(|slot| slot.restart) {
            receiver.floor = receiver.floor.max(restart);
        }
        let history = receiver.fetch_history(&mut session, facts.timeline).await?;
        let (local, system) = self.stored(&facts)?;
        let local_histories = receiver.histories().stored()?;
        let start = Facts {
            segment_size: facts.segment_size,
            repository_system: system,
            local,
            local_histories: &local_histories,
            server: ServerEnd {
                system: facts.system_identifier,
                timeline: facts.timeline,
                flushed: facts.xlogpos,
            },
            history: &history,
            slot,
        };
        let (timeline, position) = self.decide(&start, &receiver)?;
        self.establish_identity(&facts)?;
        if timeline != facts.timeline {
            receiver.fetch_ancestors_history(&mut session, timeline).await?;
        }
        Ok(Prepared { session, receiver, slot, timeline, position })
    }

    fn decide(
        &mut self,
        facts: &Facts<'_>,
        receiver: &Receiver,
    ) -> Result<(Timeline, Lsn), ReceiveError> {
        let mut decision = facts.decide()?;
        let wanted = match &decision {
            Decision::Stream { position, .. } => Some(*position),
            Decision::Wait { .. } => None,
        };
        if let Some((needed, times)) = self.removed
            && wanted == Some(needed)
            && times >= REMOVED_TIMES
        {
            decision = facts.decide_behind_gap(needed);
        }
        match decision {
            Decision::Stream { timeline, position, remarks } => {
                receiver.say(&remarks);
                Ok((timeline, position))
            }
            Decision::Wait { server, local, alarming } => {
                Err(ReceiveError::Behind { server, local, alarming })
            }
        }
    }

    fn remember(&mut self, receiver: &Receiver, start: Lsn) {
        self.floor = receiver.floor;
        self.known = receiver.known.or(self.known);
        if receiver.known.is_some_and(|end| end.position > start) {
            self.has_streamed = true;
            self.removed = None;
            self.said = None;
            self.backoff.handle_success();
        }
    }

    fn receiver(&self, facts: &ServerFacts) -> Receiver {
        let plan = self.plan;
        let name = plan.streaming.application_name_or(&plan.application_name);
        let synchronous = facts
            .synchronous_standby_names
            .as_ref()
            .is_some_and(|names| settings::waits_for(names, name));
        Receiver {
            server: plan.layout.server().to_string(),
            target: Target {
                disk: Arc::clone(&plan.disk),
                directory: plan.layout.streaming().to_owned(),
                segment_size: facts.segment_size,
                synchronous,
                preparation: Preparation::Background,
                completed: self.archive.bell(),
            },
            wals: plan.layout.wals().to_owned(),
            slot: plan.slot.clone(),
            rhythm: Receiver::rhythm_of(facts),
            floor: self.floor,
            known: None,
        }
    }

    /// The end of the stored WAL, and the cluster that the repository belongs to.
    fn stored(
        &self,
        facts: &ServerFacts,
    ) -> Result<(Option<LocalEnd>, Option<SystemIdentifier>), ReceiveError> {
        let plan = self.plan;
        let disk = plan.disk.as_ref();
        let places = Places {
            disk,
            streaming: plan.layout.streaming(),
            wals: plan.layout.wals(),
            segment_size: facts.segment_size,
        };
        let (stored, written_by) = places.end()?;
        let identity = Identity::read(disk, &plan.layout)?;
        let system = identity.map(|identity| identity.system_identifier).or(written_by);
        Ok((stored.map(|stored| self.best_known(stored, facts)), system))
    }

    /// Says from the first byte on which cluster the repository belongs to, so that no backup
    /// of another one is put beside its WAL.
    fn establish_identity(&self, facts: &ServerFacts) -> Result<(), ReceiveError> {
        let plan = self.plan;
        let disk = plan.disk.as_ref();
        if Identity::read(disk, &plan.layout)?.is_some() {
            return Ok(());
        }
        let identity = Identity {
            system_identifier: facts.system_identifier,
            version: facts.version.major().to_string(),
        };
        Ok(identity.establish(disk, &plan.layout)?)
    }

    /// What this process has made durable itself counts, also where verification of the file
    /// stops earlier: at a record that is not whole.
    fn best_known(&self, stored: LocalEnd, facts: &ServerFacts) -> LocalEnd {
        let size = facts.segment_size;
        match self.known {
            Some(known)
                if known.timeline == stored.timeline
                    && known.position > stored.position
                    && known.position.segment(size) == stored.position.segment(size) =>
            {
                known
            }
            _ => stored,
        }
    }

    fn nothing(&self) -> Received {
        let position = self.known.map_or(Lsn::INVALID, |end| end.position);
        Received {
            end: End::Stopped,
            timeline: self.known.map_or(Timeline::FIRST, |end| end.timeline),
            progress: super::Progress { written: position, flushed: position },
        }
    }
}

/// From 0 to 1, different in each process and at each call.
fn jitter() -> f64 {
    let drawn = RandomState::new().build_hasher().finish();
    (drawn >> 11) as f64 / (1u64 << 53) as f64
}

/// How often a server must say that WAL is gone before a gap is accepted.
const REMOVED_TIMES: u32 = 2;
