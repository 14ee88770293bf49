//! A file that Barman wrote goes through Tapster without losing a byte, and so do keys that
//! Tapster has never heard of: a `backup.info` that was "repaired" on the way cannot be read by
//! the Barman beside it.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn samples() -> Vec<(String, Vec<u8>)> {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-tests/fixtures/barman/backup-info");
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the fixtures") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        samples.push((name, std::fs::read(&path).expect("a sample")));
    }
    assert_eq!(samples.len(), 15);
    samples
}

fn sample(name: &str) -> BackupInfo {
    let (_, bytes) = samples().into_iter().find(|(file, _)| file.starts_with(name)).expect(name);
    BackupInfo::parse(id(), &bytes).expect(name)
}

fn id() -> BackupId {
    "20261123T062541".parse().expect("an id")
}

#[test]
fn every_file_of_barman_comes_back_byte_for_byte() {
    for (name, bytes) in samples() {
        let info = BackupInfo::parse(id(), &bytes).expect(&name);
        assert_eq!(info.render(), bytes, "{name}");
    }
}

#[test]
fn every_file_of_barman_can_be_written_from_its_values_alone() {
    for (name, bytes) in samples() {
        let mut info = BackupInfo::parse(id(), &bytes).expect(&name);
        info.original = None;
        let rendered = String::from_utf8(info.render()).expect("text");
        let text = String::from_utf8(bytes).expect("text");
        for (ours, theirs) in rendered.lines().zip(text.lines()) {
            // A passive copy quotes its label twice.
            if !theirs.starts_with("backup_label=\"'") {
                assert_eq!(ours, theirs, "{name}");
            }
        }
        assert_eq!(rendered.lines().count(), text.lines().count(), "{name}");
    }
}

#[test]
fn values_have_their_types() {
    let info = sample("postgres-tar-none-named");
    assert_eq!(info.backup_name.as_deref(), Some("hooked"));
    assert_eq!(info.compression, Some(BackupCompression::None));
    assert_eq!(info.status, BackupStatus::Done);
    assert_eq!(info.begin_xlog, Some(Lsn(0x2500_0028)));
    assert_eq!(info.end_offset, Some(0));
    assert_eq!(info.version, Some(150_018));
    assert_eq!(info.data_checksums, Some(true));
    assert_eq!(info.systemid, Some(SystemIdentifier(7_711_248_655_412_678_424)));
    assert_eq!(
        info.tablespaces,
        Some(vec![Tablespace {
            name: "tbs1".into(),
            oid: 16390,
            location: "/var/lib/pgsql/tbs1".into()
        }])
    );
    assert_eq!(info.copy_stats.as_ref().and_then(CopyStats::copy_time), Some(4.722996));
    let label = info.backup_label.expect("a label");
    assert!(label.starts_with("START WAL LOCATION: 0/25000028 (file 000000010000000000000025)\n"));

    let failed = sample("postgres-failed");
    assert_eq!(failed.status, BackupStatus::Failed);
    assert_eq!((failed.end_xlog, failed.size), (None, None));
    let passive = sample("passive-copy");
    assert!(passive.backup_label.expect("a label").starts_with("START WAL LOCATION: 0/F000028"));
    let child = sample("postgres17-incremental");
    assert_eq!(child.parent_backup_id, "20261123T065829".parse().ok());
    assert_eq!(child.children_backup_ids, vec!["20261123T065836".parse().expect("an id")]);
    let rsync = sample("rsync-link-named");
    let stats = rsync.copy_stats.expect("statistics");
    assert_eq!((stats.workers(), stats.analysis_time()), (2, Some(1.368225)));
}

#[test]
fn keys_and_words_of_later_releases_survive_a_change_of_others() {
    let mut text = String::from_utf8(sample("postgres-plain").render()).expect("text");
    text.insert_str(0, "gp_dbid=2\nzz_new=a = b\n");
    let text = text.replace("status=DONE", "status=PONDERING");
    let mut info = BackupInfo::parse(id(), text.as_bytes()).expect("a backup.info");
    assert_eq!(info.status, BackupStatus::Unknown("PONDERING".into()));
    info.size = Some(1);
    let after = String::from_utf8(info.render()).expect("text");
    assert!(after.contains("\ngp_dbid=2\n") && after.ends_with("\nzz_new=a = b\n"), "{after}");
    assert!(after.contains("\nstatus=PONDERING\n") && after.contains("\nsize=1\n"), "{after}");
    let keys: Vec<&str> = after.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(keys.is_sorted(), "{keys:?}");
}

#[test]
fn an_old_file_is_not_given_keys_that_it_lacks() {
    let old = "begin_time=2019-01-01 10:00:00\nserver_name=main\nstatus=DONE\n\
               xlog_segment_size=16777216\n";
    let mut info = BackupInfo::parse(id(), old.as_bytes()).expect("a backup.info");
    assert_eq!(String::from_utf8(info.render()).expect("text"), old);
    info.backup_name = Some("x".into());
    let named = old.replacen("begin_time", "backup_name=x\nbegin_time", 1);
    assert_eq!(String::from_utf8(info.render()).expect("text"), named);
    info.backup_name = None;
    assert_eq!(String::from_utf8(info.render()).expect("text"), old);
}

#[test]
fn an_error_of_several_lines_is_written_as_one() {
    let mut info = BackupInfo::new(id(), "main");
    info.error = Some("cannot copy\n  because: it\n  broke\n".into());
    let text = String::from_utf8(info.render()).expect("text");
    assert!(text.contains("\nerror=cannot copy because: it broke\n"), "{text}");
    assert_eq!(text.lines().count(), 33, "every key but two that are absent when unset");
}

#[test]
fn faults_name_their_line() {
    let fault = |text: &str| BackupInfo::parse(id(), text.as_bytes()).expect_err(text);
    assert_eq!(fault("status=DONE\n\n# x\nrubbish\n"), (4, BackupInfoFault::NoDelimiter));
    assert_eq!(fault("server_name=x\n").1, BackupInfoFault::Missing("status"));
    let (line, bad) = fault("begin_wal=7\nserver_name=x\nstatus=DONE\n");
    assert_eq!((line, bad.to_string()), (1, "begin_wal=7 is not of the right form".into()));
    let bytes = b"server_name=\xff\n";
    assert_eq!(BackupInfo::parse(id(), bytes), Err((1, BackupInfoFault::NotUtf8)));
}

#[test]
fn a_file_cut_anywhere_is_refused_or_understood_but_never_a_panic() {
    let bytes = sample("rsync-link-named").render();
    for cut in 0..bytes.len() {
        let _ = BackupInfo::parse(id(), &bytes[..cut]);
    }
}

proptest! {
    #[test]
    fn labels_and_names_of_any_kind_survive(label: String, name in "[a-zA-Z0-9 é'\"]{1,20}") {
        let mut info = BackupInfo::new(id(), "main");
        // A label that is itself a quoted text is the double quoting of passive copies.
        prop_assume!(!label.starts_with(['\'', '"']));
        info.backup_label = Some(label);
        info.backup_name = Some(name.clone());
        info.tablespaces = Some(vec![Tablespace { name, oid: 7, location: "/a'b".into() }]);
        let again = BackupInfo::parse(id(), &info.render()).expect("what was written");
        prop_assert_eq!(&again.backup_label, &info.backup_label);
        prop_assert_eq!(&again.backup_name, &info.backup_name);
        prop_assert_eq!(&again.tablespaces, &info.tablespaces);
    }
}
