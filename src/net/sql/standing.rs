//! What a receiver asks a server while it streams, over which nothing can be asked.

use super::{NetError, SlotRow, SqlClient};
use crate::wal::Lsn;
use crate::wire::SlotName;

/// How a server stands towards its receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// `synchronous_standby_names`.
    pub standby_names: String,
    /// Whether commits wait for standbys to apply them: by default, or for some role or
    /// database.
    pub awaits_apply: bool,
    /// How far its WAL goes.
    pub wal_end: Option<Lsn>,
    /// Whether the walsender that was named is one of its processes: a connection string may
    /// lead elsewhere.
    pub serves: bool,
    /// The slot, if one was named and it is there.
    pub slot: Option<SlotRow>,
}

const WHAT: &str = "look at settings and position";

impl SqlClient {
    /// Looks at the server. `walsender` is the process that streams to us, as far as is known.
    ///
    /// # Errors
    /// Those of [`SqlClient::rows`]; a row that cannot be.
    pub async fn standing(
        &self,
        walsender: Option<i32>,
        slot: Option<&SlotName>,
    ) -> Result<Standing, NetError> {
        let process = walsender.unwrap_or(0);
        let statement = format!(
            "SELECT pg_catalog.current_setting('synchronous_standby_names'), \
             pg_catalog.current_setting('synchronous_commit') = 'remote_apply' OR EXISTS (\
             SELECT FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS setting \
             WHERE pg_catalog.lower(setting) = 'synchronous_commit=remote_apply'), \
             CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_receive_lsn() \
             ELSE pg_catalog.pg_current_wal_flush_lsn() END, \
             EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE pid = {process})"
        );
        let mut values = self.row(WHAT, &statement).await?.into_iter();
        let mut next = || values.next().flatten();
        let standby_names = next().ok_or_else(|| self.missing(WHAT, "standby names"))?;
        let awaits_apply = next().as_deref() == Some("t");
        let wal_end = next().and_then(|lsn| lsn.parse().ok());
        let serves = next().as_deref() == Some("t");
        let slot = match slot {
            Some(name) => self.slot(name).await?,
            None => None,
        };
        Ok(Standing { standby_names, awaits_apply, wal_end, serves, slot })
    }
}
