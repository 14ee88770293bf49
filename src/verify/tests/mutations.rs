//! 2,000 random mutations of stored files: each is found, or the content is provably the same.

use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::path::Path;

use super::sample::{SHAPES, Shape, Stored};
use super::verified;
use crate::codec::{Codec, decoder};
use crate::disk::Disk;

const MUTATIONS: u64 = 2_000;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

/// One change of some bytes, as rot, a torn write, a bad copy or a person would make it.
fn mutated(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let length = changed.len();
    let at = dice.below(length);
    let some = 1 + dice.below(2_000).min(length - at);
    let block = |dice: &mut Dice| dice.below(length / 512 + 1) * 512;
    match dice.below(9) {
        0 | 1 => changed[at] ^= 1 << dice.below(8),
        2 => changed[at] = dice.below(256) as u8,
        3 => changed.truncate(at),
        4 => drop(changed.drain(at..(at + some).min(length))),
        5 => drop(changed.splice(at..at, vec![dice.below(256) as u8; some])),
        6 => changed[at..(at + some).min(length)].fill(0),
        7 => {
            let (from, to) = (block(dice), block(dice));
            if from.max(to) + 512 <= length {
                let (one, other) =
                    (changed[from..from + 512].to_vec(), changed[to..to + 512].to_vec());
                changed[from..from + 512].copy_from_slice(&other);
                changed[to..to + 512].copy_from_slice(&one);
            }
        }
        _ => changed.extend(vec![dice.below(256) as u8; some]),
    }
    changed
}

/// Path, kind, mode, time and content of each member of an archive.
type Members = BTreeSet<(Vec<u8>, u8, u32, u64, Vec<u8>)>;

/// What ordinary programs would make of an archive: path, kind, mode, time and content of each
/// member. `None` when they would complain. Read by the `tar` crate, not by our own parser.
fn unpacked(codec: Codec, bytes: &[u8]) -> Option<Members> {
    let source = Box::new(Cursor::new(bytes.to_vec()));
    let mut plain = Vec::new();
    decoder(codec, source).ok()?.read_to_end(&mut plain).ok()?;
    let mut members = BTreeSet::new();
    let mut archive = tar::Archive::new(&plain[..]);
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        let (path, header) = (entry.path_bytes().into_owned(), entry.header().clone());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).ok()?;
        let kind = header.entry_type().as_byte();
        members.insert((path, kind, header.mode().ok()?, header.mtime().ok()?, content));
    }
    Some(members)
}

/// Whether a stored file means what it meant before.
fn is_the_same(shape: Shape, path: &Path, before: &[u8], after: &[u8]) -> bool {
    match shape {
        Shape::Archives(codec) | Shape::Framed(codec) if !path.ends_with("backup_manifest") => {
            let (before, after) = (unpacked(codec, before), unpacked(codec, after));
            let Some((before, after)) = before.zip(after) else { return false };
            // Directories above files need no members of their own.
            let files = |all: &Members| -> BTreeSet<_> {
                let implied = [&b"base/"[..], b"base/1/", b"global/"];
                let in_space = |path: &[u8]| path.starts_with(b"PG_") && path.ends_with(b"/");
                let kept = |path: &[u8]| !implied.contains(&path) && !in_space(path);
                all.iter().filter(|member| kept(&member.0)).cloned().collect()
            };
            files(&before) == files(&after)
        }
        // The last line holds the sum of the others, in digits of either case.
        _ if path.ends_with("backup_manifest") => lines_above(before) == lines_above(after),
        _ => before == after,
    }
}

/// A text without its last line.
fn lines_above(text: &[u8]) -> &[u8] {
    let end = text.strip_suffix(b"\n").unwrap_or(text);
    let end = end.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    &text[..end]
}

#[test]
fn two_thousand_random_mutations_are_found_or_change_nothing_that_counts() {
    let mut dice = Dice(2026);
    let (mut found, mut harmless) = (0, 0);
    let originals: Vec<Stored> = SHAPES.into_iter().map(Stored::new).collect();
    for number in 0..MUTATIONS {
        let shape = SHAPES[number as usize % SHAPES.len()];
        let stored = originals[number as usize % SHAPES.len()].copy();
        let files = stored.files();
        let path = &files[dice.below(files.len())];
        let before = stored.disk.bytes(path).expect("a file");
        let name = path.display();
        if before.is_empty() || dice.below(25) == 0 {
            if dice.below(2) == 0 {
                Disk::remove_file(&stored.disk, path).expect("removed");
                let seen = super::verify(
                    &stored.disk,
                    &stored.layout,
                    &stored.info,
                    2,
                    &super::NoProgress,
                );
                // Without its manifest nothing can be said; that is said.
                assert!(
                    seen.is_err() || seen.is_ok_and(|seen| !seen.findings.is_empty()),
                    "mutation {number}: {name} is gone, and nobody noticed"
                );
            } else {
                stored.disk.put(&path.with_extension("added"), b"something");
                assert_ne!(verified(&stored).findings, [], "mutation {number}: beside {name}");
            }
            found += 1;
            continue;
        }
        let after = mutated(&before, &mut dice);
        stored.disk.put(path, &after);
        let findings = verified(&stored).findings;
        if findings.is_empty() {
            assert!(
                is_the_same(shape, path, &before, &after),
                "mutation {number} of {name} ({shape:?}) was not found"
            );
            harmless += 1;
        } else {
            found += 1;
        }
    }
    assert_eq!(found + harmless, MUTATIONS);
    assert!(found > MUTATIONS * 9 / 10, "{found} were found, {harmless} changed nothing");
}
