//! What `restore_command` gets: the right bytes, whole, or nothing.

use super::super::get_wal::Form;
use super::super::shelf::Shelf;
use super::*;

fn sent(disk: &ModelDisk, fixture: &Fixture, name: &str, open: bool) -> Option<Vec<u8>> {
    let layout = fixture.layout();
    let shelf = Shelf { disk, layout: &layout };
    let found = shelf.find_wal(name.parse().expect("a name"), open).expect("readable")?;
    let mut bytes = Vec::new();
    found.send(Form::Plain, &mut bytes).expect("sent");
    Some(bytes)
}

fn name(number: u64) -> String {
    segment_name(number).to_string()
}

#[test]
fn a_stored_segment_is_sent_as_the_server_wrote_it_or_as_it_is_asked_for() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let layout = fixture.layout();
    let shelf = Shelf { disk: &disk, layout: &layout };
    let content = segment(3, SYSTEM);
    let stored = pack("zstd", &content);
    fixture.put_segment(&disk, 3, &stored);
    assert!(sent(&disk, &fixture, &name(3), false) == Some(content.clone()));
    let send = |form| {
        let found = shelf.find_wal(name(3).parse().expect("a name"), false).expect("readable");
        let mut bytes = Vec::new();
        found.expect("there").send(form, &mut bytes).expect("sent");
        bytes
    };
    assert!(send(Form::Stored) == stored);
    assert!(send(Form::Packed(Packing::GZIP)).starts_with(b"\x1f\x8b\x08"));
    #[cfg(feature = "legacy-codecs")]
    assert!(send(Form::Packed(Packing::BZIP2.expect("built in"))).starts_with(b"BZh5"));
    fixture.put_segment(&disk, 3, &stored[..stored.len() - 3]);
    let found = shelf.find_wal(name(3).parse().expect("a name"), false).expect("readable");
    found.expect("there").send(Form::Plain, &mut Vec::new()).expect_err("it is cut off");
}

#[test]
fn what_waits_is_found_unless_it_is_still_being_delivered() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let incoming = fixture.layout().incoming().join(name(6));
    disk.put(&incoming, &segment(6, SYSTEM)[..5000]);
    assert_eq!(sent(&disk, &fixture, &name(6), false), None);
    disk.put(&incoming, &segment(6, SYSTEM));
    assert!(sent(&disk, &fixture, &name(6), false) == Some(segment(6, SYSTEM)));
}

#[test]
fn the_open_segment_is_sent_at_full_size_when_it_is_asked_for_and_nothing_supersedes_it() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let partial = format!("{}.partial", name(5));
    let received = &segment(5, SYSTEM)[..30_000];
    disk.put(&fixture.layout().streaming().join(partial), received);
    assert_eq!(sent(&disk, &fixture, &name(5), false), None);
    let bytes = sent(&disk, &fixture, &name(5), true).expect("the open segment");
    assert_eq!(bytes.len(), SEGMENT as usize);
    assert!(bytes.starts_with(received) && bytes[30_000..].iter().all(|byte| *byte == 0));

    let history = fixture.layout().wals().join("00000002.history");
    disk.put(&history, b"1\t0/520000\tpromoted\n");
    assert_eq!(sent(&disk, &fixture, &name(5), true), None);
    disk.remove_file(&history).expect("removed");
    disk.put(&fixture.layout().streaming().join(name(6)), &segment(6, SYSTEM));
    assert_eq!(sent(&disk, &fixture, &name(5), true), None);
}

#[test]
fn a_peek_names_what_is_there_without_a_gap() {
    let fixture = Fixture::new();
    let disk = fixture.packed();
    let layout = fixture.layout();
    let shelf = Shelf { disk: &disk, layout: &layout };
    let peek = |number, count| {
        let found = shelf.peek(name(number).parse().expect("a name"), count).expect("readable");
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(peek(3, 5), [name(3), name(4)]);
    assert_eq!(peek(3, 1), [name(3)]);
    assert!(peek(9, 5).is_empty());
}
