//! Whatever a peer sends, nothing panics, nothing loops, and nothing is reserved for it.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tapster::wal::Lsn;
use tapster::wire::base_backup::BackupStream;
use tapster::wire::copy_both::WalStream;
use tapster::wire::{
    BackendMessage, ChannelBinding, Exchange, Login, LoginOptions, RequireAuth, Tag, Transport,
};

use super::backend;
use super::backups::{new, old, version, with_manifest};

fn login() -> Login {
    Login::new(LoginOptions {
        user: "u".to_owned(),
        password: Some(b"p".to_vec().into()),
        parameters: Vec::new(),
        transport: Transport::Tls { end_point: Some(vec![1; 32]) },
        channel_binding: ChannelBinding::Prefer,
        require_auth: RequireAuth::ANY,
    })
}

/// Calls `next` until it wants more or fails; each event must have cost at least a byte, or be
/// the second of one message.
fn drain<T, E>(input: &[u8], mut next: impl FnMut(&mut BytesMut) -> Result<Option<T>, E>) {
    let mut buffer = BytesMut::from(input);
    for _ in 0..=2 * input.len() + 2 {
        match next(&mut buffer) {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
    panic!("{} bytes gave more events than bytes", input.len());
}

fn every_machine_survives(input: &[u8]) {
    let (mut session, mut out) = (login(), BytesMut::new());
    drain(input, |buffer| session.next(buffer, &mut out));
    let mut exchange = Exchange::new();
    drain(input, |buffer| exchange.next(buffer));
    let mut stream = WalStream::new(Lsn(0x300_0028));
    drain(input, |buffer| stream.next(buffer));
    for major in [14, 18] {
        let mut backup = BackupStream::new(version(major), &with_manifest());
        drain(input, |buffer| backup.next(buffer));
    }
}

proptest! {
    #[test]
    fn noise_is_refused(input in prop::collection::vec(any::<u8>(), 0..300)) {
        every_machine_survives(&input);
    }

    #[test]
    fn noise_in_the_bodies_of_known_messages_is_refused(
        messages in prop::collection::vec(
            (
                prop::sample::select(b"RSKvZTDCENAGHWdc".to_vec()),
                prop::collection::vec(prop_oneof![Just(0u8), Just(0xFF), any::<u8>()], 0..40),
            ),
            1..8,
        ),
    ) {
        for (tag, body) in &messages {
            let _ = BackendMessage::parse(Tag(*tag), Bytes::copy_from_slice(body));
        }
        let input: Vec<u8> =
            messages.iter().flat_map(|(tag, body)| backend::message(*tag, body)).collect();
        every_machine_survives(&input);
        every_machine_survives(&[backend::copy_both(), input].concat());
    }

    #[test]
    fn a_byte_changed_in_a_good_stream_never_harms_the_reader(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let streams = [
            old(true),
            new(true),
            backend::trust("18.4"),
            [backend::sasl(&["SCRAM-SHA-256"]), backend::trust("18.4")].concat(),
            backend::identify_system(1, 1, Lsn(8)),
            [
                backend::copy_both(),
                backend::xlog_data(Lsn(0x300_0028), b"wal"),
                backend::keepalive(Lsn(0x300_002B), true),
                backend::copy_done(),
                backend::next_timeline(2, Lsn(0x300_0028)),
            ]
            .concat(),
        ];
        for mut stream in streams {
            let at = at.index(stream.len());
            stream[at] = byte;
            every_machine_survives(&stream);
        }
    }
}
