//! `backup.info`: what is known of a backup.

mod codec;
mod store;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::wal::{Lsn, SegmentName, SegmentSize, SystemIdentifier, Timeline};

use super::{BackupId, BackupTime};
pub use store::{list_ids, read, write};
pub use words::{BackupCompression, BackupMode, BackupStatus, CopyStats, Tablespace};

/// One backup, as its `backup.info` describes it.
///
/// The file holds one `key=value` per line, keys in alphabetical order, `None` for what is not
/// there; no sections. Barman stops at a key it does not know, so that nothing is added to it;
/// keys of later releases are kept as they stand. A value that is not changed is written back
/// with its own bytes, whichever spelling it had.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupInfo {
    /// From the name of the file, not its content.
    pub id: BackupId,
    /// The content of the server's backup_label file.
    pub backup_label: Option<String>,
    /// What the user called it.
    pub backup_name: Option<String>,
    /// Bytes from the start of `begin_wal` to `begin_xlog`.
    pub begin_offset: Option<u32>,
    /// When it began, by the server's clock.
    pub begin_time: Option<BackupTime>,
    /// The segment that recovery begins with.
    pub begin_wal: Option<SegmentName>,
    /// The position that recovery begins at.
    pub begin_xlog: Option<Lsn>,
    /// Backups that need this one.
    pub children_backup_ids: Vec<BackupId>,
    /// Size of the cluster when it was copied, in bytes.
    pub cluster_size: Option<u64>,
    /// Of the tar files; `None` for a backup that is a data directory.
    pub compression: Option<BackupCompression>,
    /// Path on the database host.
    pub config_file: Option<String>,
    /// How long the copy took.
    pub copy_stats: Option<CopyStats>,
    /// Whether pages carry checksums.
    pub data_checksums: Option<bool>,
    /// Bytes that are this backup's alone.
    pub deduplicated_size: Option<u64>,
    /// `gpg`.
    pub encryption: Option<String>,
    /// Bytes from the start of `end_wal`; 0 when the end is the end of that segment.
    pub end_offset: Option<u32>,
    /// When it ended, by the server's clock.
    pub end_time: Option<BackupTime>,
    /// The last segment that consistency needs.
    pub end_wal: Option<SegmentName>,
    /// The position at which the cluster becomes consistent, exclusive.
    pub end_xlog: Option<Lsn>,
    /// Why it failed. One line.
    pub error: Option<String>,
    /// Path on the database host.
    pub hba_file: Option<String>,
    /// Path on the database host.
    pub ident_file: Option<String>,
    /// Configuration files besides the main one, on the database host.
    pub included_files: Option<Vec<String>>,
    /// How it was taken.
    pub mode: Option<BackupMode>,
    /// The backup that this one continues.
    pub parent_backup_id: Option<BackupId>,
    /// The data directory on the database host.
    pub pgdata: Option<String>,
    /// The server.
    pub server_name: String,
    /// Bytes of all its files.
    pub size: Option<u64>,
    /// How far it got.
    pub status: BackupStatus,
    /// Whether WAL was summarized, from PostgreSQL 17 on.
    pub summarize_wal: Option<bool>,
    /// Which cluster it is of.
    pub systemid: Option<SystemIdentifier>,
    /// Tablespaces besides the two that every cluster has; `None` when there are none.
    pub tablespaces: Option<Vec<Tablespace>>,
    /// The timeline it was taken on.
    pub timeline: Option<Timeline>,
    /// `server_version_num`, as in 150018.
    pub version: Option<u32>,
    /// Size of a WAL segment.
    pub xlog_segment_size: SegmentSize,
    /// The file as it was read.
    original: Option<BTreeMap<String, String>>,
}

/// What is wrong with a `backup.info`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BackupInfoFault {
    /// Bytes that are not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// A line without `=`.
    #[error("not of the form key=value")]
    NoDelimiter,
    /// A value that does not fit its key.
    #[error("{key}={value} is not {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// The text behind `=`.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A key that every file has.
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// Ties each key to its field and to the way it is written. The keys are in the order of the
/// file.
macro_rules! keys {
    ($($key:ident $codec:ident,)*) => {
        fn set(info: &mut BackupInfo, key: &str, text: &str) -> Option<Result<(), &'static str>> {
            match key {
                $(stringify!($key) => Some(codec::$codec::read(text).map(|value| info.$key = value)),)*
                _ => None,
            }
        }

        /// Every key with its text now; `None`: no such line. The flag: as in the file.
        fn texts(info: &BackupInfo, original: &BTreeMap<String, String>)
            -> Vec<(&'static str, Option<String>, bool)>
        {
            vec![$({
                let key = stringify!($key);
                let before = original.get(key).map(|text| codec::$codec::read(text));
                let unchanged = before.is_some_and(|value| value.as_ref() == Ok(&info.$key));
                (key, codec::$codec::write(&info.$key), unchanged)
            },)*]
        }
    };
}

