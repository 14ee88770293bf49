//! Where the server programs of each major version are.

use std::path::PathBuf;

/// The folder of programs (`postgres`, `initdb`, `pg_ctl`) of a major version.
///
/// `scripts/setup` puts the servers there. A missing one fails the test: a promise that was
/// not looked at is not kept.
pub fn programs(major: u32) -> PathBuf {
    let folder = match std::env::var_os("TAPSTER_SERVERS") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache/servers"),
    };
    let programs = folder.join(major.to_string()).join("bin");
    // Resolved here, because the user who runs the servers may not read every folder above.
    let resolved = programs.canonicalize().unwrap_or_else(|error| {
        panic!(
            "PostgreSQL {major} is not at {}: {error}; run scripts/setup (or make test)",
            programs.display()
        )
    });
    assert!(resolved.join("postgres").exists(), "no postgres in {}", resolved.display());
    resolved
}
