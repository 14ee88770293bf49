//! A backup of a real cluster with a forger in the middle of its replication connections.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::scene::{self, SECRET};
use super::{FakeServer, Forged, Message};
use crate::real_server::tapster::Outcome;
use crate::real_server::{Cluster, Tapster};

/// Sees every message of the server with the number of its connection: 0 is the one that the
/// copy comes through, 1 that of its WAL.
type Forger = Box<dyn FnMut(usize, Message) -> Vec<Forged> + Send>;

/// The forger of the moment, and the connections that it has met.
struct Present {
    forger: Forger,
    met: Vec<u32>,
}

/// A cluster, the forger before it, and a repository with as many servers as a test wants, all
/// of them this one: their backups do not get into each other's way.
pub struct Middle {
    pub cluster: Cluster,
    pub tapster: Tapster,
    pub server: FakeServer,
    present: Arc<Mutex<Present>>,
}

fn honest(_: usize, message: Message) -> Vec<Forged> {
    vec![Forged::Message(message)]
}

impl Middle {
    pub fn new(major: u32) -> Middle {
        let cluster = Cluster::start(major);
        let present = Present { forger: Box::new(honest), met: Vec::new() };
        let present = Arc::new(Mutex::new(present));
        let shared = Arc::clone(&present);
        let server = FakeServer::before(&cluster)
            .tamper(move |number, message| {
                let mut present = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let known = present.met.iter().position(|met| *met == number);
                let connection = known.unwrap_or_else(|| {
                    present.met.push(number);
                    present.met.len() - 1
                });
                (present.forger)(connection, message)
            })
            .start();
        Middle { cluster, tapster: Tapster::new(), server, present }
    }

    /// A further server of the repository.
    pub fn add(&self, name: &str) {
        let conninfo = format!("{} password={SECRET}", self.cluster.conninfo());
        let streaming = format!("{} password={SECRET}", self.server.conninfo());
        self.tapster.write_server(
            name,
            &format!(
                "conninfo = {conninfo}\nstreaming_conninfo = {streaming}\n\
                 backup_method = postgres\nstreaming_archiver = on\nslot_name = tapster\n\
                 immediate_checkpoint = true\n"
            ),
        );
    }

    /// From now on this is the forger.
    pub fn forge(&self, forger: impl FnMut(usize, Message) -> Vec<Forged> + Send + 'static) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        *present = Present { forger: Box::new(forger), met: Vec::new() };
    }

    /// The backup that is forged so fails with what, where, why and what next, and leaves
    /// nothing that anybody could believe.
    #[track_caller]
    pub fn refuses(
        &self,
        server: &str,
        forger: impl FnMut(usize, Message) -> Vec<Forged> + Send + 'static,
        words: &[&str],
    ) -> Outcome {
        self.add(server);
        self.forge(forger);
        let outcome = self.tapster.refused(&["backup", server]);
        self.forge(honest);
        for word in ["ERROR: ", "\n  because: ", "\n  try: "].iter().chain(words) {
            assert!(outcome.stderr.contains(word), "{word:?} is not said: {outcome}");
        }
        scene::said(&self.tapster, &outcome.to_string());
        self.nothing_is_done(server);
        outcome
    }

    /// No backup of a server may be believed, and none has left files.
    #[track_caller]
    pub fn nothing_is_done(&self, server: &str) {
        let listed = self.tapster.ok(&["list-backups", server]);
        assert!(!listed.stdout.contains("Size:"), "{listed}");
        for backup in self.backups(server) {
            let info = backup.join("backup.info");
            let info = fs::read_to_string(&info)
                .or_else(|_| fs::read_to_string(self.metadata(server, &backup)))
                .expect("a backup has its record");
            assert!(info.contains("status=FAILED\n"), "{info}");
            assert!(!info.contains("error=None"), "{info}");
            assert!(!info.contains(SECRET), "{info}");
            assert!(listed.stdout.contains("FAILED"), "{listed}");
            let mut left = files(&backup);
            left.retain(|path| {
                !path.ends_with("backup.info") && !path.starts_with(backup.join("damaged"))
            });
            assert!(left.is_empty(), "files of a failed backup: {left:?}");
        }
        let stray = files(self.tapster.path()).into_iter().find(|path| path.ends_with("x"));
        assert_eq!(stray, None, "a member got out");
    }

    /// The same server, left in peace, is backed up as if nothing had been.
    #[track_caller]
    pub fn then_succeeds(&self, server: &str) {
        self.forge(honest);
        let outcome = self.tapster.ok(&["backup", server]);
        scene::said(&self.tapster, &outcome.to_string());
        let listed = self.tapster.ok(&["list-backups", server]);
        assert_eq!(listed.stdout.matches(" - Size:").count(), 1, "{listed}");
        assert!(!listed.stdout.contains("WAITING"), "its WAL did not come: {outcome}");
        let done = self
            .backups(server)
            .into_iter()
            .filter(|backup| backup.join("data").join("global/pg_control").exists());
        assert_eq!(done.count(), 1, "{listed}");
    }

    fn backups(&self, server: &str) -> Vec<PathBuf> {
        let base = fs::read_dir(self.tapster.server(server).join("base"));
        base.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    fn metadata(&self, server: &str, backup: &Path) -> PathBuf {
        let id = backup.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.tapster.server(server).join("meta").join(format!("{id}-backup.info"))
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}
