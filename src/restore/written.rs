//! The names of all files that a restore has written: there may be millions, and each costs little
//! more than its last component, because neighbours in an archive stand in one directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Paths, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Written {
    runs: Vec<Run>,
}

/// Files of one directory, one behind the other.
#[derive(Debug)]
struct Run {
    directory: PathBuf,
    /// Each ends with a NUL, which no name holds.
    names: Vec<u8>,
}

impl Run {
    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let names = self.names.split_inclusive(|&byte| byte == 0);
        names.map(|name| {
            let name = name.strip_suffix(b"\0").unwrap_or(name);
            self.directory.join(OsStr::from_bytes(name))
        })
    }
}

impl Written {
    /// Adds the path of a file.
    pub(super) fn push(&mut self, path: &Path) {
        let directory = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default().as_bytes();
        if self.runs.last().is_none_or(|run| run.directory != directory) {
            self.runs.push(Run { directory: directory.to_owned(), names: Vec::new() });
        }
        if let Some(run) = self.runs.last_mut() {
            run.names.extend_from_slice(name);
            run.names.push(0);
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = PathBuf> {
        self.runs.iter().flat_map(Run::paths)
    }

    /// Whether a path was added. Looks through all of them.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let mut runs = self.runs.iter();
        let name = path.file_name().unwrap_or_default().as_bytes();
        runs.any(|run| {
            let mut names = run.names.split(|&byte| byte == 0);
            path.parent() == Some(&run.directory) && names.any(|other| other == name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_back_as_they_were_whatever_their_order() {
        let paths =
            ["/r/base/1/1", "/r/base/1/2", "/r/PG_VERSION", "/r/base/1/3", "/r/b\u{e9}\n/x"];
        let mut written = Written::default();
        paths.iter().for_each(|path| written.push(Path::new(path)));
        assert!(written.iter().eq(paths.iter().map(PathBuf::from)));
        assert!(paths.iter().all(|path| written.holds(Path::new(path))));
        for other in ["/r/base/1", "/r/base/1/", "/r/1", "/r/base/1/12", "/r/base/2/1"] {
            assert!(!written.holds(Path::new(other)), "{other}");
        }
    }
}
