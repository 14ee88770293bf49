//! A file that was compressed must come back to the last bit, and a damaged one must never
//! pass for a shorter one.

use std::io::{Cursor, Read, Write};
use std::path::Path;

use super::*;
use crate::config::CompressionLevel;
use crate::disk::{Disk, ModelDisk};

/// Something between noise and repetition, as WAL is.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut bytes = vec![0x01, 0xD1];
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend_from_slice(&state.to_le_bytes()[..5]);
        bytes.extend_from_slice(b"the same words again");
    }
    bytes.truncate(length);
    bytes
}

fn packing(word: &str) -> Packing {
    Packing::choose(Some(word), None).expect("written").expect("a codec")
}

fn pack(word: &str, bytes: &[u8]) -> Vec<u8> {
    pack_with(packing(word), bytes)
}

fn pack_with(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = packing.encoder(bytes.len() as u64, Vec::new()).expect("begun");
    for piece in bytes.chunks(70_001) {
        encoder.write_all(piece).expect("packed");
    }
    encoder.finish().expect("finished")
}

fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    unpack_as(Codec::of_wal(packed), packed)
}

fn unpack_as(codec: Codec, packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let source = Box::new(Cursor::new(packed.to_vec()));
    let mut bytes = Vec::new();
    decoder(codec, source)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn who_asks_again_behind_the_end_hears_that_it_is_the_end() {
    for word in ["zstd", "gzip", "lz4"] {
        let packed = pack(word, &sample(100_000));
        let source = Box::new(Cursor::new(packed.clone()));
        let mut reader = decoder(Codec::of_wal(&packed), source).expect("a reader");
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("whole");
        for _ in 0..2 {
            assert_eq!(reader.read(&mut [0; 100]).expect("the end"), 0, "{word}");
        }
    }
}

#[test]
fn what_is_written_is_told_by_its_first_bytes_and_comes_back_whole() {
    for word in ["zstd", "gzip", "lz4"] {
        for length in [2, 300, 3 << 20] {
            let bytes = sample(length);
            let packed = pack(word, &bytes);
            assert_eq!(Codec::of_wal(&packed).word(), Some(word));
            assert!(unpack(&packed).expect("unpacked") == bytes, "{word} {length}");
        }
        let bytes = sample(3 << 20);
        assert!(pack(word, &bytes).len() < bytes.len() / 2, "{word} packs nothing");
    }
}

#[test]
fn what_was_packed_in_a_hurry_is_one_frame_with_a_check_value_like_every_other() {
    let bytes = sample(3 << 20);
    let packed = pack_with(packing("zstd").hurried(), &bytes);
    assert!(packed.len() < bytes.len() / 2);
    // RFC 8878, 3.1.1.1: flags, and a window of 128 KiB.
    assert_eq!((packed[4] & 0b100, packed[5]), (0b100, (17 - 10) << 3));
    let size = zstd::zstd_safe::get_frame_content_size(&packed).expect("a header");
    assert_eq!(size, Some(bytes.len() as u64));
    // Barman reads the first frame of a file, and nothing behind it.
    let mut one = zstd::Decoder::new(&packed[..]).expect("a frame").single_frame();
    let mut first = Vec::new();
    one.read_to_end(&mut first).expect("whole");
    assert!(first == bytes);
}

#[test]
fn several_frames_behind_one_another_are_one_content() {
    for word in ["zstd", "gzip", "lz4"] {
        let (first, second) = (sample(200_000), sample(70));
        let packed = [pack(word, &first), pack(word, &second)].concat();
        assert!(unpack(&packed).expect("unpacked") == [first, second].concat(), "{word}");
    }
}

#[test]
fn a_frame_that_is_cut_off_or_damaged_is_an_error_and_no_shorter_content() {
    for word in ["zstd", "gzip", "lz4"] {
        let packed = pack(word, &sample(500_000));
        for cut in [packed.len() - 1, packed.len() / 2, 12] {
            assert!(unpack(&packed[..cut]).is_err(), "{word}: cut at {cut}");
        }
        let small = pack(word, &sample(90_000));
        for cut in 1..small.len() {
            assert!(unpack_as(packing(word).codec(), &small[..cut]).is_err(), "{word}: {cut}");
        }
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x10;
        assert!(unpack(&damaged).is_err(), "{word}: damaged");
    }
}

#[test]
fn the_words_of_the_configuration_mean_levels_and_what_is_not_written_is_named() {
    let choose = Packing::choose;
    assert_eq!(choose(None, None), Ok(None));
    assert_eq!(choose(Some("none"), Some(CompressionLevel::High)), Ok(None));
    for word in ["gzip", "pigz", "pygzip"] {
        assert_eq!(packing(word).codec(), Codec::Gzip);
    }
    for (level, number) in [
        (None, 1),
        (Some(CompressionLevel::Low), 1),
        (Some(CompressionLevel::Medium), 4),
        (Some(CompressionLevel::High), 9),
        (Some(CompressionLevel::Number(-3)), -3),
    ] {
        let chosen = choose(Some("zstd"), level).expect("a level").expect("a codec");
        let text = format!("{chosen:?}");
        assert!(text.starts_with(&format!("Packing {{ codec: Zstd, level: {number},")), "{text}");
        assert_eq!(chosen.hurried() == chosen, level.is_some(), "{level:?}: who chose is obeyed");
    }
    let too_high = Some(CompressionLevel::Number(10));
    let too_high = choose(Some("gzip"), too_high).expect_err("no such level");
    assert_eq!(too_high.to_string(), "compression_level = 10 does not exist for gzip: 1 to 9");
    for word in ["bzip2", "pybzip2", "xz", "snappy", "custom"] {
        let refused = choose(Some(word), None).expect_err("not written");
        assert!(refused.to_string().contains(word), "{refused}");
        assert!(refused.hint().contains("zstd, lz4, gzip or none"), "{}", refused.hint());
    }
}

#[cfg(feature = "legacy-codecs")]
#[test]
fn everything_that_barman_writes_is_read() {
    let bytes = sample(300_000);
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(&bytes).expect("packed");
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 3);
    xz.write_all(&bytes).expect("packed");
    let mut snappy = snap::write::FrameEncoder::new(Vec::new());
    snappy.write_all(&bytes).expect("packed");
    for (word, packed) in [
        ("bzip2", bzip2.finish().expect("finished")),
        ("xz", xz.finish().expect("finished")),
        ("snappy", snappy.into_inner().expect("finished")),
    ] {
        assert_eq!(Codec::of_wal(&packed).word(), Some(word));
        assert!(unpack(&packed).expect("unpacked") == bytes, "{word}");
        assert!(unpack(&packed[..packed.len() - 5]).is_err(), "{word}: cut");
    }
}

