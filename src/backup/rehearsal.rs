//! What a backup would do and what stands in its way, without doing any of it: nothing is
//! written, neither here nor on the server.

use std::path::{Path, PathBuf};

use super::error::SLOT_REMEDY;
use super::form::Form;
use super::run::Plan;
use super::session::Session;
use super::{parent, wishes};
use crate::disk::{Disk, LockError, LockFile};
use crate::net::Walsender;
use crate::output::Failure;
use crate::repository::backup_info::Tablespace;
use crate::repository::{BackupId, Identity, Lock, RepositoryError};
use crate::wire::ServerVersion;

/// What a backup would be like.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The server; `None` when it cannot be asked.
    pub server: Option<ServerSeen>,
    /// How it would be stored.
    pub form: Form,
    /// Whether it would continue another one.
    pub incremental: bool,
    /// That one; `None` for a full backup, or when there is none to be continued.
    pub parent: Option<BackupId>,
    /// Where its directory would be made.
    pub base: PathBuf,
    /// Who would receive its WAL.
    pub wal: WalSource,
    /// Bytes that the server's files have, as it says itself; `None` when it does not say.
    pub bytes: Option<u64>,
    /// Bytes that are free where they would go.
    pub free: Option<u64>,
    /// What stands in the way, each with its remedy.
    pub obstacles: Vec<Failure>,
}

/// The server as it was found.
#[derive(Clone, Debug)]
pub struct ServerSeen {
    /// Its version.
    pub version: ServerVersion,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// Whether its pages carry checksums.
    pub data_checksums: bool,
    /// Its tablespaces beside the data directory.
    pub tablespaces: Vec<Tablespace>,
}

/// Who receives the WAL of a backup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WalSource {
    /// The receiver that runs, and its process, where that is known.
    Receiver(Option<u32>),
    /// The backup itself, beside the copy.
    Own,
}

/// Looks at everything that a backup by this plan depends on.
pub async fn rehearse(plan: &Plan) -> Rehearsal {
    let disk = plan.disk.as_ref();
    let mut obstacles = Vec::new();
    let mut in_the_way = |what: &str, error: &dyn std::error::Error, hint: Option<String>| {
        obstacles.push(Failure::because(what, error).hint(hint));
    };
    match LockFile::holder(&plan.layout.lock(Lock::Backup)) {
        Ok(None) => {}
        Ok(pid) => {
            let path = plan.layout.lock(Lock::Backup);
            let error = LockError::Held { path, pid };
            in_the_way(
                "another backup or deletion of this server is under way",
                &error,
                error.hint(),
            );
        }
        Err(error) => in_the_way("the lock of backups cannot be taken", &error, error.hint()),
    }
    let wal = match LockFile::holder(&plan.layout.lock(Lock::ReceiveWal)) {
        Ok(None) => WalSource::Own,
        Ok(pid) => WalSource::Receiver(pid),
        Err(LockError::Held { .. }) => WalSource::Receiver(None),
        Err(error) => {
            in_the_way("the lock of receivers cannot be taken", &error, error.hint());
            WalSource::Own
        }
    };
    let mut session = match Session::open(plan).await {
        Ok(session) => Some(session),
        Err(error) => {
            in_the_way("the server cannot be asked for a backup", &error, error.hint());
            None
        }
    };
    let mut parent = None;
    if let Some(session) = &mut session {
        if let Err(error) = belongs(plan, session) {
            in_the_way("the repository is not this server's", &error, error.hint());
        }
        let codecs = session.sql.wal_codecs.as_deref();
        if let Err(error) = wishes::check_server(plan.form, session.facts.version, codecs) {
            in_the_way("the server cannot compress the backup", &error, error.hint());
        }
        if let Some(word) = &plan.incremental {
            match parent::find(plan, session, word).await {
                Ok(found) => parent = Some(found.info.id),
                Err(error) => {
                    in_the_way("there can be no incremental backup", &error, error.hint());
                }
            }
        }
        obstacles.extend(connections(plan, session, wal).await);
    }
    let base = plan.layout.base().to_owned();
    let above = existing(disk, &base);
    if !crate::disk::may_write(above) {
        let what = format!("{} may not be written by this user", above.display());
        obstacles
            .push(Failure::new(what).hint("run it as the user who owns the repository".to_owned()));
    }
    let bytes = session.as_ref().and_then(|session| session.sql.cluster_size);
    let free = disk.free_bytes(above).ok();
    if let Some((bytes, free)) = bytes.zip(free).filter(|(bytes, free)| bytes > free) {
        let (bytes, free) = (crate::output::size(bytes), crate::output::size(free));
        let what = format!("the cluster has {bytes}, and {free} are free");
        obstacles.push(Failure::new(what).hint(format!("make room below {}", above.display())));
    }
    let server = session.map(|session| ServerSeen {
        version: session.facts.version,
        in_recovery: session.facts.in_recovery,
        data_checksums: session.facts.data_checksums,
        tablespaces: session.sql.tablespaces().to_vec(),
    });
    let (form, incremental) = (plan.form, plan.incremental.is_some());
    Rehearsal { server, form, incremental, parent, base, wal, bytes, free, obstacles }
}

/// Whether the server has room for all that a backup needs of it at once.
async fn connections(plan: &Plan, session: &Session, wal: WalSource) -> Vec<Failure> {
    let mut obstacles = Vec::new();
    let own_slot = wal == WalSource::Own || !session.receiver_keeps_wal;
    let mut open = Vec::new();
    for (is_needed, what) in [
        (wal == WalSource::Own, "there is no further connection for WAL"),
        (own_slot, "there is no further connection for the slot that keeps WAL"),
    ] {
        if !is_needed {
            continue;
        }
        match Walsender::connect(&plan.streaming, &plan.application_name).await {
            Ok(walsender) => open.push(walsender),
            Err(error) => obstacles.push(Failure::because(what, &error).hint(error.hint())),
        }
    }
    if own_slot && session.sql.free_slots.is_some_and(|free| free <= 0) {
        let what = "no replication slot is free to keep the WAL of the backup";
        obstacles.push(Failure::new(what).hint(SLOT_REMEDY.to_owned()));
    }
    obstacles
}

/// Whether the repository is this cluster's, or nobody's.
fn belongs(plan: &Plan, session: &Session) -> Result<(), RepositoryError> {
    let found = session.identity();
    match Identity::read(plan.disk.as_ref(), &plan.layout)? {
        Some(stored) if stored != found => {
            let server = plan.layout.server().clone();
            Err(RepositoryError::OtherCluster { server, stored, found })
        }
        _ => Ok(()),
    }
}

/// The nearest directory above that is there.
fn existing<'p>(disk: &dyn Disk, path: &'p Path) -> &'p Path {
    let there = |path: &&Path| disk.stat(path).is_ok_and(|stat| stat.is_some());
    path.ancestors().find(there).unwrap_or(Path::new("/"))
}
