//! What `archive_command` delivers is believed when it is whole, and not before.

use std::io::Write;

use super::*;
use crate::wal::SystemIdentifier;

const NEXT: &str = "00000001000000000000000B";
const SYSTEM: u64 = 0x1234_5678_9ABC_DEF0;
const MIB: usize = 1 << 20;

/// A segment of 1 MiB of release 15, as far as its first page says.
fn segment(number: u64, system: u64, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; MIB];
    bytes[0..2].copy_from_slice(&0xD110u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&2u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
    bytes[8..16].copy_from_slice(&(number << 20).to_le_bytes());
    bytes[16..24].fill(0);
    bytes[24..32].copy_from_slice(&system.to_le_bytes());
    bytes[32..36].copy_from_slice(&(MIB as u32).to_le_bytes());
    bytes[36..40].copy_from_slice(&8192u32.to_le_bytes());
    bytes
}

fn deliver(disk: &ModelDisk, name: &str, bytes: &[u8]) {
    disk.put(&layout().incoming().join(name), bytes);
}

fn is_waiting(disk: &ModelDisk, name: &str) -> bool {
    disk.bytes(&layout().incoming().join(name)).is_some()
}

fn run(disk: &ModelDisk) -> Result<Swept, ArchiveError> {
    let mut archiver = archiver(disk, ArchiveSettings::default());
    let batch = archiver.batch(Inbox::Incoming, None)?;
    archiver.archive_batch(batch)
}

fn said(swept: &Swept) -> Vec<String> {
    swept.refused.iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_of_wal_file_is_archived_in_order_and_nothing_is_left() {
    let disk = disk();
    let label = format!("{SEGMENT}.00000028.backup");
    let partial = format!("{NEXT}.partial");
    deliver(&disk, &partial, &segment(0xB, SYSTEM, 2));
    deliver(&disk, "00000002.history", b"1\t0/B00100\tno recovery target specified\n");
    deliver(&disk, &label, b"START WAL LOCATION: 0/A00028\n");
    deliver(&disk, SEGMENT, &segment(0xA, SYSTEM, 1));
    deliver(&disk, "00000001000000000000000C.tmp", b"on its way");
    deliver(&disk, ".4711-00000001000000000000000C", b"on its way");
    let swept = run(&disk).expect("archived");
    assert_eq!(said(&swept), Vec::<String>::new());
    let order = [SEGMENT, label.as_str(), partial.as_str(), "00000002.history"];
    let batch: Vec<String> = order.iter().map(|name| (*name).to_owned()).collect();
    let mut entered = lines(&disk);
    entered.sort();
    assert_eq!(entered, batch);
    assert!(archived(&disk, SEGMENT) == Some(segment(0xA, SYSTEM, 1)));
    let left = Disk::list(&disk, layout().incoming()).expect("listed");
    assert_eq!(left.len(), 2, "{left:?}");
    let stage = layout().state().join("incoming");
    assert_eq!(Disk::list(&disk, &stage).expect("listed"), []);
}

#[test]
fn a_file_that_is_still_being_copied_stays_and_keeps_none_of_the_others() {
    let disk = disk();
    let mut growing = segment(0xA, SYSTEM, 1);
    growing[32..36].copy_from_slice(&(2 * MIB as u32).to_le_bytes());
    growing[8..16].copy_from_slice(&(0xAu64 << 21).to_le_bytes());
    deliver(&disk, SEGMENT, &growing);
    deliver(&disk, "00000001000000000000000C", b"");
    deliver(&disk, NEXT, &segment(0xB, SYSTEM, 2));
    let swept = run(&disk).expect("archived");
    assert_eq!(lines(&disk), [NEXT]);
    assert!(is_waiting(&disk, SEGMENT), "half a segment");
    let said = said(&swept);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].ends_with(&format!("{SEGMENT} is not whole: 1048576 bytes are there so far")));

    growing.resize(2 * MIB, 1);
    deliver(&disk, SEGMENT, &growing);
    run(&disk).expect("archived");
    assert!(archived(&disk, SEGMENT) == Some(growing));
}

