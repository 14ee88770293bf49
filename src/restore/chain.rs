//! Whether a backup and those before it make one whole.
//!
//! Pure. What the server has said when each was taken is in `backup.info`; the files themselves
//! are looked at when they are read.

use crate::repository::{BackupId, BackupInfo, label};

use super::refusal::Refusal;

/// The backups that an incremental one stands on, its parent first, the full one last; none for
/// a full one. `get` finds a backup by its id.
pub fn ancestors<'a>(
    backup: &BackupInfo,
    get: impl Fn(BackupId) -> Option<&'a BackupInfo>,
) -> Result<Vec<BackupInfo>, Refusal> {
    let mut chain: Vec<BackupInfo> = Vec::new();
    let mut parent = backup.parent_backup_id;
    let mut below = backup.id;
    while let Some(id) = parent {
        // Ids are times: whoever was taken later is no parent, and a circle is none either.
        let found = get(id).filter(|_| id < below).ok_or_else(|| Refusal::NoParent {
            backup: below.to_string(),
            parent: id.to_string(),
        })?;
        (parent, below) = (found.parent_backup_id, id);
        chain.push(found.clone());
    }
    check(backup, &chain)?;
    Ok(chain)
}

/// Makes sure that each backup continues the next one of `ancestors`, and that the last is full.
pub fn check(backup: &BackupInfo, ancestors: &[BackupInfo]) -> Result<(), Refusal> {
    let mut child = backup;
    for parent in ancestors {
        if child.parent_backup_id != Some(parent.id) {
            break;
        }
        check_link(child, parent)?;
        child = parent;
    }
    match child.parent_backup_id {
        Some(parent) => {
            let backup = child.id.to_string();
            Err(Refusal::NoParent { backup, parent: parent.to_string() })
        }
        None => Ok(()),
    }
}

fn check_link(child: &BackupInfo, parent: &BackupInfo) -> Result<(), Refusal> {
    let id = || parent.id.to_string();
    if !parent.is_copied() {
        let (server, status) = (parent.server_name.clone(), parent.status.to_string());
        return Err(Refusal::NotDone { backup: id(), server, status });
    }
    if let Some(method) = parent.encryption.clone() {
        return Err(Refusal::Encrypted { backup: id(), method });
    }
    let major = |info: &BackupInfo| info.version.map(|version| version / 10_000);
    // Old backups may not say of which cluster they are; both of these were taken by 17 or later.
    let same_cluster = child.systemid == parent.systemid && major(child) == major(parent);
    let from = child.backup_label.as_deref().and_then(label::incremental_from);
    let continued = from.zip(parent.timeline).zip(parent.begin_xlog);
    let continues = continued.is_some_and(|((from, timeline), begin)| from == (timeline, begin));
    match same_cluster && continues {
        true => Ok(()),
        false => Err(Refusal::OtherParent { backup: child.id.to_string(), parent: id() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::BackupStatus;
    use crate::wal::{Lsn, Timeline};

    const IDS: [&str; 3] = ["20261123T000001", "20261123T000002", "20261123T000003"];

    /// A full backup and two incremental ones, oldest first.
    fn backups() -> Vec<BackupInfo> {
        let ids: Vec<BackupId> = IDS.iter().map(|id| id.parse().expect("an id")).collect();
        let backup = |at: usize| {
            let mut info = BackupInfo::new(ids[at], "main");
            info.status = BackupStatus::Done;
            info.timeline = Some(Timeline::FIRST);
            info.begin_xlog = Some(Lsn(0x100 * (at as u64 + 1)));
            info.version = Some(170_004);
            let from = format!("INCREMENTAL FROM LSN: 0/{at}00\nINCREMENTAL FROM TLI: 1\n");
            info.backup_label = Some(if at > 0 { from } else { String::new() });
            info.parent_backup_id = at.checked_sub(1).map(|parent| ids[parent]);
            info
        };
        (0..3).map(backup).collect()
    }

    fn chain_of(backups: &[BackupInfo]) -> Result<Vec<String>, Refusal> {
        let newest = backups.last().expect("some");
        let get = |id| backups.iter().find(|backup| backup.id == id);
        let chain = ancestors(newest, get)?;
        Ok(chain.iter().map(|backup| backup.id.to_string()).collect())
    }

    #[test]
    fn a_chain_leads_to_its_full_backup() {
        assert_eq!(chain_of(&backups()), Ok(vec![IDS[1].to_owned(), IDS[0].to_owned()]));
        assert_eq!(chain_of(&backups()[..1]), Ok(Vec::new()));
    }

    #[test]
    fn a_chain_with_a_missing_failed_or_foreign_link_is_refused() {
        let refused = |change: fn(&mut Vec<BackupInfo>)| {
            let mut backups = backups();
            change(&mut backups);
            chain_of(&backups).expect_err("not a chain")
        };
        assert!(matches!(refused(|all| drop(all.remove(0))), Refusal::NoParent { .. }));
        let failed = refused(|all| all[1].status = BackupStatus::Failed);
        assert!(matches!(failed, Refusal::NotDone { .. }));
        let encrypted = refused(|all| all[0].encryption = Some("gpg".to_owned()));
        assert!(matches!(encrypted, Refusal::Encrypted { .. }));
        for change in [
            (|all| all[0].begin_xlog = Some(Lsn(0x99))) as fn(&mut Vec<BackupInfo>),
            |all| all[1].timeline = Timeline::new(2),
            |all| all[0].version = Some(180_000),
            |all| all[1].systemid = Some(crate::wal::SystemIdentifier(1)),
            |all| all[2].backup_label = None,
        ] {
            assert!(matches!(refused(change), Refusal::OtherParent { .. }));
        }
        // In a circle, or a parent of later.
        let circle = refused(|all| all[0].parent_backup_id = Some(all[2].id));
        assert!(matches!(circle, Refusal::NoParent { .. }));
    }
}
