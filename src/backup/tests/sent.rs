//! Archives that the server has compressed: stored as they come, checked all the same.

use super::*;
use crate::backup::Sent;
use crate::wire::CompressionAlgorithm;

const ALGORITHMS: [CompressionAlgorithm; 3] =
    [CompressionAlgorithm::Gzip, CompressionAlgorithm::Lz4, CompressionAlgorithm::Zstd];

fn sent(algorithm: CompressionAlgorithm) -> Sent {
    Sent { algorithm, level: None, workers: None }
}

/// What the writer makes of the sample, compressed as a server does it.
fn stored_sent(
    disk: &ModelDisk,
    sample: &Sample,
    form: Form,
    damage: impl Fn(&mut Vec<u8>),
) -> Result<Stored, BackupError> {
    let algorithm = form.sent().expect("it comes compressed").algorithm;
    let data = places::create(disk, &layout(), id())?;
    let (mut sender, mut receiver, _) = queue();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for job in sample.compressed_jobs(algorithm, damage) {
            sender.push(job).await.expect("the sample fits");
        }
    });
    drop(sender);
    Writer::new(Arc::new(disk.clone()), data, form, members()).run(&mut receiver)
}

#[test]
fn what_the_server_compressed_is_stored_as_it_came_and_what_is_in_it_is_known() {
    for algorithm in ALGORITHMS {
        let (disk, sample) = (ModelDisk::new(0), Sample::new());
        let form = Form::AsSent(sent(algorithm));
        let stored = stored_sent(&disk, &sample, form, |_| {}).expect("a good backup");
        judge(&stored, sample.span(), SYSTEM, true).expect("as listed");
        for ((name, plain), bytes) in sample.files().into_iter().zip([SPACE, BASE]) {
            assert_eq!(name, bytes);
            let stored_name = format!("{name}{}", algorithm.suffix());
            let part = places::part_path(&layout().data(id()), &stored_name);
            let expected = sample.compressed(algorithm, &plain);
            assert!(disk.bytes(&part) == Some(expected), "{stored_name}");
            let length = (stored_name, plain.len() as u64);
            assert!(stored.plain_lengths.contains(&length), "{:?}", stored.plain_lengths);
        }
    }
}

#[test]
fn what_comes_compressed_is_stored_as_a_directory_where_that_is_wanted() {
    let (disk, sample) = (ModelDisk::new(0), Sample::plain());
    let form = Form::Directory(Some(sent(CompressionAlgorithm::Zstd)));
    let stored = stored_sent(&disk, &sample, form, |_| {}).expect("a good backup");
    judge(&stored, sample.span(), SYSTEM, true).expect("as listed");
    places::publish(&disk, &layout().data(id()), &stored.parts).expect("a good disk");
    for (name, bytes) in sample.contents() {
        assert!(disk.bytes(&layout().backup(id()).join(&name)) == Some(bytes), "{name}");
    }
}

#[test]
fn a_compressed_archive_that_is_damaged_cut_off_or_not_what_is_listed_ends_the_backup() {
    let good = Sample::new();
    for algorithm in ALGORITHMS {
        let form = Form::AsSent(sent(algorithm));
        let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() - 5);
        let longer: fn(&mut Vec<u8>) = |bytes| bytes.extend(b"and more than that");
        let noise: fn(&mut Vec<u8>) = |bytes| bytes.fill(0xA5);
        for damage in [cut, longer, noise] {
            let disk = ModelDisk::new(0);
            let refused = stored_sent(&disk, &good, form, damage).expect_err("it is broken");
            assert!(matches!(refused, BackupError::Unpack { .. }), "{refused}");
        }
        let disk = ModelDisk::new(0);
        let changed = Sample::new().with("base/1/1259", b"other content");
        let mut stored = stored_sent(&disk, &changed, form, |_| {}).expect("well-formed");
        stored.manifest = Some(Manifest::parse(&good.manifest()));
        let judged = judge(&stored, good.span(), SYSTEM, true);
        assert!(matches!(judged, Err(BackupError::Differs(_))));
    }
}

#[test]
fn a_failing_disk_ends_the_thread_that_unpacks() {
    let form = Form::Directory(Some(sent(CompressionAlgorithm::Gzip)));
    let sample = Sample::plain();
    let disk = ModelDisk::new(0);
    stored_sent(&disk, &sample, form, |_| {}).expect("nothing fails");
    for call in 0..disk.calls() {
        let disk = ModelDisk::new(call);
        disk.fail_call(call, Errno::NOSPC);
        if stored_sent(&disk, &sample, form, |_| {}).is_err() {
            // Nobody writes any more: what is cleared stays cleared.
            places::clear(&disk, &layout().data(id()));
            assert_eq!(disk.files(), [] as [std::path::PathBuf; 0], "{call}");
        }
    }
}
