//! What goes past the page cache is the same file.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::backup::direct::{BUFFER_BYTES, BUFFERS, DirectTail};
use crate::disk::{Disk, DiskError, ModelDisk};

const PATH: &str = "/archive";

/// Bytes that tell where they stand.
fn content(length: usize) -> Vec<u8> {
    (0..length / 4 + 1).flat_map(|n| (n as u32).to_le_bytes()).take(length).collect()
}

/// Writes in pieces that share no divisor with a buffer. `past`: past the page cache.
fn write(disk: &ModelDisk, bytes: &[u8], past: bool) -> Result<u64, DiskError> {
    let path = Path::new(PATH);
    let file = disk.create(path, 0o600)?;
    let direct = if past { disk.open_direct(path)? } else { None };
    let mut tail = DirectTail::start(file, direct).expect("a thread");
    for piece in bytes.chunks(300_007) {
        tail.write(piece)?;
    }
    let length = tail.finish()?;
    disk.sync_directory(Path::new("/"))?;
    Ok(length)
}

#[test]
fn every_length_around_a_buffer_is_durable_as_a_whole_through_either_door() {
    let around = [1, 2, BUFFERS + 3].map(|buffers| buffers * BUFFER_BYTES);
    let lengths = around.into_iter().flat_map(|length| [length - 1, length, length + 1]);
    for length in [0, 1, 4096].into_iter().chain(lengths) {
        for past in [true, false] {
            let (disk, bytes) = (ModelDisk::new(length as u64), content(length));
            assert_eq!(write(&disk, &bytes, past).expect("nothing fails"), length as u64);
            let survived = disk.after_power_loss(7).bytes(Path::new(PATH));
            assert!(survived.as_deref() == Some(&bytes[..]), "{length} bytes, {past}");
        }
    }
}

#[test]
fn a_call_that_fails_is_the_error_of_the_archive_and_nothing_hangs() {
    // Long enough that all buffers are under way when it fails.
    let bytes = content((BUFFERS + 4) * BUFFER_BYTES + 5);
    let disk = ModelDisk::new(0);
    write(&disk, &bytes, true).expect("nothing fails");
    for call in 0..disk.calls() {
        let disk = ModelDisk::new(call);
        disk.fail_call(call, Errno::IO);
        let error = write(&disk, &bytes, true).expect_err("a call has failed");
        assert!(format!("{error:?}").contains("code: 5,"), "{call}: {error:?}");
    }
}

#[test]
fn a_file_system_that_refuses_a_direct_write_is_written_through_its_page_cache() {
    let bytes = content(3 * BUFFER_BYTES + 5);
    for call in 2..5 {
        let disk = ModelDisk::new(0);
        disk.fail_call(call, Errno::INVAL);
        assert_eq!(write(&disk, &bytes, true).expect("another way"), bytes.len() as u64);
        assert!(disk.after_power_loss(1).bytes(Path::new(PATH)) == Some(bytes.clone()), "{call}");
    }
}

#[test]
fn an_archive_that_is_given_up_is_not_written_any_more() {
    let disk = ModelDisk::new(0);
    let file = disk.create(Path::new(PATH), 0o600).expect("created");
    let mut tail = DirectTail::start(file, None).expect("a thread");
    disk.hold("write");
    tail.write(&content(2 * BUFFER_BYTES + 1)).expect("taken");
    disk.wait_until_held();
    let given_up = std::thread::spawn(move || drop(tail));
    // Time for one that does not wait to show it.
    std::thread::sleep(Duration::from_millis(100));
    assert!(!given_up.is_finished(), "a write is under way");
    disk.release();
    given_up.join().expect("it ends");
    let calls = disk.calls();
    disk.remove_file(Path::new(PATH)).expect("removed");
    assert_eq!(disk.calls(), calls + 1);
}
