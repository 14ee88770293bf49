//! The service manager that started us, by systemd's protocol. Without one nothing happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};

/// The manager. What it does not take is lost: nothing here can fail.
#[derive(Debug, Default)]
pub struct Manager {
    /// It was told that we are ready.
    told: AtomicBool,
}

impl Manager {
    /// Whether there is one.
    pub fn listens(&self) -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    /// How often it wants to hear that we live (`WatchdogSec`).
    pub fn watchdog(&self) -> Option<Duration> {
        watchdog_enabled()
    }

    /// What we are there for has begun. Said once.
    pub fn ready(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tell(&[NotifyState::Ready]);
        }
    }

    /// How we are, in one line.
    pub fn status(&self, line: &str) {
        // A line of its own would be another message.
        tell(&[NotifyState::Status(line.lines().next().unwrap_or_default())]);
    }

    /// We live.
    pub fn alive(&self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// The configuration is being read again. Nothing before we were ready: the manager would
    /// take the end of it for readiness.
    pub fn reloading(&self) {
        if !self.told.load(Ordering::Relaxed) {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// It was.
    pub fn reloaded(&self) {
        if self.told.load(Ordering::Relaxed) {
            tell(&[NotifyState::Ready]);
        }
    }

    /// The end has begun.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // A manager that does not listen any more is no reason to stop.
    let _ = notify(state);
}
