//! What a forger can do to a base backup of version 15 and later on its way.

use sha2::{Digest, Sha256};

use super::{Forged, Message};

/// CopyData that begins with this kind.
pub fn is(message: &Message, kind: u8) -> bool {
    message.0 == b'd' && message.1.first() == Some(&kind)
}

/// CopyData of a kind.
pub fn data(kind: u8, content: &[u8]) -> Forged {
    Forged::Message((b'd', [&[kind], content].concat()))
}

/// A header of ustar, whatever name it leads to.
pub fn tar_header(name: &str, kind: u8, target: &str, size: u64) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000600\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

/// Puts members before the first one of the first archive.
pub fn with_members(members: Vec<u8>) -> impl FnMut(usize, Message) -> Vec<Forged> + Send {
    let mut members = Some(members);
    let mut in_archive = false;
    move |_, message| {
        in_archive |= is(&message, b'n');
        let extra = members.take_if(|_| in_archive && is(&message, b'd'));
        let extra = extra.map(|members| data(b'd', &members));
        extra.into_iter().chain([Forged::Message(message)]).collect()
    }
}

/// Replaces the manifest by what is made of it.
pub fn with_manifest(
    edit: impl Fn(String) -> String + Send,
) -> impl FnMut(usize, Message) -> Vec<Forged> + Send {
    let mut manifest: Option<Vec<u8>> = None;
    move |_, message| match (&mut manifest, message) {
        (None, message) => {
            if is(&message, b'm') {
                manifest = Some(Vec::new());
            }
            vec![Forged::Message(message)]
        }
        (Some(text), (b'd', body)) if body.first() == Some(&b'd') => {
            text.extend_from_slice(&body[1..]);
            Vec::new()
        }
        (Some(text), (b'c', body)) => {
            let text =
                String::from_utf8(std::mem::take(text)).expect("a manifest of names in ASCII");
            manifest = None;
            vec![data(b'd', edit(text).as_bytes()), Forged::Message((b'c', body))]
        }
        (Some(_), message) => vec![Forged::Message(message)],
    }
}

/// Gives a manifest the checksum that fits what it says now.
pub fn sealed(manifest: &str) -> String {
    let (text, _) = manifest.split_once("\"Manifest-Checksum\"").expect("a manifest has one");
    let sum: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{text}\"Manifest-Checksum\": \"{sum}\"}}\n")
}

/// The manifest with the line of a file changed, or gone.
pub fn with_line(manifest: &str, file: &str, change: impl Fn(&str) -> String) -> String {
    let marker = format!("\"Path\": \"{file}\"");
    let lines = manifest.split_inclusive('\n');
    let changed: String = lines
        .map(|line| if line.contains(&marker) { change(line) } else { line.to_owned() })
        .collect();
    assert_ne!(changed, manifest, "{file} is listed");
    changed
}
