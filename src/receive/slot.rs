//! The slot that keeps WAL for the receiver: found, made, given up.

use tracing::{info, warn};

use super::ReceiveError;
use super::plan::Plan;
use super::start::SlotPosition;
use crate::net::{NetError, ServerFacts, SqlClient, Walsender};
use crate::output::one_line;
use crate::wire::{SlotName, SqlState};

/// What there was before this connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// The repository holds WAL: where to go on does not depend on the slot.
    pub(super) stored: bool,
    /// This process has used the slot.
    pub(super) streamed: bool,
    /// The server is not the one on which the slot was made.
    pub(super) failover: bool,
}

/// Where the slot stands. It is made if it is missing and we may: by the configuration, or
/// because a failover took it away. It keeps WAL from then on.
pub(super) async fn find(
    plan: &Plan,
    session: &mut Walsender,
    facts: &ServerFacts,
    past: Past,
) -> Result<Option<SlotPosition>, ReceiveError> {
    let Some(name) = &plan.slot else { return Ok(None) };
    let found = match read(plan, session, facts, name).await {
        // A server before 15 has another door for this question, which may be closed while
        // this one is open. The stream is worth more than the answer.
        Err(error) if past.stored && !facts.version.knows_read_replication_slot() => {
            let (server, error) = (plan.layout.server(), one_line(&error));
            warn!(%server, %error, "cannot look at the replication slot; streaming all the same");
            return Ok(Some(UNSEEN));
        }
        found => found?,
    };
    if found.is_some() {
        return Ok(found);
    }
    if !plan.create_slot && !past.failover {
        return Err(missing(plan, name, past.streamed));
    }
    session.create_slot(name, false, true).await?;
    match past.failover {
        true => info!(
            server = %plan.layout.server(), slot = %name,
            "replication slot created on the new primary, which did not have it"
        ),
        false => info!(server = %plan.layout.server(), slot = %name, "replication slot created"),
    }
    read(plan, session, facts, name).await
}

pub(super) async fn read(
    plan: &Plan,
    session: &mut Walsender,
    facts: &ServerFacts,
    name: &SlotName,
) -> Result<Option<SlotPosition>, ReceiveError> {
    if facts.version.knows_read_replication_slot() {
        let state = session.read_slot(name).await?;
        return Ok(state.map(|state| SlotPosition {
            restart: state.restart_lsn,
            timeline: state.restart_timeline,
        }));
    }
    let Some(options) = &plan.sql else {
        return Ok(Some(UNSEEN));
    };
    let client = SqlClient::connect(options, &plan.application_name).await?;
    let row = client.slot(name).await?;
    Ok(row.map(|row| SlotPosition { restart: row.restart_lsn, timeline: None }))
}

/// What a refused stream says about the slot. Releases from 18 on refuse a slot that they have
/// invalidated; it keeps no WAL any more. `streamed` says that this process has used it before.
pub(super) fn explain(
    plan: &Plan,
    slot: Option<SlotPosition>,
    streamed: bool,
    error: NetError,
) -> ReceiveError {
    let keeps_nothing = slot.is_some_and(|slot| slot.restart.is_none());
    match &plan.slot {
        Some(slot) if error.has_code(SqlState::PREREQUISITE) && keeps_nothing => {
            ReceiveError::SlotInvalid {
                slot: slot.clone(),
                server: plan.layout.server().to_string(),
                source: Box::new(error),
            }
        }
        Some(slot) if error.has_code(SqlState::UNDEFINED_OBJECT) => missing(plan, slot, streamed),
        _ => error.into(),
    }
}

fn missing(plan: &Plan, slot: &SlotName, known: bool) -> ReceiveError {
    let server = plan.layout.server().to_string();
    ReceiveError::SlotMissing { slot: slot.clone(), server, known }
}

/// A slot that is there for all we know.
const UNSEEN: SlotPosition = SlotPosition { restart: None, timeline: None };
