//! `target_session_attrs`: whether a server that was reached is one of those that will do.
//!
//! Servers of 14 and later report all that is needed at login. Earlier ones are asked; a
//! physical walsender of theirs answers SHOW and nothing else, so `transaction_read_only` has
//! to do: `off` there proves a primary, `on` is taken for a standby unless the default of the
//! role or database explains it.

use crate::conninfo::TargetSessionAttrs;
use crate::wire::Parameters;

/// What is known of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct State {
    pub in_recovery: bool,
    pub read_only: bool,
}

impl State {
    /// From the settings that servers of 14 and later report; `None` before 14, or through a
    /// pooler that swallows them.
    pub fn reported(parameters: &Parameters) -> Option<State> {
        let in_recovery = parameters.get("in_hot_standby")? == "on";
        let default = parameters.get("default_transaction_read_only")? == "on";
        Some(State { in_recovery, read_only: in_recovery || default })
    }

    /// From two answers to SHOW.
    pub fn asked(transaction_read_only: &str, default_transaction_read_only: &str) -> State {
        let read_only = transaction_read_only == "on";
        State { in_recovery: read_only && default_transaction_read_only != "on", read_only }
    }

    /// Whether this server is what the user wants.
    pub fn suits(self, wanted: TargetSessionAttrs) -> bool {
        match wanted {
            TargetSessionAttrs::Any => true,
            TargetSessionAttrs::ReadWrite => !self.read_only,
            TargetSessionAttrs::ReadOnly => self.read_only,
            TargetSessionAttrs::Primary => !self.in_recovery,
            TargetSessionAttrs::Standby | TargetSessionAttrs::PreferStandby => self.in_recovery,
        }
    }

    /// For messages.
    pub fn describe(self) -> &'static str {
        match self {
            State { in_recovery: true, .. } => "a standby",
            State { read_only: true, .. } => "a primary that is read-only by default",
            State { .. } => "a primary",
        }
    }
}

/// What each round over all hosts looks for.
pub(super) fn rounds(wanted: TargetSessionAttrs) -> Vec<TargetSessionAttrs> {
    match wanted {
        TargetSessionAttrs::PreferStandby => {
            vec![TargetSessionAttrs::PreferStandby, TargetSessionAttrs::Any]
        }
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ParameterStatus;

    const PRIMARY: State = State { in_recovery: false, read_only: false };
    const LOCKED: State = State { in_recovery: false, read_only: true };
    const STANDBY: State = State { in_recovery: true, read_only: true };

    #[test]
    fn each_word_picks_the_servers_that_the_manual_says() {
        use TargetSessionAttrs as Wanted;
        for (wanted, primary, locked, standby) in [
            (Wanted::Any, true, true, true),
            (Wanted::ReadWrite, true, false, false),
            (Wanted::ReadOnly, false, true, true),
            (Wanted::Primary, true, true, false),
            (Wanted::Standby, false, false, true),
            (Wanted::PreferStandby, false, false, true),
        ] {
            let found = [PRIMARY, LOCKED, STANDBY].map(|state| state.suits(wanted));
            assert_eq!(found, [primary, locked, standby], "{wanted}");
        }
        assert_eq!(rounds(Wanted::PreferStandby), [Wanted::PreferStandby, Wanted::Any]);
    }

    #[test]
    fn what_14_and_later_report_needs_no_question() {
        let report = |pairs: &[(&str, &str)]| {
            let mut parameters = Parameters::default();
            for (name, value) in pairs {
                let (name, value) = ((*name).to_owned(), (*value).to_owned());
                parameters.set(ParameterStatus { name, value });
            }
            State::reported(&parameters)
        };
        let (hot, default) = ("in_hot_standby", "default_transaction_read_only");
        assert_eq!(report(&[(hot, "off"), (default, "off")]), Some(PRIMARY));
        assert_eq!(report(&[(hot, "off"), (default, "on")]), Some(LOCKED));
        assert_eq!(report(&[(hot, "on"), (default, "off")]), Some(STANDBY));
        assert_eq!(report(&[(default, "off")]), None);
    }

    #[test]
    fn before_14_the_read_only_settings_tell_them_apart() {
        assert_eq!(State::asked("off", "off"), PRIMARY);
        assert_eq!(State::asked("on", "on"), LOCKED);
        assert_eq!(State::asked("on", "off"), STANDBY);
    }
}
