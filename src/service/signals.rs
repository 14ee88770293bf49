//! SIGINT and SIGTERM as a value that tasks can wait for, and SIGHUP as an event.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How soon the process is to end.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// No signal came.
    None,
    /// The first signal: finish the write that is under way, leave a resumable state.
    Finish,
    /// A second signal: leave at once. What is on disk is consistent at every moment.
    Now,
}

/// Tells every part of the process that it is to end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown {
    urgency: watch::Receiver<Urgency>,
}

impl Shutdown {
    /// Starts to listen. Must be called inside a tokio runtime; from then on the signals no
    /// longer end the process by themselves.
    ///
    /// # Errors
    /// What the system says when a handler cannot be installed.
    pub fn listen() -> io::Result<Shutdown> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, urgency) = watch::channel(Urgency::None);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    () = sender.closed() => return,
                }
                sender.send_modify(|urgency| {
                    *urgency = match urgency {
                        Urgency::None => Urgency::Finish,
                        Urgency::Finish | Urgency::Now => Urgency::Now,
                    };
                });
            }
        });
        Ok(Shutdown { urgency })
    }

    /// A handle that another part of the program drives, and its lever: for work that ends for
    /// other reasons than a signal, and for tests.
    pub fn manual() -> (watch::Sender<Urgency>, Shutdown) {
        let (sender, urgency) = watch::channel(Urgency::None);
        (sender, Shutdown { urgency })
    }

    /// How soon the process is to end, as known now.
    pub fn urgency(&self) -> Urgency {
        *self.urgency.borrow()
    }

    /// Whether a signal came.
    pub fn requested(&self) -> bool {
        self.urgency() >= Urgency::Finish
    }

    /// Waits until at least `urgency` is asked for; for ever when it never is.
    pub async fn reaches(&self, urgency: Urgency) {
        let mut receiver = self.urgency.clone();
        if receiver.wait_for(|now| *now >= urgency).await.is_err() {
            // The lever is gone: nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

/// SIGHUP: the configuration is to be read again.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Starts to listen; from then on the signal no longer ends the process. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// What the system says when a handler cannot be installed.
    pub fn listen() -> io::Result<Hangups> {
        Ok(Hangups(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one. Several that come at once are one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // The runtime ends: there is none any more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_task_that_waits_for_the_end_wakes_when_it_is_asked_for_and_not_before() {
        let (lever, shutdown) = Shutdown::manual();
        assert!(!shutdown.requested());
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.reaches(Urgency::Finish).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        lever.send_replace(Urgency::Finish);
        waiting.await.expect("the task ends");
        assert!(shutdown.requested());
        assert_eq!(shutdown.urgency(), Urgency::Finish);
    }
}