#[test]
fn wal_of_another_cluster_or_under_another_name_is_kept_out_and_named() {
    let disk = disk();
    let identity = crate::repository::Identity {
        system_identifier: SystemIdentifier(SYSTEM),
        version: "15".to_owned(),
    };
    disk.put(&layout().identity(), identity.render().as_bytes());
    deliver(&disk, SEGMENT, &segment(0xA, SYSTEM + 1, 1));
    deliver(&disk, NEXT, &segment(0xC, SYSTEM, 1));
    deliver(&disk, "00000002.history", b"this is no history\n");
    let swept = run(&disk).expect("swept");
    let said = said(&swept);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("is of system"), "{said:?}");
    assert!(said[1].ends_with("is not what its name says"), "{said:?}");
    assert!(said[2].ends_with("00000002.history is not what its name says"), "{said:?}");
    assert_eq!(lines(&disk), Vec::<String>::new());
    assert!(is_waiting(&disk, SEGMENT) && is_waiting(&disk, NEXT));
}

#[test]
fn what_the_server_has_packed_is_kept_as_it_is_if_it_is_whole() {
    let disk = disk();
    let raw = segment(0xA, SYSTEM, 1);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&raw).expect("memory");
    let packed = encoder.finish().expect("memory");
    deliver(&disk, SEGMENT, &packed[..packed.len() - 3]);
    let swept = run(&disk).expect("swept");
    assert!(said(&swept)[0].contains("is not whole"), "{:?}", said(&swept));
    deliver(&disk, SEGMENT, &packed);
    run(&disk).expect("archived");
    let path = layout().wal(SEGMENT.parse().expect("a name"));
    assert!(disk.bytes(&path) == Some(packed));
    let line = String::from_utf8(disk.bytes(&layout().xlogdb()).expect("lines")).expect("text");
    assert!(line.ends_with("\tgzip\tNone\n"), "{line}");
}

#[test]
fn a_command_that_writes_the_file_again_does_not_write_into_the_archive() {
    let prepared = disk();
    deliver(&prepared, SEGMENT, &segment(0xA, SYSTEM, 1));
    let probe = prepared.after_kill(0);
    run(&probe).expect("archived");
    let path = layout().incoming().join(SEGMENT);
    let removed = format!("remove {}", path.display());
    let at = probe.history().iter().position(|call| *call == removed).expect("it is removed");
    // Killed in between: both are there, and the server repeats its command.
    let disk = prepared.after_kill(0);
    disk.fail_call(at as u64, Errno::IO);
    run(&disk).expect_err("the original cannot be removed");
    Disk::open(&disk, &path).and_then(|file| file.set_length(0)).expect("written again");
    assert!(archived(&disk, SEGMENT) == Some(segment(0xA, SYSTEM, 1)));
    run(&disk).expect("swept");
    assert!(is_waiting(&disk, SEGMENT), "empty, and for the next run");
    deliver(&disk, SEGMENT, &segment(0xA, SYSTEM, 1));
    run(&disk).expect("known");
    assert!(!is_waiting(&disk, SEGMENT));
    assert_eq!(lines(&disk), [SEGMENT]);
}

#[test]
fn an_original_that_was_written_again_after_it_was_copied_is_not_removed() {
    let disk = disk();
    deliver(&disk, SEGMENT, &segment(0xA, SYSTEM, 1));
    let path = layout().incoming().join(SEGMENT);
    let before = Disk::stat(&disk, &path).expect("stat").expect("there");
    deliver(&disk, SEGMENT, &segment(0xA, SYSTEM, 2));
    let archiver = archiver(&disk, ArchiveSettings::default());
    let name = SEGMENT.parse().expect("a name");
    archiver.take_original(name, &before).expect("looked at");
    assert!(is_waiting(&disk, SEGMENT));
    let now = Disk::stat(&disk, &path).expect("stat").expect("there");
    archiver.take_original(name, &now).expect("removed");
    assert!(!is_waiting(&disk, SEGMENT));
}

#[test]
fn other_content_under_an_archived_name_goes_to_errors_and_out_of_the_way() {
    let disk = disk();
    deliver(&disk, SEGMENT, &segment(0xA, SYSTEM, 1));
    run(&disk).expect("archived");
    deliver(&disk, SEGMENT, &segment(0xA, SYSTEM, 2));
    let swept = run(&disk).expect("swept");
    let [(_, moved)] = swept.duplicates.as_slice() else { panic!("no duplicate: {swept:?}") };
    assert!(moved.starts_with(layout().errors()), "{}", moved.display());
    assert!(disk.bytes(moved) == Some(segment(0xA, SYSTEM, 2)));
    assert!(archived(&disk, SEGMENT) == Some(segment(0xA, SYSTEM, 1)));
    assert!(!is_waiting(&disk, SEGMENT));
}

