//! From text to a manifest.

use std::fmt;
use std::io::{BufReader, Read};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

use super::covered::Covered;
use super::{Algorithm, FileTable, Manifest, ManifestError, ManifestFile, Modified, WalRange};
use crate::tar::MemberPath;
use crate::wal::{Lsn, SystemIdentifier, Timeline};

const READ_BYTES: usize = 64 << 10;
const VERSION_KEY: &str = "PostgreSQL-Backup-Manifest-Version";

pub(super) fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
    // The checksum covers all lines but the last.
    let body = text.strip_suffix(b"\n").ok_or(ManifestError::Truncated)?;
    let last_line = body.iter().rposition(|&byte| byte == b'\n');
    let covered = &text[..=last_line.ok_or(ManifestError::Truncated)?];
    let computed = Sha256::digest(covered);
    let raw: Root = serde_json::from_slice(text).map_err(syntax)?;
    checked(raw, &computed)
}

/// From a text that passes.
pub(super) fn read(source: impl Read) -> Result<Manifest, ManifestError> {
    let mut passing = BufReader::with_capacity(READ_BYTES, Covered::new(source));
    let mut json = serde_json::Deserializer::from_reader(&mut passing);
    let cut = |error: serde_json::Error| match error.is_eof() {
        true => ManifestError::Truncated,
        false => syntax(error),
    };
    let raw = Root::deserialize(&mut json).map_err(cut)?;
    json.end().map_err(cut)?;
    let computed = passing.into_inner().finish().ok_or(ManifestError::Truncated)?;
    checked(raw, &computed)
}

/// What was read, if it may be believed.
fn checked(raw: Root, computed: &[u8]) -> Result<Manifest, ManifestError> {
    if !(1..=2).contains(&raw.version) {
        return Err(ManifestError::Version(raw.version));
    }
    let manifest = raw.into_manifest()?;
    if manifest.checksum[..] != computed[..] {
        let stored = hex(&manifest.checksum);
        return Err(ManifestError::Checksum { stored, computed: hex(computed) });
    }
    check_paths(&manifest.files)?;
    Ok(manifest)
}

fn syntax(error: serde_json::Error) -> ManifestError {
    ManifestError::Syntax(error.to_string())
}

fn check_paths(files: &FileTable) -> Result<(), ManifestError> {
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    for file in files.iter() {
        if let Err(problem) = MemberPath::check(file.path) {
            return Err(ManifestError::Path { path: shown(file.path), problem });
        }
    }
    let order = files.by_path();
    match order.windows(2).find(|pair| files.path(pair[0]) == files.path(pair[1])) {
        Some(pair) => Err(ManifestError::Duplicate(shown(files.path(pair[0])))),
        None => Ok(()),
    }
}

/// The outermost object, with what may be missing from it.
struct Root {
    version: u64,
    system: Option<u64>,
    files: Option<FileTable>,
    wal_ranges: Option<Vec<WalRange>>,
    checksum: Option<[u8; 32]>,
}

impl Root {
    fn into_manifest(self) -> Result<Manifest, ManifestError> {
        let missing = |key: &str| ManifestError::Syntax(format!("{key:?} is missing"));
        let system = match (self.version, self.system) {
            (1, None) => None,
            (1, Some(_)) => {
                let message = "version 1 has no \"System-Identifier\"".to_owned();
                return Err(ManifestError::Syntax(message));
            }
            (_, system) => Some(system.ok_or_else(|| missing("System-Identifier"))?),
        };
        Ok(Manifest {
            system: system.map(SystemIdentifier),
            files: self.files.ok_or_else(|| missing("Files"))?,
            // Servers always list it; Barman, in the manifests that it makes, never does.
            wal_ranges: self.wal_ranges.unwrap_or_default(),
            checksum: self.checksum.ok_or_else(|| missing("Manifest-Checksum"))?,
        })
    }
}

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Root, D::Error> {
        deserializer.deserialize_map(RootVisitor)
    }
}

struct RootVisitor;

