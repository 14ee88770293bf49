//! A machine that exists only in a test.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::conninfo::{Environment, SourceFile};

/// User `amy` with home directory `/home/amy`, no variables, no files.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    variables: BTreeMap<String, OsString>,
    files: BTreeMap<PathBuf, (Vec<u8>, u32)>,
}

impl Machine {
    pub fn with(mut self, name: &str, value: &str) -> Machine {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    pub fn file(self, path: &str, content: &str) -> Machine {
        self.file_with_mode(path, content.as_bytes(), 0o600)
    }

    pub fn file_with_mode(mut self, path: &str, content: &[u8], mode: u32) -> Machine {
        self.files.insert(path.into(), (content.to_vec(), mode));
        self
    }
}

impl Environment for Machine {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn home(&self) -> Option<PathBuf> {
        Some("/home/amy".into())
    }

    fn user(&self) -> Option<String> {
        Some("amy".to_owned())
    }

    fn read_file(&self, path: &Path) -> io::Result<SourceFile> {
        let (bytes, mode) = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(SourceFile { bytes: Zeroizing::new(bytes.clone()), mode: *mode, regular: true })
    }
}