keys! {
    backup_label literal,
    backup_name optional_line,
    begin_offset number,
    begin_time time,
    begin_wal parsed,
    begin_xlog parsed,
    children_backup_ids ids,
    cluster_size number,
    compression parsed,
    config_file text,
    copy_stats parsed,
    data_checksums on_off,
    deduplicated_size number,
    encryption text,
    end_offset number,
    end_time time,
    end_wal parsed,
    end_xlog parsed,
    error one_line,
    hba_file text,
    ident_file text,
    included_files texts,
    mode parsed,
    parent_backup_id parsed,
    pgdata text,
    server_name required,
    size number,
    status required,
    summarize_wal on_off,
    systemid parsed,
    tablespaces tablespaces,
    timeline parsed,
    version number,
    xlog_segment_size segment_size,
}

impl BackupInfo {
    /// A backup that is about to begin: status `EMPTY`, nothing known.
    pub fn new(id: BackupId, server_name: &str) -> BackupInfo {
        BackupInfo {
            id,
            backup_label: None,
            backup_name: None,
            begin_offset: None,
            begin_time: None,
            begin_wal: None,
            begin_xlog: None,
            children_backup_ids: Vec::new(),
            cluster_size: None,
            compression: None,
            config_file: None,
            copy_stats: None,
            data_checksums: None,
            deduplicated_size: None,
            encryption: None,
            end_offset: None,
            end_time: None,
            end_wal: None,
            end_xlog: None,
            error: None,
            hba_file: None,
            ident_file: None,
            included_files: None,
            mode: None,
            parent_backup_id: None,
            pgdata: None,
            server_name: server_name.to_owned(),
            size: None,
            status: BackupStatus::Empty,
            summarize_wal: None,
            systemid: None,
            tablespaces: None,
            timeline: None,
            version: None,
            xlog_segment_size: SegmentSize::DEFAULT,
            original: None,
        }
    }

    /// Reads a file. On error: the line, from 1, and what is wrong with it.
    pub fn parse(id: BackupId, bytes: &[u8]) -> Result<BackupInfo, (usize, BackupInfoFault)> {
        let mut info = BackupInfo::new(id, "");
        let mut original = BTreeMap::new();
        let mut last = 0;
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            last = index + 1;
            let line = std::str::from_utf8(line).map_err(|_| (last, BackupInfoFault::NotUtf8))?;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or((last, BackupInfoFault::NoDelimiter))?;
            if let Some(Err(expected)) = set(&mut info, key, value) {
                let (key, value) = (key.to_owned(), value.to_owned());
                return Err((last, BackupInfoFault::BadValue { key, value, expected }));
            }
            original.insert(key.to_owned(), value.to_owned());
        }
        for key in ["server_name", "status"] {
            if !original.contains_key(key) {
                return Err((last, BackupInfoFault::Missing(key)));
            }
        }
        info.original = Some(original);
        Ok(info)
    }

    /// The bytes of the file. What was read and not changed comes back as it was, unknown keys
    /// included.
    pub fn render(&self) -> Vec<u8> {
        let nothing = BTreeMap::new();
        let original = self.original.as_ref().unwrap_or(&nothing);
        let mut lines = original.clone();
        let fresh = BackupInfo::new(self.id, "");
        let defaults = texts(&fresh, &nothing);
        for ((key, text, unchanged), (_, default, _)) in
            texts(self, original).into_iter().zip(defaults)
        {
            // Old files lack keys that came later; they are not added before they say something.
            let absent = self.original.is_some() && !original.contains_key(key) && text == default;
            match text {
                _ if unchanged || absent => {}
                Some(text) => drop(lines.insert(key.to_owned(), text)),
                None => drop(lines.remove(key)),
            }
        }
        let mut bytes = Vec::with_capacity(2048);
        for (key, value) in lines {
            bytes.extend_from_slice(format!("{key}={value}\n").as_bytes());
        }
        bytes
    }

    /// Whether the copy is complete and usable once its WAL is there.
    pub fn is_copied(&self) -> bool {
        matches!(self.status, BackupStatus::Done | BackupStatus::WaitingForWals)
    }

    /// Whether it needs another backup to be restored.
    pub fn is_incremental(&self) -> bool {
        self.parent_backup_id.is_some()
    }
}
