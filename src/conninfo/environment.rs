//! The machine around a connection string: variables, home directory, files.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// What the rules of libpq ask the machine.
pub trait Environment: fmt::Debug {
    /// An environment variable, if it is set.
    fn variable(&self, name: &str) -> Option<OsString>;
    /// The home directory of the user that runs this process.
    fn home(&self) -> Option<PathBuf>;
    /// The operating system's name of that user.
    fn user(&self) -> Option<String>;
    /// A whole file.
    ///
    /// # Errors
    /// `NotFound` when nothing stands there, which is no mistake by itself.
    fn read_file(&self, path: &Path) -> io::Result<SourceFile>;
}

/// A file as found.
pub struct SourceFile {
    /// Its content; empty when it is not a regular file.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Permission bits.
    pub mode: u32,
    /// Whether it is a regular file.
    pub regular: bool,
}

/// The machine that we run on.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealEnvironment;

impl Environment for RealEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
    }

    fn user(&self) -> Option<String> {
        whoami::username().ok()
    }

    fn read_file(&self, path: &Path) -> io::Result<SourceFile> {
        let found = fs::metadata(path)?;
        let regular = found.is_file();
        let bytes = if regular { fs::read(path)? } else { Vec::new() };
        Ok(SourceFile {
            bytes: Zeroizing::new(bytes),
            mode: found.permissions().mode() & 0o7777,
            regular,
        })
    }
}