#[test]
fn a_stored_file_is_read_the_same_whatever_it_is_packed_with() {
    let disk = ModelDisk::new(1);
    let (bytes, path) = (sample(700_000), Path::new("/wal"));
    let mut stored = vec![bytes.clone()];
    stored.extend(["zstd", "gzip", "lz4"].map(|word| pack(word, &bytes)));
    for content in stored {
        disk.put(path, &content);
        let mut file = StoredFile::of_wal(disk.open_read(path).expect("open")).expect("readable");
        let mut all = vec![0; bytes.len() + 1];
        assert_eq!(file.read(&mut all).expect("read"), bytes.len());
        assert!(all[..bytes.len()] == bytes);
        let file = StoredFile::of_wal(disk.open_read(path).expect("open")).expect("readable");
        file.read_all(1000).expect_err("more than the limit");
    }
    disk.put(path, b"\x85\x01\x0c encrypted");
    let refused = StoredFile::of_wal(disk.open_read(path).expect("open")).expect_err("gpg");
    assert_eq!(refused.to_string(), "cannot unpack /wal");
}

/// What the parallel encoder makes of bytes that come in pieces.
fn frames(word: &str, bytes: &[u8], workers: u64) -> Vec<u8> {
    let framing = Framing::choose(word, None, Some(workers)).expect("known").expect("a codec");
    let mut encoder = ParallelEncoder::start(framing).expect("threads");
    let mut packed = Vec::new();
    let take = |encoder: &mut ParallelEncoder, packed: &mut Vec<u8>| {
        while let Some(frame) = encoder.next_frame().expect("packed") {
            packed.extend_from_slice(frame);
        }
    };
    for mut piece in bytes.chunks(1_000_003) {
        while !piece.is_empty() {
            piece = &piece[encoder.push(piece).expect("taken")..];
            take(&mut encoder, &mut packed);
        }
    }
    encoder.close().expect("closed");
    take(&mut encoder, &mut packed);
    packed.extend(encoder.index());
    packed
}