impl<'de> Visitor<'de> for RootVisitor {
    type Value = Root;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a backup manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Root, A::Error> {
        if map.next_key::<String>()?.as_deref() != Some(VERSION_KEY) {
            return Err(A::Error::custom(format_args!("the first key is not {VERSION_KEY:?}")));
        }
        let version = map.next_value()?;
        let mut root =
            Root { version, system: None, files: None, wal_ranges: None, checksum: None };
        while let Some(key) = map.next_key::<String>()? {
            let repeated = match key.as_str() {
                "System-Identifier" => root.system.replace(map.next_value()?).is_some(),
                "Files" => root.files.replace(map.next_value_seed(Files)?).is_some(),
                "WAL-Ranges" => {
                    let ranges: Vec<RawRange> = map.next_value()?;
                    let ranges = ranges.into_iter().map(RawRange::check);
                    let ranges: Result<_, _> = ranges.collect();
                    root.wal_ranges.replace(ranges.map_err(A::Error::custom)?).is_some()
                }
                "Manifest-Checksum" => {
                    let text: String = map.next_value()?;
                    let bytes = unhex(&text).and_then(|bytes| bytes.try_into().ok());
                    let bytes = bytes.ok_or_else(|| bad(&text, "a SHA-256 checksum"));
                    root.checksum.replace(bytes.map_err(A::Error::custom)?).is_some()
                }
                _ => return Err(A::Error::custom(format_args!("unknown key {key:?}"))),
            };
            if repeated {
                return Err(A::Error::custom(format_args!("{key:?} comes twice")));
            }
        }
        Ok(root)
    }
}

fn bad(text: &str, expected: &str) -> String {
    format!("{text:?} is not {expected}")
}

/// The list of files, entry by entry, so that it is in memory once.
struct Files;

impl<'de> DeserializeSeed<'de> for Files {
    type Value = FileTable;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<FileTable, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Files {
    type Value = FileTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of files")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FileTable, A::Error> {
        let mut table = FileTable::new();
        while let Some(file) = list.next_element::<RawFile>()? {
            file.push_to(&mut table).map_err(A::Error::custom)?;
        }
        Ok(table)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawFile {
    path: Option<String>,
    #[serde(rename = "Encoded-Path")]
    encoded_path: Option<String>,
    size: u64,
    #[serde(rename = "Last-Modified")]
    last_modified: Option<String>,
    #[serde(rename = "Checksum-Algorithm")]
    checksum_algorithm: Option<String>,
    checksum: Option<String>,
}

impl RawFile {
    fn push_to(&self, table: &mut FileTable) -> Result<(), String> {
        let (path, encoded) = match (&self.path, &self.encoded_path) {
            (Some(path), None) => (path.as_bytes().to_vec(), false),
            (None, Some(text)) => {
                (unhex(text).ok_or_else(|| bad(text, "a path in hexadecimal"))?, true)
            }
            (None, None) => return Err("a file without a path".to_owned()),
            (Some(path), Some(_)) => return Err(format!("two paths for {path:?}")),
        };
        let shown = String::from_utf8_lossy(&path);
        let algorithm = match &self.checksum_algorithm {
            Some(name) => {
                Algorithm::from_name(name).ok_or_else(|| bad(name, "a checksum algorithm"))?
            }
            None if self.checksum.is_some() => {
                return Err(format!("checksum without algorithm for {shown:?}"));
            }
            None => Algorithm::None,
        };
        let text = self.checksum.as_deref().unwrap_or_default();
        let checksum = unhex(text).filter(|checksum| checksum.len() == algorithm.length());
        let checksum = checksum
            .ok_or_else(|| format!("{text:?} is no {algorithm} checksum, which {shown:?} needs"))?;
        let text = self.last_modified.as_deref().unwrap_or_default();
        let modified = seconds(text).map_or(Modified::Text(text), Modified::Seconds);
        let (size, checksum) = (self.size, checksum.as_slice());
        let file = ManifestFile { path: &path, encoded, size, modified, algorithm, checksum };
        table.push(&file);
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRange {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

impl RawRange {
    fn check(self) -> Result<WalRange, String> {
        let timeline = Timeline::new(self.timeline).ok_or("timeline 0 does not exist")?;
        let lsn = |text: &str| text.parse::<Lsn>().map_err(|error| error.to_string());
        Ok(WalRange { timeline, start: lsn(&self.start)?, end: lsn(&self.end)? })
    }
}

/// Seconds since 1970, if the text is exactly what the server would print for them.
fn seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i8>().ok();
    let year = text.get(..4)?.parse().ok()?;
    let date = jiff::civil::Date::new(year, number(5..7)?, number(8..10)?).ok()?;
    let time = jiff::civil::Time::new(number(11..13)?, number(14..16)?, number(17..19)?, 0).ok()?;
    let seconds = jiff::tz::Offset::UTC.to_timestamp(date.to_datetime(time)).ok()?.as_second();
    (super::writer::time_text(seconds)? == text).then_some(seconds)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match *pair {
        // Two digits of four bits each fit a byte.
        [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// Bytes as a manifest writes them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
