//! Result sets, and what the commands' results mean.
//!
//! Columns are found by name: types and numbers of columns changed between versions, the names
//! did not. Source of the names: manual, "Streaming Replication Protocol".

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;

use super::body::printable;
use super::{Column, DataRow, WireError};
use crate::wal::{Lsn, SystemIdentifier, Timeline};

/// The rows of one result, with the names of its columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultSet {
    /// In the order of the values.
    pub columns: Vec<Column>,
    /// In the order of arrival.
    pub rows: Vec<DataRow>,
}

impl ResultSet {
    fn row(&self, command: &'static str, number: usize) -> Result<Row<'_>, WireError> {
        let values = self.rows.get(number).ok_or(WireError::Result { command, what: "row" })?;
        Ok(Row { command, columns: &self.columns, values })
    }
}

/// The answer to SHOW.
pub(super) const SHOW: &str = "SHOW";

impl ResultSet {
    /// The value of a setting: the answer to SHOW.
    ///
    /// # Errors
    /// A result of another form.
    pub fn setting(&self) -> Result<String, WireError> {
        let row = self.row(SHOW, 0)?;
        match row.values.0.first() {
            Some(Some(value)) => Ok(printable(value)),
            _ => Err(WireError::Result { command: SHOW, what: "value" }),
        }
    }
}

/// The answer to IDENTIFY_SYSTEM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdentifySystem {
    /// Which cluster it is.
    pub system_identifier: SystemIdentifier,
    /// Its timeline; on a standby, that of the last replayed record.
    pub timeline: Timeline,
    /// How far WAL can be streamed: the flush position of a primary; of a standby, the larger
    /// of what it replayed and what it received.
    pub xlogpos: Lsn,
    /// The database of the session, if it has one.
    pub dbname: Option<String>,
}

impl TryFrom<&ResultSet> for IdentifySystem {
    type Error = WireError;
    fn try_from(result: &ResultSet) -> Result<IdentifySystem, WireError> {
        let row = result.row("IDENTIFY_SYSTEM", 0)?;
        Ok(IdentifySystem {
            system_identifier: row.parsed("systemid")?,
            timeline: row.timeline("timeline")?,
            xlogpos: row.parsed("xlogpos")?,
            dbname: row.value("dbname")?.map(|name| printable(name)),
        })
    }
}

/// The answer to READ_REPLICATION_SLOT, for a slot that exists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotState {
    /// The oldest WAL that it keeps; `None` when it never reserved any, or was invalidated.
    pub restart_lsn: Option<Lsn>,
    /// The timeline that was current at `restart_lsn`: may be older than the present one.
    pub restart_timeline: Option<Timeline>,
}

impl SlotState {
    /// Reads the answer. A slot that does not exist is a row of NULLs, not an error.
    ///
    /// # Errors
    /// A result of another form.
    pub fn from_result(result: &ResultSet) -> Result<Option<SlotState>, WireError> {
        let row = result.row("READ_REPLICATION_SLOT", 0)?;
        if row.value("slot_type")?.is_none() {
            return Ok(None);
        }
        Ok(Some(SlotState {
            restart_lsn: row.optional("restart_lsn")?,
            restart_timeline: match row.value("restart_tli")? {
                Some(_) => Some(row.timeline("restart_tli")?),
                None => None,
            },
        }))
    }
}

/// The answer to CREATE_REPLICATION_SLOT. Its `consistent_point` says nothing for a physical
/// slot: it is 0/0 even with reserved WAL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CreatedSlot {
    /// As the server has it.
    pub name: String,
}

impl TryFrom<&ResultSet> for CreatedSlot {
    type Error = WireError;
    fn try_from(result: &ResultSet) -> Result<CreatedSlot, WireError> {
        let row = result.row("CREATE_REPLICATION_SLOT", 0)?;
        Ok(CreatedSlot { name: printable(row.required("slot_name")?) })
    }
}

/// The answer to TIMELINE_HISTORY.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HistoryFile {
    /// The timeline that it is the history of.
    pub timeline: Timeline,
    /// The bytes of the file, in whatever encoding.
    pub content: Bytes,
}

impl HistoryFile {
    /// Reads the answer for the timeline that was asked for.
    ///
    /// # Errors
    /// A result of another form, or the file of another timeline.
    pub fn from_result(result: &ResultSet, timeline: Timeline) -> Result<HistoryFile, WireError> {
        let row = result.row("TIMELINE_HISTORY", 0)?;
        let name = row.required("filename")?;
        if name[..] != *timeline.history_file_name().as_bytes() {
            return Err(WireError::OtherHistory { timeline, name: printable(name) });
        }
        Ok(HistoryFile { timeline, content: row.required("content")?.clone() })
    }

    /// Its name: `00000002.history`.
    pub fn name(&self) -> String {
        self.timeline.history_file_name()
    }
}

/// What follows a timeline that has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextTimeline {
    /// The successor.
    pub timeline: Timeline,
    /// Where it branched off. May lie before what was received: the old timeline can end in a
    /// record that was sent in part.
    pub switchpoint: Lsn,
}

