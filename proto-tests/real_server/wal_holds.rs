//! The slot that keeps the WAL of a backup, and what may happen to it before that WAL is stored.
//!
//! It is there for hours while nothing goes over its connection. If it is lost without a word, the
//! server removes what the backup needs, and nobody knows before the backup is done.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::scratch::wait_until;
use super::tapster::Running;
use super::{Cluster, Tapster};

const LIMIT: Duration = Duration::from_secs(60);

/// A backup of a standby that has its files, and waits for the last segment of its WAL until the
/// primary closes it; and of the slot that keeps its WAL the name and the process.
struct Waiting {
    primary: Cluster,
    standby: Cluster,
    tapster: Tapster,
    backup: Running,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Slot {
    name: String,
    process: String,
}

impl Waiting {
    fn start() -> Waiting {
        let primary = Cluster::start(17);
        let standby = primary.standby();
        // In the middle of a segment.
        primary.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n");
        primary.sql("CHECKPOINT");
        primary.wait_for_standby(&standby);
        let tapster = Tapster::of(&standby);
        let mut backup = tapster.spawn(&["backup", "--wait", "main"]);
        backup.wait_for_log(&tapster, "Waiting for the WAL file");
        Waiting { primary, standby, tapster, backup }
    }

    fn slot(&self) -> Option<Slot> {
        let question = "SELECT coalesce(max(slot_name || ' ' || active_pid), '') FROM pg_replication_slots \
             WHERE slot_name LIKE 'tapster\\_2%' AND temporary AND active";
        let found = self.standby.value(question);
        let (name, process) = found.split_once(' ')?;
        Some(Slot { name: name.to_owned(), process: process.to_owned() })
    }

    /// Waits for a slot other than `before`.
    fn wait_for_slot(&mut self, before: Option<&Slot>) -> Slot {
        assert!(self.backup.is_running(), "it ended: {}", self.backup.output());
        wait_until(
            &format!("a slot other than {before:?}"),
            LIMIT,
            || self.slot().filter(|slot| Some(slot) != before),
            || self.backup.output(),
        )
    }

    fn end_process_of(&self, slot: &Slot) {
        self.standby.sql(&format!("SELECT pg_terminate_backend({})", slot.process));
    }

    /// Whether the WAL of the backup is kept, from its first byte on.
    fn keeps_all(&self, slot: &Slot) -> bool {
        let records = fs::read_dir(self.tapster.server("main").join("meta")).expect("records");
        let of_backup = |path: &PathBuf| path.to_string_lossy().ends_with("-backup.info");
        let record = records.flatten().map(|entry| entry.path()).find(of_backup);
        let info = fs::read_to_string(record.expect("a backup")).expect("its record");
        let begin = info.lines().find_map(|line| line.strip_prefix("begin_xlog="));
        let begin = begin.expect("the copy is done");
        let name = &slot.name;
        let question = format!(
            "SELECT restart_lsn <= '{begin}' FROM pg_replication_slots WHERE slot_name = '{name}'"
        );
        self.standby.value(&question) == "t"
    }

    /// Lets the backup come to its end, which is good, and looks for what it has left.
    fn finish(mut self) {
        self.primary.switch_wal();
        assert_eq!(self.backup.wait(), 0, "{}", self.backup.output());
        self.standby.wait_for_no_slot();
        let shown = self.tapster.ok(&["show-backup", "main", "latest"]);
        assert!(shown.stdout.contains("DONE"), "{shown}");
    }
}

#[test]
fn a_slot_whose_connection_is_lost_is_made_anew_and_its_connection_is_kept_alive() {
    let mut waiting = Waiting::start();
    let first = waiting.wait_for_slot(None);
    assert!(waiting.keeps_all(&first), "the test is broken");
    waiting.end_process_of(&first);
    let second = waiting.wait_for_slot(Some(&first));
    assert!(waiting.keeps_all(&second), "{second:?}");
    waiting
        .backup
        .wait_for_log(&waiting.tapster, "the slot that keeps the WAL of the backup is lost");
    // A session that says nothing is ended by firewalls, and by the server where it is told so.
    let asked = format!("SELECT query FROM pg_stat_activity WHERE pid = {}", second.process);
    wait_until(
        "a sign of life on the connection of the slot",
        LIMIT,
        || (waiting.standby.value(&asked) == "IDENTIFY_SYSTEM").then_some(()),
        || waiting.standby.value(&asked),
    );
    assert_eq!(waiting.slot(), Some(second), "it was not lost by that");
    waiting.finish();
}

#[test]
fn a_slot_that_cannot_be_made_anew_is_tried_for_again_and_the_log_says_so() {
    let mut waiting = Waiting::start();
    let first = waiting.wait_for_slot(None);
    waiting.primary.sql("ALTER ROLE streaming_barman NOLOGIN");
    waiting.primary.wait_for_standby(&waiting.standby);
    waiting.end_process_of(&first);
    waiting
        .backup
        .wait_for_log(&waiting.tapster, "no slot keeps the WAL of the backup; trying again");
    assert_eq!(waiting.slot(), None);
    waiting.primary.sql("ALTER ROLE streaming_barman LOGIN");
    let second = waiting.wait_for_slot(None);
    assert!(waiting.keeps_all(&second), "{second:?}");
    waiting.finish();
}
