//! The words of `backup.info`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use super::super::python::Literal;

/// A word that has values of its own, and keeps one that it does not know.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A word that a later release may have brought.
            Unknown(String),
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $($name::$variant => $word,)*
                    $name::Unknown(word) => word,
                })
            }
        }

        impl FromStr for $name {
            type Err = Infallible;
            fn from_str(text: &str) -> Result<$name, Infallible> {
                Ok(match text {
                    $($word => $name::$variant,)*
                    _ => $name::Unknown(text.to_owned()),
                })
            }
        }
    };
}

words! {
    /// How far a backup got.
    BackupStatus {
        /// Nothing was copied yet.
        Empty = "EMPTY",
        /// Copying, or killed while doing so.
        Started = "STARTED",
        /// It ended with an error.
        Failed = "FAILED",
        /// Copied; some WAL that consistency needs is not archived yet.
        WaitingForWals = "WAITING_FOR_WALS",
        /// Complete.
        Done = "DONE",
        /// Being fetched from another repository.
        Syncing = "SYNCING",
    }
}

words! {
    /// How a backup was taken.
    BackupMode {
        /// BASE_BACKUP.
        Postgres = "postgres",
        /// rsync between pg_backup_start and pg_backup_stop.
        RsyncConcurrent = "rsync-concurrent",
        /// rsync in the exclusive mode of PostgreSQL up to 14.
        RsyncExclusive = "rsync-exclusive",
        /// Snapshots of cloud disks.
        Snapshot = "snapshot-concurrent",
        /// Straight to object storage.
        LocalToCloud = "local-to-cloud-concurrent",
        /// A copy of a backup of another repository.
        Passive = "passive",
    }
}

words! {
    /// How the tar files of a backup are compressed.
    BackupCompression {
        /// `.tar`.
        None = "none",
        /// `.tar.gz`.
        Gzip = "gzip",
        /// `.tar.lz4`.
        Lz4 = "lz4",
        /// `.tar.zst`.
        Zstd = "zstd",
    }
}

impl BackupCompression {
    /// What stands behind `.tar` in the names of files.
    pub fn suffix(&self) -> &'static str {
        match self {
            BackupCompression::Gzip => ".gz",
            BackupCompression::Lz4 => ".lz4",
            BackupCompression::Zstd => ".zst",
            BackupCompression::None | BackupCompression::Unknown(_) => "",
        }
    }
}

/// A tablespace, as the server knew it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tablespace {
    /// Its name.
    pub name: String,
    /// Its oid, which names its directory or tar file in the backup.
    pub oid: u32,
    /// Its directory on the database host.
    pub location: String,
}

impl Tablespace {
    pub(super) fn from_literal(literal: &Literal) -> Option<Tablespace> {
        match literal {
            Literal::Tuple(fields) | Literal::List(fields) => match fields.as_slice() {
                [Literal::Text(name), Literal::Integer(oid), Literal::Text(location)] => {
                    let oid = u32::try_from(*oid).ok()?;
                    Some(Tablespace { name: name.clone(), oid, location: location.clone() })
                }
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn to_literal(&self) -> Literal {
        Literal::Tuple(vec![
            Literal::Text(self.name.clone()),
            Literal::Integer(i64::from(self.oid)),
            Literal::Text(self.location.clone()),
        ])
    }
}

/// How long a copy took: a dict, in which other methods than BASE_BACKUP put more.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyStats(Literal);

impl CopyStats {
    /// The two numbers of a BASE_BACKUP, in seconds.
    pub fn new(copy_time: f64, total_time: f64) -> CopyStats {
        let entry = |key: &str, value| (Literal::Text(key.to_owned()), Literal::Float(value));
        CopyStats(Literal::Dict(vec![
            entry("copy_time", copy_time),
            entry("total_time", total_time),
        ]))
    }

    /// Seconds of copying.
    pub fn copy_time(&self) -> Option<f64> {
        self.number("copy_time")
    }

    /// Seconds of looking what to copy.
    pub fn analysis_time(&self) -> Option<f64> {
        self.number("analysis_time")
    }

    /// Workers; 1 unless said.
    pub fn workers(&self) -> u64 {
        self.number("number_of_workers").map_or(1, |workers| workers as u64)
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key).and_then(Literal::as_number)
    }
}

impl FromStr for CopyStats {
    type Err = ();
    fn from_str(text: &str) -> Result<CopyStats, ()> {
        match Literal::parse(text) {
            Some(dict @ Literal::Dict(_)) => Ok(CopyStats(dict)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for CopyStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
