//! Lengths and types are checked in the first five bytes, and payload is never copied.
//!
//! A peer that announces 2 GB is refused before anything is reserved for it or waited for; one
//! that speaks another protocol is told from a server by its first byte.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tapster::wire::frame::{
    CONTROL_LENGTH_MAX, COPY_DATA_LENGTH_MAX, DATA_ROW_LENGTH_MAX, TEXT_LENGTH_MAX,
};
use tapster::wire::{Frame, FrameReader, Tag, WireError};

use super::{backend, hex, in_every_cut, in_pieces};

/// Whole messages; the pieces of each CopyData joined.
#[derive(Debug, PartialEq)]
enum Whole {
    Message(u8, Vec<u8>),
    Copy(u32, Vec<u8>),
}

fn read(chunks: &[&[u8]]) -> Result<Vec<Whole>, String> {
    let (mut reader, mut buffer, mut all) = (FrameReader::new(), BytesMut::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        while let Some(frame) = reader.next(&mut buffer).map_err(|error| error.to_string())? {
            match (frame, all.last_mut()) {
                (Frame::Message { tag, body }, _) => all.push(Whole::Message(tag.0, body.to_vec())),
                (Frame::CopyData { length }, _) => all.push(Whole::Copy(length, Vec::new())),
                (Frame::CopyPiece(piece), Some(Whole::Copy(_, payload))) => {
                    assert!(!piece.is_empty(), "an empty piece would end a read loop early");
                    payload.extend_from_slice(&piece);
                }
                (Frame::CopyPiece(_), _) => panic!("a piece without a head"),
            }
        }
    }
    assert!(buffer.is_empty(), "{} bytes left behind", buffer.len());
    Ok(all)
}

fn error(bytes: &[u8]) -> WireError {
    let mut buffer = BytesMut::from(bytes);
    FrameReader::new().next(&mut buffer).expect_err("a frame that must be refused")
}

#[test]
fn messages_come_out_whole_and_copy_data_as_it_arrived_however_it_is_cut() {
    let bytes = hex("5a 00000005 49                \
                     64 00000007 6b 61 62          \
                     64 00000004                   \
                     64 00000005 77                \
                     63 00000004                   ");
    //               Z  length   idle
    //               d  length   three bytes / none / one, then c
    let expected = vec![
        Whole::Message(b'Z', b"I".to_vec()),
        Whole::Copy(3, b"kab".to_vec()),
        Whole::Copy(0, Vec::new()),
        Whole::Copy(1, b"w".to_vec()),
        Whole::Message(b'c', Vec::new()),
    ];
    assert_eq!(in_every_cut(&bytes, read), Ok(expected));
}

#[test]
fn payload_is_handed_out_before_its_message_is_complete_and_without_a_copy() {
    let mut buffer = BytesMut::with_capacity(1 << 16);
    buffer.extend_from_slice(&hex("64 00020004")); // 128 KiB of payload announced
    buffer.extend_from_slice(&[7; 1000]); // of which 1000 bytes have come
    let start = buffer.as_ptr() as usize;
    let mut reader = FrameReader::new();
    assert_eq!(
        reader.next(&mut buffer).expect("a head"),
        Some(Frame::CopyData { length: 131_072 })
    );
    let Ok(Some(Frame::CopyPiece(piece))) = reader.next(&mut buffer) else {
        panic!("1000 bytes were held back");
    };
    assert_eq!((piece.len(), reader.copy_left()), (1000, 131_072 - 1000));
    assert_eq!(piece.as_ptr() as usize, start + 5, "the payload was moved");
    assert_eq!(reader.next(&mut buffer).expect("no error"), None);
}

