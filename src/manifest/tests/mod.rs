//! The disaster: a backup with a file missing or changed on its way is called good.

use proptest::prelude::*;

use super::*;

/// Version 2, as a server 17 writes it: a plain file, a name with quotes, a name in Latin-1.
/// The checksum of the whole is sha256sum's.
const SAMPLE: &str = r#"{ "PostgreSQL-Backup-Manifest-Version": 2,
"System-Identifier": 7711249317654332226,
"Files": [
{ "Path": "PG_VERSION", "Size": 3, "Last-Modified": "2026-11-23 06:27:32 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "994e7be2" },
{ "Path": "né \"q\"\\w", "Size": 0, "Last-Modified": "2026-11-23 06:27:32 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "00000000" },
{ "Encoded-Path": "636166e9", "Size": 0, "Last-Modified": "1969-12-31 23:59:59 GMT" }
],
"WAL-Ranges": [
{ "Timeline": 2, "Start-LSN": "0/5000000", "End-LSN": "0/5000120" },
{ "Timeline": 1, "Start-LSN": "0/4000028", "End-LSN": "0/5000000" }
],
"#;

/// `body` with the line that ends every manifest.
fn sealed(body: &str) -> Vec<u8> {
    use sha2::Digest;
    let sum: String = sha2::Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{body}\"Manifest-Checksum\": \"{sum}\"}}\n").into_bytes()
}

fn refused(body: &str) -> ManifestError {
    Manifest::parse(&sealed(body)).expect_err("must be refused")
}

#[test]
fn a_manifest_is_read_whole_and_written_back_byte_for_byte() {
    let text = sealed(SAMPLE);
    let manifest = Manifest::parse(&text).expect("a manifest");
    assert_eq!(manifest.system, Some(SystemIdentifier(7_711_249_317_654_332_226)));
    assert_eq!(manifest.files.len(), 3);
    let file = manifest.files.get(0).expect("the first file");
    assert_eq!((file.path, file.size), (&b"PG_VERSION"[..], 3));
    let mut hasher = Hasher::new(file.algorithm);
    hasher.update(b"1");
    hasher.update(b"8\n");
    assert_eq!(file.checksum, hasher.finish().as_bytes());
    assert_eq!(manifest.files.get(2).expect("the last file").path, b"caf\xE9");
    assert_eq!(manifest.wal_ranges[1].start, Lsn(0x400_0028));
    assert_eq!(String::from_utf8(manifest.render()), String::from_utf8(text));
}

#[test]
fn version_1_has_no_system_identifier_and_version_2_needs_one() {
    let one = SAMPLE.replace("Version\": 2", "Version\": 1");
    assert!(matches!(refused(&one), ManifestError::Syntax(_)));
    let one = one.replace("\"System-Identifier\": 7711249317654332226,\n", "");
    let manifest = Manifest::parse(&sealed(&one)).expect("version 1");
    assert_eq!(manifest.system, None);
    assert_eq!(manifest.render(), sealed(&one));
    let two = one.replace("Version\": 1", "Version\": 2");
    assert!(matches!(refused(&two), ManifestError::Syntax(_)));
    assert_eq!(refused(&SAMPLE.replace("Version\": 2", "Version\": 3")), ManifestError::Version(3));
}

/// Gives a text in pieces of a size.
struct Pieces<'a>(&'a [u8], usize);

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let taken = self.0.len().min(self.1).min(buffer.len());
        buffer[..taken].copy_from_slice(&self.0[..taken]);
        self.0 = &self.0[taken..];
        Ok(taken)
    }
}

#[test]
fn a_text_that_passes_in_pieces_says_what_it_says_as_a_whole_and_is_checked_the_same() {
    let text = sealed(SAMPLE);
    for size in 1..text.len() + 2 {
        let manifest = Manifest::read(Pieces(&text, size)).expect("a manifest");
        assert_eq!(manifest.render(), text, "{size}");
    }
    for cut in 0..text.len() {
        assert!(Manifest::read(Pieces(&text[..cut], 100)).is_err(), "{cut}");
    }
    for at in 0..text.len() {
        let mut changed = text.clone();
        changed[at] ^= 1;
        assert!(Manifest::read(Pieces(&changed, 64)).is_err(), "{at}");
    }
    let endless = vec![b' '; 3 << 20];
    assert!(Manifest::read(Pieces(&endless, 100_000)).is_err());
}

