//! The same promises for segments that are packed on their way.

use std::io::Write;

use rustix::io::Errno;

use super::*;
use crate::codec::{Codec, Packing};
use crate::config::CompressionLevel;

fn settings(word: &str, threads: usize) -> ArchiveSettings {
    let packing = Packing::choose(Some(word), None).expect("written");
    ArchiveSettings { packing, threads, recycle: true, keep_pace: false }
}

fn sweep_packed(disk: &ModelDisk, threads: usize) -> Result<Swept, ArchiveError> {
    archiver(disk, settings("zstd", threads)).sweep_locked(Inbox::Streaming, None)
}

fn stored(disk: &ModelDisk, name: &str) -> Vec<u8> {
    disk.bytes(&layout().wal(name.parse().expect("a name"))).expect("archived")
}

#[test]
fn a_packed_segment_has_the_line_mode_and_time_that_barman_gives_it() {
    for word in ["zstd", "gzip", "lz4"] {
        let disk = disk();
        put(&disk, SEGMENT, 7);
        let raw = Disk::stat(&disk, &layout().streaming().join(SEGMENT)).expect("stat");
        let raw = raw.expect("there");
        let mut archiver = archiver(&disk, settings(word, 1));
        archiver.sweep_locked(Inbox::Streaming, None).expect("archived");
        let bytes = stored(&disk, SEGMENT);
        assert_eq!(Codec::of_wal(&bytes).word(), Some(word));
        assert!(archived(&disk, SEGMENT) == Some(vec![7; 1 << 20]), "{word}");
        let path = layout().wal(SEGMENT.parse().expect("a name"));
        let stat = Disk::stat(&disk, &path).expect("stat").expect("there");
        assert_eq!((stat.mode, stat.modified), (raw.mode, raw.modified));
        let line = String::from_utf8(disk.bytes(&layout().xlogdb()).expect("lines"));
        let line = line.expect("text");
        let columns: Vec<&str> = line.trim_end().split('\t').collect();
        let length = bytes.len().to_string();
        assert_eq!(
            [columns[0], columns[1], columns[3], columns[4]],
            [SEGMENT, &length, word, "None"]
        );
        let left =
            disk.files().into_iter().filter(|path| path.to_string_lossy().contains("compressed"));
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn history_files_and_labels_are_archived_as_they_are() {
    let disk = disk();
    disk.put(&layout().streaming().join("00000002.history"), b"1\t0/B000100\tno\n");
    sweep_packed(&disk, 1).expect("archived");
    assert_eq!(stored(&disk, "00000002.history"), b"1\t0/B000100\tno\n");
}

#[test]
fn a_segment_that_comes_again_is_compared_by_its_content() {
    let disk = disk();
    for _ in 0..2 {
        put(&disk, SEGMENT, 1);
        let swept = sweep_packed(&disk, 1).expect("archived");
        assert_eq!(swept.duplicates, []);
        assert_eq!(lines(&disk), [SEGMENT]);
    }
    put(&disk, SEGMENT, 2);
    let swept = sweep_packed(&disk, 1).expect("swept");
    assert_eq!(swept.duplicates.len(), 1);
    assert!(archived(&disk, SEGMENT) == Some(vec![1; 1 << 20]));
    // One that is damaged is not the same as what comes.
    let path = layout().wal(SEGMENT.parse().expect("a name"));
    let half = stored(&disk, SEGMENT).len() / 2;
    disk.put(&path, &stored(&disk, SEGMENT)[..half]);
    put(&disk, SEGMENT, 1);
    assert_eq!(sweep_packed(&disk, 1).expect("swept").duplicates.len(), 1);
}

#[test]
fn a_segment_that_comes_packed_already_stays_as_it_came() {
    let disk = disk();
    put(&disk, SEGMENT, 1);
    sweep_packed(&disk, 1).expect("archived");
    let packed = stored(&disk, SEGMENT);
    disk.put(&layout().incoming().join(SECOND), &packed);
    let mut archiver = archiver(&disk, settings("gzip", 1));
    archiver.sweep_locked(Inbox::Incoming, None).expect("archived");
    assert!(stored(&disk, SECOND) == packed);
    assert_eq!(lines(&disk), [SEGMENT, SECOND]);
}

#[test]
fn the_file_of_a_packed_segment_is_left_for_the_receiver_and_its_old_name_is_gone_for_good() {
    let disk = two_segments();
    sweep_packed(&disk, 1).expect("archived");
    let recycled = layout().streaming().join("recycled.tmp");
    assert!(disk.bytes(&recycled) == Some(vec![2; 1 << 20]));
    let left: Vec<_> =
        disk.files().into_iter().filter(|path| path.starts_with(layout().streaming())).collect();
    assert_eq!(left, [recycled]);
    for seed in 0..8 {
        let survivor = disk.after_power_loss(seed);
        for name in [SEGMENT, SECOND] {
            assert_eq!(survivor.bytes(&layout().streaming().join(name)), None, "{name}");
        }
    }
}

#[test]
fn several_threads_pack_and_the_lines_stand_in_order() {
    let disk = disk();
    let names: Vec<String> = (0..12).map(|n| format!("0000000100000000000000{n:02X}")).collect();
    for (fill, name) in names.iter().enumerate() {
        put(&disk, name, fill as u8);
    }
    let swept = sweep_packed(&disk, 3).expect("archived");
    assert_eq!(swept.stored.len(), names.len());
    assert_eq!(lines(&disk), names);
    for (fill, name) in names.iter().enumerate() {
        assert!(archived(&disk, name) == Some(vec![fill as u8; 1 << 20]), "{name}");
    }
}

#[test]
fn a_pile_is_packed_faster_until_it_is_gone_and_only_beside_a_receiver_with_a_free_level() {
    let text: Vec<u8> =
        (0u64..).flat_map(|n| format!("{} ", n * n).into_bytes()).take(1 << 20).collect();
    let packed = |packing: Packing| {
        let mut encoder = packing.encoder(text.len() as u64, Vec::new()).expect("an encoder");
        encoder.write_all(&text).expect("packed");
        encoder.finish().expect("whole")
    };
    let name = |n: u32| format!("0000000100000000000000{n:02X}");
    let stored_as = |settings: ArchiveSettings| {
        let disk = disk();
        let mut archiver = archiver(&disk, settings);
        let mut next = 0;
        [1, 5, 2].map(|count| {
            let names: Vec<String> = (next..next + count).map(name).collect();
            next += count;
            for name in &names {
                disk.put(&layout().streaming().join(name), &text);
            }
            archiver.sweep_locked(Inbox::Streaming, None).expect("archived");
            let mut kinds: Vec<Vec<u8>> = names.iter().map(|name| stored(&disk, name)).collect();
            kinds.dedup();
            assert_eq!(kinds.len(), 1, "one sweep, one level");
            kinds.remove(0)
        })
    };
    let usual = settings("zstd", 2);
    let packing = usual.packing.expect("zstd");
    let (small, fast) = (packed(packing), packed(packing.hurried()));
    assert!(small.len() < fast.len());
    let beside = ArchiveSettings { keep_pace: true, ..usual };
    assert!(stored_as(beside) == [&small, &fast, &small].map(Vec::clone));
    assert!(stored_as(usual) == [&small, &small, &small].map(Vec::clone));
    let level = Some(CompressionLevel::Low);
    let chosen = Packing::choose(Some("zstd"), level).expect("written");
    let beside = ArchiveSettings { packing: chosen, ..beside };
    assert!(stored_as(beside) == [&small, &small, &small].map(Vec::clone));
}

#[test]
fn a_power_cut_at_any_call_loses_no_packed_segment_and_the_next_sweep_heals() {
    for (threads, seeds) in [(1, 3), (2, 1)] {
        let prepared = two_segments();
        let counting = prepared.after_kill(0);
        sweep_packed(&counting, threads).expect("archived");
        for at in 0..counting.calls() {
            for seed in 0..seeds {
                let disk = prepared.after_kill(seed);
                disk.power_loss_at_call(at);
                // With two threads the last calls may come in another order.
                let _ = sweep_packed(&disk, threads);
                let what = format!("threads={threads} at={at} seed={seed}");
                check_packed(&disk.after_power_loss(seed), &what);
            }
        }
    }
}

#[test]
fn an_error_at_any_call_loses_no_packed_segment_and_the_next_sweep_heals() {
    let prepared = two_segments();
    let counting = prepared.after_kill(0);
    sweep_packed(&counting, 1).expect("archived");
    for at in 0..counting.calls() {
        for error in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
            let disk = prepared.after_kill(at);
            disk.fail_call(at, error);
            let _ = sweep_packed(&disk, 1);
            let survivor = match error {
                Errno::IO => disk.after_power_loss(at),
                _ => disk.after_kill(at),
            };
            check_packed(&survivor, &format!("at={at} error={error:?}"));
        }
    }
}

fn check_packed(disk: &ModelDisk, what: &str) {
    let swept = check_survivor(disk, what, |disk| sweep_packed(disk, 1));
    assert_eq!(swept.duplicates, [], "{what}");
    let helper = |path: &PathBuf| path.extension().is_some_and(|e| e == "compressed");
    assert_eq!(disk.files().iter().filter(|path| helper(path)).count(), 0, "{what}: helpers");
}
