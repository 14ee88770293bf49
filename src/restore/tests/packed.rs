//! Archives that are packed, by this program or by another.

use std::io::Write;

use super::*;
use crate::codec::{Framing, ParallelEncoder};

const WORDS: [&str; 3] = ["zstd", "gzip", "lz4"];

/// As a backup packs it.
fn frames(word: &str, plain: &[u8]) -> Vec<u8> {
    let framing = Framing::choose(word, None, Some(2)).expect("known").expect("a codec");
    let mut encoder = ParallelEncoder::start(framing).expect("threads");
    let (mut packed, mut rest) = (Vec::new(), plain);
    while !rest.is_empty() {
        rest = &rest[encoder.push(rest).expect("taken")..];
        while let Some(frame) = encoder.next_frame().expect("packed") {
            packed.extend_from_slice(frame);
        }
    }
    encoder.close().expect("closed");
    while let Some(frame) = encoder.next_frame().expect("packed") {
        packed.extend_from_slice(frame);
    }
    packed.extend(encoder.index());
    packed
}

/// As one stream without an index: what Barman's tools write.
fn one_stream(word: &str, plain: &[u8]) -> Vec<u8> {
    let packing = Packing::choose(Some(word), None).expect("known").expect("a codec");
    let mut encoder = packing.encoder(plain.len() as u64, Vec::new()).expect("begun");
    encoder.write_all(plain).expect("packed");
    encoder.finish().expect("finished")
}

/// The fixture's archives, packed, under the names that Barman gives them.
fn packed(fixture: &Fixture, word: &str, pack: fn(&str, &[u8]) -> Vec<u8>) -> ModelDisk {
    let disk = fixture.packed();
    let suffix = match word {
        "zstd" => "zst",
        "gzip" => "gz",
        word => word,
    };
    for name in ["base.tar", "16390.tar"] {
        let path = fixture.data().join(name);
        let plain = disk.bytes(&path).expect("an archive");
        disk.remove_file(&path).expect("removed");
        disk.put(&path.with_extension(format!("tar.{suffix}")), &pack(word, &plain));
    }
    disk
}

#[test]
fn archives_are_restored_the_same_whatever_packed_them() {
    let fixture = Fixture::new();
    for word in WORDS {
        for pack in [frames, one_stream] {
            let disk = packed(&fixture, word, pack);
            fixture.restore(&disk).expect("restored");
            assert_complete(&disk, word);
        }
    }
}

#[test]
fn the_room_that_a_packed_backup_needs_is_that_of_its_content() {
    let mut fixture = Fixture::new();
    // Packed it is nothing; the model disk has a terabyte.
    fixture.set("base/1/1259", &vec![0; 8 << 20]);
    for word in WORDS {
        let disk = packed(&fixture, word, frames);
        let file =
            disk.files().into_iter().find(|path| path.to_string_lossy().contains("base.tar"));
        let file = disk.open_read(&file.expect("an archive")).expect("readable");
        let facts = crate::codec::ArchiveFacts::of(file.as_ref()).expect("readable");
        assert!(file.length().expect("known") < 1 << 20, "{word}");
        assert!(facts.plain_length.expect("it says so") > 8 << 20, "{word}");
    }
}

#[test]
fn a_flipped_bit_of_a_packed_archive_is_an_error_or_changes_nothing() {
    let fixture = Fixture::new();
    let mut found = 0;
    for word in WORDS {
        let good = packed(&fixture, word, frames);
        let path =
            good.files().into_iter().find(|path| path.to_string_lossy().contains("base.tar"));
        let path = path.expect("an archive");
        let bytes = good.bytes(&path).expect("an archive");
        for at in (0..bytes.len()).step_by(5) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let disk = good.after_kill(0);
            disk.put(&path, &damaged);
            // Some bits say nothing: a time, an operating system, the index.
            match fixture.restore(&disk) {
                Ok(_) => assert_complete(&disk, &format!("{word}: byte {at}")),
                Err(_) => {
                    found += 1;
                    assert!(!is_startable(&disk), "{word}: byte {at}");
                }
            }
        }
    }
    assert!(found > 100, "{found} errors");
}

#[test]
fn a_packed_archive_cut_anywhere_is_not_a_shorter_backup() {
    let fixture = Fixture::new();
    for word in WORDS {
        for pack in [frames, one_stream] {
            let good = packed(&fixture, word, pack);
            let path =
                good.files().into_iter().find(|path| path.to_string_lossy().contains("base.tar"));
            let path = path.expect("an archive");
            let bytes = good.bytes(&path).expect("an archive");
            let mut whole = 0;
            for length in (0..bytes.len()).rev().step_by(11) {
                let disk = good.after_kill(0);
                disk.put(&path, &bytes[..length]);
                match fixture.restore(&disk) {
                    // Only the index is cut off.
                    Ok(_) => whole += 1,
                    Err(_) => assert!(!is_startable(&disk), "{word}: {length} bytes"),
                }
            }
            assert!(whole <= 12, "{word}: {whole} lengths were enough");
        }
    }
}
