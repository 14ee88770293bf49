//! The temporary slot that keeps the WAL of a backup on the server, over a connection of its own.
//!
//! A server drops the temporary slots of a session at that session's first error (the error path
//! of `PostgresMain` calls `ReplicationSlotCleanup`), and BASE_BACKUP ends with an error when it
//! has met damaged pages. So the slot must not stand on the copy's connection: its WAL is needed
//! for a while after the copy. Nor on the connection that WAL is received over, which may break
//! and be made again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Plan;
use super::error::BackupError;
use super::session::Session;
use crate::conninfo::ConnectOptions;
use crate::net::{NetError, Walsender};
use crate::output::one_line;
use crate::repository::BackupId;
use crate::wire::SlotName;

/// The server is asked for a sign of life this often: a connection over which nothing goes is
/// forgotten by firewalls after some minutes, and ended by `idle_session_timeout`.
const BEAT: Duration = Duration::from_secs(20);
/// The pause before the second try to get a slot; each is twice as long, up to a beat.
const AGAIN: Duration = Duration::from_secs(1);

/// How long to wait for the next slot.
#[derive(Debug, Default)]
struct Pauses {
    next: Duration,
}

impl Pauses {
    /// The first try is made at once, since the server may remove WAL at any moment.
    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).clamp(AGAIN, BEAT);
        pause
    }

    /// A slot was lost after so long. Where each session ends as soon as it has begun, be it by
    /// a pooler or by a server that goes down, the tries go on as if there had been none.
    fn lost_after(&mut self, lived: Duration) {
        if lived >= BEAT {
            self.next = Duration::ZERO;
        }
    }
}

/// A slot that is there for as long as this is.
#[derive(Debug)]
pub(super) struct WalHold {
    beating: JoinHandle<()>,
}

impl WalHold {
    /// Has the server that the copy comes from keep all WAL from its last checkpoint on.
    ///
    /// # Errors
    /// There is no connection for it, or no slot: the WAL of the backup might then be gone
    /// before it was received.
    pub(super) async fn begin(
        plan: &Plan,
        session: &Session,
        id: BackupId,
    ) -> Result<WalHold, BackupError> {
        let mut options = plan.streaming.clone();
        // A slot on another of several hosts would keep nothing.
        if let Some(host) = options.hosts.get(session.walsender.host()).cloned() {
            options.hosts = vec![host];
        }
        let name = plan.application_name.clone();
        let walsender = hold(&options, &name, id).await.map_err(BackupError::NotKept)?;
        Ok(WalHold { beating: tokio::spawn(beat(walsender, options, name, id)) })
    }
}

impl Drop for WalHold {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

async fn hold(
    options: &ConnectOptions,
    application_name: &str,
    id: BackupId,
) -> Result<Walsender, NetError> {
    // The slot of a connection that broke may be there for a while yet.
    static TRY: AtomicU32 = AtomicU32::new(1);
    let mut walsender = Walsender::connect(options, application_name).await?;
    let (id, attempt) = (id.as_str().to_lowercase(), TRY.fetch_add(1, Ordering::Relaxed));
    let name = format!("tapster_{id}_{}_{attempt}", std::process::id());
    let name = SlotName::new(&name).expect("digits, lower-case letters and underscores");
    walsender.create_slot(&name, true, true).await?;
    Ok(walsender)
}

/// Keeps the connection alive. Where it is lost all the same, the slot is made anew at once: what
/// was removed meanwhile is missed when the segments of the backup are counted.
async fn beat(mut walsender: Walsender, options: ConnectOptions, name: String, id: BackupId) {
    let mut pauses = Pauses::default();
    loop {
        let since = Instant::now();
        let lost = loss(&mut walsender).await;
        let error = one_line(&lost);
        tracing::warn!(%error, "the slot that keeps the WAL of the backup is lost");
        pauses.lost_after(since.elapsed());
        walsender = loop {
            tokio::time::sleep(pauses.next()).await;
            match hold(&options, &name, id).await {
                Ok(again) => break again,
                Err(error) => {
                    let error = one_line(&error);
                    tracing::warn!(%error, "no slot keeps the WAL of the backup; trying again");
                }
            }
        };
        tracing::info!("a slot keeps the WAL of the backup again");
    }
}

/// Waits until the connection is lost, and with it the slot.
async fn loss(walsender: &mut Walsender) -> NetError {
    loop {
        if let Ok(lost) = tokio::time::timeout(BEAT, walsender.lost_idle()).await {
            return lost;
        }
        if let Err(lost) = walsender.identify_system().await {
            return lost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_each_session_at_once_is_not_asked_for_slots_without_a_pause() {
        let mut pauses = Pauses::default();
        let mut seconds = |lived: u64| {
            pauses.lost_after(Duration::from_secs(lived));
            pauses.next().as_secs()
        };
        assert_eq!([0; 7].map(&mut seconds), [0, 1, 2, 4, 8, 16, 20]);
        assert_eq!([5, 19].map(&mut seconds), [20, 20], "less than a beat");
        assert_eq!([20, 0, 3600].map(&mut seconds), [0, 1, 0], "the first try is made at once");
    }
}
