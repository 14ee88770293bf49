//! A small base backup as a server would send it: two archives and their manifest.

use std::io::Write;

use bytes::Bytes;

use crate::backup::queue::Job;
use crate::backup::reader::{Position, Span};
use crate::codec::Packing;
use crate::manifest::{
    Algorithm, Hasher, Manifest, ManifestFile, ManifestWriter, Modified, WalRange,
};
use crate::tar::{Member, MemberKind, MemberPath, TRAILER, padding};
use crate::wal::{ControlFile, Lsn, SystemIdentifier, Timeline};
use crate::wire::CompressionAlgorithm;

pub(super) const SYSTEM: SystemIdentifier = SystemIdentifier(7_711_248_655_412_678_424);
pub(super) const BASE: &str = "base.tar";
pub(super) const SPACE: &str = "16390.tar";

/// What the server has, and how it misbehaves.
#[derive(Clone)]
pub(super) struct Sample {
    system: u64,
    end: u64,
    base: Vec<(String, Vec<u8>)>,
    space: Vec<(String, Vec<u8>)>,
    /// Directories and links of the main archive.
    entries: Vec<(String, MemberKind)>,
    trailer: bool,
    with_manifest: bool,
    raw_name: Option<String>,
    cut: Option<usize>,
}

fn control(system: u64) -> Vec<u8> {
    let mut bytes = vec![0; ControlFile::LEN];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &system.to_le_bytes());
    put(8, &1300_u32.to_le_bytes());
    put(48, &1_u32.to_le_bytes());
    put(252, &1_u32.to_le_bytes());
    put(228, &(16_u32 << 20).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..288]);
    bytes[288..292].copy_from_slice(&crc.to_le_bytes());
    bytes
}

impl Sample {
    pub(super) fn new() -> Sample {
        let label = b"START WAL LOCATION: 0/4000028 (file 000000010000000000000004)\n";
        let file = |name: &str, content: &[u8]| (name.to_owned(), content.to_vec());
        Sample {
            system: SYSTEM.0,
            end: 0x400_0100,
            base: vec![
                file("backup_label", label),
                file("tablespace_map", b"16390 /srv/space\n"),
                file("base/1/1259", &[7; 3000]),
                file("global/pg_control", &control(SYSTEM.0)),
            ],
            space: vec![file("PG_15_202209061/1/2", &[9; 512])],
            entries: Vec::new(),
            trailer: true,
            with_manifest: true,
            raw_name: None,
            cut: None,
        }
    }

    /// As it comes when no map of tablespaces is asked for.
    pub(super) fn plain() -> Sample {
        Sample::new()
            .without("tablespace_map")
            .with_entry("base", MemberKind::Directory)
            .with_entry("pg_tblspc", MemberKind::Directory)
            .with_entry("pg_tblspc/16390", MemberKind::TablespaceLink)
            .with_entry("pg_wal", MemberKind::Directory)
            .with_entry("pg_wal/archive_status", MemberKind::Directory)
    }

    pub(super) fn with_entry(mut self, name: &str, kind: MemberKind) -> Sample {
        self.entries.push((name.to_owned(), kind));
        self
    }

    pub(super) fn without_trailers(self) -> Sample {
        Sample { trailer: false, ..self }
    }

    pub(super) fn without_manifest(self) -> Sample {
        Sample { with_manifest: false, ..self }
    }

    pub(super) fn ending_at(self, end: u64) -> Sample {
        Sample { end, ..self }
    }

    pub(super) fn of_system(self, system: u64) -> Sample {
        Sample { system, ..self }.with("global/pg_control", &control(system))
    }

    pub(super) fn torn_control(self) -> Sample {
        let mut torn = control(self.system);
        torn[100] ^= 1;
        self.with("global/pg_control", &torn)
    }

    pub(super) fn with(mut self, name: &str, content: &[u8]) -> Sample {
        match self.base.iter_mut().find(|(path, _)| path == name) {
            // The same length, so that the checksum is what differs.
            Some((path, old)) if path.starts_with("base/") => {
                old[..content.len()].copy_from_slice(content);
            }
            Some((_, old)) => *old = content.to_vec(),
            None => self.base.push((name.to_owned(), content.to_vec())),
        }
        self
    }

    pub(super) fn without(mut self, name: &str) -> Sample {
        self.base.retain(|(path, _)| path != name);
        self
    }

    pub(super) fn with_raw_name(self, name: &str) -> Sample {
        Sample { raw_name: Some(name.to_owned()), ..self }
    }

    pub(super) fn cut_to(&self, cut: usize) -> Sample {
        Sample { cut: Some(cut), ..self.clone() }
    }

    pub(super) fn span(&self) -> Span {
        let at = |lsn| Position { lsn: Lsn(lsn), timeline: Timeline::FIRST };
        Span { start: at(0x400_0028), end: at(self.end) }
    }

