//! The password file: `host:port:database:user:password`, one a line.
//!
//! `*` alone in a field fits anything; `\` makes the next character ordinary; the first line
//! that fits wins. A file that others may read is ignored: whoever can read it could have
//! changed it or kept a copy.

use std::io;
use std::path::{Path, PathBuf};

use super::{Environment, Secret};

/// What a line is compared with. Lists hold alternatives: a server on the default socket is
/// `localhost` in the file, and some builds of libpq compare the directory.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The host as the user wrote it, or `localhost`.
    pub hosts: Vec<&'a str>,
    /// The port, in decimal.
    pub port: &'a str,
    /// The database, or the word `replication`.
    pub databases: Vec<&'a str>,
    /// The role.
    pub user: &'a str,
}

/// A password file that may be used, or nothing.
pub struct PasswordFile {
    path: PathBuf,
    bytes: zeroize::Zeroizing<Vec<u8>>,
}

impl PasswordFile {
    /// Opens the file if it is there and private; the warning says why it was passed over.
    pub fn open(
        path: &Path,
        environment: &dyn Environment,
    ) -> (Option<PasswordFile>, Option<String>) {
        let shown = path.display();
        let file = match environment.read_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (None, None),
            Err(error) => {
                return (None, Some(format!("cannot read password file {shown}: {error}")));
            }
        };
        if !file.regular {
            return (
                None,
                Some(format!("password file {shown} is ignored: it is not a plain file")),
            );
        }
        if file.mode & 0o077 != 0 {
            return (
                None,
                Some(format!(
                    "password file {shown} is ignored: others may read it; chmod 0600 {shown}"
                )),
            );
        }
        (Some(PasswordFile { path: path.to_owned(), bytes: file.bytes }), None)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The password of the first line that fits, and the line's number, counted from 1.
    pub fn find(&self, wanted: &Wanted<'_>) -> Option<(Secret, usize)> {
        self.bytes.split(|byte| *byte == b'\n').enumerate().find_map(|(index, line)| {
            let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
            Some((password_of(&line[..end], wanted)?, index + 1))
        })
    }
}

fn password_of(line: &[u8], wanted: &Wanted<'_>) -> Option<Secret> {
    if line.first() == Some(&b'#') {
        return None;
    }
    let rest = after_any(line, &wanted.hosts)?;
    let rest = after_field(rest, wanted.port)?;
    let rest = after_any(rest, &wanted.databases)?;
    let rest = after_field(rest, wanted.user)?;
    Some(Secret::new(unescape(rest)))
}

fn after_any<'a>(line: &'a [u8], tokens: &[&str]) -> Option<&'a [u8]> {
    tokens.iter().find_map(|token| after_field(line, token))
}

/// What follows the first field and its colon, if the field fits.
fn after_field<'a>(line: &'a [u8], token: &str) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let mut token = token.bytes();
    let mut at = 0;
    loop {
        match (*line.get(at)?, token.next()) {
            (b':', None) => return Some(&line[at + 1..]),
            (b'\\', Some(expected)) if line.get(at + 1) == Some(&expected) => at += 2,
            (byte, Some(expected)) if byte != b'\\' && byte == expected => at += 1,
            _ => return None,
        }
    }
}

/// The last field: up to an unescaped colon, with backslashes undone.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => break,
            b'\\' => value.push(bytes.next().unwrap_or(b'\\')),
            other => value.push(other),
        }
    }
    value
}
