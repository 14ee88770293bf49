//! The disaster: a page that the disk of the server has lost is copied from backup to backup,
//! until the last one that has it is deleted.

use super::*;
use crate::wal::Lsn;

const LAYOUT: PageLayout = PageLayout { page_size: PageSize::DEFAULT, segment_blocks: 131_072 };
const START: Lsn = Lsn(0x0300_0028);

/// Block 1 of an index of a cluster that initdb of 18.4 has made, all of its bytes.
fn page_of_a_server() -> Vec<u8> {
    let mut page = vec![0; 8192];
    let bytes = [
        (4, &[0xF8, 0x6B, 0x47, 0x01, 0x24, 0x69][..]),
        (12, &[0x1C, 0, 0xE0, 0x1F, 0xF0, 0x1F, 0x04, 0x20]),
        (24, &[0xE0, 0x9F, 0x20]),
        (8164, &[0x01, 0, 0x10, 0, 0xB6, 0x34]),
        (8188, &[0x03]),
    ];
    for (at, bytes) in bytes {
        page[at..at + bytes.len()].copy_from_slice(bytes);
    }
    page
}

/// A page with some content, last changed at `lsn`, that is good as block `block`.
fn page(block: u32, lsn: u64) -> Vec<u8> {
    let mut page: Vec<u8> = (0..8192_u32).map(|at| (at * 7 + block) as u8).collect();
    page[..4].copy_from_slice(&((lsn >> 32) as u32).to_le_bytes());
    page[4..8].copy_from_slice(&(lsn as u32).to_le_bytes());
    let sum = page_checksum(&page, block);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    page
}

fn incremental(blocks: &[u32], truncation: u32, content: &[Vec<u8>]) -> Vec<u8> {
    let mut file = 0xD3AE_1F0D_u32.to_le_bytes().to_vec();
    file.extend((blocks.len() as u32).to_le_bytes());
    file.extend(truncation.to_le_bytes());
    file.extend(blocks.iter().flat_map(|block| block.to_le_bytes()));
    if !blocks.is_empty() {
        file.resize(file.len().next_multiple_of(8192), 0);
    }
    file.extend(content.concat());
    file
}

/// What a checker says of a file that comes in pieces of that many bytes.
fn checked(path: &str, content: &[u8], piece: usize) -> DamagedPages {
    let mut checker = PageChecker::new(LAYOUT, true);
    checker.start(START);
    if let Some(file) = PagedFile::at(path.as_bytes()) {
        checker.begin(file);
    }
    for piece in content.chunks(piece) {
        checker.push(piece);
    }
    checker.end([b"", path.as_bytes()]);
    checker.into_damaged()
}

fn blocks(damaged: &DamagedPages) -> Vec<u32> {
    let block = |file: &DamagedFile| match file.damage {
        Damage::Page { block, .. } => block,
        Damage::Incremental(error) => panic!("{error}"),
    };
    damaged.first().iter().map(block).collect()
}

#[test]
fn the_checksum_is_the_servers_and_depends_on_the_place_and_on_every_bit() {
    let mut page = page_of_a_server();
    assert_eq!(page_checksum(&page, 1), 0x6924);
    assert_ne!(page_checksum(&page, 2), 0x6924);
    let bits = (0..8192 * 8).filter(|bit| !(64..80).contains(bit)).step_by(7);
    let missed = bits.clone().filter(|bit| {
        page[bit / 8] ^= 1 << (bit % 8);
        let same = page_checksum(&page, 1) == 0x6924;
        page[bit / 8] ^= 1 << (bit % 8);
        same
    });
    // One change in 65535 keeps a checksum of 16 bits as it is.
    let missed = missed.count();
    assert!(missed <= 2, "{missed} of {} changes are not seen", bits.count());
}

