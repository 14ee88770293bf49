//! Names in an archive, and what they must not be.

use std::fmt;

/// A relative path that stays below the directory that it is relative to: no empty name, no
/// `.` or `..`, no NUL. Bytes, because file names need not be UTF-8.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberPath(Box<[u8]>);

/// Why a path is refused; completes a sentence that begins with "which".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PathProblem {
    /// There is nothing, or nothing between two slashes.
    Empty,
    /// It begins with a slash.
    Absolute,
    /// It goes up.
    Parent,
    /// A `.` elsewhere than at the beginning: two names for one file.
    Current,
    /// It holds a zero byte.
    Nul,
    /// A file whose name ends with a slash.
    Slash,
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathProblem::Empty => "has an empty part",
            PathProblem::Absolute => "is absolute",
            PathProblem::Parent => "leads out of the directory",
            PathProblem::Current => "holds the part \".\"",
            PathProblem::Nul => "holds a zero byte",
            PathProblem::Slash => "is that of a directory",
        })
    }
}

impl MemberPath {
    /// Checks a path. Leading `./` are dropped: the server writes two names with them.
    pub fn new(path: &[u8]) -> Result<MemberPath, PathProblem> {
        MemberPath::check(path).map(|path| MemberPath(path.into()))
    }

    /// Checks a path without keeping it; gives it back without leading `./`.
    pub fn check(path: &[u8]) -> Result<&[u8], PathProblem> {
        let mut path = path;
        while let Some(rest) = path.strip_prefix(b"./") {
            path = rest;
        }
        if path.contains(&0) {
            return Err(PathProblem::Nul);
        }
        if path.starts_with(b"/") {
            return Err(PathProblem::Absolute);
        }
        for part in path.split(|&byte| byte == b'/') {
            match part {
                b"" => return Err(PathProblem::Empty),
                b"." => return Err(PathProblem::Current),
                b".." => return Err(PathProblem::Parent),
                _ => {}
            }
        }
        Ok(path)
    }

    /// The bytes, without leading `./` and trailing slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

impl fmt::Debug for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}
