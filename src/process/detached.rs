//! A program that goes on when its starter has ended.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program that is started and left alone. It has no standard input, and of the files of its
/// starter nothing but what [`Descriptors`] says: no lock of the starter lives on in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Detached {
    program: PathBuf,
    arguments: Vec<OsString>,
    descriptors: Descriptors,
}

/// What becomes of the starter's standard output and standard error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Descriptors {
    /// The program has none: whoever waits for the end of the starter's output does not wait
    /// for it.
    Closed,
    /// The program keeps them: in a container they are the log.
    Kept,
}

/// A program that did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}", program.display())]
pub struct ProcessError {
    program: PathBuf,
    source: io::Error,
}

impl Detached {
    /// This program itself, with other arguments. The first of them should make it call
    /// [`leave_session`].
    ///
    /// # Errors
    /// The system does not say which file this program is.
    pub fn own_program(
        arguments: impl IntoIterator<Item = OsString>,
        descriptors: Descriptors,
    ) -> Result<Detached, ProcessError> {
        let program = std::env::current_exe()
            .map_err(|source| ProcessError { program: "/proc/self/exe".into(), source })?;
        Ok(Detached { program, arguments: arguments.into_iter().collect(), descriptors })
    }

    /// Starts it, and returns its process number without waiting for anything.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn start(&self) -> Result<u32, ProcessError> {
        let stream = || match self.descriptors {
            Descriptors::Closed => Stdio::null(),
            Descriptors::Kept => Stdio::inherit(),
        };
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .map(|child| child.id())
            .map_err(|source| ProcessError { program: self.program.clone(), source })
    }
}

/// Makes this process the leader of a session of its own: no terminal's end, and no signal to
/// the group of its starter, reaches it any more. Done by the started program, because between
/// fork and exec nothing can be done that is safe.
pub fn leave_session() {
    // It fails for the leader of a process group, which is what a shell makes of a command that
    // somebody types: then there is nothing to leave.
    let _ = rustix::process::setsid();
}
