//! A chain of backups is put together in place: files stand there at their full length long before
//! their last block has come. So more than elsewhere nothing but the end may make it a cluster.

use super::*;
use crate::disk::durable;
use crate::manifest::{Hasher, Manifest};
use crate::repository::BackupInfo;
use crate::restore::chain::ancestors;
use crate::wal::{Lsn, Timeline};

const PAGE: usize = 8192;
const TABLE: &str = "base/1/16384";
const UNCHANGED: &str = "base/1/16385";
const GROWN: &str = "base/1/16386";
const IN_TABLESPACE: &str = "PG_17_202406281/5/16400";

/// Three backups of version 17: a full one, and two that stand on it.
struct Chain {
    newest: Fixture,
    older: Vec<Fixture>,
}

/// A page of the relation, as the backup with this number has it.
fn page(backup: u8, block: u32) -> Vec<u8> {
    vec![backup * 16 + block as u8; PAGE]
}

fn pages(list: &[(u8, u32)]) -> Vec<u8> {
    list.iter().flat_map(|&(backup, block)| page(backup, block)).collect()
}

/// A file with these blocks, as `backup` has them, of a relation that older backups have up to
/// block `truncation`.
fn incremental(backup: u8, truncation: u32, blocks: &[u32]) -> Vec<u8> {
    let mut file = 0xD3AE_1F0D_u32.to_le_bytes().to_vec();
    file.extend((blocks.len() as u32).to_le_bytes());
    file.extend(truncation.to_le_bytes());
    file.extend(blocks.iter().flat_map(|block| block.to_le_bytes()));
    if !blocks.is_empty() {
        file.resize(file.len().next_multiple_of(PAGE), 0);
    }
    file.extend(blocks.iter().flat_map(|&block| page(backup, block)));
    file
}

impl Chain {
    fn new() -> Chain {
        let mut full = Chain::backup(0, None);
        full.set(TABLE, &pages(&[(0, 0), (0, 1), (0, 2), (0, 3)]));
        full.set(UNCHANGED, &pages(&[(0, 0), (0, 1)]));
        full.set(GROWN, &pages(&[(0, 0), (0, 1), (0, 2)]));
        full.set("base/1/16399", b"dropped since");
        full.tablespace = vec![(IN_TABLESPACE.to_owned(), pages(&[(0, 0), (0, 1)]))];
        let mut middle = Chain::backup(1, Some(&full.info));
        middle.set("base/1/INCREMENTAL.16384", &incremental(1, 4, &[1, 2]));
        middle.set("base/1/INCREMENTAL.16385", &incremental(1, 2, &[]));
        // Cut to one page, and then grown again.
        middle.set("base/1/INCREMENTAL.16386", &incremental(1, 1, &[]));
        middle.tablespace = Chain::part(&incremental(1, 2, &[]));
        let mut newest = Chain::backup(2, Some(&middle.info));
        newest.set("base/1/INCREMENTAL.16384", &incremental(2, 4, &[2]));
        newest.set("base/1/INCREMENTAL.16385", &incremental(2, 2, &[]));
        newest.set("base/1/INCREMENTAL.16386", &incremental(2, 3, &[2]));
        newest.tablespace = Chain::part(&incremental(2, 2, &[1]));
        let taken = [full.info.clone(), middle.info.clone()];
        let get = |id| taken.iter().find(|info| info.id == id);
        newest.ancestors = ancestors(&newest.info, get).expect("a chain");
        Chain { newest, older: vec![full, middle] }
    }

    fn part(content: &[u8]) -> Vec<(String, Vec<u8>)> {
        vec![("PG_17_202406281/5/INCREMENTAL.16400".to_owned(), content.to_vec())]
    }

    fn backup(number: u64, parent: Option<&BackupInfo>) -> Fixture {
        let mut fixture = Fixture::new();
        let info = &mut fixture.info;
        info.id = format!("20261123T06254{number}").parse().expect("an id");
        info.version = Some(170_004);
        let begin = Lsn(0x10_0028 + number * 0x10_0000);
        info.begin_xlog = Some(begin);
        let mut label = format!("START WAL LOCATION: {begin}\n");
        if let Some(parent) = parent {
            info.parent_backup_id = Some(parent.id);
            let from = parent.begin_xlog.expect("it has begun");
            label += &format!("INCREMENTAL FROM LSN: {from}\nINCREMENTAL FROM TLI: 1\n");
        }
        info.timeline = Some(Timeline::FIRST);
        info.backup_label = Some(label.clone());
        fixture.set("backup_label", label.as_bytes());
        fixture
    }

    /// Odd backups as directories, the others as archives.
    fn disk(&self) -> ModelDisk {
        let disk = self.newest.packed();
        for (at, backup) in self.older.iter().enumerate() {
            let stored = if at % 2 == 0 { backup.packed() } else { backup.plain() };
            for path in stored.files().iter().filter(|path| path.starts_with("/repository")) {
                disk.put(path, &stored.bytes(path).expect("a file"));
            }
        }
        disk
    }
}

