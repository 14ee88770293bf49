//! The options of BASE_BACKUP, in the syntax of either age.
//!
//! Source: manual, "Streaming Replication Protocol", BASE_BACKUP, of versions 10 to 18.

use super::command::{known, quoted};
use super::{CommandError, ServerVersion};

/// What a base backup is to be like. The default is what the server does unless told otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseBackupOptions {
    /// Written into `backup_label`: one line of at most 1024 bytes.
    pub label: String,
    /// Where the archives go.
    pub target: BackupTarget,
    /// Whether the server counts the bytes beforehand (a walk over all files) and reports sizes.
    pub progress: bool,
    /// How the checkpoint at the start is made.
    pub checkpoint: Checkpoint,
    /// Whether the needed WAL is put into the main archive.
    pub wal: bool,
    /// Whether the server waits, at the end, until the needed WAL is archived.
    pub wait: bool,
    /// Compression by the server (15 and later).
    pub compression: Option<Compression>,
    /// The most KiB a second, 32 to 1048576.
    pub max_rate_kib: Option<u32>,
    /// Whether `tablespace_map` is put into the main archive.
    pub tablespace_map: bool,
    /// Whether page checksums are verified, where the version can.
    pub verify_checksums: bool,
    /// Whether a manifest is sent (13 and later).
    pub manifest: ManifestOption,
    /// What the manifest protects the files with; the server's default is CRC32C.
    pub manifest_checksums: Option<ManifestChecksum>,
    /// Whether only blocks changed since the uploaded manifest are sent (17 and later).
    pub incremental: bool,
}

impl Default for BaseBackupOptions {
    fn default() -> BaseBackupOptions {
        BaseBackupOptions {
            label: "base backup".to_owned(),
            target: BackupTarget::Client,
            progress: false,
            checkpoint: Checkpoint::Spread,
            wal: false,
            wait: true,
            compression: None,
            max_rate_kib: None,
            tablespace_map: false,
            verify_checksums: true,
            manifest: ManifestOption::No,
            manifest_checksums: None,
            incremental: false,
        }
    }
}

/// Where the archives go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BackupTarget {
    /// To us.
    Client,
    /// Into a directory on the server (15 and later).
    Server(String),
    /// Nowhere: measures how fast the server reads (15 and later).
    Blackhole,
}

/// How the checkpoint at the start is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Checkpoint {
    /// At once, with a burst of I/O.
    Fast,
    /// At the server's pace: minutes.
    Spread,
}

/// Compression by the server: one stream an archive; the manifest is never compressed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Compression {
    /// With what.
    pub algorithm: CompressionAlgorithm,
    /// How hard; the range depends on the algorithm.
    pub level: Option<i32>,
    /// Threads of the server; zstd only.
    pub workers: Option<u32>,
    /// Long-distance matching; zstd only, 16 and later. Decoders need a 128 MiB window.
    pub long: bool,
}

/// What the server can compress with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CompressionAlgorithm {
    /// One gzip member, levels 1 to 9.
    Gzip,
    /// One LZ4 frame, levels 0 to 12.
    Lz4,
    /// One zstd frame, levels up to 22.
    Zstd,
}

impl CompressionAlgorithm {
    /// Its name in COMPRESSION.
    pub fn name(self) -> &'static str {
        match self {
            CompressionAlgorithm::Gzip => "gzip",
            CompressionAlgorithm::Lz4 => "lz4",
            CompressionAlgorithm::Zstd => "zstd",
        }
    }

    /// What it adds to the names of archives.
    pub fn suffix(self) -> &'static str {
        match self {
            CompressionAlgorithm::Gzip => ".gz",
            CompressionAlgorithm::Lz4 => ".lz4",
            CompressionAlgorithm::Zstd => ".zst",
        }
    }
}

/// Whether a manifest is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ManifestOption {
    /// None.
    No,
    /// One.
    Yes,
    /// One with every path in hexadecimal digits.
    ForceEncode,
}

/// What the manifest protects the files with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ManifestChecksum {
    /// Nothing but the size.
    None,
    /// CRC-32C.
    Crc32c,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl ManifestChecksum {
    /// Its name in MANIFEST_CHECKSUMS and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            ManifestChecksum::None => "NONE",
            ManifestChecksum::Crc32c => "CRC32C",
            ManifestChecksum::Sha224 => "SHA224",
            ManifestChecksum::Sha256 => "SHA256",
            ManifestChecksum::Sha384 => "SHA384",
            ManifestChecksum::Sha512 => "SHA512",
        }
    }
}

