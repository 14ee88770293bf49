//! What may change on the server while a stream runs, over which nothing can be asked: whether
//! commits wait for us, and how much WAL the slot keeps.
//!
//! One SQL connection is kept for both. What goes wrong here is no harm to the stream, and is
//! asked again.

use std::convert::Infallible;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tracing::{debug, error, info, warn};

use super::plan::{Acknowledgement, Plan};
use super::settings;
use super::slot_watch::{Bound, Forecast, Look, Remark, SlotWatch};
use super::target::Synchronous;
use crate::net::{NetError, SlotRow, SqlClient, Standing, Walsender};
use crate::output;
use crate::service;
use crate::wal::Lsn;

/// What the stream and the watch know of each other.
#[derive(Debug)]
pub(super) struct Link {
    /// Whether WAL is acknowledged at once. The watch turns it while a stream runs.
    pub(super) synchronous: Synchronous,
    /// The process that streams to us; 0 while none does.
    walsender: AtomicI32,
    /// The slot keeps more than it may.
    over_limit: Notify,
    slot: Mutex<Option<SlotState>>,
    last_error: Mutex<Option<(String, Timestamp)>>,
}

/// The slot as it was seen last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SlotState {
    pub(super) row: SlotRow,
    pub(super) forecast: Forecast,
}

impl Link {
    pub(super) fn new() -> Link {
        Link {
            synchronous: Synchronous::new(false),
            walsender: AtomicI32::new(0),
            over_limit: Notify::new(),
            slot: Mutex::new(None),
            last_error: Mutex::new(None),
        }
    }

    /// Which process streams to us now.
    pub(super) fn set_walsender(&self, process: Option<i32>) {
        self.walsender.store(process.unwrap_or(0), Ordering::Relaxed);
    }

    /// Waits until the slot keeps more than it may.
    pub(super) async fn over_limit(&self) {
        self.over_limit.notified().await;
    }

    /// The slot as it was seen last.
    pub(super) fn slot(&self) -> Option<SlotState> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What went wrong last, and when.
    pub(super) fn last_error(&self) -> Option<(String, Timestamp)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something went wrong.
    pub(super) fn set_error(&self, text: String) {
        let now = service::now();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((text, now));
    }

    fn set_slot(&self, state: Option<SlotState>) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Looks every [`Plan::look_again`], and at once when the plan has changed.
pub(super) async fn watch(mut plans: watch::Receiver<Arc<Plan>>, link: &Link) -> Infallible {
    let mut watch = Watch {
        link,
        sql: None,
        slots: SlotWatch::default(),
        begun: Instant::now(),
        warned_of_apply: false,
        asked_walsender: None,
    };
    loop {
        let plan = Arc::clone(&plans.borrow_and_update());
        let _ = tokio::time::timeout(plan.look_again, plans.changed()).await;
        if plans.has_changed().is_err() {
            // Nobody can change the plan any more, and `changed` would not wait.
            tokio::time::sleep(plan.look_again).await;
        }
        let plan = Arc::clone(&plans.borrow_and_update());
        watch.look(&plan).await;
    }
}

struct Watch<'a> {
    link: &'a Link,
    /// The connection that is kept, and which plan it is of.
    sql: Option<(SqlClient, u64)>,
    slots: SlotWatch,
    begun: Instant,
    warned_of_apply: bool,
    /// When a walsender was asked last, for want of SQL.
    asked_walsender: Option<Instant>,
}