/// The result, and that its manifest says so of every file.
fn assert_combined(disk: &ModelDisk, context: &str) {
    let tablespace = Path::new(TABLESPACE).join(IN_TABLESPACE);
    let expected = [
        (restored(TABLE), pages(&[(0, 0), (1, 1), (2, 2), (0, 3)])),
        (restored(UNCHANGED), pages(&[(0, 0), (0, 1)])),
        (restored(GROWN), [page(0, 0), vec![0; PAGE], page(2, 2)].concat()),
        (restored("backup_label"), b"START WAL LOCATION: 0/300028\n".to_vec()),
        (restored(&format!("pg_wal/{}", segment_name(4))), segment(4, SYSTEM)),
        (tablespace, pages(&[(0, 0), (2, 1)])),
    ];
    for (path, content) in expected {
        assert!(disk.bytes(&path) == Some(content), "{} is not whole: {context}", path.display());
    }
    let text = disk.bytes(&restored("backup_manifest.20261123T062542"));
    let manifest = Manifest::parse(&text.unwrap_or_default()).expect(context);
    assert!(manifest.files.len() > 9, "{context}");
    // What the restore itself changes, or leaves behind.
    let changed = ["postgresql.conf", "tablespace_map", "log/old.log"];
    for file in
        manifest.files.iter().filter(|file| !changed.map(str::as_bytes).contains(&file.path))
    {
        let name = String::from_utf8_lossy(file.path);
        let path = match name.strip_prefix("pg_tblspc/16390/") {
            Some(inside) => Path::new(TABLESPACE).join(inside),
            None => restored(&name),
        };
        let content = disk.bytes(&path).unwrap_or_else(|| panic!("{name} is missing: {context}"));
        let mut hasher = Hasher::new(file.algorithm);
        hasher.update(&content);
        assert_eq!(hasher.finish().as_bytes(), file.checksum, "{name}: {context}");
    }
}

/// Nothing stands there, or the mark of an unfinished restore, or as much as there is of that.
fn is_marked(disk: &ModelDisk) -> bool {
    let files = disk.files();
    let mut inside = files.iter().filter_map(|path| path.strip_prefix(DESTINATION).ok());
    let begins = |path: &Path| path.to_string_lossy().starts_with(MARKER);
    disk.bytes(&restored(MARKER)).is_some() || inside.all(begins)
}

/// After a restore that has not reported success: the whole, or what nobody takes for it. The next
/// try is refused by name, or succeeds.
fn assert_no_harm(chain: &Chain, disk: &ModelDisk, context: &str) {
    if is_startable(disk) {
        assert_combined(disk, context);
    } else {
        assert!(is_marked(disk), "nothing marks it: {context}");
    }
    let refused = match chain.newest.restore(disk) {
        Ok(_) => return assert_combined(disk, context),
        Err(RestoreError::Refused(refused)) => refused,
        Err(error) => panic!("{context}: {error}"),
    };
    let stands = matches!(
        refused,
        Refusal::Interrupted(_)
            | Refusal::DestinationNotEmpty(_)
            | Refusal::TablespaceNotEmpty { .. }
    );
    assert!(stands, "{context}: {refused}");
}