    /// The files of a plain backup, below `base/<id>`.
    pub(super) fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let below = |directory: &'static str| {
            move |(name, content): &(String, Vec<u8>)| {
                (format!("{directory}/{name}"), content.clone())
            }
        };
        let manifest = ("data/backup_manifest".to_owned(), self.manifest());
        let main = self.base.iter().map(below("data")).chain([manifest]);
        main.chain(self.space.iter().map(below("16390"))).collect()
    }

    /// The files as they are stored, in the order in which they come.
    pub(super) fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            (SPACE, self.archive(&self.space, &[])),
            (BASE, self.archive(&self.base, &self.entries)),
            (Manifest::FILE_NAME, self.manifest()),
        ]
    }

    /// An archive as the server compresses it: one stream.
    pub(super) fn compressed(&self, algorithm: CompressionAlgorithm, plain: &[u8]) -> Vec<u8> {
        let packing = Packing::choose(Some(algorithm.name()), None).expect("known");
        let packing = packing.expect("a codec");
        let mut encoder = packing.encoder(plain.len() as u64, Vec::new()).expect("begun");
        encoder.write_all(plain).expect("packed");
        encoder.finish().expect("finished")
    }

    /// The same, of archives that come compressed; `damage` happens to the main one.
    pub(super) fn compressed_jobs(
        &self,
        algorithm: CompressionAlgorithm,
        damage: impl Fn(&mut Vec<u8>),
    ) -> Vec<Job> {
        let mut jobs = vec![Job::Start(self.span().start.lsn)];
        for (name, content) in self.files() {
            let pieces = |bytes: &[u8]| {
                bytes.chunks(777).map(Bytes::copy_from_slice).collect::<Vec<Bytes>>()
            };
            if name == Manifest::FILE_NAME {
                jobs.extend(pieces(&content).into_iter().map(Job::Manifest));
                continue;
            }
            let tablespace = (name == SPACE).then_some(16390);
            jobs.push(Job::Archive { name: format!("{name}{}", algorithm.suffix()), tablespace });
            let mut packed = self.compressed(algorithm, &content);
            if name == BASE {
                damage(&mut packed);
            }
            jobs.extend(pieces(&packed).into_iter().map(Job::Data));
            jobs.push(Job::ArchiveEnd);
        }
        jobs
    }

    /// What the reader would queue, in pieces of odd sizes.
    pub(super) fn jobs(&self) -> Vec<Job> {
        let mut jobs = vec![Job::Start(self.span().start.lsn)];
        for (name, tablespace, files, entries) in [
            (SPACE, Some(16390), &self.space, &[][..]),
            (BASE, None, &self.base, &self.entries[..]),
        ] {
            jobs.push(Job::Archive { name: name.to_owned(), tablespace });
            let archive = self.archive(files, entries);
            let pieces = archive.chunks(777).map(|piece| Job::Data(Bytes::copy_from_slice(piece)));
            jobs.extend(pieces);
            jobs.push(Job::ArchiveEnd);
        }
        if self.with_manifest {
            let manifest = self.manifest();
            let pieces =
                manifest.chunks(300).map(|piece| Job::Manifest(Bytes::copy_from_slice(piece)));
            jobs.extend(pieces);
        }
        jobs
    }

    fn archive(&self, files: &[(String, Vec<u8>)], entries: &[(String, MemberKind)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = |name: &str, kind: &MemberKind, size: u64, mode: u32| {
            let path = MemberPath::new(name.as_bytes()).expect("a safe name");
            let (kind, modified) = (MemberKind::clone(kind), 1_790_000_000);
            let member = Member { path, kind, size, mode, uid: 1, gid: 1, modified };
            member.encode().expect("it fits")
        };
        for (name, kind) in entries {
            bytes.extend(header(name, kind, 0, 0o750));
        }
        for (name, content) in files {
            let size = content.len() as u64;
            let mut header = header(name, &MemberKind::File, size, 0o640);
            if let Some(raw) = self.raw_name.as_ref().filter(|_| bytes.is_empty()) {
                rename(&mut header, raw);
            }
            bytes.extend(header);
            bytes.extend(content);
            bytes.resize(bytes.len() + padding(size) as usize, 0);
        }
        if self.trailer {
            bytes.extend(TRAILER);
        }
        bytes.truncate(self.cut.unwrap_or(usize::MAX));
        bytes
    }

    pub(super) fn manifest(&self) -> Vec<u8> {
        let mut writer = ManifestWriter::new(Some(SystemIdentifier(self.system)));
        let base = self.base.iter().map(|(name, content)| (name.clone(), content));
        let space = self.space.iter();
        let space = space.map(|(name, content)| (format!("pg_tblspc/16390/{name}"), content));
        for (path, content) in base.chain(space) {
            let mut hasher = Hasher::new(Algorithm::Crc32c);
            hasher.update(content);
            writer.file(&ManifestFile {
                path: path.as_bytes(),
                encoded: false,
                size: content.len() as u64,
                modified: Modified::Seconds(1_790_000_000),
                algorithm: Algorithm::Crc32c,
                checksum: hasher.finish().as_bytes(),
            });
        }
        let Span { start, end } = self.span();
        writer.finish(&[WalRange { timeline: Timeline::FIRST, start: start.lsn, end: end.lsn }])
    }
}

/// Another name in a header, with the checksum made right again.
fn rename(header: &mut [u8; 512], name: &str) {
    header[..100].fill(0);
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