impl Watch<'_> {
    async fn look(&mut self, plan: &Plan) {
        let process = match self.link.walsender.load(Ordering::Relaxed) {
            0 => None,
            process => Some(process),
        };
        let standing = match tokio::time::timeout(PATIENCE, self.ask(plan, process)).await {
            Ok(Ok(standing)) => standing,
            Ok(Err(error)) => {
                self.sql = None;
                debug!(server = %plan.layout.server(), %error, "slot and settings were not to be seen");
                None
            }
            Err(_) => {
                self.sql = None;
                None
            }
        };
        if let Some(standing) = &standing {
            self.look_at_slot(plan, standing);
        }
        match standing {
            _ if process.is_none() => {}
            Some(standing) if standing.serves => {
                self.judge(plan, &standing.standby_names, standing.awaits_apply);
            }
            // Without SQL, or where it leads to another server than the stream: each look is a
            // connection of its own.
            _ => self.ask_walsender(plan).await,
        }
    }

    async fn ask(
        &mut self,
        plan: &Plan,
        process: Option<i32>,
    ) -> Result<Option<Standing>, NetError> {
        let Some(options) = &plan.sql else { return Ok(None) };
        if self.sql.as_ref().is_none_or(|(_, connection)| *connection != plan.connection) {
            let client = SqlClient::connect(options, &plan.application_name).await?;
            self.sql = Some((client, plan.connection));
            self.slots.forget();
        }
        let Some((client, _)) = &self.sql else { return Ok(None) };
        client.standing(process, plan.slot.as_ref()).await.map(Some)
    }

    /// Takes settings into account from the moment on: has the writer flush at once when commits
    /// wait for us.
    ///
    /// Until then pauses and reports ask for a flush: a commit waits for a tenth of a second where
    /// nothing else comes, and for some seconds at most.
    fn judge(&mut self, plan: &Plan, names: &str, awaits_apply: bool) {
        let server = plan.layout.server();
        let wanted = is_synchronous(plan, Some(names));
        if self.link.synchronous.set(wanted) != wanted {
            info!(%server, synchronous = wanted, "commits are acknowledged another way from now on");
        }
        let waits = awaits_apply && waits_for_us(plan, names);
        if waits && !std::mem::replace(&mut self.warned_of_apply, true) {
            warn!(
                %server,
                "synchronous_commit = remote_apply is set on the server, and \
                 synchronous_standby_names names this receiver, which applies nothing: such \
                 commits wait for ever unless another standby answers for it; use \
                 synchronous_commit = on"
            );
        }
        self.warned_of_apply &= waits;
    }

    async fn ask_walsender(&mut self, plan: &Plan) {
        if self.asked_walsender.is_some_and(|asked| asked.elapsed() < plan.look_again * 6) {
            return;
        }
        self.asked_walsender = Some(Instant::now());
        match tokio::time::timeout(PATIENCE, names(plan)).await {
            Ok(Ok((names, awaits_apply))) => self.judge(plan, &names, awaits_apply),
            Ok(Err(error)) => {
                debug!(server = %plan.layout.server(), %error, "settings were not to be seen");
            }
            Err(_) => {}
        }
    }

    fn look_at_slot(&mut self, plan: &Plan, standing: &Standing) {
        let (Some(row), Some(end)) = (&standing.slot, standing.wal_end) else {
            self.link.set_slot(None);
            return;
        };
        if standing.serves {
            plan.meters.set_server(end);
        }
        let is = |word| row.wal_status.as_deref() == Some(word);
        let lost = is("lost") || row.invalidation_reason.is_some();
        // A slot that was never used keeps nothing.
        let Some(kept) = row.restart_lsn.map(|restart| kept(restart, end)).or(lost.then_some(0))
        else {
            self.link.set_slot(None);
            return;
        };
        let look = Look {
            at: self.begun.elapsed(),
            kept,
            safe: row.safe_wal_size,
            lost,
            unreserved: is("unreserved"),
        };
        let (forecast, remark) = self.slots.handle(look, plan.slot_wal_limit);
        if let Some(remark) = remark {
            say(plan, remark);
        }
        self.link.set_slot(Some(SlotState { row: row.clone(), forecast }));
        if !lost && plan.slot_wal_limit.is_some_and(|limit| kept > limit) {
            self.link.over_limit.notify_one();
        }
    }
}