#[test]
fn only_files_of_relations_hold_pages() {
    let at = |path: &str| PagedFile::at(path.as_bytes());
    let file = |fork, segment, incremental| Some(PagedFile { fork, segment, incremental });
    assert_eq!(at("base/5/16384"), file(Fork::Main, 0, false));
    assert_eq!(at("base/5/16384.3"), file(Fork::Main, 3, false));
    assert_eq!(at("base/5/16384_fsm.1"), file(Fork::FreeSpace, 1, false));
    assert_eq!(at("global/1262_vm"), file(Fork::Visibility, 0, false));
    assert_eq!(at("base/5/16390_init"), file(Fork::Init, 0, false));
    assert_eq!(at("base/5/INCREMENTAL.16384.12"), file(Fork::Main, 12, true));
    let inside = "PG_18_202506291/5/INCREMENTAL.16385";
    assert_eq!(at(&format!("pg_tblspc/16390/{inside}")), file(Fork::Main, 0, true));
    assert_eq!(PagedFile::in_tablespace(inside.as_bytes()), file(Fork::Main, 0, true));
    for path in [
        "PG_VERSION",
        "base/5/PG_VERSION",
        "base/5/pg_filenode.map",
        "base/5/pg_internal.init",
        "base/5/t3_16384",
        "base/pgsql_tmp/1",
        "base/5/16384_tmp",
        "base/5/16384.x",
        "base/5/16384.",
        "base/5/99999999999999",
        "base/5/a/16384",
        "base/x/16384",
        "global/pg_control",
        "global/5/1262",
        "pg_tblspc/16390/5/16385",
        "pg_wal/000000010000000000000001",
        "INCREMENTAL.16384",
        "",
    ] {
        assert_eq!(at(path), None, "{path}");
    }
}

#[test]
fn a_damaged_page_is_found_and_named_however_its_file_is_cut() {
    let mut file = [page(0, 1), page(1, 2), vec![0; 8192], page(3, 3)].concat();
    file[2 * 8192 - 1] ^= 1;
    for piece in [1, 511, 4096, 8191, 8192, 8193, 20_000, 1 << 20] {
        let damaged = checked("base/5/16384", &file, piece);
        assert_eq!(blocks(&damaged), [1], "pieces of {piece}");
        let said = damaged.to_string();
        assert!(said.starts_with("block 1 in \"base/5/16384\" has the checksum "), "{said}");
    }
    // The same bytes as a further file of the relation are other blocks.
    let damaged = checked("base/5/16384.2", &file, 4096);
    assert_eq!(blocks(&damaged), [262_144, 262_145, 262_147]);
    let whole = [page(262_144, 1), page(262_145, 2)].concat();
    assert!(checked("base/5/16384.2", &whole, 4096).is_empty());
}

#[test]
fn what_the_server_does_not_judge_is_not_judged() {
    let mut later = [page(0, START.0), page(1, START.0 - 1)].concat();
    later[5000] ^= 1;
    assert!(checked("base/5/16384", &later, 4096).is_empty(), "replay puts it right");
    later[8192 + 5000] ^= 1;
    assert_eq!(blocks(&checked("base/5/16384", &later, 4096)), [1]);
    assert!(checked("global/pg_filenode.map", &later, 4096).is_empty());
    // New is a page of zeros, not one that says so.
    let mut claims = vec![0; 8192];
    claims[4000] = 1;
    assert_eq!(blocks(&checked("base/5/16384", &claims, 4096)), [0]);
    let mut checker = PageChecker::new(LAYOUT, false);
    checker.start(START);
    checker.begin(PagedFile::at(b"base/5/16384").expect("a relation"));
    checker.push(&later);
    checker.end([b"base/", b"5/16384"]);
    assert!(checker.damaged().is_empty(), "the cluster has no checksums");
}

