//! The disaster: a member named `../../.ssh/authorized_keys` in the stream of a server that
//! somebody took over; or a stream that is out of step by one block and stored as it is.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn path(text: &str) -> MemberPath {
    MemberPath::new(text.as_bytes()).expect("a safe path")
}

fn member(name: &str, kind: MemberKind, size: u64) -> Member {
    let path = path(name);
    Member { path, kind, size, mode: 0o600, uid: 999, gid: 999, modified: 1_790_000_000 }
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        let size = content.len() as u64;
        bytes.extend(member(name, MemberKind::File, size).encode().expect("fits"));
        bytes.extend(*content);
        bytes.resize(bytes.len() + padding(size) as usize, 0);
    }
    bytes
}

/// Members with their content, and how the archive ended.
type Split = (Vec<(Member, Vec<u8>)>, Ending);

fn split(pieces: &[&[u8]]) -> Result<Split, TarError> {
    let mut splitter = TarSplitter::new();
    let mut members: Vec<(Member, Vec<u8>)> = Vec::new();
    for piece in pieces {
        splitter.push(Bytes::copy_from_slice(piece));
        while let Some(event) = splitter.next()? {
            match event {
                TarEvent::Member(member) => members.push((member, Vec::new())),
                TarEvent::Data(data) => {
                    members.last_mut().expect("a member is open").1.extend(data);
                }
                TarEvent::MemberEnd | TarEvent::End => {}
            }
        }
    }
    Ok((members, splitter.finish()?))
}

/// A header with one field overwritten and the checksum made right again.
fn forged(at: usize, field: &[u8]) -> Vec<u8> {
    let mut bytes = member("base/1/2", MemberKind::File, 0).encode().expect("fits");
    bytes[at..at + field.len()].copy_from_slice(field);
    bytes[148..156].fill(b' ');
    let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes.to_vec()
}

#[test]
fn an_archive_cut_anywhere_splits_into_the_same_members() {
    let mut bytes = archive(&[("backup_label", b"START"), ("empty", b""), ("full", &[7; 1024])]);
    bytes.extend(member("pg_wal", MemberKind::Directory, 0).encode().expect("fits"));
    bytes.extend(TRAILER);
    let whole = split(&[&bytes]).expect("a good archive");
    assert_eq!(whole.1, Ending::Trailer);
    assert_eq!(whole.0.len(), 4);
    assert_eq!(whole.0[2].1, [7; 1024]);
    for cut in 0..bytes.len() {
        assert_eq!(split(&[&bytes[..cut], &bytes[cut..]]), Ok(whole.clone()), "{cut}");
    }
    let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(split(&bytewise), Ok(whole));
}

#[test]
fn content_is_passed_on_without_a_copy() {
    let bytes = Bytes::from(archive(&[("a", &[1; 600])]));
    let mut splitter = TarSplitter::new();
    splitter.push(bytes.clone());
    splitter.next().expect("good").expect("a member");
    let Ok(Some(TarEvent::Data(data))) = splitter.next() else { panic!("data is due") };
    assert_eq!(data.as_ptr(), bytes[512..].as_ptr());
}

#[test]
fn an_archive_may_end_only_behind_a_member_or_its_trailer() {
    let bytes = archive(&[("a", &[1; 600]), ("b", b"")]);
    let boundaries = [0, 512 + 1024, bytes.len()];
    for end in 0..=bytes.len() {
        let ended = split(&[&bytes[..end]]);
        match ended {
            Ok((_, ending)) => {
                assert_eq!(ending, Ending::NoTrailer);
                assert!(boundaries.contains(&end), "{end}");
            }
            Err(error) => assert!(matches!(error, TarError::Truncated { .. }), "{end}: {error}"),
        }
    }
    let half = [&bytes[..], &[0; 512]].concat();
    assert!(matches!(split(&[&half]), Err(TarError::Truncated { .. })));
    let lone = [&half[..], &bytes[..]].concat();
    assert_eq!(split(&[&lone]), Err(TarError::HalfTrailer { offset: bytes.len() as u64 }));
    let behind = [&bytes[..], &TRAILER, &[0; 9000], b"x"].concat();
    let offset = behind.len() as u64 - 1;
    assert_eq!(split(&[&behind]), Err(TarError::BehindEnd { offset }));
}

#[test]
fn names_that_lead_out_or_hide_something_are_refused() {
    let long = [b'a'; 100];
    for (name, problem) in [
        (&b"../x\0"[..], PathProblem::Parent),
        (b"a/../../x", PathProblem::Parent),
        (b"a/..", PathProblem::Parent),
        (b"./../x", PathProblem::Parent),
        (b"/x\0\0\0\0\0\0\0", PathProblem::Absolute),
        (b".//x\0\0\0\0\0", PathProblem::Absolute),
        (b"\0\0\0\0\0\0\0\0", PathProblem::Empty),
        (b"./\0\0\0\0\0\0", PathProblem::Slash),
        (b"a//b\0\0\0\0", PathProblem::Empty),
        (b"a/./b\0\0\0", PathProblem::Current),
        (b".\0\0\0\0\0\0\0", PathProblem::Current),
        (b"a\0b\0\0\0\0\0", PathProblem::Nul),
        (b"a/\0\0\0\0\0\0", PathProblem::Slash),
    ] {
        let mut field = [0; 100];
        field[..name.len()].copy_from_slice(name);
        let refused = split(&[&forged(0, &field)]);
        let shown = String::from_utf8_lossy(name);
        assert!(
            matches!(refused, Err(TarError::Name { problem: found, .. }) if found == problem),
            "{shown:?}: {refused:?}"
        );
    }
    assert!(split(&[&forged(0, &long)]).is_ok());
    let (members, _) = split(&[&forged(0, b"./pg_wal/x\0\0")]).expect("the server writes ./");
    assert_eq!(members[0].0.path, path("pg_wal/x"));
}

