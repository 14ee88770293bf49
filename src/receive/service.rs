//! `receive-wal` for its whole life: connects, decides, receives, and tries again.

mod hosts;
mod stored;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::info;

use super::start::{Decision, Facts, LocalEnd, ServerEnd, SlotPosition};
use super::status_file::StatusWriter;
use super::target::Target;
use super::trouble::Trouble;
use super::watch::{self as look_on, Link};
use super::{
    End, Inspection, Plan, Preparation, ReceiveError, Received, Receiver, heart, history, limit,
    lost, slot, spare, start_inspection,
};
use crate::archive::ArchiveWorker;
use crate::conninfo::ConnectOptions;
use crate::net::{ServerFacts, Walsender};
use crate::output::one_line;
use crate::service::{Manager, Shutdown, Urgency};
use crate::wal::{Lsn, Timeline};

/// Receives until `shutdown` asks for the end, through every loss of the connection. Each new
/// plan counts from the moment on, on another connection if it needs one.
///
/// # Errors
/// Only what no further try can mend.
pub async fn serve(
    plans: watch::Receiver<Arc<Plan>>,
    shutdown: &Shutdown,
    manager: &Manager,
) -> Result<(), ReceiveError> {
    let plan = Arc::clone(&plans.borrow());
    spare::clear(plan.disk.as_ref(), plan.layout.streaming())?;
    history::clear(plan.disk.as_ref(), plan.layout.streaming())?;
    let archive = ArchiveWorker::start(Arc::clone(&plan.disk), plan.layout.clone(), plan.archive)
        .map_err(ReceiveError::Thread)?;
    let link = Arc::new(Link::new());
    let status =
        StatusWriter::start(plans.clone(), Arc::clone(&link)).map_err(ReceiveError::Thread)?;
    let server = plan.layout.server().clone();
    let mut service = Service {
        plan,
        plans: plans.clone(),
        link: &link,
        archive: &archive,
        floor: Lsn::INVALID,
        known: None,
        removed: None,
        trouble: Trouble::default(),
        replaced: false,
        inspection: None,
    };
    tokio::select! {
        result = service.live(shutdown) => {
            let position = service.known.map_or(Lsn::INVALID, |end| end.position);
            // The archive may have much to do, or wait for a lock.
            tokio::select! {
                () = finish(service.inspection.take(), archive) => {}
                () = shutdown.reaches(Urgency::Now) => {}
            }
            status.finish().await;
            result?;
            info!(%server, %position, "stopped");
        }
        never = look_on::watch(plans.clone(), &link) => match never {},
        never = heart::beat(&plans, &link, manager, shutdown) => match never {},
        // What is on the disk is consistent at every moment.
        () = shutdown.reaches(Urgency::Now) => {
            info!(%server, "left at once");
            if let Some(inspection) = service.inspection.take() {
                inspection.abandon();
            }
            archive.abandon();
            status.abandon();
        }
    }
    Ok(())
}

