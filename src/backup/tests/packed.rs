//! Archives that are packed on their way to the disk.

use rustix::io::Errno;

use super::*;
use crate::codec::{ArchiveFacts, Framing, StoredFile};

const WORDS: [&str; 3] = ["gzip", "zstd", "lz4"];

fn form(word: &str) -> Form {
    Form::Archives(Framing::choose(word, None, Some(2)).expect("known"))
}

#[test]
fn a_packed_archive_holds_what_the_plain_one_would_and_says_how_long_that_is() {
    for (word, suffix) in WORDS.into_iter().zip([".gz", ".zst", ".lz4"]) {
        let (disk, sample) = (ModelDisk::new(0), Sample::new());
        let stored = stored_as(&disk, &sample, form(word)).expect("a good backup");
        judge(&stored, sample.span(), SYSTEM, true).expect("as listed");
        let data = layout().data(id());
        places::publish(&disk, &data, &stored.parts).expect("a good disk");
        for (name, bytes) in sample.files() {
            let packed = if name == Manifest::FILE_NAME { "" } else { suffix };
            let path = data.join(format!("{name}{packed}"));
            let open = || disk.open_read(&path).unwrap_or_else(|_| panic!("{}", path.display()));
            if name != Manifest::FILE_NAME {
                let facts = ArchiveFacts::of(open().as_ref()).expect("readable");
                assert_eq!(facts.plain_length, Some(bytes.len() as u64), "{word}");
                assert_eq!(facts.codec.word(), Some(word));
            }
            let content = StoredFile::of_archive(open()).expect("readable");
            assert!(content.read_all(1 << 30).expect("whole") == bytes, "{word} {name}");
        }
    }
}

#[test]
fn a_call_that_fails_ends_a_packed_backup_and_its_threads_and_leaves_no_file() {
    let sample = Sample::new();
    for word in WORDS {
        let disk = ModelDisk::new(0);
        stored_as(&disk, &sample, form(word)).expect("nothing fails");
        for call in 0..disk.calls() {
            let disk = ModelDisk::new(call);
            disk.fail_call(call, Errno::NOSPC);
            let Err(error) = stored_as(&disk, &sample, form(word)) else { continue };
            assert!(matches!(error, BackupError::Disk(_)), "{error}");
            places::clear(&disk, &layout().data(id()));
            assert_eq!(disk.files(), [] as [std::path::PathBuf; 0], "{word} {call}");
        }
    }
}

#[test]
fn packed_archives_are_durable_before_they_have_their_names() {
    let sample = Sample::new();
    let write = |disk: &ModelDisk| -> Result<(), BackupError> {
        let stored = stored_as(disk, &sample, form("zstd"))?;
        Ok(places::publish(disk, &layout().data(id()), &stored.parts)?)
    };
    let disk = ModelDisk::new(0);
    write(&disk).expect("nothing fails");
    let path = layout().data(id()).join("base.tar.zst");
    let whole = disk.bytes(&path).expect("it is there");
    for call in 0..disk.calls() {
        for seed in 0..3 {
            let disk = ModelDisk::new(seed);
            disk.power_loss_at_call(call);
            let _ = write(&disk);
            let survived = disk.after_power_loss(seed).bytes(&path);
            assert!(survived.is_none_or(|bytes| bytes == whole), "call={call} seed={seed}");
        }
    }
}