#[test]
fn links_may_point_only_inside() {
    let mut bytes = member("pg_tblspc/1", MemberKind::Symlink(path("x/y")), 0).encode();
    assert!(split(&[bytes.as_mut().expect("fits")]).is_ok());
    for target in [&b"/srv/space"[..], b"../../etc", b"x/../../y"] {
        let mut field = [0; 101];
        field[0] = b'2';
        field[1..=target.len()].copy_from_slice(target);
        assert!(matches!(split(&[&forged(156, &field)]), Err(TarError::Target { .. })));
    }
}

#[test]
fn a_link_to_a_tablespace_leads_anywhere_and_nobody_is_told_where() {
    let kind = |name: &[u8]| {
        let mut bytes = forged(0, &[name, &vec![0; 100 - name.len()][..]].concat());
        bytes[156] = b'2';
        bytes[157..167].copy_from_slice(b"/srv/space");
        bytes[148..156].fill(b' ');
        let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        split(&[&bytes]).map(|(members, _)| members[0].0.kind.clone())
    };
    assert_eq!(kind(b"pg_tblspc/16390/"), Ok(MemberKind::TablespaceLink));
    for name in [&b"pg_tblspc/"[..], b"pg_tblspc/16390/x", b"pg_tblspc/x1", b"base/16390"] {
        assert!(matches!(kind(name), Err(TarError::Target { .. })), "{name:?}");
    }
}

#[test]
fn other_formats_types_and_numbers_are_refused() {
    assert!(matches!(split(&[&forged(257, b"ustar  \0")]), Err(TarError::Magic { .. })));
    for found in [b'1', b'3', b'x', b'g', b'L', 0] {
        assert!(matches!(split(&[&forged(156, &[found])]), Err(TarError::Type { .. })));
    }
    for size in [
        &b"+0000000017 "[..],
        b"0000000018x ",
        b"            ",
        b"00000000008 ",
        b"0000\x000000001",
        b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\x80\0\0\x01\0\0\0\0\0\0\0\0",
        b"\x80\0\0\0\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    ] {
        let refused = split(&[&forged(124, size)]);
        assert!(matches!(refused, Err(TarError::Number { .. })), "{size:?}: {refused:?}");
    }
    let mut directory = forged(124, b"00000000001 ");
    directory[156] = b'5';
    let sum: u64 = u64::from(b'5' - b'0');
    let stored = std::str::from_utf8(&directory[148..154]).expect("digits").to_owned();
    let stored = u64::from_str_radix(&stored, 8).expect("octal") + sum;
    directory[148..154].copy_from_slice(format!("{stored:06o}").as_bytes());
    assert!(matches!(split(&[&directory]), Err(TarError::Content { size: 1, .. })));
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let bytes = member("base/1/2", MemberKind::File, 0).encode().expect("fits");
    for at in (0..BLOCK).filter(|at| !(148..156).contains(at)) {
        for bit in 0..8 {
            let mut bytes = bytes;
            bytes[at] ^= 1 << bit;
            assert!(matches!(split(&[&bytes]), Err(TarError::Checksum { .. })), "{at} {bit}");
        }
    }
}

#[test]
fn sizes_from_8_gib_on_are_written_and_read_in_base_256() {
    let big = member("base/1/2", MemberKind::File, 8 << 30);
    let bytes = big.encode().expect("fits");
    assert_eq!(bytes[124..136], [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    assert_eq!(Member::parse(&bytes, 0), Ok(big));
    let below = member("base/1/2", MemberKind::File, (8 << 30) - 1);
    assert_eq!(&below.encode().expect("fits")[124..136], b"77777777777 ");
}

#[test]
fn what_the_format_cannot_express_is_refused_when_written() {
    let long = member(&"a".repeat(100), MemberKind::File, 0).encode();
    assert!(matches!(long, Err(TarError::TooLong { field: "name", .. })));
    assert!(member(&"a".repeat(99), MemberKind::File, 0).encode().is_ok());
    let slash = member(&"a".repeat(99), MemberKind::Directory, 0).encode();
    assert!(matches!(slash, Err(TarError::TooLong { field: "name", .. })));
}

proptest! {
    #[test]
    fn a_header_gives_back_what_was_written(
        name in "[a-zA-Z0-9_é]{1,20}(/[a-z0-9]{1,9}){0,4}",
        kind in 0..3,
        size: u64,
        mode in 0_u32..0o10000,
        ids in (0_u64..1 << 40, 0_u64..1 << 40),
        modified: i64,
    ) {
        let kind = match kind {
            0 => MemberKind::File,
            1 => MemberKind::Directory,
            _ => MemberKind::Symlink(path("over/there")),
        };
        let size = if kind == MemberKind::File { size >> 2 } else { 0 };
        let (uid, gid) = ids;
        let member = Member { path: path(&name), kind, size, mode, uid, gid, modified };
        let bytes = member.encode().expect("short names fit");
        prop_assert_eq!(Member::parse(&bytes, 0), Ok(member));
    }
}