/// What outlives a connection.
struct Service<'a> {
    /// The plan of this connection.
    plan: Arc<Plan>,
    plans: watch::Receiver<Arc<Plan>>,
    link: &'a Link,
    archive: &'a ArchiveWorker,
    floor: Lsn,
    known: Option<LocalEnd>,
    /// The server has said that the WAL here is gone: said once, it is asked again; said twice,
    /// it is believed.
    removed: Option<(Lsn, u32)>,
    trouble: Trouble,
    /// The connection is left for another one, not for good.
    replaced: bool,
    /// Since the first connection that said which cluster it is.
    inspection: Option<Inspection>,
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
            self.plan = Arc::clone(&self.plans.borrow_and_update());
            let result = self.session(shutdown).await;
            let Some(wait) = self.judge(result)? else { break };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Wins at once when the end was asked for meanwhile.
                () = shutdown.reaches(Urgency::Finish) => {}
                () = self.link.over_limit() => limit::enforce(&self.plan, self.known).await,
                // Whoever mends the configuration is there, and waits.
                Ok(()) = self.plans.changed() => {}
            }
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
            Ok(_) if std::mem::take(&mut self.replaced) => Ok(Some(Duration::ZERO)),
            Ok(_) => Ok(None),
            Err(error) => {
                let Some(wait) = self.trouble.wait_after(&error, server, jitter()) else {
                    return Err(error);
                };
                self.link.set_error(one_line(&error));
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
        self.link.set_walsender(session.process_id());
        let result =
            self.receive(&mut session, &mut receiver, (timeline, position), shutdown).await;
        self.link.set_walsender(None);
        self.remember(&receiver, position, since.elapsed());
        match result {
            Err(ReceiveError::Net(error)) => {
                Err(slot::explain(&self.plan, slot, self.trouble.has_streamed, error))
            }
            Ok(received) => {
                session.close().await;
                Ok(received)
            }
            Err(error) => Err(error),
        }
    }

    /// Receives over this connection, until it is to be another: for another plan, or because
    /// the slot is to be given up, of which nobody may be the user then.
    async fn receive(
        &mut self,
        session: &mut Walsender,
        receiver: &mut Receiver,
        start: (Timeline, Lsn),
        shutdown: &Shutdown,
    ) -> Result<Received, ReceiveError> {
        let (lever, until) = Shutdown::manual();
        let connection = self.plan.connection;
        let mut receiving = std::pin::pin!(receiver.receive(session, start, None, &until));
        loop {
            let told = until.requested();
            tokio::select! {
                biased;
                result = &mut receiving => return result,
                () = shutdown.reaches(Urgency::Finish), if !told => {
                    lever.send_replace(Urgency::Finish);
                }
                Ok(_) = self.plans.wait_for(|plan| plan.connection != connection), if !told => {
                    info!(server = %self.plan.layout.server(), "connecting anew for other settings");
                    self.replaced = true;
                    lever.send_replace(Urgency::Finish);
                }
                () = self.link.over_limit() => {
                    // A disk that does not answer must not keep the slot in use, and may need
                    // longer than the server's has room.
                    self.replaced = true;
                    lever.send_replace(Urgency::Now);
                    let giving_up = limit::enforce(&self.plan, self.known);
                    if let Some(result) = both(receiving.as_mut(), giving_up).await {
                        return result;
                    }
                }
            }
        }
    }

    async fn connect(&self, options: &ConnectOptions) -> Result<Walsender, ReceiveError> {
        Ok(Walsender::connect(options, &self.plan.application_name).await?)
    }

    /// Looks at both sides, and decides where to begin.
    async fn prepare_on(&mut self, mut session: Walsender) -> Result<Prepared, ReceiveError> {
        let plan = Arc::clone(&self.plan);
        let plan = plan.as_ref();
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
        let past = slot::Past {
            stored: local.is_some(),
            streamed: self.trouble.has_streamed,
            failover: start.misses_slot_after_failover(),
        };
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
            && times >= REMOVED_TIMES * self.plan.streaming.hosts.len().max(1) as u32
        {
            decision = facts.decide_behind_gap(needed);
        }
        match decision {
            Decision::Stream { timeline, position, remarks } => {
                lost::record(self.plan.disk.as_ref(), &self.plan.layout, facts, &remarks)?;
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

    fn receiver(&mut self, facts: &ServerFacts) -> Receiver {
        let plan = self.plan.as_ref();
        if self.inspection.is_none() {
            let cluster = (facts.segment_size, facts.system_identifier);
            self.inspection = start_inspection(&plan.disk, &plan.layout, cluster, &plan.meters);
        }
        let names = facts.synchronous_standby_names.as_deref();
        self.link.synchronous.set(look_on::is_synchronous(plan, names));
        Receiver {
            server: plan.layout.server().to_string(),
            target: Target {
                disk: Arc::clone(&plan.disk),
                directory: plan.layout.streaming().to_owned(),
                segment_size: facts.segment_size,
                synchronous: self.link.synchronous.clone(),
                preparation: Preparation::Background,
                completed: Some(self.archive.bell()),
                // What is packed is read soon, and then best from the page cache.
                direct: plan.archive.packing.is_none(),
                when_full: Target::WAIT_FOR_ROOM,
                queue_bytes: plan.queue_bytes,
                inspection: self.inspection.as_ref().map(Inspection::queue),
                meters: Arc::clone(&plan.meters),
            },
            wals: plan.layout.wals().to_owned(),
            slot: plan.slot.clone(),
            rhythm: Receiver::rhythm_of(facts),
            floor: self.floor,
            known: None,
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

/// Goes on with `main` while `side` is done to its end. Returns what `main` gave, if it ended.
async fn both<T>(
    mut main: Pin<&mut impl Future<Output = T>>,
    side: impl Future<Output = ()>,
) -> Option<T> {
    let mut side = std::pin::pin!(side);
    let mut result = None;
    loop {
        tokio::select! {
            ended = &mut main, if result.is_none() => result = Some(ended),
            () = &mut side => return result,
        }
    }
}

/// What was received is looked into and archived to the last byte.
async fn finish(inspection: Option<Inspection>, archive: ArchiveWorker) {
    if let Some(inspection) = inspection {
        inspection.finish().await;
    }
    archive.finish().await;
}

/// From 0 to 1, different in each process and at each call.
fn jitter() -> f64 {
    let drawn = RandomState::new().build_hasher().finish();
    (drawn >> 11) as f64 / (1u64 << 53) as f64
}

/// How often each host must say that WAL is gone before a gap is accepted.
const REMOVED_TIMES: u32 = 2;