impl TryFrom<&ResultSet> for NextTimeline {
    type Error = WireError;
    fn try_from(result: &ResultSet) -> Result<NextTimeline, WireError> {
        let row = result.row("START_REPLICATION", 0)?;
        Ok(NextTimeline {
            timeline: row.timeline("next_tli")?,
            switchpoint: row.parsed("next_tli_startpos")?,
        })
    }
}

/// Where a base backup starts or ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BackupPosition {
    /// Start: the redo position of its checkpoint, from which WAL is needed. End: up to where
    /// WAL must be replayed before the copy is consistent.
    pub lsn: Lsn,
    /// On a standby, the end may lie on a newer timeline than the start.
    pub timeline: Timeline,
}

impl TryFrom<&ResultSet> for BackupPosition {
    type Error = WireError;
    fn try_from(result: &ResultSet) -> Result<BackupPosition, WireError> {
        let row = result.row("BASE_BACKUP", 0)?;
        Ok(BackupPosition { lsn: row.parsed("recptr")?, timeline: row.timeline("tli")? })
    }
}

/// A directory of a base backup: a tablespace, or the data directory itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tablespace {
    /// `None` for the data directory.
    pub oid: Option<u32>,
    /// Where it is on the server: absolute, or `pg_tblspc/<oid>` when it lies in the data
    /// directory. `None` for the data directory.
    pub location: Option<PathBuf>,
    /// An estimate, tar headers included, when progress was asked for.
    pub size_kib: Option<u64>,
}

impl Tablespace {
    /// All rows of the tablespace list.
    ///
    /// # Errors
    /// A result of another form; a location that is neither absolute nor of the form
    /// `pg_tblspc/<oid>`, or that climbs; the same tablespace twice.
    pub fn list(result: &ResultSet) -> Result<Vec<Tablespace>, WireError> {
        let mut list: Vec<Tablespace> = Vec::with_capacity(result.rows.len());
        for number in 0..result.rows.len() {
            let row = result.row("BASE_BACKUP", number)?;
            let tablespace = Tablespace::from_row(&row)?;
            if list.iter().any(|known| known.oid == tablespace.oid) {
                let value = tablespace.oid.map_or("NULL".to_owned(), |oid| oid.to_string());
                return Err(WireError::Value { what: "a second tablespace of one oid", value });
            }
            list.push(tablespace);
        }
        if list.iter().any(|tablespace| tablespace.oid.is_none()) {
            Ok(list)
        } else {
            Err(WireError::Result { command: "BASE_BACKUP", what: "row for the data directory" })
        }
    }

    fn from_row(row: &Row<'_>) -> Result<Tablespace, WireError> {
        let oid: Option<u32> = row.optional("spcoid")?;
        let location = row.value("spclocation")?;
        let location = match (oid, location) {
            (None, _) => None,
            (Some(oid), Some(bytes)) if is_location(bytes, oid) => {
                Some(PathBuf::from(OsString::from_vec(bytes.to_vec())))
            }
            (Some(_), location) => {
                let value = location.map_or("NULL".to_owned(), |bytes| printable(bytes));
                return Err(WireError::Value { what: "location of a tablespace", value });
            }
        };
        // -1 is "unknown" of versions that could not yet send NULL.
        let size: Option<i64> = row.optional("size")?;
        Ok(Tablespace { oid, location, size_kib: size.and_then(|size| size.try_into().ok()) })
    }
}

fn is_location(bytes: &[u8], oid: u32) -> bool {
    let in_place = bytes == format!("pg_tblspc/{oid}").as_bytes();
    let climbs = bytes.split(|&byte| byte == b'/').any(|part| part == b"..");
    in_place || (bytes.first() == Some(&b'/') && !climbs && !bytes.contains(&0))
}

/// One row with its columns' names.
struct Row<'a> {
    command: &'static str,
    columns: &'a [Column],
    values: &'a DataRow,
}

impl<'a> Row<'a> {
    fn value(&self, column: &'static str) -> Result<Option<&'a Bytes>, WireError> {
        let missing = WireError::Result { command: self.command, what: column };
        let at = self.columns.iter().position(|known| known.name == column);
        match at.and_then(|at| self.values.0.get(at)) {
            Some(value) => Ok(value.as_ref()),
            None => Err(missing),
        }
    }

    fn required(&self, column: &'static str) -> Result<&'a Bytes, WireError> {
        self.value(column)?.ok_or(WireError::Result { command: self.command, what: column })
    }

    fn optional<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, WireError> {
        let Some(bytes) = self.value(column)? else { return Ok(None) };
        let parsed = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        let wrong = || WireError::Value { what: column, value: printable(bytes) };
        parsed.ok_or_else(wrong).map(Some)
    }

    fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, WireError> {
        self.required(column)?;
        self.optional(column)?.ok_or(WireError::Result { command: self.command, what: column })
    }

    /// int4 up to 15, int8 later: large ones arrive negative in the former.
    fn timeline(&self, column: &'static str) -> Result<Timeline, WireError> {
        let number: i64 = self.parsed(column)?;
        let wrong = || WireError::Value { what: column, value: number.to_string() };
        Timeline::from_column(number).ok_or_else(wrong)
    }
}