#[test]
fn blocks_of_an_incremental_file_are_those_that_its_head_names() {
    let numbers = [2, 9, 131_071];
    let content: Vec<Vec<u8>> = numbers.iter().map(|&n| page(n + 131_072, 5)).collect();
    let file = incremental(&numbers, 20, &content);
    for piece in [1, 7, 8192, 1 << 20] {
        let damaged = checked("base/5/INCREMENTAL.16384.1", &file, piece);
        assert!(damaged.is_empty(), "pieces of {piece}: {damaged}");
    }
    let mut bad = file.clone();
    bad[8192 + 8192 + 100] ^= 4;
    assert_eq!(blocks(&checked("base/5/INCREMENTAL.16384.1", &bad, 333)), [131_072 + 9]);
    assert!(checked("base/5/INCREMENTAL.16384", &incremental(&[], 7, &[]), 5).is_empty());
}

#[test]
fn an_incremental_file_that_is_none_is_named_with_the_reason() {
    let content = [page(2, 5), page(9, 5)];
    let good = incremental(&[2, 9], 20, &content);
    let said = |file: &[u8]| {
        let damaged = checked("global/INCREMENTAL.1262", file, 1000);
        assert_eq!(damaged.count(), 1, "{damaged}");
        assert!(damaged.has_broken_files());
        damaged.to_string()
    };
    assert!(said(&content.concat()).contains("instead of d3ae1f0d"));
    assert!(said(&good[..good.len() - 1]).contains("has 24575 bytes instead of 24576"));
    assert!(said(&[&good[..], &content[0][..]].concat()).contains("has 32768 bytes"));
    assert!(said(&good[..11]).contains("ends after 11 bytes"));
    assert!(said(&good[..17]).contains("ends after 17 bytes"));
    assert!(said(&incremental(&[9, 2], 20, &content)).contains("block number 2"));
    assert!(said(&incremental(&[2, 2], 20, &content)).contains("block number 2"));
    assert!(said(&incremental(&[2, 131_072], 20, &content)).contains("block number 131072"));
    let mut many = good.clone();
    many[4..8].copy_from_slice(&131_073_u32.to_le_bytes());
    assert!(said(&many).contains("announces 131073 blocks"));
}

#[test]
fn a_message_names_the_first_findings_and_counts_the_others() {
    let file: Vec<u8> = (0..1500).flat_map(|_| page(7, 1)).collect();
    let damaged = checked("base/5/16384", &file, 8192);
    assert_eq!(damaged.count(), 1499, "only block 7 is right");
    assert_eq!(damaged.first().len(), 1000);
    let said = damaged.to_string();
    assert_eq!(said.matches("block ").count(), DAMAGE_SHOWN, "{said}");
    assert!(said.ends_with("; and 1489 more"), "{said}");
}

#[test]
fn a_head_says_how_long_its_file_and_the_result_are() {
    let head = |blocks: &[u32], truncation_blocks| IncrementalHeader {
        truncation_blocks,
        blocks: blocks.to_vec(),
    };
    let page = PageSize::DEFAULT;
    assert_eq!((head(&[], 5).length(page), head(&[], 5).file_length(page)), (12, 12));
    assert_eq!((head(&[1], 5).length(page), head(&[1], 5).file_length(page)), (8192, 16384));
    assert_eq!(head(&(0..2046).collect::<Vec<_>>(), 5).length(page), 16384);
    assert_eq!(head(&(0..2045).collect::<Vec<_>>(), 5).length(page), 8192);
    assert_eq!((head(&[7], 5).result_blocks(), head(&[1], 5).result_blocks()), (8, 5));
    assert_eq!(PageSize::new(8191), None);
    assert_eq!(PageSize::new(65536), None);
    assert_eq!(PageSize::DEFAULT.usual_segment_blocks(), 131_072);
}

/// Header and runs of a file that comes in pieces of that many bytes.
fn runs(
    file: &[u8],
    incremental: bool,
    piece: usize,
) -> Result<Vec<(u32, usize)>, IncrementalError> {
    let mut found = Vec::new();
    let mut blocks = Blocks::new(LAYOUT, incremental);
    for piece in file.chunks(piece) {
        blocks.push::<IncrementalError>(piece, &mut |piece| {
            if let Piece::Run { first, bytes } = piece {
                found.push((first, bytes.len() / 8192));
            }
            Ok(())
        })?;
    }
    blocks.finish()?;
    Ok(found)
}