#[test]
fn an_empty_list_and_an_odd_time_survive() {
    for files in ["", "\n{ \"Path\": \"a\", \"Size\": 1, \"Last-Modified\": \"10000-01-01 GMT\" }"]
    {
        let body = format!(
            "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [{files}\n],\n\
             \"WAL-Ranges\": [\n],\n"
        );
        let manifest = Manifest::parse(&sealed(&body)).expect("a manifest");
        assert_eq!(manifest.render(), sealed(&body));
    }
}

#[test]
fn any_cut_and_any_changed_byte_are_noticed() {
    let text = sealed(SAMPLE);
    for cut in 0..text.len() {
        assert!(Manifest::parse(&text[..cut]).is_err(), "{cut}");
    }
    for at in 0..text.len() {
        let mut changed = text.clone();
        changed[at] ^= 1;
        assert!(Manifest::parse(&changed).is_err(), "{at}");
    }
}

#[test]
fn what_the_servers_reader_refuses_is_refused() {
    let file = "{ \"Path\": \"PG_VERSION\", \"Size\": 3,";
    for (from, to) in [
        ("\"WAL-Ranges\"", "\"Wal-Ranges\""),
        ("\"Size\": 3", "\"Size\": -3"),
        ("\"Size\": 3", "\"Size\": 18446744073709551616"),
        ("\"Size\": 3,", ""),
        (file, "{ \"Size\": 3,"),
        (file, "{ \"Path\": \"a\", \"Encoded-Path\": \"61\", \"Size\": 3,"),
        (file, "{ \"Path\": \"a\", \"Path\": \"b\", \"Size\": 3,"),
        (file, "{ \"Path\": \"a\", \"Colour\": \"red\", \"Size\": 3,"),
        ("636166e9", "636166e"),
        ("636166e9", "zz"),
        ("\"CRC32C\", \"Checksum\": \"994e7be2\"", "\"CRC32C\", \"Checksum\": \"994e7b\""),
        ("\"CRC32C\", \"Checksum\": \"994e7be2\"", "\"MD5\", \"Checksum\": \"994e7be2\""),
        ("\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"994e7be2\"", "\"Checksum\": \"\""),
        ("\"Timeline\": 2", "\"Timeline\": 0"),
        ("0/5000120", "0-5000120"),
    ] {
        let body = SAMPLE.replacen(from, to, 1);
        assert_ne!(body, SAMPLE, "{from:?} is in the sample");
        let error = refused(&body);
        assert!(matches!(error, ManifestError::Syntax(_)), "{to:?}: {error}");
    }
    let twice = SAMPLE.replace("636166e9", "50475f56455253494f4e");
    assert_eq!(refused(&twice), ManifestError::Duplicate("PG_VERSION".to_owned()));
    for path in ["../x", "/etc/passwd", "a//b", "a/../b", ""] {
        let body = SAMPLE.replace("PG_VERSION", path);
        assert!(matches!(refused(&body), ManifestError::Path { .. }), "{path:?}");
    }
    assert!(matches!(refused("[\n"), ManifestError::Syntax(_)));
    let unversioned = SAMPLE.replace("PostgreSQL-Backup-Manifest-Version\": 2", "X\": 2");
    assert!(matches!(refused(&unversioned), ManifestError::Syntax(_)));
}

