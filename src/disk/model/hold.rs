//! The model disk while it stalls.

use std::sync::{MutexGuard, PoisonError};

use super::{ModelDisk, State};

impl ModelDisk {
    /// Lets every call with this verb (`sync`, `write`, …) wait from now on, as on a disk that
    /// stalls.
    pub fn hold(&self, operation: &'static str) {
        self.state().hold = Some((operation, 0));
    }

    /// Waits until a call waits.
    pub fn wait_until_held(&self) {
        let waits = |state: &mut State| !matches!(state.hold, Some((_, waiting)) if waiting > 0);
        drop(self.held.wait_while(self.state(), waits));
    }

    /// Lets all calls go on.
    pub fn release(&self) {
        self.state().hold = None;
        self.held.notify_all();
    }

    /// The state, as soon as no hold is on calls with this verb.
    pub(super) fn state_when_free(&self, operation: &'static str) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while let Some((held, waiting)) = &mut state.hold
            && *held == operation
        {
            *waiting += 1;
            self.held.notify_all();
            state = self.held.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}
