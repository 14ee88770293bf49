//! What may change on the server while a stream runs, over which nothing can be asked.

use std::convert::Infallible;

use tracing::{debug, info};

use super::service::Plan;
use super::settings;
use super::writer::Synchronous;
use crate::net::{NetError, Walsender};

/// Looks at `synchronous_standby_names` now and then over a connection of its own, and has the
/// writer flush at once from the moment on when commits wait for us.
///
/// Until then each report asks for a flush: a commit waits for some seconds, not for ever. What
/// goes wrong here is no harm to the stream, and is asked again.
pub(super) async fn standby_names(plan: &Plan, synchronous: &Synchronous) -> Infallible {
    loop {
        tokio::time::sleep(plan.look_again).await;
        let names = match tokio::time::timeout(plan.look_again, names(plan)).await {
            Ok(Ok(names)) => names,
            Ok(Err(error)) => {
                debug!(server = %plan.layout.server(), %error, "settings were not to be seen");
                continue;
            }
            Err(_) => continue,
        };
        let wanted = waits_for_us(plan, &names);
        if synchronous.set(wanted) != wanted {
            let server = plan.layout.server();
            info!(%server, synchronous = wanted, "synchronous_standby_names has changed");
        }
    }
}

/// Whether commits may wait for this receiver.
pub(super) fn waits_for_us(plan: &Plan, names: &str) -> bool {
    let name = plan.streaming.application_name_or(&plan.application_name);
    settings::waits_for(names, name)
}

async fn names(plan: &Plan) -> Result<String, NetError> {
    let mut session = Walsender::connect(&plan.streaming, &plan.application_name).await?;
    let names = session.show("synchronous_standby_names").await?;
    session.close().await;
    Ok(names)
}
