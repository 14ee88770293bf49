//! Where it is measured: a server, and a folder on the disk in question.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::machine;
use crate::sql::Sql;
use crate::{Outcome, cleanup};

/// A server and a disk.
#[derive(Clone, Debug)]
pub struct Site {
    /// Runs get a folder below it.
    pub folder: PathBuf,
    /// For SQL.
    pub conninfo: String,
    /// For replication.
    pub streaming: String,
    /// The server's own segments, if its disk is here and its processes too.
    pub pg_wal: Option<PathBuf>,
}

/// The slot of a run. It keeps WAL on the server while it exists, so it never outlives us.
pub const RUN: &str = "tapster_bench_run";

impl Site {
    /// A fresh folder for everything below `dir`, removed at the end.
    pub fn folder(dir: &Path) -> Outcome<PathBuf> {
        cleanup::sweep(dir);
        cleanup::sweep(Path::new("/tmp"));
        let folder = dir.join(format!("tapster-bench-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        cleanup::folder(folder.clone());
        Ok(folder)
    }

    /// A session.
    pub fn sql(&self) -> Outcome<Sql> {
        Sql::connect(&self.conninfo)
    }

    /// An empty folder, on a machine that is ready for a run of that many bytes.
    pub fn settled(&self, sources: &[PathBuf], bytes: u64) -> Outcome<PathBuf> {
        let path = self.folder.join("run");
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        machine::settle(&path, sources, bytes)?;
        Ok(path)
    }

    /// The same, and what the runs before have made stays: of the inodes that were freed a moment
    /// ago ext4 gives out none, and to step over a hundred thousand of them is what would be
    /// measured. [`Site::forget_runs`] removes all of them.
    pub fn settled_beside(&self, bytes: u64) -> Outcome<PathBuf> {
        let mut paths = (1..).map(|number| self.folder.join(format!("run-{number}")));
        let path = paths.find(|path| !path.exists()).ok_or("no name is free")?;
        fs::create_dir(&path)?;
        let read_before: [PathBuf; 0] = [];
        machine::settle(&path, &read_before, bytes)?;
        Ok(path)
    }

    /// Removes what [`Site::settled_beside`] has kept.
    pub fn forget_runs(&self) -> Outcome<()> {
        for number in 1.. {
            let path = self.folder.join(format!("run-{number}"));
            if !path.exists() {
                break;
            }
            fs::remove_dir_all(path)?;
        }
        Ok(())
    }

    /// Makes the slot of a run by a call of one of the server's functions.
    pub fn make_slot(&self, sql: &Sql, call: &str) -> Outcome<()> {
        // One may be left by a benchmark that was killed.
        drop_slot(sql)?;
        cleanup::slot(&self.conninfo, || sql.run(&format!("SELECT {call}")))
    }

    /// Drops it. The walsender may live a moment longer than its client.
    pub fn drop_slot(&self, sql: &Sql) -> Outcome<()> {
        drop_slot(sql)?;
        cleanup::forget_slot();
        Ok(())
    }
}

/// Waits until nobody uses the slot of a run, and drops it, if there is one.
pub fn drop_slot(sql: &Sql) -> Outcome<()> {
    let drop = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
          WHERE slot_name = '{RUN}'"
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = sql.run(&drop) {
        if Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