#[test]
fn what_is_no_wal_goes_to_errors() {
    let disk = disk();
    deliver(&disk, "junkfile", b"junk");
    deliver(&disk, "00000001000000000000000a", b"no name of a server");
    let archiver = archiver(&disk, ArchiveSettings::default());
    let unknown = archiver.put_unknown_aside(Inbox::Incoming).expect("moved");
    assert_eq!(unknown, ["00000001000000000000000a", "junkfile"]);
    let errors = Disk::list(&disk, layout().errors()).expect("listed");
    let is_unknown = |name: &str| name.starts_with("junkfile.2") && name.ends_with("Z.unknown");
    assert!(errors.iter().any(|entry| entry.name.to_str().is_some_and(is_unknown)), "{errors:?}");
    assert!(!is_waiting(&disk, "junkfile"));
}

#[test]
fn a_batch_is_no_larger_than_configured_and_leaves_the_open_end_of_the_stream() {
    let disk = disk();
    for name in [SEGMENT, NEXT, "00000001000000000000000C"] {
        put(&disk, name, 1);
    }
    let archiver = archiver(&disk, ArchiveSettings::default());
    let batch = |at_most| {
        let batch = archiver.batch(Inbox::Streaming, at_most).expect("listed");
        (batch.names.iter().map(ToString::to_string).collect::<Vec<_>>(), batch.is_part)
    };
    // Nothing behind the last one says where a receiver goes on.
    assert_eq!(batch(None), (vec![SEGMENT.to_owned(), NEXT.to_owned()], true));
    assert_eq!(batch(Some(1)), (vec![SEGMENT.to_owned()], true));
    put(&disk, "00000001000000000000000D.partial", 1);
    assert_eq!(batch(None).0.len(), 3);
    assert_eq!(batch(Some(5)).0.len(), 3);
    deliver(&disk, SEGMENT, &segment(0xA, SYSTEM, 1));
    let whole = archiver.batch(Inbox::Incoming, Some(1)).expect("listed");
    assert!(!whole.is_part);
}

fn two_delivered() -> ModelDisk {
    let disk = disk();
    deliver(&disk, SEGMENT, &segment(0xA, SYSTEM, 1));
    deliver(&disk, NEXT, &segment(0xB, SYSTEM, 2));
    disk
}

fn check_delivered(disk: &ModelDisk, what: &str) {
    let expected = [(SEGMENT, segment(0xA, SYSTEM, 1)), (NEXT, segment(0xB, SYSTEM, 2))];
    for (name, bytes) in &expected {
        let here = disk.bytes(&layout().incoming().join(name)).is_some_and(|here| here == *bytes);
        let place = layout().wal(name.parse().expect("a name"));
        let there = disk.bytes(&place);
        let is_whole = there.as_ref() == Some(bytes);
        assert!(here || is_whole, "{what}: {name} is lost");
        assert!(there.is_none() || is_whole, "{what}: {name} is archived incomplete");
    }
    run(disk).unwrap_or_else(|error| panic!("{what}: does not heal: {error}"));
    for (name, bytes) in expected {
        assert!(archived(disk, name) == Some(bytes), "{what}: {name}");
        assert_eq!(lines(disk).iter().filter(|line| *line == name).count(), 1, "{what}: {name}");
        assert!(!is_waiting(disk, name), "{what}: {name} stays");
    }
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_that_was_delivered_and_the_next_run_heals() {
    let prepared = two_delivered();
    let counting = prepared.after_kill(0);
    run(&counting).expect("archived");
    for at in 0..counting.calls() {
        for seed in 0..6 {
            let disk = prepared.after_kill(seed);
            disk.power_loss_at_call(at);
            run(&disk).expect_err("the power was cut");
            check_delivered(&disk.after_power_loss(seed), &format!("at={at} seed={seed}"));
        }
    }
}

#[test]
fn an_error_or_a_kill_at_any_call_loses_nothing_that_was_delivered() {
    let prepared = two_delivered();
    let counting = prepared.after_kill(0);
    run(&counting).expect("archived");
    for at in 0..counting.calls() {
        for error in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            let disk = prepared.after_kill(at);
            disk.fail_call(at, error);
            let _ = run(&disk);
            check_delivered(&disk.after_kill(at), &format!("at={at} error={error:?} killed"));
            check_delivered(&disk.after_power_loss(at), &format!("at={at} error={error:?}"));
        }
    }
}
