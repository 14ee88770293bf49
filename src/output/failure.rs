//! An error as the user sees it: what, because, try.

use std::error::Error;
use std::fmt;

/// A failure in its printed form. Three parts, always the same:
///
/// ```text
/// ERROR: cannot start streaming from server main
///   because: server refused: replication slot "tapster" does not exist (42704)
///   try: tapster receive-wal --create-slot main
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    what: String,
    because: Vec<String>,
    hints: Vec<String>,
    exit_code: u8,
}

impl Failure {
    /// A failure that needs no cause: the sentence says it all. Exit code 1.
    pub fn new(what: impl fmt::Display) -> Failure {
        Failure { what: what.to_string(), because: Vec::new(), hints: Vec::new(), exit_code: 1 }
    }

    /// `what` was being done when `error` came: the error and all its sources are the cause.
    pub fn because(what: impl fmt::Display, error: &dyn Error) -> Failure {
        let mut failure = Failure::new(what);
        failure.push_chain(Some(error));
        failure
    }

    /// An error that says itself what was being done; its sources are the cause.
    pub fn of(error: &dyn Error) -> Failure {
        let mut failure = Failure::new(error);
        failure.push_chain(error.source());
        failure
    }

    /// Adds what the operator can do next, if there is something.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Failure {
        self.hints.extend(hint.into());
        self
    }

    /// Leaves with another code than 1.
    #[must_use]
    pub fn exit_code(mut self, code: u8) -> Failure {
        self.exit_code = code;
        self
    }

    /// The code to leave with.
    pub fn code(&self) -> u8 {
        self.exit_code
    }

    /// What and why in one line, without what to do: for tables, logs and `backup.info`.
    pub fn one_line(&self) -> String {
        let parts = std::iter::once(&self.what).chain(&self.because);
        parts.map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join(": ")
    }

    fn push_chain(&mut self, mut next: Option<&dyn Error>) {
        while let Some(error) = next {
            let line = error.to_string();
            // Some errors repeat their source in their own text.
            if !self.because.last().unwrap_or(&self.what).ends_with(&line) {
                self.because.push(line);
            }
            next = error.source();
        }
    }
}

/// An error and all its causes in one line: for logs and `backup.info`.
pub fn one_line(error: &dyn Error) -> String {
    Failure::of(error).one_line()
}

/// The text behind `ERROR: `.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.because.is_empty() {
            write!(f, "\n  because: {}", self.because.join(": "))?;
        }
        for hint in &self.hints {
            write!(f, "\n  try: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open /x")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot log in: {0}")]
    struct Repeating(#[source] std::io::Error);

    #[test]
    fn a_cause_that_an_error_repeats_is_said_once() {
        let error = Repeating(std::io::Error::other("starting up"));
        assert_eq!(one_line(&error), "cannot log in: starting up");
    }

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        let error = Outer(std::io::Error::other("disk on fire"));
        let failure = Failure::because("cannot back up server main", &error)
            .hint("call the fire brigade".to_owned());
        assert_eq!(
            failure.to_string(),
            "cannot back up server main\n  because: cannot open /x: disk on fire\n  \
             try: call the fire brigade"
        );
        assert_eq!(Failure::of(&error).to_string(), "cannot open /x\n  because: disk on fire");
        assert_eq!(one_line(&error), "cannot open /x: disk on fire");
        assert_eq!(Failure::new("no").hint(None).exit_code(3).code(), 3);
    }
}
