//! `receive-wal` for its whole life: connects, decides, receives, and tries again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::start::{Decision, Facts, LocalEnd, ServerEnd, SlotPosition};
use super::stored::Places;
use super::trouble::Trouble;
use super::writer::{Synchronous, Target};
use super::{End, Preparation, ReceiveError, Received, Receiver, resume, slot, spare, watch};
use crate::archive::ArchiveWorker;
use crate::conninfo::ConnectOptions;
use crate::disk::Disk;
use crate::net::{ServerFacts, Walsender};
use crate::repository::{Identity, ServerLayout};
use crate::service::{Shutdown, Urgency};
use crate::wal::{Lsn, SegmentName, SystemIdentifier, Timeline};
use crate::wire::SlotName;

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
    /// How often settings of the server are looked at that may change during a stream. Each look
    /// is a connection.
    pub look_again: Duration,
}

impl Plan {
    /// A [`Plan::look_again`] that costs a server nothing worth speaking of.
    pub const LOOK_AGAIN: Duration = Duration::from_secs(60);
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
        trouble: Trouble::default(),
    };
    let server = plan.layout.server();
    tokio::select! {
        result = service.live(shutdown) => {
            let position = service.known.map_or(Lsn::INVALID, |end| end.position);
            // The archive may have much to do, or wait for a lock.
            tokio::select! {
                () = archive.finish() => {}
                () = shutdown.reaches(Urgency::Now) => {}
            }
            result?;
            info!(%server, %position, "stopped");
        }
        // What is on the disk is consistent at every moment.
        () = shutdown.reaches(Urgency::Now) => {
            info!(%server, "left at once");
            archive.abandon();
        }
    }
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
    trouble: Trouble,
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
    /// Session after session, until the end is asked for or nothing can help.
    async fn live(&mut self, shutdown: &Shutdown) -> Result<(), ReceiveError> {
        while !shutdown.requested() {
            let result = self.session(shutdown).await;
            let Some(wait) = self.judge(result)? else { break };
            // The second arm wins at once when the end was asked for meanwhile.
            let _ = tokio::time::timeout(wait, shutdown.reaches(Urgency::Finish)).await;
        }
        Ok(())
    }

    /// What a session's end means: how long to wait before the next, or `None` for the end.
    fn judge(
        &mut self,
        result: Result<Received, ReceiveError>,
    ) -> Result<Option<Duration>, ReceiveError> {
        let server = self.plan.layout.server();
        match result {
            Ok(Received { end: End::Shutdown, progress, .. }) => {
                info!(%server, position = %progress.flushed, "server shut down; all its WAL is here");
                Ok(Some(self.trouble.wait_for_restart(jitter())))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                let Some(wait) = self.trouble.wait_after(&error, server, jitter()) else {
                    return Err(error);
                };
                if let ReceiveError::Removed { needed, .. } = error {
                    let times = self.removed.filter(|(at, _)| *at == needed).map_or(0, |(_, n)| n);
                    self.removed = Some((needed, times + 1));
                }
                Ok(Some(wait))
            }
        }
    }

    /// One connection, from the first question to its end.
    async fn session(&mut self, shutdown: &Shutdown) -> Result<Received, ReceiveError> {
        let prepared = tokio::select! {
            prepared = self.prepare() => prepared?,
            () = shutdown.reaches(Urgency::Finish) => return Ok(self.nothing()),
        };
        let Prepared { mut session, mut receiver, slot, timeline, position } = prepared;
        let since = Instant::now();
        let synchronous = receiver.target.synchronous.clone();
        let result = tokio::select! {
            result = receiver.receive(&mut session, (timeline, position), None, shutdown) => result,
            never = watch::standby_names(self.plan, &synchronous) => match never {},
        };
        self.remember(&receiver, position, since.elapsed());
        match result {
            Err(ReceiveError::Net(error)) => {
                Err(slot::explain(self.plan, slot, self.trouble.has_streamed, error))
            }
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
        self.trouble.has_connected = true;
        let (local, system) = self.stored(&facts)?;
        let server = ServerEnd {
            system: facts.system_identifier,
            timeline: facts.timeline,
            flushed: facts.xlogpos,
        };
        // Before anything of it is stored here, and before a slot is made there.
        server.check_system(system)?;
        let mut receiver = self.receiver(&facts);
        let history = receiver.fetch_history(&mut session, facts.timeline).await?;
        let local_histories = receiver.histories().stored()?;
        let mut start = Facts {
            segment_size: facts.segment_size,
            repository_system: system,
            local,
            local_histories: &local_histories,
            server,
            history: &history,
            slot: None,
        };
        start.decide()?;
        let past = slot::Past { stored: local.is_some(), streamed: self.trouble.has_streamed };
        let slot = slot::find(plan, &mut session, &facts, past).await?;
        start.slot = slot;
        receiver.raise_floor(slot.and_then(|slot| slot.restart), facts.xlogpos);
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

    fn remember(&mut self, receiver: &Receiver, start: Lsn, lasted: Duration) {
        self.floor = receiver.floor;
        self.known = receiver.known.or(self.known);
        let progressed = receiver.known.is_some_and(|end| end.position > start);
        if progressed {
            self.removed = None;
        }
        self.trouble.handle_session(progressed, lasted);
    }

    fn receiver(&self, facts: &ServerFacts) -> Receiver {
        let plan = self.plan;
        let names = facts.synchronous_standby_names.as_deref();
        let synchronous = names.is_some_and(|names| watch::waits_for_us(plan, names));
        Receiver {
            server: plan.layout.server().to_string(),
            target: Target {
                disk: Arc::clone(&plan.disk),
                directory: plan.layout.streaming().to_owned(),
                segment_size: facts.segment_size,
                synchronous: Synchronous::new(synchronous),
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
        let local = stored.map(|stored| self.best_known(stored, facts)).transpose()?;
        Ok((local, system))
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
    /// stops earlier: at a record that is not whole. Not if the file is no longer what it was.
    fn best_known(&self, stored: LocalEnd, facts: &ServerFacts) -> Result<LocalEnd, ReceiveError> {
        let size = facts.segment_size;
        let Some(known) = self.known.filter(|known| {
            known.timeline == stored.timeline
                && known.position > stored.position
                && known.position.segment(size) == stored.position.segment(size)
        }) else {
            return Ok(stored);
        };
        let name = SegmentName::containing(known.timeline, known.position, size);
        let path = resume::partial_path(self.plan.layout.streaming(), name);
        let stat = self.plan.disk.stat(&path)?;
        let is_there = stat.is_some_and(|stat| stat.length == u64::from(size.bytes()));
        Ok(if is_there { known } else { stored })
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
