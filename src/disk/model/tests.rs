//! The model must be at least as cruel as the real thing: a test that passes on a kind model
//! proves nothing.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;

use rustix::io::Errno;

use super::ModelDisk;
use crate::disk::{self, Disk};

const SEEDS: u64 = 64;

fn directory() -> &'static Path {
    Path::new("/repository")
}

fn disk() -> ModelDisk {
    let disk = ModelDisk::new(7);
    disk.put_directory(directory());
    disk
}

#[test]
fn a_synced_file_without_a_synced_name_may_be_gone_and_with_one_never_is() {
    let disk = disk();
    let path = directory().join("wal");
    let file = disk.create(&path, 0o600).unwrap();
    file.write_all_at(b"bytes", 0).unwrap();
    file.sync_data().unwrap();
    let survivors = |disk: &ModelDisk| -> BTreeSet<Option<Vec<u8>>> {
        (0..SEEDS).map(|seed| disk.after_power_loss(seed).bytes(&path)).collect()
    };
    assert_eq!(survivors(&disk), BTreeSet::from([None, Some(b"bytes".to_vec())]));
    disk.sync_directory(directory()).unwrap();
    assert_eq!(survivors(&disk), BTreeSet::from([Some(b"bytes".to_vec())]));
}

#[test]
fn unsynced_writes_survive_torn_and_out_of_order() {
    let disk = disk();
    let path = directory().join("wal");
    disk.put(&path, &[0; 8192]);
    let file = disk.open(&path).unwrap();
    file.write_all_vectored_at(&[IoSlice::new(&[1; 2048]), IoSlice::new(&[1; 2048])], 0).unwrap();
    file.write_all_at(&[2; 4096], 4096).unwrap();
    let images: Vec<Vec<u8>> =
        (0..SEEDS).map(|seed| disk.after_power_loss(seed).bytes(&path).unwrap()).collect();
    let later_without_earlier = |image: &&Vec<u8>| image[4096] == 2 && image[0] == 0;
    assert!(images.iter().any(|image| later_without_earlier(&image)), "always in order");
    assert!(images.iter().any(|image| image[0] != image[512]), "never torn at 512 bytes");
    assert!(images.iter().all(|image| image[0] == image[511]), "torn inside a sector");
    file.sync_data().unwrap();
    for seed in 0..SEEDS {
        let image = disk.after_power_loss(seed).bytes(&path).unwrap();
        assert_eq!((image[0], image[8191]), (1, 2), "seed={seed}");
    }
}

#[test]
fn after_a_failed_sync_a_good_one_does_not_bring_the_bytes_back() {
    let path = directory().join("wal");
    let new = vec![1; 16 << 10];
    let mut lost = 0;
    for seed in 0..SEEDS {
        let disk = ModelDisk::new(seed);
        disk.put(&path, &[0; 16 << 10]);
        let file = disk.open(&path).unwrap();
        file.write_all_at(&new, 0).unwrap();
        disk.fail_call(disk.calls(), Errno::IO);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert!(disk.bytes(&path).unwrap() == new, "the cache forgot them");
        lost += u64::from(disk.after_power_loss(1).bytes(&path).unwrap() != new);

        file.write_all_at(&new, 0).unwrap();
        file.sync_data().unwrap();
        assert!(disk.after_power_loss(1).bytes(&path).unwrap() == new, "seed={seed}");
    }
    assert!(lost > SEEDS / 2, "only {lost} of {SEEDS} were lost");
}

#[test]
fn a_file_that_moves_between_directories_is_never_in_none_of_them() {
    let disk = disk();
    disk.put_directory(Path::new("/archive"));
    let (from, to) = (directory().join("wal"), Path::new("/archive/wal"));
    disk.put(&from, b"bytes");
    disk.rename(&from, to).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let survived = disk.after_power_loss(seed);
        seen.insert((survived.bytes(&from).is_some(), survived.bytes(to).is_some()));
    }
    assert_eq!(seen, BTreeSet::from([(true, false), (true, true), (false, true)]));
}

