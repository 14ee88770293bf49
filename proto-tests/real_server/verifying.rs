//! A stored backup proves to be what the server sent, or what is wrong with it is named.
//!
//! Disks rot in silence. Whoever learns at the restore that block 4711 is gone has no backup;
//! whoever is told "something is damaged" in two terabytes has hardly more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::servers::programs;
use super::stored::{Shape, store_backup};
use super::{Cluster, Tapster};

/// Where the only backup of `main` has its files.
fn data(tapster: &Tapster) -> PathBuf {
    let base = fs::read_dir(tapster.server("main").join("base")).expect("backups");
    let mut all: Vec<PathBuf> = base.map(|entry| entry.expect("a backup").path()).collect();
    all.sort();
    all.pop().expect("a backup").join("data")
}

/// A cluster with a table in the data directory and one in a tablespace, and the path of the
/// former in the data directory.
fn cluster(major: u32) -> (Cluster, String) {
    let cluster = Cluster::start(major);
    cluster.create_tablespace("fast");
    cluster.sql(
        "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 5000) n;
         CREATE TABLE f TABLESPACE fast AS SELECT n FROM generate_series(1, 5000) n",
    );
    let path = cluster.value("SELECT pg_relation_filepath('t')");
    cluster.sql("CHECKPOINT");
    (cluster, path)
}

/// The archive that holds the data directory, and where the content of a member begins in it.
fn member(data: &Path, name: &str) -> (PathBuf, usize) {
    let path = data.join("base.tar");
    let bytes = fs::read(&path).expect("an archive");
    let wanted = format!("{name}\0");
    let is_header = |block: &[u8]| block.starts_with(wanted.as_bytes());
    let at = bytes.chunks(512).position(is_header).expect("the member");
    (path, (at + 1) * 512)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_backup_of_every_kind_of_server_verifies_and_a_flipped_bit_is_named() {
    for major in [10, 12, 13, 15, 17, 18] {
        let (cluster, table) = cluster(major);
        let tapster = Tapster::of(&cluster);
        tapster.write_server(
            "main",
            &(Tapster::server_options(&cluster) + "backup_compression = none\n"),
        );
        tapster.ok(&["backup", "main"]);
        if major < 13 {
            let refused = tapster.refused(&["verify-backup", "main", "latest"]);
            assert!(refused.stderr.contains("try: tapster generate-manifest main "), "{refused}");
            tapster.ok(&["generate-manifest", "main", "latest"]);
        }
        let verified = tapster.ok(&["verify-backup", "main", "latest"]);
        assert!(verified.stdout.ends_with("backup successfully verified\n"), "{major}: {verified}");
        tapster.refused(&["generate-manifest", "main", "latest"]);
        let (archive, at) = member(&data(&tapster), &table);
        flip(&archive, at + 10_000);
        let refused = tapster.refused(&["verify-backup", "main", "latest"]);
        let named = format!("ERROR: checksum mismatch for file \"{table}\"");
        assert!(refused.stderr.contains(&named), "{major}: {refused}");
        assert_eq!(refused.stderr.matches("ERROR: ").count(), 2, "{major}: {refused}");
        flip(&archive, at + 10_000);
        tapster.ok(&["verify", "main", "latest"]);
        flip(&data(&tapster).join("backup_manifest"), 300);
        let refused = tapster.refused(&["verify-backup", "main", "latest"]);
        assert!(refused.stderr.contains("backup_manifest: backup manifest "), "{refused}");
    }
}

#[test]
fn a_manifest_made_for_a_directory_is_accepted_by_pg_verifybackup() {
    let (cluster, table) = cluster(15);
    let tapster = Tapster::of(&cluster);
    store_backup(&cluster, &tapster, "20261123T062541", Shape::Directories);
    let made = tapster.ok(&["generate-manifest", "main", "latest"]);
    assert_eq!(
        made.stdout,
        "Backup manifest for backup 'latest' successfully generated for server ['main']\n"
    );
    tapster.ok(&["verify-backup", "main", "latest"]);
    let data = data(&tapster);
    // The stock program looks for a tablespace behind its link.
    let backup = data.parent().expect("the backup");
    for entry in fs::read_dir(backup).expect("its folders").flatten() {
        if entry.file_name() != "data" {
            let link = data.join("pg_tblspc").join(entry.file_name());
            std::os::unix::fs::symlink(entry.path(), link).expect("a link");
        }
    }
    let program = programs(15).join("pg_verifybackup");
    let stock = || Command::new(&program).arg("-n").arg(&data).output().expect("it runs");
    let output = stock();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    tapster.ok(&["verify-backup", "main", "latest"]);
    flip(&data.join(&table), 10_000);
    assert!(!stock().status.success(), "it does look");
    let refused = tapster.refused(&["verify-backup", "main", "latest"]);
    assert!(refused.stderr.contains(&format!("checksum mismatch for file \"{table}\"")));
}
