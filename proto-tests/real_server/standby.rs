//! Standbys, made without any of the stock tools, which not every server package has.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::Cluster;
use super::scratch::{Scratch, give_to_server, must, server_command, wait_until};

impl Cluster {
    /// A running standby that streams from this server. It has no tablespaces of its own, so
    /// this server may have none.
    pub fn standby(&self) -> Cluster {
        assert_eq!(
            self.value("SELECT count(*) FROM pg_tablespace WHERE spcname !~ '^pg_'"),
            "0",
            "a standby here would share the tablespaces' folders"
        );
        let scratch = Arc::new(Scratch::for_server("s"));
        let data = scratch.path().join("data");
        self.copy_as_standby(&data);
        let standby = Cluster::assemble(self.major(), data, scratch);
        standby.launch();
        standby
    }

    /// Makes this server, which is stopped, anew: as a standby of another one, with the same
    /// port and socket, and with the WAL that the other one has.
    pub fn rebuild_from(&self, primary: &Cluster) {
        fs::remove_dir_all(self.data()).expect("it is stopped");
        primary.copy_as_standby(self.data());
        self.launch();
    }

    /// Points this standby to another primary, where a reload is enough: from 13 on.
    pub fn follow(&self, primary: &Cluster) {
        let conninfo = primary.conninfo_for_standby();
        self.sql(&format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'"));
        self.reload();
    }

    fn conninfo_for_standby(&self) -> String {
        let (socket, port) = (self.socket().display(), self.port());
        format!("host={socket} port={port} user=postgres application_name=standby")
    }

    /// Copies the data directory of this running server, and makes a standby's of the copy.
    fn copy_as_standby(&self, data: &Path) {
        let session = self.session("postgres");
        let old_names = self.major() < 15;
        session.sql(if old_names {
            "SELECT pg_start_backup('standby', true, false)"
        } else {
            "SELECT pg_backup_start('standby', true)"
        });
        // Files that vanish under a running server are no error: WAL brings what matters.
        let mut copy = server_command("cp");
        let copy = copy.args(["-a", "--reflink=auto"]).arg(self.data()).arg(data);
        copy.output().expect("cp is there");
        let label = session.sql(if old_names {
            "SELECT labelfile FROM pg_stop_backup(false, false)"
        } else {
            "SELECT labelfile FROM pg_backup_stop(false)"
        });
        let label = label[0][0].clone().expect("a backup label");
        fs::write(data.join("backup_label"), label).expect("the label");
        for name in ["postmaster.pid", "postmaster.opts"] {
            let _ = fs::remove_file(data.join(name));
        }
        must(server_command("find").arg(data.join("pg_replslot")).args([
            "-mindepth",
            "1",
            "-delete",
        ]));

        let primary = format!("primary_conninfo = '{}'\n", self.conninfo_for_standby());
        if self.major() < 12 {
            let text = format!("standby_mode = on\nrecovery_target_timeline = 'latest'\n{primary}");
            fs::write(data.join("recovery.conf"), text).expect("recovery.conf");
        } else {
            let auto = data.join("postgresql.auto.conf");
            let text = fs::read_to_string(&auto).expect("initdb wrote it");
            fs::write(&auto, text + &primary).expect("it can be extended");
            fs::write(data.join("standby.signal"), "").expect("standby.signal");
        }
        give_to_server(data);
    }

    /// Waits until a standby has replayed everything that this server has flushed by now.
    pub fn wait_for_standby(&self, standby: &Cluster) {
        self.wait_until_standby_is_at("pg_last_wal_replay_lsn()", standby);
    }

    /// Switches segments, and has the standby receive the rest of the old one before it replays
    /// the switch. A standby that has replayed a switch sends the whole segment, also what it
    /// has not received (`GetStandbyFlushRecPtr`): other bytes than its file holds in the end.
    pub fn switch_wal_before(&self, standby: &Cluster) -> String {
        self.wait_for_standby(standby);
        standby.sql("SELECT pg_wal_replay_pause()");
        let switched = self.switch_wal();
        self.wait_until_standby_is_at("pg_last_wal_receive_lsn()", standby);
        standby.sql("SELECT pg_wal_replay_resume()");
        switched
    }

    fn wait_until_standby_is_at(&self, position: &str, standby: &Cluster) {
        let target = self.flushed_lsn();
        let question = format!("SELECT pg_wal_lsn_diff({position}, '{target}') >= 0");
        wait_until(
            &format!("{position} of the standby to be {target}"),
            Duration::from_secs(60),
            || (standby.value(&question) == "t").then_some(()),
            || standby.log_tail(),
        );
    }
}