#[test]
fn every_algorithm_gives_what_the_manual_tools_give() {
    // sha224sum and so on of the three bytes "18\n"; CRC-32C as a server prints it.
    for (algorithm, expected) in [
        (Algorithm::None, ""),
        (Algorithm::Crc32c, "994e7be2"),
        (Algorithm::Sha224, SUMS[0]),
        (Algorithm::Sha256, SUMS[1]),
        (Algorithm::Sha384, SUMS[2]),
        (Algorithm::Sha512, SUMS[3]),
    ] {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(b"18\n");
        let sum = hasher.finish();
        assert_eq!(sum.to_string(), expected, "{algorithm}");
        assert_eq!(sum.as_bytes().len(), algorithm.length());
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
    }
    assert_eq!(Algorithm::from_name("sha256"), Some(Algorithm::Sha256));
    assert_eq!(Algorithm::from_name("MD5"), None);
}

const SUMS: [&str; 4] = [
    "6d6988e9a8ef7201a419f4222ba1b1763936ae475c535e00b771f090",
    "7ee29791fc17e986b97128845622b077fb45e349fdb80523fac9dba879b4ad60",
    "d27dcb8fcca323c3173234b3139c59d443324e6bb4a70a4caa78524aeaf906d6\
     4f34c28fafaa739ec6771f57f840c06e",
    "79c8461c14bc5758d46ee5987efe68c6808cd0a88ffb9b5c23f5ec10b4cbffb5\
     2497cb6824c3cb9717686e08c364eaa882d41ab9f6f1eb7492f9bf22204bfb13",
];

fn table(files: &[(&str, u64, &[u8])]) -> FileTable {
    let mut table = FileTable::new();
    for (path, size, content) in files {
        let mut hasher = Hasher::new(Algorithm::Crc32c);
        hasher.update(content);
        let parts = path.as_bytes().split_at(path.len() / 2);
        table.push_passed([parts.0, parts.1], *size, Algorithm::Crc32c, hasher.finish());
    }
    table
}

#[test]
fn every_difference_is_named() {
    let listed = table(&[("d", 1, b"d"), ("a", 1, b"a"), ("c", 1, b"c"), ("b", 1, b"b")]);
    assert_eq!(
        compare(&listed, &table(&[("a", 1, b"a"), ("b", 1, b"b"), ("c", 1, b"c"), ("d", 1, b"d")])),
        []
    );
    let passed =
        table(&[("x", 1, b"x"), ("a", 2, b"a"), ("c", 1, b"C"), ("d", 1, b"d"), ("d", 1, b"d")]);
    let path = |path: &str| path.to_owned();
    assert_eq!(
        compare(&listed, &passed),
        [
            Difference::Size { path: path("a"), listed: 1, received: 2 },
            Difference::Missing { path: path("b") },
            Difference::Checksum { path: path("c") },
            Difference::Repeated { path: path("d") },
            Difference::Extra { path: path("x") },
        ]
    );
    let mut other = FileTable::new();
    other.push_passed([b"a", b""], 1, Algorithm::None, Hasher::new(Algorithm::None).finish());
    assert!(matches!(
        compare(&table(&[("a", 1, b"a")]), &other)[..],
        [Difference::Algorithm { .. }]
    ));
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        files in proptest::collection::btree_map(
            proptest::collection::vec(1_u8..=255, 1..12).prop_filter("a safe path", |path| {
                crate::tar::MemberPath::check(path).is_ok_and(|safe| safe == path)
            }),
            (any::<u64>(), -60_000_000_000_i64..250_000_000_000, any::<bool>()),
            0..20,
        ),
        system: Option<u64>,
    ) {
        let mut writer = ManifestWriter::new(system.map(SystemIdentifier));
        for (path, &(size, seconds, encoded)) in &files {
            writer.file(&ManifestFile {
                path,
                encoded,
                size,
                modified: Modified::Seconds(seconds),
                algorithm: Algorithm::Crc32c,
                checksum: &size.to_le_bytes()[..4],
            });
        }
        let text = writer.finish(&[]);
        let manifest = Manifest::parse(&text).expect("what was written");
        prop_assert_eq!(manifest.render(), text);
        prop_assert_eq!(manifest.files.len(), files.len());
    }
}