#[test]
fn blocks_come_in_runs_however_their_file_is_cut() {
    let whole = vec![1; 5 * 8192 + 100];
    assert_eq!(runs(&whole, false, 1 << 20), Ok(vec![(0, 5)]));
    assert_eq!(runs(&whole, false, 2 * 8192 + 1).expect("whole")[..2], [(0, 2), (2, 1)]);
    let file = incremental(&[3, 4, 9], 20, &[page(3, 1), page(4, 1), page(9, 1)]);
    assert_eq!(runs(&file, true, 1 << 20), Ok(vec![(3, 2), (9, 1)]));
    for piece in [1, 100, 8191, 8192, 8193] {
        let total: usize = runs(&file, true, piece).expect("whole").iter().map(|run| run.1).sum();
        assert_eq!(total, 3, "pieces of {piece}");
    }
    let cut = runs(&file[..file.len() - 1], true, 1000);
    assert!(matches!(cut, Err(IncrementalError::Length { .. })));
    let long = runs(&[&file[..], &[0; 8192]].concat(), true, 1000);
    assert!(matches!(long, Err(IncrementalError::Length { .. })));
    assert!(matches!(runs(&file[..10], true, 3), Err(IncrementalError::Cut(10))));
}

#[test]
fn each_block_is_taken_from_the_newest_backup_that_has_it_and_none_behind_the_cut() {
    let newest = IncrementalHeader { truncation_blocks: 70, blocks: vec![1, 65, 90] };
    let mut plan = FilePlan::new(&newest);
    assert!(!plan.is_complete() && !plan.is_exactly(70));
    let take = |plan: &mut FilePlan, first, count| {
        let mut taken = Vec::new();
        let each = &mut |start, count| -> Result<(), ()> {
            taken.push((start, count));
            Ok(())
        };
        plan.take(first, count, each).expect("nothing fails");
        taken
    };
    assert_eq!(take(&mut plan, 0, 4), [(0, 1), (2, 2)]);
    assert_eq!(take(&mut plan, 2, 3), [(4, 1)], "2 and 3 are there");
    assert_eq!(take(&mut plan, 60, 100), [(60, 5), (66, 4)], "nothing from 70 on");
    assert_eq!(take(&mut plan, 5, 55), [(5, 55)]);
    assert!(plan.is_complete());
    let unchanged = IncrementalHeader { truncation_blocks: 5, blocks: vec![] };
    assert!(FilePlan::new(&unchanged).is_exactly(5));
    assert!(!FilePlan::new(&unchanged).is_exactly(6));
    assert!(FilePlan::new(&IncrementalHeader::default()).is_complete());
    // The last block of the result is in no older file.
    let longer = IncrementalHeader { truncation_blocks: 5, blocks: vec![7] };
    assert!(!FilePlan::new(&longer).is_exactly(5));
}

#[test]
fn what_lay_behind_the_end_of_an_older_file_is_not_taken_from_before_it() {
    let newest = IncrementalHeader { truncation_blocks: 100, blocks: vec![80] };
    let mut plan = FilePlan::new(&newest);
    plan.end_at(70);
    assert!(plan.wants(69) && !plan.wants(70) && !plan.wants(99));
    plan.end_at(90);
    assert!(!plan.wants(70), "an even older file may have been longer");
    let mut taken = 0;
    let each = &mut |_, count| -> Result<(), ()> {
        taken += count;
        Ok(())
    };
    plan.take(0, 100, each).expect("nothing fails");
    assert!(plan.is_complete());
    assert_eq!(taken, 70);
    let mut shrunk = FilePlan::new(&IncrementalHeader { truncation_blocks: 9, blocks: vec![] });
    shrunk.end_at(5);
    assert!(!shrunk.is_exactly(5), "four blocks of zeros follow");
}
