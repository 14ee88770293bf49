//! What a frame costs the writer: no allocation, whatever its size.

use std::io::IoSlice;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;

use crate::backup::archive_file::ArchiveFile;
use crate::backup::direct::DirectTail;
use crate::backup::member::Members;
use crate::backup::output::Output;
use crate::codec::Framing;
use crate::disk::{DiskError, DiskFile};
use crate::manifest::Algorithm;
use crate::pages::{PageChecker, PageLayout, PageSize};
use crate::tar::{Member, MemberKind, MemberPath};
use crate::wal::Lsn;

/// A file that keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl DiskFile for Nowhere {
    fn path(&self) -> &Path {
        Path::new("/nowhere")
    }
    fn write_all_vectored_at(&self, _: &[IoSlice<'_>], _: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn read_at(&self, _: &mut [u8], _: u64) -> Result<usize, DiskError> {
        Ok(0)
    }
    fn length(&self) -> Result<u64, DiskError> {
        Ok(0)
    }
    fn set_length(&self, _: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn allocate(&self, _: u64, _: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn start_writeback(&self, _: u64, _: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_data(&self) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_all(&self) -> Result<(), DiskError> {
        Ok(())
    }
    fn set_modified(&self, _: SystemTime) -> Result<(), DiskError> {
        Ok(())
    }
}

fn nowhere(framing: Option<Framing>) -> Output {
    let tail = DirectTail::start(Box::new(Nowhere), Some(Box::new(Nowhere))).expect("a thread");
    Output::new(tail, framing).expect("threads")
}

#[test]
fn a_thousand_frames_are_stored_and_summed_up_without_an_allocation() {
    let frame = Bytes::from(vec![0; 32 << 10]);
    let member = Member {
        path: MemberPath::new(b"base/1/1259").expect("a safe name"),
        kind: MemberKind::File,
        size: 1101 * frame.len() as u64,
        mode: 0o600,
        uid: 1,
        gid: 1,
        modified: 0,
    };
    let mut pages = PageChecker::new(PageLayout::usual(PageSize::DEFAULT), true);
    pages.start(Lsn(u64::MAX));
    let mut members = Members::new(Algorithm::Crc32c, pages);
    let output = nowhere(None);
    let mut archive = ArchiveFile::new(output, "base.tar".to_owned(), Vec::new());
    let header = Bytes::copy_from_slice(&member.encode().expect("it fits"));
    archive.take(header, &mut members).expect("a header");
    // The first ones warm up: a buffer becomes shared, the processor is asked what it can.
    for _ in 0..100 {
        archive.take(frame.clone(), &mut members).expect("data");
    }
    let measured = allocation_counter::measure(|| {
        for _ in 0..1000 {
            archive.take(frame.clone(), &mut members).expect("data");
        }
    });
    // None for a frame; who waits for the disk for the first time registers itself.
    assert!(measured.count_total <= 4, "{measured:?}");
    // The end of a member costs its line in the list.
    archive.take(frame, &mut members).expect("data");
    assert_eq!(archive.finish().expect("complete"), 512 + member.size + 1024);
}

#[test]
fn what_is_packed_costs_no_allocation_for_a_frame_and_few_for_four_megabytes() {
    let frame = Bytes::from(vec![7; 32 << 10]);
    for word in ["gzip", "zstd", "lz4"] {
        let framing = Framing::choose(word, None, Some(2)).expect("known");
        let mut output = nowhere(framing);
        // Buffers are made while the queue fills for the first time: four of 4 MiB.
        for _ in 0..1000 {
            output.take(frame.clone()).expect("packed");
        }
        let measured = allocation_counter::measure(|| {
            for _ in 0..1000 {
                output.take(frame.clone()).expect("packed");
            }
        });
        // The list of frames grows, and a thread that waits registers itself.
        assert!(measured.count_total <= 16, "{word}: {measured:?}");
        output.finish().expect("complete");
    }
}
