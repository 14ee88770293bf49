//! What may stand in a file, or in the bytes that become one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tapster::config::ini::IniFile;
use tapster::conninfo::{ConnectOptions, Environment, Purpose, SourceFile};
use tapster::manifest::{FileTable, Manifest, compare};
use tapster::receive::settings;
use tapster::repository::python::Literal;
use tapster::repository::{BackupId, BackupInfo, BackupTime, Identity, XlogDb};
use tapster::tar::{Ending, TarError, TarEvent, TarSplitter};
use tapster::wal::page::PAGE_SIZE;
use tapster::wal::record::{RecordHeader, record_crc};
use tapster::wal::{
    ControlFile, Finding, Lsn, SegmentSize, SystemIdentifier, Timeline, TimelineHistory, WalChecker,
};

use crate::pieces::cut;

/// Members with the bytes of their content.
fn split(pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<(String, Ending), TarError> {
    let mut splitter = TarSplitter::new();
    let mut seen = String::new();
    let mut bytes = 0;
    for piece in pieces {
        splitter.push(Bytes::copy_from_slice(piece));
        while let Some(event) = splitter.next()? {
            match event {
                TarEvent::Member(member) => {
                    let path = member.path.as_bytes();
                    assert!(!path.starts_with(b"/") && !path.is_empty());
                    assert!(path.split(|&byte| byte == b'/').all(|part| part != b".."));
                    seen += &format!("{member:?}");
                }
                TarEvent::Data(data) => bytes += data.len(),
                TarEvent::MemberEnd => seen += &format!("{}", std::mem::take(&mut bytes)),
                TarEvent::End => seen += "end",
            }
        }
    }
    Ok((seen, splitter.finish()?))
}

/// Makes the checksum of every block right, so that the fuzzer gets past it.
fn with_checksums(input: &[u8]) -> Vec<u8> {
    let mut input = input.to_vec();
    for block in input.chunks_exact_mut(512).filter(|block| block[257] == b'u') {
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    input
}

pub fn tar(data: &[u8]) {
    let Some((size, input)) = cut(data) else { return };
    let input = with_checksums(input);
    let whole = split(&mut std::iter::once(&input[..]));
    let pieces = split(&mut input.chunks(size));
    assert_eq!(whole, pieces);
}

pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        let again = Manifest::parse(&manifest.render()).expect("what was written is readable");
        assert!(compare(&manifest.files, &again.files).is_empty());
        assert_eq!(compare(&manifest.files, &FileTable::new()).len(), manifest.files.len());
    }
}

/// Gives every record that begins on the first page a right checksum.
fn with_record_checksums(input: &[u8]) -> Vec<u8> {
    let mut input = input.to_vec();
    let mut at = 40;
    while let Some(header) = input.get(at..at + RecordHeader::LEN) {
        let mut fixed: [u8; RecordHeader::LEN] = header.try_into().expect("24 bytes");
        let length = RecordHeader::parse(&fixed).length as usize;
        let end = at.saturating_add(length);
        if length < RecordHeader::LEN || end > input.len().min(PAGE_SIZE as usize) {
            break;
        }
        let crc = record_crc(&fixed, &input[at + RecordHeader::LEN..end]);
        fixed[20..].copy_from_slice(&crc.to_le_bytes());
        input[at..at + RecordHeader::LEN].copy_from_slice(&fixed);
        at = end.next_multiple_of(8);
    }
    input
}

fn check(start: Lsn, pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<Finding>, Option<Lsn>) {
    let size = SegmentSize::new(1 << 20).expect("1 MiB");
    let mut checker = WalChecker::new(Timeline::FIRST, Some(SystemIdentifier(1)), size, start);
    let mut findings = Vec::new();
    let mut at = start;
    for piece in pieces {
        checker.feed(at, piece, &mut findings);
        at = at + piece.len() as u64;
    }
    assert!(checker.valid_end().is_none_or(|end| (start..=at).contains(&end)));
    let end = checker.valid_end();
    assert_eq!(checker.rewind(), end);
    (findings, end)
}

