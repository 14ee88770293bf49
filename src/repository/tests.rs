//! The xlog database names every archived file once, whatever happened while it was written.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::disk::{self, Disk, ModelDisk, RealDisk};

fn layout(home: &Path) -> ServerLayout {
    let layout = ServerLayout::below(home, "main".parse().expect("a name"));
    layout.create_directories(&RealDisk).expect("directories");
    layout
}

fn line(text: &str) -> XlogLine {
    XlogLine::parse(text).expect(text)
}

#[test]
fn every_database_of_barman_comes_back_byte_for_byte() {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-tests/fixtures/barman/xlogdb");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("the fixtures") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a sample");
        let db = XlogDb::parse(&bytes);
        let text: String = db.lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(text.as_bytes(), bytes);
        assert_eq!(db.damaged, Vec::<usize>::new());
        count += 1;
    }
    assert_eq!(count, 8);
}

#[test]
fn lines_of_every_age_are_read() {
    for (text, compression, encryption) in [
        (
            "000000010000000000000010\t16514\t1795415404.293217\tgzip\tgpg",
            Some("gzip"),
            Some("gpg"),
        ),
        ("000000010000000000000010 16514 1795415404.5 None", None, None),
        ("000000010000000000000010   16514\t1795415404", None, None),
    ] {
        let line = line(text);
        assert_eq!((line.size, line.compression.as_deref()), (16514, compression));
        assert_eq!(line.encryption.as_deref(), encryption);
    }
    for bad in ["", "000000010000000000000010", "x 1 2 None None", "00000002.history 42 1.5 a b c"]
    {
        assert_eq!(XlogLine::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn times_have_the_digits_that_python_gives_them() {
    let time = UNIX_EPOCH + Duration::new(1_795_415_437, 186_680_600);
    let name = "000000010000000000000014".parse().expect("a name");
    let text = XlogLine::plain(name, 1, time).to_string();
    assert_eq!(text, "000000010000000000000014\t1\t1795415437.1866806\tNone\tNone");
}

#[test]
fn a_line_of_another_program_that_says_more_than_we_know_is_not_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = layout(folder.path());
    let ours = "000000010000000000000010\t16514\t1795415404.293217\tNone\tNone\n";
    let theirs = "000000010000000000000011\t16514\t1795415405.5\tgzip\tNone\tmore\n";
    std::fs::write(layout.xlogdb(), format!("{ours}{theirs}")).expect("a database");
    let new = line("000000010000000000000012\t1\t1.5\tNone\tNone");
    xlogdb::append(&RealDisk, &layout, std::slice::from_ref(&new)).expect("appended");
    let after = std::fs::read_to_string(layout.xlogdb()).expect("readable");
    assert_eq!(after, format!("{ours}{theirs}{new}\n"));
}

#[test]
fn a_torn_line_is_cut_off_and_a_whole_one_without_newline_is_kept() {
    let home = tempfile::tempdir().expect("a directory");
    let layout = layout(home.path());
    let whole = "000000010000000000000001\t7\t1.5\tNone\tNone";
    let new = line("000000010000000000000002\t7\t2.5\tNone\tNone");
    for torn in 1..whole.len() {
        let text = format!("{whole}\n{}", &whole[..torn]);
        std::fs::write(layout.xlogdb(), text).expect("a database");
        xlogdb::append(&RealDisk, &layout, std::slice::from_ref(&new)).expect("appended");
        let after = std::fs::read_to_string(layout.xlogdb()).expect("a database");
        assert_eq!(after, format!("{whole}\n{new}\n"), "torn at {torn}");
    }
    // A page that never reached the disk, with one behind it that did.
    let holed = format!("{whole}\n00000001{}None\n", "\0".repeat(30));
    std::fs::write(layout.xlogdb(), holed).expect("a database");
    xlogdb::append(&RealDisk, &layout, std::slice::from_ref(&new)).expect("appended");
    let after = std::fs::read_to_string(layout.xlogdb()).expect("a database");
    assert_eq!(after, format!("{whole}\n{new}\n"));
    std::fs::write(layout.xlogdb(), whole).expect("a database");
    xlogdb::append(&RealDisk, &layout, std::slice::from_ref(&new)).expect("appended");
    let after = std::fs::read_to_string(layout.xlogdb()).expect("a database");
    assert_eq!(after, format!("{whole}\n{new}\n"));
}

#[test]
fn a_lost_database_is_made_again_from_the_tree_before_it_is_added_to() {
    let home = tempfile::tempdir().expect("a directory");
    let layout = layout(home.path());
    let put = |name: &str, bytes: &[u8]| {
        let name = name.parse().expect(name);
        disk::create_directories(&RealDisk, &layout.wal_directory(name), 0o755).expect("made");
        std::fs::write(layout.wal(name), bytes).expect("written");
    };
    put("000000010000000000000002", b"\x1f\x8b\x08 gzip");
    put("000000010000000000000001", b"plain");
    put("000000010000000000000003.partial", b"partial");
    put("00000002.history", b"1\t0/3000000\tno recovery target specified\n");
    std::fs::write(layout.wals().join("README"), "not WAL").expect("written");
    let new = line("000000010000000000000003\t7\t2.5\tNone\tNone");
    xlogdb::append(&RealDisk, &layout, std::slice::from_ref(&new)).expect("appended");
    let db = XlogDb::read(&RealDisk, &layout).expect("a database");
    let names: Vec<String> = db.lines.iter().map(|line| line.name.to_string()).collect();
    assert_eq!(
        names,
        [
            "000000010000000000000001",
            "000000010000000000000002",
            "00000002.history",
            "000000010000000000000003"
        ]
    );
    assert_eq!(db.lines[1].compression.as_deref(), Some("gzip"));
    let rebuilt = rebuild::rebuild(&RealDisk, &layout).expect("rebuilt");
    assert_eq!(rebuilt, rebuild::Rebuilt { history: 1, labels: 0, segments: 2 });
}

#[test]
fn the_database_of_an_old_release_is_read_and_carried_over() {
    let home = tempfile::tempdir().expect("a directory");
    let layout = layout(home.path());
    std::fs::write(layout.old_xlogdb(), "000000010000000000000001 7 1.5 None\n").expect("written");
    assert_eq!(XlogDb::read(&RealDisk, &layout).expect("a database").lines.len(), 1);
    let new = line("000000010000000000000002\t7\t2.5\tNone\tNone");
    xlogdb::append(&RealDisk, &layout, std::slice::from_ref(&new)).expect("appended");
    assert_eq!(XlogDb::read(&RealDisk, &layout).expect("a database").lines.len(), 2);
}

#[test]
fn metadata_is_found_in_both_places_and_the_newer_place_wins() {
    let home = tempfile::tempdir().expect("a directory");
    let layout = layout(home.path());
    let id: BackupId = "20200101T000000".parse().expect("an id");
    let old = layout.old_backup_info(id);
    std::fs::create_dir_all(old.parent().expect("a parent")).expect("made");
    std::fs::write(&old, "server_name=old\nstatus=DONE\n").expect("written");
    std::fs::create_dir(layout.backup("20190101T000000".parse().expect("an id"))).expect("made");
    assert_eq!(backup_info::list_ids(&RealDisk, &layout).expect("ids"), [id]);
    let mut info = BackupInfo::read(&RealDisk, &layout, id).expect("a backup");
    assert_eq!(info.server_name, "old");
    info.server_name = "new".into();
    info.write(&RealDisk, &layout).expect("written");
    assert_eq!(BackupInfo::read(&RealDisk, &layout, id).expect("a backup").server_name, "new");
    assert_eq!(backup_info::list_ids(&RealDisk, &layout).expect("ids"), [id]);
}

#[test]
fn a_repository_takes_no_second_cluster() {
    let home = tempfile::tempdir().expect("a directory");
    let layout = layout(home.path());
    let identity = |system, version: &str| Identity {
        system_identifier: crate::wal::SystemIdentifier(system),
        version: version.into(),
    };
    assert_eq!(Identity::read(&RealDisk, &layout).expect("readable"), None);
    identity(7, "15").establish(&RealDisk, &layout).expect("the first");
    identity(7, "15").establish(&RealDisk, &layout).expect("the same");
    for other in [identity(8, "15"), identity(7, "16")] {
        let refused = other.establish(&RealDisk, &layout).expect_err("another");
        assert!(matches!(refused, RepositoryError::OtherCluster { .. }), "{refused}");
    }
    std::fs::write(layout.identity(), "{").expect("written");
    assert!(Identity::read(&RealDisk, &layout).is_err());
}

#[test]
fn locks_and_paths_have_the_names_of_barman() {
    let layout = ServerLayout::below(Path::new("/b"), "main".parse().expect("a name"));
    let id: BackupId = "20261123T062541".parse().expect("an id");
    for (lock, name) in [
        (Lock::Backup, ".main-backup.lock"),
        (Lock::ReceiveWal, ".main-receive-wal.lock"),
        (Lock::ArchiveWal, ".main-archive-wal.lock"),
        (Lock::XlogDb, ".main-xlogdb.lock"),
        (Lock::OneBackup(id), ".main-20261123T062541.lock"),
    ] {
        assert_eq!(layout.lock(lock), Path::new("/b").join(name));
    }
    assert_eq!(layout.backup_info(id), Path::new("/b/main/meta/20261123T062541-backup.info"));
    assert_eq!(layout.xlogdb(), Path::new("/b/main/wals/main-xlog.db"));
    let wal = "00000001000000050000000A".parse().expect("a name");
    assert_eq!(
        layout.wal(wal),
        Path::new("/b/main/wals/0000000100000005/00000001000000050000000A")
    );
    let history = "00000002.history".parse().expect("a name");
    assert_eq!(layout.wal(history), Path::new("/b/main/wals/00000002.history"));
    assert!(RealDisk.stat(Path::new("/b/main")).expect("stat").is_none());
}

/// Two appends on a model disk; the lines that were reported as written.
fn append_twice(disk: &ModelDisk, layout: &ServerLayout, lines: &[XlogLine; 2]) -> usize {
    let appended =
        |line: &XlogLine| xlogdb::append_locked(disk, layout, std::slice::from_ref(line)).is_ok();
    lines.iter().take_while(|line| appended(line)).count()
}

#[test]
fn a_line_that_was_reported_as_written_survives_power_loss_and_the_next_one_stands_alone() {
    let layout = ServerLayout::below(Path::new("/b"), "main".parse().expect("a name"));
    let lines = [
        line("000000010000000000000001\t7\t1.5\tNone\tNone"),
        line("000000010000000000000002\t7\t2.5\tzstd\tNone"),
    ];
    let third = line("000000010000000000000003\t7\t3.5\tNone\tNone");
    let begin = |seed| {
        let disk = ModelDisk::new(seed);
        disk.put_directory(layout.wals());
        disk
    };
    let calls = {
        let disk = begin(0);
        assert_eq!(append_twice(&disk, &layout, &lines), 2);
        disk.calls()
    };
    for call in 0..=calls {
        for seed in 0..32 {
            let disk = begin(seed);
            disk.power_loss_at_call(call);
            let reported = append_twice(&disk, &layout, &lines);
            let survived = disk.after_power_loss(seed);
            xlogdb::append_locked(&survived, &layout, std::slice::from_ref(&third))
                .expect("the disk is well again");
            let db = XlogDb::read_locked(&survived, &layout).expect("a database");
            assert!(db.lines.starts_with(&lines[..reported]), "call {call} seed {seed}: {db:?}");
            assert_eq!(db.lines.last(), Some(&third), "call {call} seed {seed}");
            assert_eq!(db.damaged, Vec::<usize>::new(), "call {call} seed {seed}");
        }
    }
}
