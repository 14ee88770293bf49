//! The slot that keeps WAL for the receiver: found, made, given up.

use tracing::info;

use super::ReceiveError;
use super::service::Plan;
use super::start::SlotPosition;
use crate::net::{NetError, ServerFacts, SqlClient, Walsender};
use crate::wire::{SlotName, SqlState};

/// Where the slot stands; it is made if it is missing and we may. `known` says that this
/// process has used it before.
pub(super) async fn find(
    plan: &Plan,
    session: &mut Walsender,
    facts: &ServerFacts,
    known: bool,
) -> Result<Option<SlotPosition>, ReceiveError> {
    let Some(name) = &plan.slot else { return Ok(None) };
    let found = read(plan, session, facts, name).await?;
    if found.is_some() {
        return Ok(found);
    }
    if !plan.create_slot {
        let server = plan.layout.server().to_string();
        return Err(ReceiveError::SlotMissing { slot: name.clone(), server, known });
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
        return Ok(Some(SlotPosition { restart: None, timeline: None }));
    };
    let client = SqlClient::connect(options, &plan.application_name).await?;
    let row = client.slot(name).await?;
    Ok(row.map(|row| SlotPosition { restart: row.restart_lsn, timeline: None }))
}

/// Releases from 18 on refuse a slot that they have invalidated; it keeps no WAL any more.
pub(super) fn explain(plan: &Plan, slot: Option<SlotPosition>, error: NetError) -> ReceiveError {
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
        _ => error.into(),
    }
}