/// How much WAL a slot keeps that stands at `restart`.
pub(super) fn kept(restart: Lsn, end: Lsn) -> u64 {
    end.0.saturating_sub(restart.0)
}

fn say(plan: &Plan, remark: Remark) {
    let server = plan.layout.server();
    let slot = plan.slot.as_ref().map(ToString::to_string).unwrap_or_default();
    match remark {
        Remark::Growing(forecast) => {
            let outlook = outlook(&forecast);
            warn!(%server, slot, "{outlook}");
        }
        Remark::Urgent(forecast) => {
            let outlook = outlook(&forecast);
            error!(%server, slot, "{outlook}; see what keeps the receiver: its log, its disk, the network");
        }
        Remark::Lost => error!(
            %server, slot,
            "the server has given the replication slot up: it keeps no WAL any more; where WAL \
             is missing, a new base backup is needed"
        ),
        Remark::Eased(forecast) => {
            let kept = output::size(forecast.kept);
            info!(%server, slot, "the slot keeps no more than {kept} of WAL on the server again");
        }
    }
}

/// How things go on, as a sentence.
pub(super) fn outlook(forecast: &Forecast) -> String {
    let mut text = format!("the slot keeps {} of WAL on the server", output::size(forecast.kept));
    match forecast.growth {
        Some(growth) if growth >= 1.0 => {
            text.push_str(&format!(", growing by {}/s", output::size(growth as u64)));
        }
        Some(growth) if growth <= -1.0 => text.push_str(", and it shrinks"),
        _ => {}
    }
    match forecast.bound {
        Some((bound, left)) => {
            let end = match bound {
                Bound::Server => "the slot is lost (max_slot_wal_keep_size)",
                Bound::Own => "this receiver gives it up (slot_wal_limit)",
            };
            text.push_str(&format!("; {} more and {end}", output::size(left)));
            if let Some(left) = forecast.left {
                text.push_str(&format!(", in {} as it goes now", output::duration(left)));
            }
        }
        None => text.push_str(
            "; nothing limits it but the server's disk: set slot_wal_limit here or \
             max_slot_wal_keep_size there if the server matters more than the archive",
        ),
    }
    text
}

/// Whether WAL is to be acknowledged at once. `names` is `synchronous_standby_names`, where it
/// was to be seen.
pub(super) fn is_synchronous(plan: &Plan, names: Option<&str>) -> bool {
    match plan.acknowledgement {
        Acknowledgement::Auto => names.is_some_and(|names| waits_for_us(plan, names)),
        Acknowledgement::Always => true,
        Acknowledgement::Relaxed => false,
    }
}

/// Whether commits may wait for this receiver.
fn waits_for_us(plan: &Plan, names: &str) -> bool {
    let name = plan.streaming.application_name_or(&plan.application_name);
    settings::waits_for(names, name)
}

async fn names(plan: &Plan) -> Result<(String, bool), NetError> {
    let mut session = Walsender::connect(&plan.streaming, &plan.application_name).await?;
    let names = session.show("synchronous_standby_names").await?;
    let commit = session.show("synchronous_commit").await?;
    session.close().await;
    Ok((names, commit == "remote_apply"))
}

/// How long the server may take to answer all of a look.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlook_names_amount_pace_end_and_time() {
        let mut forecast = Forecast {
            kept: 5 << 30,
            growth: Some(1048576.0),
            bound: Some((Bound::Server, 2 << 30)),
            left: Some(Duration::from_secs(2048)),
        };
        assert_eq!(
            outlook(&forecast),
            "the slot keeps 5.0 GiB of WAL on the server, growing by 1.0 MiB/s; 2.0 GiB more and \
             the slot is lost (max_slot_wal_keep_size), in 34 minutes, 8 seconds as it goes now"
        );
        forecast = Forecast { growth: None, bound: None, left: None, ..forecast };
        assert!(outlook(&forecast).contains("nothing limits it"), "{}", outlook(&forecast));
    }
}
