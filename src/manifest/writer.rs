//! From a manifest to text, byte for byte as the server writes it.

use sha2::{Digest, Sha256};

use super::{Algorithm, ManifestFile, Modified, WalRange};
use crate::wal::SystemIdentifier;

/// Writes a manifest file by file.
#[derive(Debug)]
pub struct ManifestWriter {
    text: Vec<u8>,
    /// Of the text that was taken away.
    hash: Sha256,
    files: usize,
}

impl ManifestWriter {
    /// Version 2 with a system identifier, version 1 without.
    pub fn new(system: Option<SystemIdentifier>) -> ManifestWriter {
        let version = if system.is_some() { 2 } else { 1 };
        let mut text = format!("{{ \"PostgreSQL-Backup-Manifest-Version\": {version},\n");
        if let Some(system) = system {
            text += &format!("\"System-Identifier\": {system},\n");
        }
        text += "\"Files\": [";
        ManifestWriter { text: text.into_bytes(), hash: Sha256::new(), files: 0 }
    }

    /// Lists a file.
    pub fn file(&mut self, file: &ManifestFile<'_>) {
        let text = &mut self.text;
        text.extend_from_slice(if self.files == 0 { b"\n" } else { b",\n" });
        self.files += 1;
        match std::str::from_utf8(file.path) {
            Ok(path) if !file.encoded => {
                text.extend_from_slice(b"{ \"Path\": ");
                put_json_string(text, path);
            }
            _ => {
                text.extend_from_slice(b"{ \"Encoded-Path\": \"");
                put_hex(text, file.path);
                text.push(b'"');
            }
        }
        let odd;
        let time = match file.modified {
            Modified::Seconds(seconds) => {
                odd = time_text(seconds).unwrap_or_default();
                &odd
            }
            Modified::Text(text) => text,
        };
        text.extend_from_slice(
            format!(", \"Size\": {}, \"Last-Modified\": ", file.size).as_bytes(),
        );
        put_json_string(text, time);
        if file.algorithm != Algorithm::None {
            let start =
                format!(", \"Checksum-Algorithm\": \"{}\", \"Checksum\": \"", file.algorithm);
            text.extend_from_slice(start.as_bytes());
            put_hex(text, file.checksum);
            text.push(b'"');
        }
        text.extend_from_slice(b" }");
    }

    /// Bytes that were written and not taken away.
    pub fn pending(&self) -> usize {
        self.text.len()
    }

    /// Takes what is written so far away, so that a long list need not be held.
    pub fn take(&mut self) -> Vec<u8> {
        self.hash.update(&self.text);
        std::mem::take(&mut self.text)
    }

    /// Ends the list, adds the WAL and the checksum, and returns what was not taken yet.
    pub fn finish(mut self, wal_ranges: &[WalRange]) -> Vec<u8> {
        self.text.extend_from_slice(b"\n],\n\"WAL-Ranges\": [");
        for (index, range) in wal_ranges.iter().enumerate() {
            let WalRange { timeline, start, end } = range;
            let separator = if index == 0 { "" } else { "," };
            let line = format!(
                "{separator}\n{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \
                 \"End-LSN\": \"{end}\" }}"
            );
            self.text.extend_from_slice(line.as_bytes());
        }
        self.text.extend_from_slice(b"\n],\n");
        let text = self.take();
        let mut last = b"\"Manifest-Checksum\": \"".to_vec();
        put_hex(&mut last, &self.hash.finalize());
        last.extend_from_slice(b"\"}\n");
        [text, last].concat()
    }
}

/// The time as the server prints it; `None` beyond the year 9999.
pub(super) fn time_text(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M:%S GMT").to_string())
}

fn put_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        text.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}

/// As `escape_json` in `src/backend/utils/adt/json.c`: what JSON demands, and no more.
fn put_json_string(text: &mut Vec<u8>, value: &str) {
    text.push(b'"');
    for &byte in value.as_bytes() {
        match byte {
            b'"' => text.extend_from_slice(b"\\\""),
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            0x08 => text.extend_from_slice(b"\\b"),
            0x0C => text.extend_from_slice(b"\\f"),
            0..=0x1F => text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => text.push(byte),
        }
    }
    text.push(b'"');
}
