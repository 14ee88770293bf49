//! Proof that a stored backup is what it was.
//!
//! Its archives, packed or not, or its directories are read again, several at once, and held
//! against `backup_manifest`: every file by its name, its length and its checksum, every archive
//! by its structure, and the manifest by its own checksum. What differs is named. A manifest is
//! made for backups that came without one. Knows no connections.

mod archive;
mod damage;
mod error;
mod finding;
mod generate;
mod inspector;
mod listed;
mod parts;
mod run;
mod stream;
mod tree;

pub use error::VerifyError;
pub use finding::Finding;
pub use generate::{Generated, generate};
pub use run::{Verified, verify};

#[cfg(test)]
mod tests;
