//! HOT PATH: no allocation per frame, no copy of payload, no lock, no log line, no process.
//! The checksums that a manifest may carry, computed while bytes pass.

use std::fmt;

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// How the server summed a file up: `MANIFEST_CHECKSUMS` of `BASE_BACKUP`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// Not at all.
    None,
    /// CRC-32C: the default, cheap, finds accidents.
    #[default]
    Crc32c,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    const ALL: [Algorithm; 6] = [
        Algorithm::None,
        Algorithm::Crc32c,
        Algorithm::Sha224,
        Algorithm::Sha256,
        Algorithm::Sha384,
        Algorithm::Sha512,
    ];

    /// As the manifest and the replication command spell it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::None => "NONE",
            Algorithm::Crc32c => "CRC32C",
            Algorithm::Sha224 => "SHA224",
            Algorithm::Sha256 => "SHA256",
            Algorithm::Sha384 => "SHA384",
            Algorithm::Sha512 => "SHA512",
        }
    }

    /// Finds an algorithm by name, in any case, as the server does.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Bytes of a checksum.
    pub fn length(self) -> usize {
        match self {
            Algorithm::None => 0,
            Algorithm::Crc32c => 4,
            Algorithm::Sha224 => 28,
            Algorithm::Sha256 => 32,
            Algorithm::Sha384 => 48,
            Algorithm::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A finished checksum, as many bytes as its algorithm has.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Checksum {
    bytes: [u8; 64],
    length: u8,
}

impl Checksum {
    fn of(content: &[u8]) -> Checksum {
        let mut bytes = [0; 64];
        bytes[..content.len()].copy_from_slice(content);
        // No algorithm has more than 64.
        Checksum { bytes, length: content.len() as u8 }
    }

    /// The bytes, in the order in which the manifest prints them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A checksum in the making.
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    None,
    Crc32c(u32),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// Of nothing so far.
    pub fn new(algorithm: Algorithm) -> Hasher {
        Hasher(match algorithm {
            Algorithm::None => State::None,
            Algorithm::Crc32c => State::Crc32c(0),
            Algorithm::Sha224 => State::Sha224(Sha224::new()),
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha384 => State::Sha384(Sha384::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::None => {}
            State::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            State::Sha224(hash) => hash.update(bytes),
            State::Sha256(hash) => hash.update(bytes),
            State::Sha384(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The checksum of everything taken.
    pub fn finish(self) -> Checksum {
        match self.0 {
            State::None => Checksum::of(&[]),
            // The server prints the four bytes as they lie in its memory, and every machine
            // that it runs on today has the low byte first.
            State::Crc32c(crc) => Checksum::of(&crc.to_le_bytes()),
            State::Sha224(hash) => Checksum::of(&hash.finalize()),
            State::Sha256(hash) => Checksum::of(&hash.finalize()),
            State::Sha384(hash) => Checksum::of(&hash.finalize()),
            State::Sha512(hash) => Checksum::of(&hash.finalize()),
        }
    }
}
