//! What the service manager hears of a receiver: that it is ready, how it is, that it lives.
//!
//! Beats in the task that reads from the server, so that a reader that stands still is noticed;
//! and only while the writer moves, so that a disk that never answers is not hidden. A writer
//! that tries a full disk again and again lives.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Plan;
use super::status::{Observer, Surroundings};
use super::watch::Link;
use crate::service::{Manager, Shutdown, Urgency};

/// Tells the manager what it wants to know, until it is dropped.
pub(super) async fn beat(
    plans: &watch::Receiver<Arc<Plan>>,
    link: &Link,
    manager: &Manager,
    shutdown: &Shutdown,
) -> Infallible {
    if !manager.listens() {
        // Nobody started us as a service.
        std::future::pending::<()>().await;
    }
    let watchdog = manager.watchdog();
    let period = watchdog.map_or(PERIOD, |within| (within / 3).min(PERIOD));
    let mut observer = Observer::new(plans.borrow().layout.server().to_string());
    let mut said = String::new();
    let mut said_at = None::<Instant>;
    loop {
        let plan = Arc::clone(&plans.borrow());
        let readings = plan.meters.read();
        if readings.streaming {
            manager.ready();
        }
        if watchdog.is_some_and(|within| readings.busy < within) {
            manager.alive();
        }
        let line = observer.look(&readings, Surroundings::of(&plan, link)).line();
        let is_due = said_at.is_none_or(|at| at.elapsed() >= STATUS);
        if line != said && is_due && !shutdown.requested() {
            manager.status(&line);
            (said, said_at) = (line, Some(Instant::now()));
        }
        let stopping = shutdown.requested();
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = shutdown.reaches(Urgency::Finish), if !stopping => manager.stopping(),
        }
    }
}

const PERIOD: Duration = Duration::from_secs(1);
/// More often nobody reads it.
const STATUS: Duration = Duration::from_secs(5);
