//! What the writer's thread reads for itself is the same archive.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;

use super::members;
use super::sample::Sample;
use crate::backup::archive_file::ArchiveFile;
use crate::backup::direct::{BUFFER_BYTES, DirectTail};
use crate::backup::errand::{Conversation, Found, Loan, PATIENCE};
use crate::backup::member::Members;
use crate::backup::output::Output;
use crate::backup::reader::Fault;
use crate::disk::{Disk, ModelDisk};
use crate::net::Lent;
use crate::wire::base_backup::{BackupEvent, BackupStream};

const PATH: &str = "/archive";
const PATIENT: Duration = Duration::from_secs(60);

/// A message of the copy.
fn message(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = (4 + 1 + content.len()) as u32;
    [&[b'd'][..], &length.to_be_bytes(), &[kind], content].concat()
}

/// The archive in messages of these lengths in turn, with progress between them, and its end.
fn messages(archive: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), archive);
    for &length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        out.extend(message(b'd', piece));
        out.extend(message(b'p', &[0; 8]));
        rest = behind;
    }
    out.extend(b"c\0\0\0\x04");
    out
}

fn base_archive(sample: &Sample) -> Vec<u8> {
    let archive = sample.files().into_iter().find(|(name, _)| *name == "base.tar");
    archive.expect("the sample has one").1
}

/// A conversation, and the server's end of it.
fn conversation() -> (Conversation, UnixStream) {
    let (server, socket) = UnixStream::pair().expect("a pair");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let (input, stream) = (BytesMut::new(), BackupStream::in_archive());
    (Conversation { socket: Lent::Unix(socket), input, stream, found: None }, server)
}

fn archive_file(disk: &ModelDisk) -> ArchiveFile {
    let path = Path::new(PATH);
    let file = disk.create(path, 0o600).expect("created");
    let direct = disk.open_direct(path).expect("opened");
    let tail = DirectTail::start(file, direct).expect("a thread");
    ArchiveFile::new(Output::Plain(tail), "base.tar".to_owned(), Vec::new())
}

/// What is found at the end of an errand, and the bytes that passed.
fn found(loan: Loan) -> (Option<Found>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let mut passed = 0;
    let back = runtime.expect("a runtime").block_on(loan.wait(&mut |bytes| passed = bytes));
    (back.and_then(|back| back.found), passed)
}

/// Every file that has passed, with its checksum.
fn listed(members: &Members) -> Vec<String> {
    let files = (0..members.files.len()).map(|index| members.files.get(index));
    files.map(|file| format!("{file:?}")).collect()
}

#[test]
fn an_archive_is_the_same_however_its_messages_and_reads_are_cut() {
    let big = vec![7; 2 * BUFFER_BYTES];
    let sample = Sample::plain().with("base/1/4242", &big);
    let archive = base_archive(&sample);
    let by_queue = {
        let (mut file, mut members) = (archive_file(&ModelDisk::new(0)), members());
        file.take(archive.clone().into(), &mut members).expect("stored");
        listed(&members)
    };
    assert_eq!(by_queue.len(), 4);
    for lengths in [&[32 << 10][..], &[1, 511, 70_001, 3], &[BUFFER_BYTES + 1]] {
        for piece in [4093, 300_007] {
            let disk = ModelDisk::new(0);
            let (mut file, mut members) = (archive_file(&disk), members());
            let (conversation, mut server) = conversation();
            let sent = messages(&archive, lengths);
            let sending = std::thread::spawn(move || {
                for piece in sent.chunks(piece) {
                    server.write_all(piece).expect("sent");
                }
            });
            let (errand, loan) = Loan::new(conversation, PATIENT);
            errand.go(&mut file, &mut members).expect("stored");
            sending.join().expect("sent");
            let (found, passed) = found(loan);
            assert!(matches!(found, Some(Found::Event(BackupEvent::ArchiveEnd))), "{found:?}");
            assert_eq!(passed, archive.len() as u64);
            assert_eq!(file.finish().expect("complete"), archive.len() as u64);
            assert!(disk.bytes(Path::new(PATH)).as_ref() == Some(&archive), "{lengths:?}");
            assert_eq!(listed(&members), by_queue);
        }
    }
}

#[test]
fn the_reader_learns_why_a_conversation_comes_back() {
    let disk = ModelDisk::new(0);
    let (mut file, mut members) = (archive_file(&disk), members());
    // The other end is closed.
    let (lent, server) = conversation();
    drop(server);
    let (errand, loan) = Loan::new(lent, PATIENT);
    errand.go(&mut file, &mut members).expect("told");
    assert!(matches!(found(loan).0, Some(Found::Fault(Fault::Closed))));
    // It says nothing.
    let (lent, _silent) = conversation();
    let (errand, loan) = Loan::new(lent, PATIENCE);
    errand.go(&mut file, &mut members).expect("told");
    assert!(matches!(found(loan).0, Some(Found::Fault(Fault::Silent))));
    // It says what no server says.
    let (lent, mut server) = conversation();
    server.write_all(b"d\0\0\0\x06?!").expect("sent");
    let (errand, loan) = Loan::new(lent, PATIENT);
    errand.go(&mut file, &mut members).expect("told");
    assert!(matches!(found(loan).0, Some(Found::Fault(Fault::Wire(_)))));
}

#[test]
fn an_errand_for_which_nobody_waits_any_more_ends_at_once() {
    let disk = ModelDisk::new(0);
    let (mut file, mut members) = (archive_file(&disk), members());
    let (lent, _silent) = conversation();
    let (errand, loan) = Loan::new(lent, PATIENT);
    drop(loan);
    errand.go(&mut file, &mut members).expect("left");
}

#[test]
fn a_thousand_messages_are_read_to_their_place_without_an_allocation() {
    let sample = Sample::plain().with("base/1/4242", &vec![7; 4 * BUFFER_BYTES]);
    let archive = base_archive(&sample);
    let counts = [1 << 20, 4096].map(|length| {
        let disk = ModelDisk::new(0);
        let (mut file, mut members) = (archive_file(&disk), members());
        let (conversation, mut server) = conversation();
        let sent = messages(&archive, &[length]);
        let sending = std::thread::spawn(move || server.write_all(&sent));
        let (errand, loan) = Loan::new(conversation, PATIENT);
        let measured = allocation_counter::measure(|| {
            errand.go(&mut file, &mut members).expect("stored");
        });
        sending.join().expect("no panic").expect("sent");
        drop(loan);
        measured.count_total
    });
    // As many for eight messages as for two thousand, but for whom waits for the first time.
    assert!(counts[1] <= counts[0] + 8, "{counts:?}");
}
