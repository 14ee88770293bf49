//! A cluster that was itself restored is backed up like any other, and its backup must come back
//! too: what the earlier restore left in it is neither in the way nor believed.

use super::*;

#[test]
fn the_backup_of_a_restored_cluster_can_be_restored_again() {
    let mut fixture = Fixture::new();
    let stale = segment(3, SystemIdentifier(1));
    fixture.set("postgresql.conf.origin", b"archive_command = 'older'\n");
    fixture.set("postgresql.auto.conf.origin", b"# older\n");
    fixture.set(".barman-recover.info", b"older");
    fixture.set("backup_manifest.20250101T000000", b"older");
    fixture.set(&format!("barman_wal/{}", segment_name(3)), &stale);
    for target in [None, Some(RecoveryTarget::Immediate)] {
        let disk = fixture.packed();
        let goal = Goal { target: target.clone(), ..Goal::default() };
        fixture.restore_to(&disk, goal, &mut Witness::default()).expect("restored");
        assert!(text(&disk, "postgresql.conf.origin").starts_with("port = 5432"));
        let copied = disk.bytes(&restored(&format!("barman_wal/{}", segment_name(3))));
        let wal = target.map(|_| segment(3, SYSTEM));
        assert!(copied == wal, "the WAL of the earlier restore has come back");
    }
}