#[test]
fn frames_in_parallel_are_one_content_for_this_program_with_the_index_and_without() {
    let (disk, path) = (ModelDisk::new(1), Path::new("/base.tar"));
    for word in ["zstd", "gzip", "lz4"] {
        for length in [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES + 7] {
            let bytes = sample(length.max(2))[..length].to_vec();
            let packed = frames(word, &bytes, 3);
            assert_eq!(packed, frames(word, &bytes, 1), "the number of threads changes nothing");
            assert_eq!(Codec::of_archive(&packed).word(), Some(word), "{length}");
            assert!(unpack(&packed).expect("in one go") == bytes, "{word} {length}");
            assert_ends_for_good(&packed);
            disk.put(path, &packed);
            let facts = ArchiveFacts::of(disk.open_read(path).expect("open").as_ref());
            assert_eq!(facts.expect("readable").plain_length, Some(length as u64));
            let file = StoredFile::of_archive(disk.open_read(path).expect("open"));
            let content = file.expect("readable").read_all(1 << 30).expect("by the index");
            assert!(content == bytes, "{word} {length}");
        }
    }
}

/// Who reads on behind the end is told the same again.
fn assert_ends_for_good(packed: &[u8]) {
    let source = Box::new(Cursor::new(packed.to_vec()));
    let mut reader = decoder(Codec::of_archive(packed), source).expect("readable");
    std::io::copy(&mut reader, &mut std::io::sink()).expect("read");
    for _ in 0..3 {
        assert_eq!(reader.read(&mut [0; 10]).expect("the end"), 0);
    }
}

#[test]
fn a_frame_of_another_length_than_its_index_says_is_an_error() {
    let (disk, path) = (ModelDisk::new(1), Path::new("/base.tar"));
    for word in ["zstd", "gzip", "lz4"] {
        let packed = frames(word, &sample(FRAME_BYTES + 100), 2);
        let mut found = 0;
        for at in packed.len() - 60..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 1;
            disk.put(path, &damaged);
            let file = StoredFile::of_archive(disk.open_read(path).expect("open"));
            let read = file.and_then(|file| file.read_all(1 << 30));
            found += usize::from(read.is_err_and(|error| error.is_of_unpacking()));
        }
        assert!(found > 0, "{word}: no damage to the index is noticed");
    }
}

#[test]
fn levels_and_threads_that_do_not_exist_are_refused_by_name() {
    let refused = |word, level, workers| {
        let error = Framing::choose(word, level, workers).expect_err("it does not exist");
        assert!(!error.hint().is_empty());
        error.to_string()
    };
    for (word, level, range) in [
        ("gzip", 10, "1 to 9"),
        ("zstd", 0, "1 to 22"),
        ("lz4", 9, "0 to 1"),
        ("zstd", 1 << 40, ""),
    ] {
        let said = refused(word, Some(level), None);
        assert!(said.contains(&format!("level = {level} ")) && said.contains(range), "{said}");
    }
    assert!(refused("gzip", None, Some(0)).contains("workers = 0"));
    assert!(refused("bzip2", None, None).contains("bzip2"));
    assert_eq!(Framing::choose("none", Some(99), None), Ok(None));
    for level in [1, 9] {
        let framing = Framing::choose("gzip", Some(level), Some(1)).expect("it exists");
        assert_eq!(framing.map(Framing::codec), Some(Codec::Gzip));
    }
}
