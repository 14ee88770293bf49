//! A command in the wrong dialect is a syntax error on half of the servers; an option that a
//! version lacks must be refused here, by name, not half-way through a backup.

use bytes::BytesMut;
use tapster::wal::{Lsn, Timeline};
use tapster::wire::{
    BackupTarget, BaseBackupOptions, Checkpoint, Command, CommandError, Compression,
    CompressionAlgorithm, ManifestChecksum, ManifestOption, ServerVersion, SlotName,
};

use super::hex;

fn version(major: u32) -> ServerVersion {
    ServerVersion::from_number(major * 10_000 + 4)
}

fn slot() -> SlotName {
    SlotName::new("tapster").expect("a name")
}

fn all_options() -> BaseBackupOptions {
    BaseBackupOptions {
        label: "it's".to_owned(),
        progress: true,
        checkpoint: Checkpoint::Fast,
        wal: true,
        wait: false,
        max_rate_kib: Some(1024),
        tablespace_map: true,
        verify_checksums: false,
        ..BaseBackupOptions::default()
    }
}

#[test]
fn commands_without_options_are_the_same_everywhere() {
    let timeline = Timeline::new(0xFFFF_FFFF).expect("not 0");
    let start = Lsn(0x1_0300_0028);
    for major in 10..=19 {
        for (command, text) in [
            (Command::IdentifySystem, "IDENTIFY_SYSTEM"),
            (Command::Show("wal_segment_size".to_owned()), "SHOW wal_segment_size"),
            (Command::Show("pg.my_Setting2".to_owned()), "SHOW pg.my_Setting2"),
            (Command::TimelineHistory(timeline), "TIMELINE_HISTORY 4294967295"),
            (Command::DropSlot { name: slot(), wait: false }, "DROP_REPLICATION_SLOT \"tapster\""),
            (
                Command::DropSlot { name: slot(), wait: true },
                "DROP_REPLICATION_SLOT \"tapster\" WAIT",
            ),
            (
                Command::StartReplication { slot: None, start, timeline: Timeline::FIRST },
                "START_REPLICATION PHYSICAL 1/3000028 TIMELINE 1",
            ),
            (
                Command::StartReplication { slot: Some(slot()), start, timeline },
                "START_REPLICATION SLOT \"tapster\" PHYSICAL 1/3000028 TIMELINE 4294967295",
            ),
        ] {
            assert_eq!(command.render(version(major)).as_deref(), Ok(text));
        }
    }
}

#[test]
fn a_command_is_one_query_message() {
    let mut out = BytesMut::new();
    Command::IdentifySystem.encode(version(18), &mut out).expect("a message");
    //         Q  length   "IDENTIFY_SYSTEM"              zero
    assert_eq!(out, hex("51 00000014 4944454e544946595f53595354454d 00"));
}

#[test]
fn slots_are_reserved_in_the_dialect_of_the_version() {
    let create = |major, temporary, reserve_wal| {
        Command::CreateSlot { name: slot(), temporary, reserve_wal }.render(version(major))
    };
    let old = "CREATE_REPLICATION_SLOT \"tapster\" TEMPORARY PHYSICAL RESERVE_WAL";
    let new = "CREATE_REPLICATION_SLOT \"tapster\" TEMPORARY PHYSICAL (RESERVE_WAL)";
    for major in 10..=14 {
        assert_eq!(create(major, true, true).as_deref(), Ok(old));
    }
    for major in 15..=19 {
        assert_eq!(create(major, true, true).as_deref(), Ok(new));
    }
    let bare = "CREATE_REPLICATION_SLOT \"tapster\" PHYSICAL";
    assert_eq!(create(10, false, false).as_deref(), Ok(bare));
    assert_eq!(create(18, false, false).as_deref(), Ok(bare));
}

#[test]
fn names_that_a_server_would_refuse_or_misread_are_not_sent() {
    for name in ["", "Tapster", "a-b", "a b", "a\"b", "ä", "a;b", "a\0", &"a".repeat(64)] {
        let error = SlotName::new(name).expect_err("a bad slot name");
        assert!(error.hint().expect("a hint").contains("lower-case"), "{name:?}");
    }
    assert_eq!(SlotName::new(&"a_9".repeat(21)).map(|name| name.as_str().len()), Ok(63));
    for name in ["", "a b", "a;b", "a'", "wal_segment_size\0"] {
        let command = Command::Show(name.to_owned());
        assert!(matches!(command.render(version(18)), Err(CommandError::SettingName { .. })));
    }
}

#[test]
fn commands_of_later_versions_are_refused_by_name() {
    assert_eq!(
        Command::ReadSlot(slot()).render(version(14)).map_err(|error| error.to_string()),
        Err("server version 14.4 does not know READ_REPLICATION_SLOT, which came with 15".into())
    );
    let read = Command::ReadSlot(slot()).render(version(15));
    assert_eq!(read.as_deref(), Ok("READ_REPLICATION_SLOT \"tapster\""));
    assert!(Command::UploadManifest.render(version(16)).is_err());
    assert_eq!(Command::UploadManifest.render(version(17)).as_deref(), Ok("UPLOAD_MANIFEST"));
}

