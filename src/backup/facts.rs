//! What `backup.info` wants to know that only SQL can tell.

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::net::{NetError, SqlClient};
use crate::repository::BackupInfo;
use crate::repository::BackupTime;
use crate::repository::backup_info::Tablespace;
use crate::wal::SystemIdentifier;

/// A cluster as SQL describes it. What the role may not see is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SqlFacts {
    pgdata: Option<String>,
    config_file: Option<String>,
    hba_file: Option<String>,
    ident_file: Option<String>,
    included_files: Option<Vec<String>>,
    tablespaces: Vec<Tablespace>,
    pub(super) summarize_wal: Option<bool>,
    /// What WAL can be compressed with, from 15 on: of lz4 and zstd those that the server was
    /// built with, which are the ones for base backups too (`wal_compression_options` in its
    /// source `guc_tables.c`).
    pub(super) wal_codecs: Option<Vec<String>>,
    /// `segment_size`, in blocks.
    pub(super) segment_blocks: Option<u32>,
    /// Sum of all tablespaces in bytes.
    pub(super) cluster_size: Option<u64>,
    /// Replication slots that can still be made.
    pub(super) free_slots: Option<i64>,
    /// Not on servers that hide it from the role.
    pub(super) system: Option<SystemIdentifier>,
}

const SETTINGS: &str = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN \
    ('data_directory', 'config_file', 'hba_file', 'ident_file', 'summarize_wal', \
    'segment_size')";
const WAL_CODECS: &str = "SELECT unnest(enumvals) FROM pg_catalog.pg_settings \
    WHERE name = 'wal_compression' AND vartype = 'enum'";
const INCLUDED: &str = "SELECT DISTINCT sourcefile FROM pg_catalog.pg_settings \
    WHERE sourcefile IS NOT NULL AND sourcefile NOT IN \
    (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'config_file') ORDER BY 1";
const TABLESPACES: &str = "SELECT spcname, oid, pg_catalog.pg_tablespace_location(oid) \
    FROM pg_catalog.pg_tablespace WHERE pg_catalog.pg_tablespace_location(oid) <> '' ORDER BY oid";
const SIZE: &str = "SELECT sum(pg_catalog.pg_tablespace_size(oid))::pg_catalog.int8 \
    FROM pg_catalog.pg_tablespace";
const SYSTEM: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
const FREE_SLOTS: &str = "SELECT pg_catalog.current_setting('max_replication_slots')::pg_catalog.int8 \
    - (SELECT count(*) FROM pg_catalog.pg_replication_slots)";
/// Microseconds since 1970 and seconds east of Greenwich, by the server's clock and zone.
const CLOCK: &str = "SELECT (extract(epoch FROM t) * 1000000)::pg_catalog.int8, \
    extract(timezone FROM t)::pg_catalog.int4 FROM pg_catalog.clock_timestamp() AS t";

impl SqlFacts {
    /// Asks the server.
    ///
    /// To measure the cluster it looks at every file, which takes its time where there are many:
    /// only where somebody wants to know the size.
    pub(super) async fn ask(sql: &SqlClient, measured: bool) -> Result<SqlFacts, NetError> {
        let mut facts = SqlFacts::default();
        for row in sql.rows("look at the settings", SETTINGS).await? {
            let [Some(name), setting] = &row[..] else { continue };
            match name.as_str() {
                "data_directory" => facts.pgdata = setting.clone(),
                "config_file" => facts.config_file = setting.clone(),
                "hba_file" => facts.hba_file = setting.clone(),
                "ident_file" => facts.ident_file = setting.clone(),
                "segment_size" => {
                    facts.segment_blocks = setting.as_ref().and_then(|blocks| blocks.parse().ok());
                }
                _ => facts.summarize_wal = setting.as_ref().map(|setting| setting == "on"),
            }
        }
        let codecs = sql.rows("look at the compression of WAL", WAL_CODECS).await?;
        let codecs: Vec<String> = codecs.into_iter().flatten().flatten().collect();
        facts.wal_codecs = (!codecs.is_empty()).then_some(codecs);
        let included = sql.rows("look for included files", INCLUDED).await?;
        let included: Vec<String> = included.into_iter().flatten().flatten().collect();
        facts.included_files = (!included.is_empty()).then_some(included);
        for row in sql.rows("list the tablespaces", TABLESPACES).await? {
            if let [Some(name), Some(oid), Some(location)] = &row[..]
                && let Ok(oid) = oid.parse()
            {
                let (name, location) = (name.clone(), location.clone());
                facts.tablespaces.push(Tablespace { name, oid, location });
            }
        }
        // Without these there is a backup as well; some roles may not ask.
        if measured {
            let size = sql.value("measure the cluster", SIZE).await.ok();
            facts.cluster_size = size.and_then(|size| size.parse().ok());
        }
        let free = sql.value("count the replication slots", FREE_SLOTS).await.ok();
        facts.free_slots = free.and_then(|free| free.parse().ok());
        let system = sql.value("identify the cluster", SYSTEM).await.ok();
        let system = system.and_then(|system| system.parse::<i64>().ok());
        facts.system = system.map(|system| SystemIdentifier(system.cast_unsigned()));
        Ok(facts)
    }

    /// Tablespaces beside those of the data directory.
    pub(super) fn tablespaces(&self) -> &[Tablespace] {
        &self.tablespaces
    }

    /// The names of those that are directories in `pg_tblspc` themselves: their location is
    /// relative.
    pub(super) fn in_place_tablespaces(&self) -> Vec<String> {
        let in_place = self.tablespaces.iter().filter(|space| !space.location.starts_with('/'));
        in_place.map(|space| space.name.clone()).collect()
    }

    /// Writes them down.
    pub(super) fn fill(&self, info: &mut BackupInfo) {
        info.pgdata.clone_from(&self.pgdata);
        info.config_file.clone_from(&self.config_file);
        info.hba_file.clone_from(&self.hba_file);
        info.ident_file.clone_from(&self.ident_file);
        info.included_files.clone_from(&self.included_files);
        info.tablespaces = (!self.tablespaces.is_empty()).then(|| self.tablespaces.clone());
        info.summarize_wal = self.summarize_wal;
        info.cluster_size = self.cluster_size;
    }
}

/// The time by the server's clock, in its zone.
pub(super) async fn server_time(sql: &SqlClient) -> Result<BackupTime, NetError> {
    let what = "look at the clock";
    let row = sql.row(what, CLOCK).await?;
    let numbers: Vec<i64> = row.iter().flatten().filter_map(|text| text.parse().ok()).collect();
    let time = match numbers[..] {
        [micros, zone] => Timestamp::from_microsecond(micros).ok().zip(i32::try_from(zone).ok()),
        _ => None,
    };
    let (moment, zone) = time.ok_or_else(|| sql.missing(what, "time"))?;
    Ok(BackupTime::new(moment, Offset::from_seconds(zone).unwrap_or(Offset::UTC)))
}
