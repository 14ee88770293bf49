//! Archives and manifests of very many files, true in every byte that is looked at.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tapster::manifest::{Algorithm, Hasher, ManifestFile, ManifestWriter, Modified, WalRange};
use tapster::repository::{BackupCompression, BackupInfo, BackupMode, BackupStatus, ServerLayout};
use tapster::tar::{Member, MemberKind, MemberPath, TRAILER, padding};
use tapster::wal::{
    Lsn, SegmentName, SegmentNumber, SegmentSize, SystemIdentifier, Timeline, WalFileName,
};

use super::made_up::{MadeUp, Repository};

/// What the first file is called, and how many digits that and all others are.
const FIRST: u32 = 1_000_000;
const DIGITS: usize = 7;
const SYSTEM: SystemIdentifier = SystemIdentifier(7_711_248_655_412_678_424);
const SEGMENT: u32 = 1 << 20;
const MODIFIED: i64 = 1_790_000_000;
/// What initdb makes, and no server starts without.
const DIRECTORIES: [&str; 15] = [
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
];

/// A backup to be put into a repository.
pub struct Backup {
    pub info: BackupInfo,
    files: u32,
    /// What its files are called, before their number.
    stem: &'static str,
    /// And what each of them holds.
    content: Vec<u8>,
}

pub fn layout() -> ServerLayout {
    ServerLayout::below(Path::new("/repository"), "main".parse().expect("a server name"))
}

fn begin(number: u64) -> Lsn {
    Lsn(number * u64::from(SEGMENT) + 0x28)
}

fn segment_name(number: u64) -> SegmentName {
    let size = SegmentSize::new(u64::from(SEGMENT)).expect("a size");
    SegmentName::new(Timeline::FIRST, SegmentNumber(number), size)
}

impl Backup {
    /// A full backup of so many empty files that begins in the segment with this number.
    pub fn full(number: u64, files: u32) -> Backup {
        let mut info =
            BackupInfo::new(format!("20261123T00000{number}").parse().expect("an id"), "main");
        info.begin_xlog = Some(begin(number));
        info.begin_wal = Some(segment_name(number));
        info.end_xlog = Some(begin(number) + 0x100);
        info.end_wal = Some(segment_name(number));
        info.compression = Some(BackupCompression::None);
        info.mode = Some(BackupMode::Postgres);
        info.status = BackupStatus::Done;
        info.systemid = Some(SYSTEM);
        info.timeline = Some(Timeline::FIRST);
        info.version = Some(170_004);
        info.xlog_segment_size = SegmentSize::new(u64::from(SEGMENT)).expect("a size");
        info.backup_label = Some(format!("START WAL LOCATION: {}\n", begin(number)));
        Backup { info, files, stem: "base/16384/", content: Vec::new() }
    }

    /// One that stands on another: each file has one block, and it has not changed.
    pub fn incremental(number: u64, parent: &Backup) -> Backup {
        let mut backup = Backup::full(number, parent.files);
        let from = parent.info.begin_xlog.expect("it has begun");
        let label = backup.info.backup_label.iter_mut();
        label.for_each(|label| {
            *label += &format!("INCREMENTAL FROM LSN: {from}\nINCREMENTAL FROM TLI: 1\n");
        });
        backup.info.parent_backup_id = Some(parent.info.id);
        backup.stem = "base/16384/INCREMENTAL.";
        backup.content = [0xD3AE_1F0D_u32, 0, 1].map(u32::to_le_bytes).concat();
        backup
    }

    fn name(stem: &str, number: u32) -> String {
        format!("{stem}{}", FIRST + number)
    }

    /// Archive, manifest, and the WAL that it needs.
    pub fn store(&self, repository: &mut Repository) {
        let data: PathBuf = layout().data(self.info.id);
        repository.put(data.join("base.tar"), self.archive());
        repository.put(data.join("backup_manifest"), self.manifest());
        if self.info.parent_backup_id.is_some() {
            let known = br#"{"limit_blocks": {"files": {}}}"#;
            repository.small.put(&layout().backup_extra(self.info.id), known);
        }
        let begin = self.info.begin_wal.expect("it has begun");
        let size = self.info.xlog_segment_size;
        let number = begin.number(size).expect("of that size").0;
        let path = layout().wal(WalFileName::Segment(begin));
        repository.small.put(&path, &segment(number));
    }

