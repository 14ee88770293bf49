//! `slot_wal_limit`: the receiver gives its slot up, so that the server's disk does not fill.
//!
//! The slot is dropped and made anew where the server stands. What lies between may still be
//! there until the server's next checkpoints, and is asked for; what is gone is a gap.

use tracing::{error, info, warn};

use super::plan::Plan;
use super::start::{LocalEnd, SlotPosition};
use super::watch::kept;
use super::{ReceiveError, slot};
use crate::net::{ServerFacts, Walsender};
use crate::output::{self, one_line};
use crate::repository::{Hole, HoleCause, Holes, Identity};
use crate::service;
use crate::wal::Lsn;
use crate::wire::SqlState;

/// The slot keeps more than it may. What goes wrong is said, and tried again at the next look.
pub(super) async fn enforce(plan: &Plan, known: Option<LocalEnd>) {
    let server = plan.layout.server();
    warn!(%server, "giving the replication slot up: it keeps more WAL than slot_wal_limit");
    let readings = plan.meters.read();
    let received = readings
        .timeline
        .filter(|_| readings.streaming)
        .map(|timeline| LocalEnd { timeline, position: readings.progress.flushed });
    if let Err(error) = give_up(plan, received.or(known)).await {
        let text = one_line(&error);
        warn!(%server, error = %text, "cannot give the replication slot up; trying again");
    }
}

/// Looks again, over the connection string of the stream, and gives the slot up if it keeps more
/// than it may there. Nobody must be streaming from it.
async fn give_up(plan: &Plan, local: Option<LocalEnd>) -> Result<(), ReceiveError> {
    let (Some(name), Some(limit)) = (&plan.slot, plan.slot_wal_limit) else { return Ok(()) };
    let mut session = Walsender::connect(&plan.streaming, &plan.application_name).await?;
    let facts = ServerFacts::ask(&mut session).await?;
    let identity = Identity::read(plan.disk.as_ref(), &plan.layout)?;
    if identity.is_some_and(|identity| identity.system_identifier != facts.system_identifier) {
        // Another cluster, whose slots are not ours to drop. The next session says so.
        return Ok(());
    }
    let position = |slot: Option<SlotPosition>| slot.and_then(|slot| slot.restart);
    let found = position(slot::read(plan, &mut session, &facts, name).await?);
    let Some(from) = found else { return Ok(()) };
    let kept = kept(from, facts.xlogpos);
    if kept <= limit {
        return Ok(());
    }
    let server = plan.layout.server();
    // A walsender that has not noticed yet that its client is gone is waited for.
    match session.drop_slot(name, true).await {
        Err(error) if !error.has_code(SqlState::UNDEFINED_OBJECT) => return Err(error.into()),
        _ => {}
    }
    session.create_slot(name, false, true).await?;
    let to = position(slot::read(plan, &mut session, &facts, name).await?).unwrap_or(facts.xlogpos);
    session.close().await;
    let (limit, kept_text) = (output::size(limit), output::size(kept));
    error!(
        %server, slot = %name,
        "the slot kept {kept_text} of WAL on the server, more than slot_wal_limit ({limit}): \
         it was given up at {from} and made anew at {to}"
    );
    record(plan, local, to.segment_start(facts.segment_size))
}

/// Records what nothing keeps any more as a hole, until it has come all the same.
fn record(plan: &Plan, local: Option<LocalEnd>, to: Lsn) -> Result<(), ReceiveError> {
    let server = plan.layout.server();
    let Some(LocalEnd { timeline, position: from }) = local.filter(|local| local.position < to)
    else {
        info!(%server, "no WAL is missing");
        return Ok(());
    };
    error!(
        %server, %timeline, %from, %to,
        "what is stored ends before that: WAL that the server has removed by then is missing, \
         and a new base backup is needed"
    );
    let hole = Hole { timeline, from, to, since: service::now(), why: HoleCause::SlotGivenUp };
    Holes::record(plan.disk.as_ref(), &plan.layout, hole)?;
    Ok(())
}