pub fn wal(data: &[u8]) {
    let Some((size, input)) = cut(data) else { return };
    let Some((&place, input)) = input.split_first() else { return };
    let start = Lsn((3 << 20) + u64::from(place % 4) * u64::from(PAGE_SIZE / 2));
    let input = with_record_checksums(input);
    let whole = check(start, &mut std::iter::once(&input[..]));
    let pieces = check(start, &mut input.chunks(size));
    assert_eq!(whole, pieces);
}

pub fn history(data: &[u8]) {
    let timeline = Timeline::new(u32::MAX).expect("not 0");
    let Ok(history) = TimelineHistory::parse(timeline, data) else { return };
    for entry in history.entries() {
        assert!(history.contains(entry.timeline));
        assert_eq!(history.switchpoint_of(entry.timeline), Some(entry.switchpoint));
        let next = history.successor_of(entry.timeline).expect("an ancestor has a successor");
        assert_eq!(history.beginning_of(next), Some(entry.switchpoint));
    }
}

pub fn control_file(data: &[u8]) {
    let mut file = data.to_vec();
    file.resize(ControlFile::LEN, 0);
    for crc_at in [280, 288, 292] {
        let crc = crc(&file[..crc_at]);
        let mut file = file.clone();
        file[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        let _ = ControlFile::parse(&file);
    }
    let _ = ControlFile::parse(data);
}

/// The checksum of some bytes, by way of a record whose checked part is empty zeros.
fn crc(bytes: &[u8]) -> u32 {
    use tapster::manifest::{Algorithm, Hasher};
    let mut hasher = Hasher::new(Algorithm::Crc32c);
    hasher.update(bytes);
    let sum = hasher.finish();
    u32::from_le_bytes(sum.as_bytes().try_into().expect("four bytes"))
}

/// Every variable and every file has the same content.
#[derive(Debug)]
struct Everywhere(Vec<u8>);

impl Environment for Everywhere {
    fn variable(&self, _name: &str) -> Option<OsString> {
        None
    }
    fn home(&self) -> Option<PathBuf> {
        Some("/home/tapster".into())
    }
    fn user(&self) -> Option<String> {
        Some("tapster".to_owned())
    }
    fn read_file(&self, _path: &Path) -> std::io::Result<SourceFile> {
        Ok(SourceFile { bytes: self.0.clone().into(), mode: 0o600, regular: true })
    }
}

pub fn conninfo(data: &[u8]) {
    // What stands behind a zero byte is the content of the password and the service file.
    let (text, file) = data.split_at(data.iter().position(|&byte| byte == 0).unwrap_or(data.len()));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let environment = Everywhere(file.to_vec());
    for purpose in [Purpose::Replication, Purpose::Sql] {
        if let Err(error) = ConnectOptions::resolve(text, purpose, &environment) {
            let _ = (error.to_string(), error.hint());
        }
    }
}

pub fn config(data: &[u8]) {
    if let Err((line, fault)) = IniFile::parse(Path::new("/etc/tapster.conf"), data) {
        assert!(line <= data.len() + 1);
        let _ = fault.to_string();
    }
}

pub fn backup_info(data: &[u8]) {
    let id: BackupId = "20261123T062732".parse().expect("an id");
    if let Ok(info) = BackupInfo::parse(id, data) {
        let text = info.render();
        let again = BackupInfo::parse(id, &text).expect("what was written is readable");
        assert_eq!(again.render(), text);
    }
}

pub fn xlogdb(data: &[u8]) {
    let _ = XlogDb::parse(data).names();
}

pub fn python_literal(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(literal) = Literal::parse(text) {
        let _ = (literal.as_text(), literal.as_number());
    }
}

/// Texts of a few words that come from a server or a file.
pub fn small_texts(data: &[u8]) {
    let _ = Identity::parse(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = settings::duration(text);
    let _ = settings::waits_for(text, "barman_receive_wal");
    let _ = text.parse::<tapster::wal::WalFileName>();
    let _ = text.parse::<Lsn>();
    if let Some(time) = BackupTime::parse(text) {
        // Finer than microseconds is read, and not written.
        let printed = time.to_string();
        let again = BackupTime::parse(&printed).expect("what was printed is readable");
        assert_eq!(again.to_string(), printed);
    }
}