impl BaseBackupOptions {
    /// The whole command.
    pub(super) fn render(&self, version: ServerVersion) -> Result<String, CommandError> {
        self.check(version)?;
        let mut words = Words { new: version.uses_parenthesised_options(), list: Vec::new() };
        words.option("LABEL", quoted(&self.label));
        words.flag("PROGRESS", self.progress);
        match (self.checkpoint, words.new) {
            (Checkpoint::Fast, true) => words.option("CHECKPOINT", "'fast'".to_owned()),
            (Checkpoint::Spread, true) => words.option("CHECKPOINT", "'spread'".to_owned()),
            (Checkpoint::Fast, false) => words.flag("FAST", true),
            (Checkpoint::Spread, false) => {}
        }
        words.flag("WAL", self.wal);
        if words.new {
            words.option("WAIT", u8::from(self.wait).to_string());
        } else {
            words.flag("NOWAIT", !self.wait);
        }
        if let Some(rate) = self.max_rate_kib {
            words.option("MAX_RATE", rate.to_string());
        }
        words.flag("TABLESPACE_MAP", self.tablespace_map);
        if words.new {
            // Always said: a session remembers "do not verify" for its next backup.
            words.option("VERIFY_CHECKSUMS", u8::from(self.verify_checksums).to_string());
        } else if version.verifies_checksums() {
            words.flag("NOVERIFY_CHECKSUMS", !self.verify_checksums);
        }
        match self.manifest {
            ManifestOption::No => {}
            ManifestOption::Yes => words.option("MANIFEST", "'yes'".to_owned()),
            ManifestOption::ForceEncode => words.option("MANIFEST", "'force-encode'".to_owned()),
        }
        if let Some(checksum) = self.manifest_checksums {
            words.option("MANIFEST_CHECKSUMS", quoted(checksum.name()));
        }
        self.render_newer(&mut words);
        Ok(words.finish())
    }

    /// The options that only the new syntax has; `check` has refused them for the old one.
    fn render_newer(&self, words: &mut Words) {
        match &self.target {
            BackupTarget::Client => {}
            BackupTarget::Server(directory) => {
                words.option("TARGET", "'server'".to_owned());
                words.option("TARGET_DETAIL", quoted(directory));
            }
            BackupTarget::Blackhole => words.option("TARGET", "'blackhole'".to_owned()),
        }
        if let Some(compression) = &self.compression {
            words.option("COMPRESSION", quoted(compression.algorithm.name()));
            let detail = compression.detail();
            if !detail.is_empty() {
                words.option("COMPRESSION_DETAIL", quoted(&detail));
            }
        }
        words.flag("INCREMENTAL", self.incremental);
    }

    fn check(&self, version: ServerVersion) -> Result<(), CommandError> {
        let out_of_range = |option, value: String, expected| {
            Err(CommandError::OutOfRange { option, value, expected })
        };
        if self.label.len() > 1024 || self.label.contains(char::is_control) {
            let expected = "one line of at most 1024 bytes";
            return out_of_range("LABEL", format!("{:?}", self.label), expected);
        }
        if let Some(rate) = self.max_rate_kib.filter(|rate| !(32..=1_048_576).contains(rate)) {
            return out_of_range("MAX_RATE", rate.to_string(), "32 to 1048576 kB a second");
        }
        if self.target != BackupTarget::Client {
            known("TARGET", version.knows_backup_targets(), version, 15)?;
        }
        if self.manifest != ManifestOption::No {
            known("MANIFEST", version.backup_manifest_version().is_some(), version, 13)?;
        } else if self.manifest_checksums.is_some() {
            return Err(CommandError::Needs { option: "MANIFEST_CHECKSUMS", needs: "MANIFEST" });
        }
        if self.incremental {
            known("INCREMENTAL", version.takes_incremental_backups(), version, 17)?;
        }
        match &self.compression {
            Some(compression) => compression.check(version),
            None => Ok(()),
        }
    }
}

impl Compression {
    fn check(&self, version: ServerVersion) -> Result<(), CommandError> {
        known("COMPRESSION", version.compresses_backups(), version, 15)?;
        if self.long {
            let can = version.compresses_with_long_distance_matching();
            known("COMPRESSION_DETAIL long", can, version, 16)?;
        }
        let (levels, expected) = match self.algorithm {
            CompressionAlgorithm::Gzip => (1..=9, "a gzip level from 1 to 9"),
            CompressionAlgorithm::Lz4 => (0..=12, "an lz4 level from 0 to 12"),
            CompressionAlgorithm::Zstd => (-131_072..=22, "a zstd level of at most 22"),
        };
        if let Some(level) = self.level.filter(|level| !levels.contains(level)) {
            let option = "COMPRESSION_DETAIL level";
            return Err(CommandError::OutOfRange { option, value: level.to_string(), expected });
        }
        let zstd = self.algorithm == CompressionAlgorithm::Zstd;
        if !zstd && (self.workers.is_some() || self.long) {
            let option = "COMPRESSION_DETAIL workers or long";
            return Err(CommandError::Needs { option, needs: "COMPRESSION zstd" });
        }
        Ok(())
    }

    fn detail(&self) -> String {
        let level = self.level.map(|level| format!("level={level}"));
        let workers = self.workers.map(|workers| format!("workers={workers}"));
        let long = self.long.then(|| "long".to_owned());
        [level, workers, long].into_iter().flatten().collect::<Vec<_>>().join(",")
    }
}

/// The words of a BASE_BACKUP as they are collected.
struct Words {
    new: bool,
    list: Vec<String>,
}

impl Words {
    fn option(&mut self, name: &str, value: String) {
        self.list.push(format!("{name} {value}"));
    }

    fn flag(&mut self, name: &str, on: bool) {
        if on {
            self.list.push(name.to_owned());
        }
    }

    fn finish(self) -> String {
        if self.new {
            format!("BASE_BACKUP ({})", self.list.join(", "))
        } else {
            format!("BASE_BACKUP {}", self.list.join(" "))
        }
    }
}
