//! Replication slots as `pg_replication_slots` shows them: more than READ_REPLICATION_SLOT
//! tells, and all there is before 15.

use super::{NetError, SqlClient, quote_literal};
use crate::wal::Lsn;
use crate::wire::SlotName;

/// A row of `pg_replication_slots`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotRow {
    /// `physical` or `logical`.
    pub slot_type: String,
    /// Whether a session uses it now.
    pub active: bool,
    /// The process of that session.
    pub active_pid: Option<i32>,
    /// The oldest WAL that it keeps; `None` when it never reserved any, or was invalidated.
    pub restart_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost` (13 and later).
    pub wal_status: Option<String>,
    /// How many bytes may be written before it may lose WAL, where that is limited (13 and
    /// later); below 0 when it may lose it any time.
    pub safe_wal_size: Option<i64>,
    /// Why it cannot be used any more (17 and later).
    pub invalidation_reason: Option<String>,
}

const WHAT: &str = "look at the replication slot";

impl SqlClient {
    /// The slot of a name, if there is one.
    ///
    /// # Errors
    /// Those of [`SqlClient::rows`]; a row that cannot be.
    pub async fn slot(&self, name: &SlotName) -> Result<Option<SlotRow>, NetError> {
        let limits = match self.version().has_slot_limits() {
            true => "wal_status, safe_wal_size",
            false => "NULL, NULL",
        };
        let reason = match self.version().tells_invalidation_reason() {
            true => "invalidation_reason",
            false => "NULL",
        };
        let name = quote_literal(name.as_str());
        let statement = format!(
            "SELECT slot_type, active, active_pid, restart_lsn, {limits}, {reason} \
             FROM pg_catalog.pg_replication_slots WHERE slot_name = {name}"
        );
        let rows = self.rows(WHAT, &statement).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        let mut values = row.into_iter();
        let mut next = || values.next().flatten();
        let slot_type = next().ok_or_else(|| self.missing(WHAT, "slot_type"))?;
        let active = next().as_deref() == Some("t");
        let active_pid = next().and_then(|pid| pid.parse().ok());
        let restart_lsn = match next() {
            None => None,
            Some(lsn) => Some(lsn.parse().map_err(|_| self.missing(WHAT, "readable restart_lsn"))?),
        };
        let wal_status = next();
        let safe_wal_size = next().and_then(|bytes| bytes.parse().ok());
        let invalidation_reason = next();
        Ok(Some(SlotRow {
            slot_type,
            active,
            active_pid,
            restart_lsn,
            wal_status,
            safe_wal_size,
            invalidation_reason,
        }))
    }
}
