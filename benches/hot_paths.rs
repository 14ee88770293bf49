//! What the cores of the two hot paths cost a byte, without sockets and disks.
//!
//! `make bench-micro`. A real server feeds at most about 1 GB/s; each stage here has to be far from
//! being what limits it.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tapster::manifest::{Algorithm, Hasher};
use tapster::tar::{Member, MemberKind, MemberPath, TarSplitter};
use tapster::wal::{Lsn, SegmentSize, Timeline, WalChecker};
use tapster::wire::copy_both::{WalEvent, WalStream};

const MIB: usize = 1 << 20;
/// What a walsender puts into one message when it catches up.
const FRAME: usize = 128 << 10;
/// What one read from the socket brings.
const READ: usize = 256 << 10;

/// CopyBothResponse, then XLogData of `FRAME` bytes each.
fn replication_stream(start: u64, wal: &[u8]) -> Vec<u8> {
    let mut stream = vec![b'W', 0, 0, 0, 7, 0, 0, 0];
    for (number, piece) in wal.chunks(FRAME).enumerate() {
        let at = start + (number * FRAME) as u64;
        stream.push(b'd');
        stream.extend(((4 + 25 + piece.len()) as u32).to_be_bytes());
        stream.push(b'w');
        stream.extend(at.to_be_bytes());
        stream.extend((start + wal.len() as u64).to_be_bytes());
        stream.extend(0u64.to_be_bytes());
        stream.extend(piece);
    }
    stream
}

fn wal_stream(c: &mut Criterion) {
    let start = 3 << 24;
    let wal = vec![0x5A; 16 * MIB];
    let stream = replication_stream(start, &wal);
    let mut group = c.benchmark_group("receive");
    group.throughput(Throughput::Bytes(wal.len() as u64));
    group.bench_function("frames of a replication stream", |bencher| {
        bencher.iter_batched(
            || stream.chunks(READ).map(BytesMut::from).collect::<Vec<_>>(),
            |reads| {
                let mut decoder = WalStream::new(Lsn(start));
                let mut input = BytesMut::new();
                let mut received = 0;
                for read in reads {
                    // What is left is at most the head of a message.
                    if input.is_empty() {
                        input = read;
                    } else {
                        input.extend_from_slice(&read);
                    }
                    while let Some(event) = decoder.next(&mut input).expect("a good stream") {
                        if let WalEvent::Wal { bytes, .. } = event {
                            received += black_box(bytes).len();
                        }
                    }
                }
                assert_eq!(received, 16 * MIB);
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Pages as a server writes them, full of records of `record` bytes; the last record of a page
/// fills it up.
fn wal_pages(start: u64, length: usize, record: usize) -> Vec<u8> {
    let mut wal: Vec<u8> = Vec::with_capacity(length);
    let mut previous = 0u64;
    while wal.len() < length {
        let page = wal.len();
        let long = page == 0;
        wal.extend(0xD110u16.to_le_bytes());
        wal.extend(if long { 0x0006u16 } else { 0x0004 }.to_le_bytes());
        wal.extend(1u32.to_le_bytes());
        wal.extend((start + page as u64).to_le_bytes());
        wal.extend([0; 8]);
        if long {
            wal.extend(7u64.to_le_bytes());
            wal.extend((16 * MIB as u32).to_le_bytes());
            wal.extend(8192u32.to_le_bytes());
        }
        while wal.len() < page + 8192 {
            let left = page + 8192 - wal.len();
            let total = if left >= 2 * record { record } else { left };
            let at = start + wal.len() as u64;
            push_record(&mut wal, total, previous);
            previous = at;
        }
    }
    wal
}

/// Length, transaction, link back, kind, checksum, and a content that fits the length.
fn push_record(wal: &mut Vec<u8>, total: usize, previous: u64) {
    let begin = wal.len();
    wal.extend((total as u32).to_le_bytes());
    wal.extend(700u32.to_le_bytes());
    wal.extend(previous.to_le_bytes());
    wal.extend([0, 10, 0, 0]);
    let content = total - 24;
    // Main data: a short or a long header, then the bytes.
    let mut body = Vec::with_capacity(content);
    if content - 2 < 256 {
        body.extend([255, (content - 2) as u8]);
    } else {
        body.push(254);
        body.extend(((content - 5) as u32).to_le_bytes());
    }
    body.resize(content, 0x5A);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&body), &wal[begin..begin + 20]);
    wal.extend(crc.to_le_bytes());
    wal.extend(body);
}

fn wal_checker(c: &mut Criterion) {
    let start = 3u64 << 24;
    let mut group = c.benchmark_group("verify");
    for (name, record) in [("records of 64 bytes", 64), ("records of a page", 4096)] {
        let wal = wal_pages(start, 16 * MIB, record);
        group.throughput(Throughput::Bytes(wal.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let size = SegmentSize::new(16 * MIB as u64).expect("a power of two");
                let timeline = Timeline::new(1).expect("the first");
                let mut checker = WalChecker::new(timeline, None, size, Lsn(start));
                let mut findings = Vec::new();
                for (number, piece) in wal.chunks(FRAME).enumerate() {
                    checker.feed(Lsn(start + (number * FRAME) as u64), piece, &mut findings);
                }
                assert!(findings.is_empty(), "{findings:?}");
                assert_eq!(checker.valid_end(), Some(Lsn(start + wal.len() as u64)));
            });
        });
    }
    group.finish();
}

/// An archive of `files` files of `size` bytes.
fn archive(files: usize, size: usize) -> Bytes {
    let mut tar = Vec::new();
    for number in 0..files {
        let member = Member {
            path: MemberPath::new(format!("base/16384/{number}").as_bytes()).expect("a safe name"),
            kind: MemberKind::File,
            size: size as u64,
            mode: 0o600,
            uid: 101,
            gid: 104,
            modified: 0,
        };
        tar.extend(member.encode().expect("it fits"));
        tar.resize(tar.len() + size.next_multiple_of(512), 0x5A);
        let padding = size.next_multiple_of(512) - size;
        let end = tar.len();
        tar[end - padding..].fill(0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar.into()
}

fn tar_splitter(c: &mut Criterion) {
    let mut group = c.benchmark_group("backup");
    for (name, files, size) in
        [("members of 8 KiB", 2000, 8192), ("members of 16 MiB", 1, 16 * MIB)]
    {
        let tar = archive(files, size);
        group.throughput(Throughput::Bytes(tar.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut splitter = TarSplitter::new();
                // The server cuts its archive into pieces of 32 KiB.
                for at in (0..tar.len()).step_by(32 << 10) {
                    splitter.push(tar.slice(at..tar.len().min(at + (32 << 10))));
                    while let Some(event) = splitter.next().expect("a good archive") {
                        black_box(event);
                    }
                }
                splitter.finish().expect("a whole archive");
            });
        });
    }
    group.finish();
}

fn checksums(c: &mut Criterion) {
    let content = vec![0x5A; MIB];
    let mut group = c.benchmark_group("manifest");
    group.throughput(Throughput::Bytes(content.len() as u64));
    for algorithm in [Algorithm::Crc32c, Algorithm::Sha256, Algorithm::Sha512] {
        group.bench_function(algorithm.name(), |bencher| {
            bencher.iter(|| {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&content);
                hasher.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, wal_stream, wal_checker, tar_splitter, checksums);
criterion_main!(benches);