/// As the refusal says: what stands in the places is removed, and then a restore succeeds.
fn assert_can_be_repeated(chain: &Chain, disk: &ModelDisk, context: &str) {
    for place in [DESTINATION, TABLESPACE].map(Path::new) {
        if disk.stat(place).expect("readable").is_some() {
            durable::remove_content(disk, place).expect("emptied");
        }
    }
    chain.newest.restore(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_combined(disk, context);
}

/// What each call of a whole restore was, and how many there are before the first that changes
/// anything.
fn calls_of(chain: &Chain, before: &ModelDisk) -> (Vec<String>, usize) {
    let disk = before.after_kill(0);
    chain.newest.restore(&disk).expect("restored");
    let calls = disk.history();
    let first = calls.iter().position(|call| !only_looks(call)).expect("it changes something");
    (calls, first)
}

fn only_looks(call: &str) -> bool {
    ["open", "read", "stat", "list", "ask"].iter().any(|verb| call.starts_with(verb))
}

#[test]
fn a_chain_comes_back_as_one_backup() {
    let chain = Chain::new();
    let disk = chain.disk();
    chain.newest.restore(&disk).expect("restored");
    assert_combined(&disk, "restored");
    assert_eq!(disk.bytes(&restored("base/1/16399")), None, "it was dropped");
    assert_eq!(disk.bytes(&restored(MARKER)), None);
}

/// The blocks of the table that a restore makes when this is on record of the middle and of the
/// newest backup, and its warnings of what is not on record.
fn with_limits(records: [Option<&str>; 2]) -> (Vec<u8>, Vec<String>) {
    let chain = Chain::new();
    let disk = chain.disk();
    for (backup, record) in [&chain.older[1], &chain.newest].into_iter().zip(records) {
        if let Some(text) = record {
            disk.put(&backup.layout().backup_extra(backup.info.id), text.as_bytes());
        }
    }
    let mut witness = Witness::default();
    chain.newest.restore_to(&disk, Goal::default(), &mut witness).expect("restored");
    witness.warnings.retain(|warning| warning.contains("is not known"));
    (disk.bytes(&restored(TABLE)).expect("the table"), witness.warnings)
}

#[test]
fn from_a_limit_on_nothing_comes_from_backups_before_the_one_that_knows_it() {
    let none = r#"{"limit_blocks": {"files": {}}}"#;
    let at = |limit: u32| format!(r#"{{"limit_blocks": {{"files": {{"{TABLE}": {limit}}}}}}}"#);
    let zeros = || vec![0; PAGE];
    let whole = pages(&[(0, 0), (1, 1), (2, 2), (0, 3)]);
    let newest = [page(0, 0), zeros(), page(2, 2), zeros()].concat();
    let middle = [page(0, 0), page(1, 1), page(2, 2), zeros()].concat();
    for (records, expected) in [
        ([none, none], &whole),
        // What the backup itself brings, and what is newer, stands behind the limit as before it.
        ([none, &at(1)], &newest),
        ([&at(1), none], &middle),
        ([&at(3), &at(3)], &middle),
        ([&at(4), &at(4)], &whole),
        ([&at(u32::MAX), &at(u32::MAX)], &whole),
    ] {
        let (table, warnings) = with_limits(records.map(Some));
        assert!(table == *expected, "{records:?}");
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn a_chain_whose_limits_are_not_on_record_is_restored_with_one_warning_that_names_its_backups() {
    let none = r#"{"limit_blocks": {"files": {}}}"#;
    let unknown = r#"{"limit_blocks": {"unknown": "permission denied"}}"#;
    let [middle, newest] = ["20261123T062541", "20261123T062542"];
    for (records, named) in [
        ([None, None], vec![middle, newest]),
        ([Some(none), Some(unknown)], vec![newest, "permission denied"]),
        ([Some("{\"limit"), Some(none)], vec![middle]),
    ] {
        let (table, warnings) = with_limits(records);
        assert!(table == pages(&[(0, 0), (1, 1), (2, 2), (0, 3)]), "{records:?}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for name in [middle, newest, "permission denied"] {
            let says = warnings[0].contains(&format!("{name} ("))
                || warnings[0].contains(&format!("({name})"));
            assert_eq!(says, named.contains(&name), "{name}: {warnings:?}");
        }
    }
}

#[test]
fn an_error_of_the_disk_at_any_call_of_a_chain_leaves_a_cluster_or_nothing_like_one() {
    let chain = Chain::new();
    let before = chain.disk();
    let (calls, _) = calls_of(&chain, &before);
    for (at, call) in calls.iter().enumerate() {
        for errno in [Errno::NOSPC, Errno::IO] {
            if errno == Errno::NOSPC && only_looks(call) {
                continue;
            }
            let disk = before.after_kill(at as u64);
            disk.fail_call(at as u64, errno);
            let context = format!("{errno} at call {at}: {call}");
            match chain.newest.restore(&disk) {
                Ok(_) => assert_combined(&disk, &context),
                Err(_) => assert_no_harm(&chain, &disk.after_kill(0), &context),
            }
            if at % 8 == 0 {
                assert_can_be_repeated(&chain, &disk.after_kill(0), &context);
            }
        }
    }
}

#[test]
fn a_power_cut_at_any_call_of_a_chain_leaves_a_cluster_or_nothing_like_one() {
    let chain = Chain::new();
    let before = chain.disk();
    let (calls, first) = calls_of(&chain, &before);
    for (at, call) in calls.iter().enumerate().skip(first) {
        let disk = before.after_kill(at as u64);
        disk.power_loss_at_call(at as u64);
        let context = format!("power lost at call {at}: {call}");
        assert!(chain.newest.restore(&disk).is_err(), "{context}");
        for seed in 0..3 {
            let survived = disk.after_power_loss(at as u64 * 3 + seed);
            let context = format!("{context}, seed {seed}");
            assert_no_harm(&chain, &survived, &context);
            if at % 8 == 0 {
                assert_can_be_repeated(&chain, &survived, &context);
            }
        }
    }
    let done = before.after_kill(0);
    chain.newest.restore(&done).expect("restored");
    for seed in 0..8 {
        assert_combined(&done.after_power_loss(seed), "a restore that reported success");
    }
}
