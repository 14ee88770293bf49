//! What a server may send.

use std::fmt::Debug;

use bytes::BytesMut;
use tapster::wal::Lsn;
use tapster::wire::base_backup::BackupStream;
use tapster::wire::copy_both::WalStream;
use tapster::wire::{
    AuthMethod, BackendMessage, BaseBackupOptions, ChannelBinding, Exchange, Frame, FrameReader,
    Login, LoginOptions, ManifestOption, RequireAuth, ServerVersion, Transport, WireError,
};

use crate::pieces::cut;

/// Feeds `data` to a parser whole and in pieces; after an error nothing more is asked. Payload
/// may come in other slices, so only the end is compared.
fn feed<E: Debug>(
    data: &[u8],
    mut parser: impl FnMut() -> Box<dyn FnMut(&mut BytesMut) -> Result<Option<E>, WireError>>,
) {
    let Some((size, input)) = cut(data) else { return };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>,
               next: &mut dyn FnMut(&mut BytesMut) -> Result<Option<E>, WireError>| {
        let mut buffer = BytesMut::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match next(&mut buffer) {
                    Ok(None) => break,
                    Ok(Some(_)) => {}
                    Err(error) => {
                        // Every error can be shown and sorted.
                        let _ = (error.retry(), error.hint());
                        return Some(error.to_string());
                    }
                }
            }
        }
        None
    };
    let whole = run(&mut std::iter::once(input), &mut parser());
    let pieces = run(&mut input.chunks(size), &mut parser());
    // What a server says before the protocol has begun ends where its bytes end for now.
    let unframed = |text: &Option<String>| {
        text.as_ref().is_some_and(|text| text.contains("before the session began"))
    };
    assert!(whole == pieces || unframed(&pieces), "{size}: {whole:?}, in pieces {pieces:?}");
}

pub fn frames(data: &[u8]) {
    feed(data, || {
        let mut reader = FrameReader::new();
        Box::new(move |input| {
            let frame = reader.next(input)?;
            if let Some(Frame::Message { tag, body }) = &frame {
                BackendMessage::parse(*tag, body.clone())?;
            }
            Ok(frame)
        })
    });
}

pub fn login(data: &[u8]) {
    feed(data, || {
        let mut login = Login::new(LoginOptions {
            user: "tapster".to_owned(),
            password: Some(b"sekret".to_vec().into()),
            parameters: Vec::new(),
            transport: Transport::Clear,
            channel_binding: ChannelBinding::Prefer,
            require_auth: RequireAuth::except(&[AuthMethod::Gss]),
        });
        Box::new(move |input| login.next(input, &mut BytesMut::new()))
    });
}

pub fn exchange(data: &[u8]) {
    feed(data, || {
        let mut exchange = Exchange::new();
        Box::new(move |input| exchange.next(input))
    });
}

pub fn copy_both(data: &[u8]) {
    feed(data, || {
        let mut stream = WalStream::new(Lsn(0x300_0000));
        Box::new(move |input| stream.next(input))
    });
}

fn base_backup(data: &[u8], version: u32) {
    feed(data, || {
        let options =
            BaseBackupOptions { manifest: ManifestOption::Yes, ..BaseBackupOptions::default() };
        let mut stream = BackupStream::new(ServerVersion::from_number(version), &options);
        Box::new(move |input| stream.next(input))
    });
}

pub fn base_backup_one_copy(data: &[u8]) {
    base_backup(data, 180_004);
}

pub fn base_backup_many_copies(data: &[u8]) {
    base_backup(data, 140_024);
}
