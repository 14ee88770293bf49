//! Segments read back by the programs that everybody has: proof for all contenders alike.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;

/// The bytes of a segment, stored as it is or compressed; `None` where the program that
/// decompresses it is not installed.
pub fn segment(path: &Path) -> Outcome<Option<Vec<u8>>> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let Some(program) = program(&bytes) else { return Ok(Some(bytes)) };
    // By its standard input: they refuse files whose names do not say what is in them.
    let mut command = Command::new(program);
    command.arg("-dc").stdin(File::open(path)?).stderr(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => Ok(Some(output.stdout)),
        Ok(_) => Err(format!("{program} cannot read {}", path.display()).into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{program}: {error}").into()),
    }
}

/// What decompresses a file that begins like this; `None` if it is not compressed.
fn program(first: &[u8]) -> Option<&'static str> {
    match first {
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Some("zstd"),
        [0x04, 0x22, 0x4D, 0x18, ..] => Some("lz4"),
        [0x1F, 0x8B, ..] => Some("gzip"),
        _ => None,
    }
}

/// Whether a segment is compressed.
pub fn is_packed(path: &Path) -> Outcome<bool> {
    Ok(program(&fs::read(path)?).is_some())
}
