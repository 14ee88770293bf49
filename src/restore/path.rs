//! Names inside a backup, before they may become names on a disk.
//!
//! Pure. A server, a backup or a manifest may be forged: a name is a list of plain components
//! below the directory that is being filled, or it is refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::tar::{MemberPath, PathProblem};

/// A relative path without `.`, `..`, empty components or NUL: joined to a directory, it stays
/// in it as long as no component is a symbolic link.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InnerPath(MemberPath);

/// A name that would leave the directory, or that no server sends.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the backup holds the name {name:?}, which {problem}")]
pub struct UnsafeName {
    /// The name, made printable.
    pub name: String,
    /// What is wrong with it.
    pub problem: PathProblem,
}

impl InnerPath {
    /// Checks a name.
    pub fn parse(name: &[u8]) -> Result<InnerPath, UnsafeName> {
        MemberPath::new(name).map(InnerPath).map_err(|problem| UnsafeName {
            name: String::from_utf8_lossy(name).into_owned(),
            problem,
        })
    }

    /// The bytes, as manifests and archives spell them.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The name behind `directory/`, if it lies in that directory.
    pub fn inside(&self, directory: &str) -> Option<&[u8]> {
        self.as_bytes().strip_prefix(directory.as_bytes())?.strip_prefix(b"/")
    }

    /// Whether this is exactly that name.
    pub fn is(&self, name: &str) -> bool {
        self.as_bytes() == name.as_bytes()
    }

    /// The place in a directory.
    pub fn in_directory(&self, root: &Path) -> PathBuf {
        root.join(OsStr::from_bytes(self.as_bytes()))
    }

    /// For messages.
    pub fn to_text(&self) -> String {
        self.0.to_string()
    }
}

impl From<MemberPath> for InnerPath {
    fn from(path: MemberPath) -> InnerPath {
        InnerPath(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in [
            "",
            "/",
            ".",
            "./",
            "..",
            "../x",
            "/x",
            "//x",
            "a/../b",
            "a/..",
            "a//b",
            "./../x",
            "a/./b",
            ".//x",
            "a\0b",
            "/etc/passwd",
            "a/",
        ] {
            assert!(InnerPath::parse(name.as_bytes()).is_err(), "{name:?} was accepted");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_accepted_name_never_leaves_its_directory(name: Vec<u8>) {
            if let Ok(path) = InnerPath::parse(&name) {
                let below = path.in_directory(Path::new("/root"));
                let plain = |part| matches!(part, std::path::Component::Normal(_));
                assert!(below.strip_prefix("/root").is_ok_and(|rest| rest.components().all(plain)));
                assert_ne!(below, Path::new("/root"));
            }
        }
    }
}