#[test]
fn the_chosen_call_fails_with_the_chosen_error_and_no_other_does() {
    for fail_at in 0..4 {
        let disk = disk();
        disk.fail_call(fail_at, Errno::NOSPC);
        let path = directory().join("wal");
        let outcomes = [
            disk.create(&path, 0o600).map(|_| ()),
            disk.open(&path).and_then(|file| file.write_all_at(&[1; 64], 0)),
            disk.sync_directory(directory()),
        ];
        let failed: Vec<_> = outcomes.iter().filter_map(|result| result.as_ref().err()).collect();
        assert!(!failed.is_empty(), "fail_at={fail_at}: nothing failed");
        assert_eq!(failed.iter().filter(|error| error.is_full()).count(), 1, "fail_at={fail_at}");
    }
}

#[test]
fn after_the_power_is_lost_nothing_answers() {
    let disk = disk();
    disk.power_loss_at_call(1);
    let file = disk.create(&directory().join("wal"), 0o600).unwrap();
    file.sync_data().unwrap_err();
    file.length().unwrap_err();
    disk.stat(directory()).unwrap_err();
    assert_eq!(disk.calls(), 2);
}

#[test]
fn a_file_that_is_replaced_as_a_whole_is_old_or_new_after_a_power_cut_at_any_call() {
    let path = directory().join("backup.info");
    let run = |disk: &ModelDisk| disk::write_file(disk, &path, 0o644, b"new content");
    let counting = disk();
    run(&counting).unwrap();
    for at in 0..=counting.calls() {
        for seed in 0..SEEDS {
            let disk = disk();
            disk.put(&path, b"old");
            disk.power_loss_at_call(at);
            let result = run(&disk);
            let survived = disk.after_power_loss(seed).bytes(&path).expect("one of them");
            let expected: &[&[u8]] =
                if result.is_ok() { &[b"new content"] } else { &[b"old", b"new content"] };
            assert!(expected.contains(&survived.as_slice()), "at={at} seed={seed}");
        }
    }
}

#[test]
fn directories_that_were_created_durably_are_there_with_all_that_lead_to_them() {
    let path = Path::new("/a/b/c");
    let disk = ModelDisk::new(1);
    disk::create_directories(&disk, path, 0o755).unwrap();
    for seed in 0..SEEDS {
        let survived = disk.after_power_loss(seed);
        assert!(survived.stat(path).unwrap().is_some(), "seed={seed}");
    }
    disk::create_directories(&disk, path, 0o755).expect("again");
}

#[test]
fn a_sync_of_the_whole_disk_keeps_all_that_was_written_and_one_that_fails_may_keep_nothing() {
    let survivors = |disk: &ModelDisk| -> BTreeSet<Option<Vec<u8>>> {
        let path = directory().join("below/file");
        (0..SEEDS).map(|seed| disk.after_power_loss(seed).bytes(&path)).collect()
    };
    let written = |disk: &ModelDisk| {
        disk.create_directory(&directory().join("below"), 0o700).unwrap();
        let file = disk.create(&directory().join("below/file"), 0o600).unwrap();
        file.write_all_at(b"bytes", 0).unwrap();
    };
    let whole = BTreeSet::from([Some(b"bytes".to_vec())]);
    let good = disk();
    let watch = good.watch_file_system(directory()).unwrap().unwrap();
    written(&good);
    assert!(survivors(&good).contains(&None), "durable without a sync");
    watch.sync().unwrap();
    assert_eq!(survivors(&good), whole);

    let bad = disk();
    let watch = bad.watch_file_system(directory()).unwrap().unwrap();
    written(&bad);
    bad.fail_call(bad.calls(), Errno::IO);
    watch.sync().unwrap_err();
    assert_ne!(survivors(&bad), whole);

    assert!(disk().unwatchable().watch_file_system(directory()).unwrap().is_none());
}

#[test]
fn what_the_kernel_lost_is_told_to_who_watched_before_and_to_nobody_else() {
    let disk = disk();
    let before = disk.watch_file_system(directory()).unwrap().unwrap();
    let file = disk.create(&directory().join("file"), 0o600).unwrap();
    file.write_all_at(b"bytes", 0).unwrap();
    disk.fail_write_back();
    let later = disk.watch_file_system(directory()).unwrap().unwrap();
    later.sync().unwrap();
    before.sync().unwrap_err();
}
