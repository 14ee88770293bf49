//! The slot that keeps WAL for the receiver: found, made, given up.

use tracing::{info, warn};

use super::ReceiveError;
use super::service::Plan;
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
}

/// Where the slot stands; it is made if it is missing and we may.
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
    if !plan.create_slot {
        return Err(missing(plan, name, past.streamed));
    }
    session.create_slot(name, false, true).await?;
    info!(server = %plan.layout.server(), slot = %name, "replication slot created");
    read(plan, session, facts, name).await
}

async fn read(
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
    let code = error.server_error().map(|error| error.code);
    let keeps_nothing = slot.is_some_and(|slot| slot.restart.is_none());
    match &plan.slot {
        Some(slot) if code == Some(SqlState::PREREQUISITE) && keeps_nothing => {
            ReceiveError::SlotInvalid {
                slot: slot.clone(),
                server: plan.layout.server().to_string(),
                source: Box::new(error),
            }
        }
        Some(slot) if code == Some(SqlState::UNDEFINED_OBJECT) => missing(plan, slot, streamed),
        _ => error.into(),
    }
}

fn missing(plan: &Plan, slot: &SlotName, known: bool) -> ReceiveError {
    let server = plan.layout.server().to_string();
    ReceiveError::SlotMissing { slot: slot.clone(), server, known }
}

/// A slot that is there for all we know.
const UNSEEN: SlotPosition = SlotPosition { restart: None, timeline: None };
