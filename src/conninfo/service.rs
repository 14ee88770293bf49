//! The connection service file: named sets of options.
//!
//! Sections `[name]` with lines `key=value`; blanks at both ends of a line and lines that begin
//! with `#` are ignored, blanks around `=` are not. The user's file is asked first
//! (`servicefile`, `PGSERVICEFILE`, `~/.pg_service.conf`), then the system's. Values only fill gaps.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::keyword_value::is_blank;
use super::settings::Settings;
use super::{ConninfoError, Environment, Keyword, Origin};

/// Where builds of PostgreSQL keep the system-wide file when `PGSYSCONFDIR` does not say:
/// Debian's, the RPM packages', a build from source.
const SYSTEM_DIRECTORIES: [&str; 3] =
    ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"];

const FILE_NAME: &str = "pg_service.conf";

/// Adds the options of the service that the settings or `PGSERVICE` name, if any.
///
/// # Errors
/// A service that no file defines, a named file that cannot be read, a line that is no option.
pub fn apply(settings: &mut Settings, environment: &dyn Environment) -> Result<(), ConninfoError> {
    let service = match settings.text(Keyword::Service)? {
        Some((service, _)) => service.to_owned(),
        None => return Ok(()),
    };
    let mut looked_in = Vec::new();
    for (path, must_exist) in candidates(settings, environment) {
        match environment.read_file(&path) {
            Ok(file) => {
                if apply_file(&service, &path, &file.bytes, settings)? {
                    return Ok(());
                }
            }
            Err(source) if must_exist => return Err(ConninfoError::ServiceFile { path, source }),
            // libpq too passes over a default file that it cannot see.
            Err(_) => {}
        }
        looked_in.push(path);
    }
    Err(ConninfoError::ServiceNotFound { service, looked_in })
}

/// The files in the order in which they are asked, and whether each must be there.
fn candidates(settings: &Settings, environment: &dyn Environment) -> Vec<(PathBuf, bool)> {
    let mut files = Vec::new();
    match settings.path(Keyword::ServiceFile) {
        Some(path) => files.push((path, true)),
        None => files.extend(environment.home().map(|home| (home.join(".pg_service.conf"), false))),
    }
    match environment.variable("PGSYSCONFDIR") {
        Some(directory) => files.push((Path::new(&directory).join(FILE_NAME), false)),
        None => files.extend(
            SYSTEM_DIRECTORIES.map(|directory| (Path::new(directory).join(FILE_NAME), false)),
        ),
    }
    files
}

/// Whether the file has the section; its options are then in `settings`.
fn apply_file(
    service: &str,
    path: &Path,
    content: &[u8],
    settings: &mut Settings,
) -> Result<bool, ConninfoError> {
    let mut found = false;
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii_start_end();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        if line[0] == b'[' {
            if found {
                break;
            }
            found = line[1..]
                .strip_prefix(service.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b']'));
            continue;
        }
        if !found {
            continue;
        }
        let origin = || Origin::ServiceFile { path: path.to_owned(), line: index + 1 };
        let problem = |problem| ConninfoError::Syntax { origin: origin(), problem };
        if line.starts_with(b"ldap://") {
            return Err(problem("look-ups by LDAP are not supported"));
        }
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
            return Err(problem("a line that is not key=value"));
        };
        let (key, value) = (&line[..equals], &line[equals + 1..]);
        let key = OsStr::from_bytes(key).to_string_lossy();
        match Keyword::from_word(&key) {
            Some(Keyword::Service | Keyword::ServiceFile) => {
                return Err(problem("a service cannot name another service or service file"));
            }
            Some(keyword) => settings.fill(keyword, value, origin),
            None => {
                return Err(ConninfoError::UnknownOption {
                    origin: origin(),
                    name: Some(key.into_owned()),
                });
            }
        }
    }
    Ok(found)
}

trait TrimBlanks {
    fn trim_ascii_start_end(&self) -> &[u8];
}

impl TrimBlanks for [u8] {
    /// Without what C calls white space, at both ends; the standard library leaves `\x0b`.
    fn trim_ascii_start_end(&self) -> &[u8] {
        let blank = |byte: &u8| is_blank(char::from(*byte));
        let start = self.iter().position(|byte| !blank(byte)).unwrap_or(self.len());
        let end = self.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        &self[start..end]
    }
}