    fn small_files(&self) -> [(&'static str, Vec<u8>); 2] {
        let label = self.info.backup_label.clone().unwrap_or_default();
        [("backup_label", label.into_bytes()), ("global/pg_control", control_file())]
    }

    fn archive(&self) -> MadeUp {
        let mut head = Vec::new();
        for name in DIRECTORIES {
            head.extend(member(name, MemberKind::Directory, &[]));
        }
        for (name, content) in self.small_files() {
            head.extend(member(name, MemberKind::File, &content));
        }
        let name = Backup::name(self.stem, 0);
        let first = member(&name, MemberKind::File, &self.content);
        let (width, digits) = (first.len() as u64, name.len() - DIGITS);
        let entry = move |number| {
            let mut bytes = first.clone();
            put_number(&mut bytes[digits..][..DIGITS], number);
            let counted = bytes[..512].iter().enumerate();
            let sum = counted.map(|(at, &byte)| match at {
                148..156 => u32::from(b' '),
                _ => u32::from(byte),
            });
            let sum = format!("{:06o}\0 ", sum.sum::<u32>());
            bytes[148..156].copy_from_slice(sum.as_bytes());
            bytes
        };
        MadeUp { head, entry: Box::new(entry), width, entries: self.files, tail: TRAILER.to_vec() }
    }

    /// Cut out of one that lists two files: a debug build takes long over a million.
    fn manifest(&self) -> MadeUp {
        let mut writer = ManifestWriter::new(Some(SYSTEM));
        for (name, content) in self.small_files() {
            list(&mut writer, name, &content);
        }
        let head = writer.take();
        list(&mut writer, &Backup::name(self.stem, 0), &self.content);
        let line = writer.take();
        let start = self.info.begin_xlog.expect("it has begun");
        let end = self.info.end_xlog.expect("it has ended");
        let range = WalRange { timeline: Timeline::FIRST, start, end };
        let mut tail = writer.finish(&[range]);
        let name = Backup::name(self.stem, 0);
        let at = line.windows(name.len()).position(|part| part == name.as_bytes());
        let at = at.expect("it is listed") + name.len() - DIGITS;
        let width = line.len() as u64;
        let entry = move |number| {
            let mut line = line.clone();
            put_number(&mut line[at..][..DIGITS], number);
            line
        };
        let key = b"\"Manifest-Checksum\"";
        let last = tail.windows(key.len()).position(|part| part == key).expect("a checksum");
        let mut hash = Sha256::new();
        hash.update(&head);
        (0..self.files).for_each(|number| hash.update(entry(number)));
        hash.update(&tail[..last]);
        tail.truncate(last);
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        tail.extend(format!("\"Manifest-Checksum\": \"{digits}\"}}\n").as_bytes());
        MadeUp { head, entry: Box::new(entry), width, entries: self.files, tail }
    }
}

/// The digits of a file, in the place of those of another.
fn put_number(digits: &mut [u8], number: u32) {
    let mut left = FIRST + number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

fn list(writer: &mut ManifestWriter, name: &str, content: &[u8]) {
    let mut hasher = Hasher::new(Algorithm::Crc32c);
    hasher.update(content);
    writer.file(&ManifestFile {
        path: name.as_bytes(),
        encoded: false,
        size: content.len() as u64,
        modified: Modified::Seconds(MODIFIED),
        algorithm: Algorithm::Crc32c,
        checksum: hasher.finish().as_bytes(),
    });
}

fn member(name: &str, kind: MemberKind, content: &[u8]) -> Vec<u8> {
    let path = MemberPath::new(name.as_bytes()).expect("a name");
    let mode = if kind == MemberKind::File { 0o600 } else { 0o700 };
    let (size, uid, gid, modified) = (content.len() as u64, 26, 26, MODIFIED);
    let header = Member { path, kind, size, mode, uid, gid, modified }.encode();
    let mut bytes = header.expect("it fits").to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len() + padding(size) as usize, 0);
    bytes
}

/// A page header, which tells it from others, and no record.
fn segment(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT as usize];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &0xD116_u16.to_le_bytes());
    put(2, &2_u16.to_le_bytes());
    put(4, &1_u32.to_le_bytes());
    put(8, &(number * u64::from(SEGMENT)).to_le_bytes());
    put(24, &SYSTEM.0.to_le_bytes());
    put(32, &SEGMENT.to_le_bytes());
    put(36, &8192_u32.to_le_bytes());
    bytes
}

/// Version 1300, in production, on timeline 1.
fn control_file() -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &SYSTEM.0.to_le_bytes());
    put(8, &1300_u32.to_le_bytes());
    put(12, &202_406_281_u32.to_le_bytes());
    put(16, &6_u32.to_le_bytes());
    put(48, &1_u32.to_le_bytes());
    put(216, &8192_u32.to_le_bytes());
    put(220, &131_072_u32.to_le_bytes());
    put(224, &8192_u32.to_le_bytes());
    put(228, &SEGMENT.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..288]);
    bytes[288..292].copy_from_slice(&crc.to_le_bytes());
    bytes
}
