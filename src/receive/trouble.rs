//! What a failure means to a process that is to receive for ever: how long to wait before the
//! next try, and what to say about it. Knows no connections and no files.

use std::time::Duration;

use tracing::{error, info, warn};

use super::ReceiveError;
use super::backoff::Backoff;
use super::start::Refusal;
use crate::output::one_line;
use crate::repository::ServerName;
use crate::wire::Retry;

/// The troubles of one receiver, from its start on.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// A connection was good enough to be asked where the server stands.
    pub(super) has_connected: bool,
    /// WAL has come.
    pub(super) has_streamed: bool,
    /// What was logged last: it is logged once, however often it comes.
    said: Option<String>,
    backoff: Backoff,
}

impl Trouble {
    /// A stream has ended that had begun. One that brought WAL or stood for a while was good:
    /// what comes next is new.
    pub(super) fn handle_session(&mut self, progressed: bool, lasted: Duration) {
        self.has_streamed |= progressed;
        if progressed || lasted >= STEADY {
            self.said = None;
            self.backoff.handle_success();
        }
    }

    /// How long to wait for a server that has said that it shuts down.
    pub(super) fn wait_for_restart(&mut self, jitter: f64) -> Duration {
        self.backoff.handle_failure(Retry::AfterBackoff, jitter).unwrap_or(STEADY)
    }

    /// How long to wait before the next try, or `None` if there is to be none. Logs what is new.
    pub(super) fn wait_after(
        &mut self,
        error: &ReceiveError,
        server: &ServerName,
        jitter: f64,
    ) -> Option<Duration> {
        let retry = self.class(error);
        let wait = self.backoff.handle_failure(retry, jitter)?;
        self.tell(error, retry, server);
        Some(wait)
    }

    fn class(&self, error: &ReceiveError) -> Retry {
        match error.retry() {
            // A password that never fitted is a mistake of whoever starts us, and who is there
            // to read it. Later it is somebody else's, and will be mended.
            Retry::Slowly if !self.has_connected => Retry::Never,
            // What fitted once may fit again: an address that leads to the old primary for the
            // minutes of a failover, a server that refuses what it used to allow. A receiver
            // that has ended would let the disk of the server fill that comes back.
            Retry::Never if self.has_streamed && may_pass(error) => Retry::Slowly,
            retry => retry,
        }
    }

    fn tell(&mut self, error: &ReceiveError, retry: Retry, server: &ServerName) {
        let text = one_line(error);
        // A server that lags behind stands elsewhere each time.
        let topic = match error {
            ReceiveError::Behind { alarming, .. } => format!("behind, alarming: {alarming}"),
            _ => text.clone(),
        };
        if self.said.as_ref() == Some(&topic) {
            return;
        }
        let hint = error.hint().unwrap_or_default();
        match (error, retry) {
            // Whoever has just started it may have mistyped the host.
            (ReceiveError::Net(_), Retry::Now | Retry::AfterBackoff) if !self.has_connected => {
                warn!(%server, error = %text, hint, "no server yet; waiting for it");
            }
            (ReceiveError::Net(_), Retry::Now | Retry::AfterBackoff) => {
                info!(%server, error = %text, "not connected; trying again");
            }
            (_, Retry::Now | Retry::AfterBackoff) => {
                warn!(%server, error = %text, hint, "reception interrupted; trying again");
            }
            _ => error!(%server, error = %text, hint, "cannot receive; trying again"),
        }
        self.said = Some(topic);
    }
}

/// Whether a cause that no try of ours mends may be mended by others. What is not by its nature
/// of the moment, such as another cluster or a gap in the stream, needs a person at once.
fn may_pass(error: &ReceiveError) -> bool {
    match error {
        ReceiveError::Refused(Refusal::OldPrimary { .. }) => true,
        ReceiveError::Net(error) => error.server_error().is_some(),
        _ => false,
    }
}

/// A stream that stood for so long was no failure, whatever ended it.
const STEADY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{SystemIdentifier, Timeline};

    fn other_cluster() -> ReceiveError {
        let (server, repository) = (SystemIdentifier(1), SystemIdentifier(2));
        Refusal::OtherSystem { server, repository }.into()
    }

    fn old_primary() -> ReceiveError {
        let local = Timeline::new(2).expect("not 0");
        Refusal::OldPrimary { server: Timeline::FIRST, local }.into()
    }

    #[test]
    fn an_old_primary_does_not_end_a_receiver_that_has_received_and_another_cluster_does() {
        let server: ServerName = "main".parse().expect("a name");
        let mut trouble = Trouble { has_connected: true, ..Trouble::default() };
        assert_eq!(trouble.wait_after(&old_primary(), &server, 0.0), None);
        trouble.handle_session(true, Duration::ZERO);
        let wait = trouble.wait_after(&old_primary(), &server, 0.0).expect("another try");
        assert!(wait >= Duration::from_secs(15), "tried again after {wait:?}");
        assert_eq!(trouble.wait_after(&other_cluster(), &server, 0.0), None);
    }

    #[test]
    fn a_stream_that_stood_for_long_starts_the_waits_anew_and_a_short_one_does_not() {
        let mut trouble = Trouble::default();
        let mut last = Duration::ZERO;
        for _ in 0..9 {
            last = trouble.wait_for_restart(0.0);
            trouble.handle_session(false, Duration::from_secs(1));
        }
        assert_eq!(last, Duration::from_secs(10));
        trouble.handle_session(false, STEADY);
        assert!(trouble.wait_for_restart(0.0) < Duration::from_secs(1));
    }
}
