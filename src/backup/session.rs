//! The connections of a backup, and what they tell before anything is copied.

use std::time::Duration;

use super::Plan;
use super::error::BackupError;
use super::facts::{SqlFacts, server_time};
use crate::conninfo::ConnectOptions;
use crate::net::{NetError, ServerFacts, SqlClient, Walsender};
use crate::output::one_line;
use crate::pages::{PageChecker, PageLayout, PageSize};
use crate::repository::{BackupId, BackupTime, Identity};
use crate::wal::{Timeline, TimelineHistory};

/// The session that the copy comes through, and what is known of the server.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) walsender: Walsender,
    pub(super) facts: ServerFacts,
    pub(super) sql: SqlFacts,
    /// By the server's clock.
    pub(super) begin_time: BackupTime,
    /// Whether the slot of the permanent receiver is in use, so that it keeps what we need.
    pub(super) receiver_keeps_wal: bool,
}

impl Session {
    /// Connects and asks.
    pub(super) async fn open(plan: &Plan) -> Result<Session, BackupError> {
        let client = SqlClient::connect(&plan.sql, &plan.application_name).await?;
        let sql = SqlFacts::ask(&client, plan.size.is_asked()).await?;
        let begin_time = server_time(&client).await?;
        let receiver_keeps_wal = match &plan.receiver_slot {
            // Unknown is no: a slot of our own then keeps the WAL as well.
            Some(name) => client.slot(name).await.ok().flatten().is_some_and(|slot| slot.active),
            None => false,
        };
        drop(client);
        let mut walsender = Walsender::connect(&plan.streaming, &plan.application_name).await?;
        let facts = ServerFacts::ask(&mut walsender).await?;
        let streaming = facts.system_identifier;
        if let Some(sql) = sql.system.filter(|&sql| sql != streaming) {
            return Err(BackupError::TwoClusters { sql, streaming });
        }
        let in_place = sql.in_place_tablespaces();
        if !in_place.is_empty() && !facts.version.sends_in_place_tablespaces() {
            return Err(BackupError::InPlaceTablespaces(in_place));
        }
        Ok(Session { walsender, facts, sql, begin_time, receiver_keeps_wal })
    }

    /// Makes sure that the repository is this cluster's, and that it says so from now on.
    pub(super) fn claim_repository(&self, plan: &Plan) -> Result<(), BackupError> {
        Ok(self.identity().establish(plan.disk.as_ref(), &plan.layout)?)
    }

    /// Which cluster it is.
    pub(super) fn identity(&self) -> Identity {
        let version = self.facts.version.major().to_string();
        Identity { system_identifier: self.facts.system_identifier, version }
    }

    /// Looks at the pages of a copy of this cluster.
    pub(super) fn page_checker(&self) -> Result<PageChecker, BackupError> {
        let block_size = self.facts.block_size;
        let page_size = PageSize::new(block_size).ok_or(BackupError::PageSize(block_size))?;
        let usual = PageLayout::usual(page_size);
        let segment_blocks = self.sql.segment_blocks.unwrap_or(usual.segment_blocks);
        let layout = PageLayout { page_size, segment_blocks };
        Ok(PageChecker::new(layout, self.facts.data_checksums))
    }

    /// The ancestry of a timeline.
    pub(super) async fn history(
        &mut self,
        timeline: Timeline,
    ) -> Result<TimelineHistory, BackupError> {
        if timeline == Timeline::FIRST {
            return Ok(TimelineHistory::without_ancestors(timeline));
        }
        let file = self.walsender.timeline_history(timeline).await?;
        let history = TimelineHistory::parse(timeline, &file.content);
        Ok(history.map_err(crate::receive::ReceiveError::from)?)
    }
}

/// The end of the backup by the server's clock; when the server can no longer be asked, by ours
/// since the begin.
pub(super) async fn end_time(plan: &Plan, begin: BackupTime, took: Duration) -> BackupTime {
    let asked = async {
        let client = SqlClient::connect(&plan.sql, &plan.application_name).await?;
        server_time(&client).await
    };
    asked.await.unwrap_or_else(|error: NetError| {
        let error = one_line(&error);
        tracing::warn!(%error, "cannot ask the server for the time of the end of the backup");
        let end = begin.moment().checked_add(took).unwrap_or(begin.moment());
        BackupTime::new(end, jiff::tz::Offset::UTC)
    })
}

/// Marks the place in the WAL by the name that Barman gives it, for whoever wants to restore to
/// it. A convenience: roles that may not do it back up all the same.
pub(super) async fn mark_restore_point(plan: &Plan, id: BackupId) {
    let statement = format!("SELECT pg_catalog.pg_create_restore_point('barman_{id}')");
    if let Err(error) = run(&plan.sql, plan, "create a restore point", &statement).await {
        let error = one_line(&error);
        tracing::debug!(%error, "no restore point for this backup");
    }
}

/// Has a standby's primary close its segment, so that the standby gets the rest of it.
pub(super) async fn switch_on_primary(plan: &Plan) -> Result<(), NetError> {
    match &plan.primary {
        Some(primary) => {
            let statement = "SELECT pg_catalog.pg_switch_wal()";
            run(primary, plan, "switch the WAL segment", statement).await
        }
        None => Ok(()),
    }
}

async fn run(
    options: &ConnectOptions,
    plan: &Plan,
    what: &'static str,
    statement: &str,
) -> Result<(), NetError> {
    let client = SqlClient::connect(options, &plan.application_name).await?;
    client.rows(what, statement).await.map(|_| ())
}