#[test]
fn a_length_that_cannot_be_is_refused_in_the_first_five_bytes() {
    for (text, length) in [("5a 00000003", 3), ("64 00000000", 0), ("44 ffffffff", -1)] {
        match error(&hex(text)) {
            WireError::TooShort { length: got, .. } => assert_eq!(got, length, "{text}"),
            other => panic!("{text}: {other}"),
        }
    }
    assert!(matches!(error(&hex("64 80000000")), WireError::TooShort { length: i32::MIN, .. }));
    // 2 GB, whatever the type.
    for tag in b"RSKvZTDCENAGHWdc" {
        let bytes = [&[*tag][..], &hex("7fffffff")].concat();
        let WireError::TooLong { tag: got, length, .. } = error(&bytes) else {
            panic!("2 GB of {} were accepted", Tag(*tag));
        };
        assert_eq!((got, length), (Tag(*tag), 0x7FFF_FFFF));
    }
}

#[test]
fn each_type_has_its_own_bound() {
    for (tags, max) in [
        (&b"d"[..], COPY_DATA_LENGTH_MAX),
        (b"D", DATA_ROW_LENGTH_MAX),
        (b"TENAvS", TEXT_LENGTH_MAX),
        (b"RKZCGHWc", CONTROL_LENGTH_MAX),
    ] {
        for &tag in tags {
            let head = |length: u32| [&[tag][..], &length.to_be_bytes()].concat();
            let mut buffer = BytesMut::from(&head(max)[..]);
            assert!(FrameReader::new().next(&mut buffer).is_ok(), "{} of {max}", Tag(tag));
            assert!(matches!(error(&head(max + 1)), WireError::TooLong { .. }), "{}", Tag(tag));
        }
    }
}

#[test]
fn another_protocol_is_known_by_its_first_byte_or_its_absurd_length() {
    assert_eq!(
        error(b"\x16").to_string(),
        "server sent a message of the unknown type 0x16 while a message of the replication \
         protocol was due"
    );
    assert!(error(b"\x16").hint().expect("a hint").contains("host and port"));
    assert_eq!(
        error(b"HTTP/1.1 400 Bad Request\r\n").to_string(),
        "CopyOutResponse announces 1414811695 bytes; at most 30000 are accepted"
    );
    assert!(matches!(error(b"SSH-2.0-OpenSSH_9.6\r\n"), WireError::TooLong { .. }));
    assert!(matches!(error(b"220 mail ESMTP\r\n"), WireError::Unexpected { .. }));
    assert!(matches!(error(b"+OK ready\r\n"), WireError::Unexpected { .. }));
}

#[test]
fn a_head_inside_copy_data_is_taken_whole_or_not_at_all() {
    let mut reader = FrameReader::new();
    let mut buffer = BytesMut::from(&hex("64 00000008 6b 01")[..]);
    reader.next(&mut buffer).expect("a head");
    assert_eq!(reader.peek(&buffer), Some(b'k'));
    assert_eq!(reader.take(&mut buffer, 3), None);
    assert_eq!(reader.take(&mut buffer, 5), None, "more than the message has");
    assert_eq!(buffer.len(), 2, "a refused take must leave the bytes");
    buffer.extend_from_slice(&[2, 3, 4]);
    assert_eq!(reader.take(&mut buffer, 3), Some(Bytes::from_static(&[b'k', 1, 2])));
    assert_eq!((reader.copy_left(), buffer.len()), (1, 2));
}

proptest! {
    #[test]
    fn the_cuts_of_the_network_do_not_show(
        messages in prop::collection::vec(
            (prop::sample::select(b"RSKvZTDCENAGHWcdddd".to_vec()), prop::collection::vec(any::<u8>(), 0..60)),
            0..12,
        ),
        cuts in prop::collection::vec(1usize..40, 1..20),
    ) {
        let bytes: Vec<u8> =
            messages.iter().flat_map(|(tag, body)| backend::message(*tag, body)).collect();
        let expected: Vec<Whole> = messages
            .into_iter()
            .map(|(tag, body)| match tag {
                b'd' => Whole::Copy(body.len() as u32, body),
                _ => Whole::Message(tag, body),
            })
            .collect();
        let chunks = in_pieces(&bytes, &cuts);
        prop_assert_eq!(read(&chunks), Ok(expected));
    }
}
