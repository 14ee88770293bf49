//! The hot paths allocate when the read buffer is refilled, and at no other time.
//!
//! A server that commits small transactions sends ten thousands of messages a second; an
//! allocation for each would cost more than the messages.

use allocation_counter::measure;
use bytes::BytesMut;
use tapster::wal::Lsn;
use tapster::wal::PgTimestamp;
use tapster::wire::base_backup::{BackupEvent, BackupStream};
use tapster::wire::copy_both::{StatusUpdate, WalEvent, WalStream};

use super::backend;
use super::backups::{old_head, version, with_manifest};

const FRAMES: u64 = 1_000;

#[test]
fn a_thousand_messages_of_wal_are_split_without_an_allocation_for_each() {
    let start = Lsn(0x300_0000);
    let mut bytes = backend::copy_both();
    for number in 0..FRAMES {
        bytes.extend(backend::xlog_data(start + number * 56, &[5; 56]));
        bytes.extend(backend::keepalive(start + number * 56, false));
    }
    let mut input = BytesMut::from(&bytes[..]);
    let mut stream = WalStream::new(start);
    stream.next(&mut input).expect("good").expect("started");
    let mut pieces = 0;
    let info = measure(|| {
        while let Some(event) = stream.next(&mut input).expect("good") {
            pieces += u64::from(matches!(event, WalEvent::Wal { .. }));
        }
    });
    assert_eq!(pieces, FRAMES);
    assert!(info.count_total <= 2, "{} allocations", info.count_total);
}

#[test]
fn a_thousand_messages_of_a_backup_are_split_without_an_allocation_for_each() {
    for (major, begin) in [(14, Vec::new()), (18, backend::archive("16384.tar", "/srv/ts one"))] {
        let mut bytes = [old_head(), backend::copy_out(), begin].concat();
        for _ in 0..FRAMES {
            bytes.extend(match major {
                14 => backend::copy_data(&[5; 512]),
                _ => [backend::archive_data(&[5; 512]), backend::progress(9)].concat(),
            });
        }
        let mut input = BytesMut::from(&bytes[..]);
        let mut stream = BackupStream::new(version(major), &with_manifest());
        for _ in 0..3 {
            stream.next(&mut input).expect("good").expect("start, tablespaces, archive");
        }
        let mut pieces = 0;
        let info = measure(|| {
            while let Some(event) = stream.next(&mut input).expect("good") {
                pieces += u64::from(matches!(event, BackupEvent::ArchiveData(_)));
            }
        });
        assert_eq!(pieces, FRAMES);
        assert!(info.count_total <= 2, "{major}: {} allocations", info.count_total);
    }
}

#[test]
fn a_status_is_written_into_the_buffer_that_is_there() {
    let mut out = BytesMut::with_capacity(256);
    let status = StatusUpdate {
        written: Lsn(2),
        flushed: Lsn(1),
        applied: Lsn(0),
        sent_at: PgTimestamp(0),
        reply_now: false,
    };
    let info = measure(|| {
        for _ in 0..FRAMES {
            status.encode(&mut out);
            out.clear();
        }
    });
    assert_eq!(info.count_total, 0);
}