#[test]
fn a_backup_is_asked_for_in_bare_words_up_to_14() {
    let render = |major, options| Command::BaseBackup(options).render(version(major));
    assert_eq!(
        render(10, BaseBackupOptions::default()).as_deref(),
        Ok("BASE_BACKUP LABEL 'base backup'")
    );
    // 10 never verifies checksums: there is no word for it, and no need of one.
    let words = "BASE_BACKUP LABEL 'it''s' PROGRESS FAST WAL NOWAIT MAX_RATE 1024 TABLESPACE_MAP";
    assert_eq!(render(10, all_options()).as_deref(), Ok(words));
    let words_11 = format!("{words} NOVERIFY_CHECKSUMS");
    assert_eq!(render(11, all_options()), Ok(words_11.clone()));
    let with_manifest = BaseBackupOptions {
        manifest: ManifestOption::Yes,
        manifest_checksums: Some(ManifestChecksum::Sha256),
        ..all_options()
    };
    assert_eq!(
        render(14, with_manifest),
        Ok(format!("{words_11} MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'"))
    );
}

#[test]
fn a_backup_is_asked_for_in_parentheses_from_15_on_and_says_whether_to_verify() {
    let render = |major, options| Command::BaseBackup(options).render(version(major));
    assert_eq!(
        render(15, BaseBackupOptions::default()).as_deref(),
        Ok("BASE_BACKUP (LABEL 'base backup', CHECKPOINT 'spread', WAIT 1, VERIFY_CHECKSUMS 1)")
    );
    let everything = BaseBackupOptions {
        compression: Some(Compression {
            algorithm: CompressionAlgorithm::Zstd,
            level: Some(3),
            workers: Some(4),
            long: true,
        }),
        manifest: ManifestOption::ForceEncode,
        manifest_checksums: Some(ManifestChecksum::None),
        incremental: true,
        ..all_options()
    };
    assert_eq!(
        render(17, everything).as_deref(),
        Ok("BASE_BACKUP (LABEL 'it''s', PROGRESS, CHECKPOINT 'fast', WAL, WAIT 0, MAX_RATE 1024, \
            TABLESPACE_MAP, VERIFY_CHECKSUMS 0, MANIFEST 'force-encode', \
            MANIFEST_CHECKSUMS 'NONE', COMPRESSION 'zstd', \
            COMPRESSION_DETAIL 'level=3,workers=4,long', INCREMENTAL)")
    );
    let to_server = BaseBackupOptions {
        target: BackupTarget::Server("/srv/it's".to_owned()),
        ..BaseBackupOptions::default()
    };
    let text = render(18, to_server).expect("a command");
    assert!(text.ends_with(", TARGET 'server', TARGET_DETAIL '/srv/it''s')"), "{text}");
}

#[test]
fn options_that_a_version_lacks_are_refused_by_name() {
    let plain = BaseBackupOptions::default;
    let zstd = |long| Compression {
        algorithm: CompressionAlgorithm::Zstd,
        level: None,
        workers: None,
        long,
    };
    for (options, word, since) in [
        (BaseBackupOptions { manifest: ManifestOption::Yes, ..plain() }, "MANIFEST", 13),
        (BaseBackupOptions { target: BackupTarget::Blackhole, ..plain() }, "TARGET", 15),
        (BaseBackupOptions { compression: Some(zstd(false)), ..plain() }, "COMPRESSION", 15),
        (
            BaseBackupOptions { compression: Some(zstd(true)), ..plain() },
            "COMPRESSION_DETAIL long",
            16,
        ),
        (BaseBackupOptions { incremental: true, ..plain() }, "INCREMENTAL", 17),
    ] {
        let command = Command::BaseBackup(options);
        assert!(command.render(version(since)).is_ok(), "{word} at {since}");
        match command.render(version(since - 1)) {
            Err(CommandError::NotKnown { word: got, since: at, .. }) => {
                assert_eq!((got, at), (word, since));
            }
            other => panic!("{word} before {since}: {other:?}"),
        }
    }
}

#[test]
fn values_that_every_server_refuses_are_not_sent() {
    let plain = BaseBackupOptions::default;
    let compressed = |algorithm, level, workers| BaseBackupOptions {
        compression: Some(Compression { algorithm, level, workers, long: false }),
        ..plain()
    };
    for options in [
        BaseBackupOptions { max_rate_kib: Some(31), ..plain() },
        BaseBackupOptions { max_rate_kib: Some(1_048_577), ..plain() },
        BaseBackupOptions { label: "x".repeat(1025), ..plain() },
        // A second line of the label would be a line of backup_label.
        BaseBackupOptions { label: "a\nSTART WAL LOCATION: 0/0".to_owned(), ..plain() },
        BaseBackupOptions { label: "a\0b".to_owned(), ..plain() },
        BaseBackupOptions { manifest_checksums: Some(ManifestChecksum::Crc32c), ..plain() },
        compressed(CompressionAlgorithm::Gzip, Some(0), None),
        compressed(CompressionAlgorithm::Lz4, Some(13), None),
        compressed(CompressionAlgorithm::Zstd, Some(23), None),
        compressed(CompressionAlgorithm::Gzip, None, Some(2)),
    ] {
        let rendered = Command::BaseBackup(options.clone()).render(version(18));
        let refused =
            matches!(rendered, Err(CommandError::OutOfRange { .. } | CommandError::Needs { .. }));
        assert!(refused, "{options:?} gave {rendered:?}");
    }
}
