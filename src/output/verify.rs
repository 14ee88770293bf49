//! `verify-backup` and `generate-manifest`, as Barman words them.

use std::path::Path;

use serde_json::json;

use super::{OutputFormat, Reporter, size};
use crate::repository::ServerName;
use crate::verify::{Generated, Verified};

/// Says what is going to happen. No program is called; the line stays, because people and
/// scripts wait for it.
pub fn verify_begins(out: &mut Reporter, backup: &str, server: &ServerName) {
    out.info(format_args!("Verifying backup '{backup}' on server ['{server}']"));
    out.info("Calling pg_verifybackup");
}

/// Says what came of it, everything that is wrong on a line of its own.
pub fn verified(out: &mut Reporter, verified: &Verified, data: &Path) {
    for tablespace in &verified.unlisted_tablespaces {
        let oid = tablespace.trim_end_matches('/');
        out.warning(format_args!(
            "the files below {oid} were not verified: the manifest, which Barman made, lists none \
             of them"
        ));
    }
    if out.format() == OutputFormat::Json {
        out.member("files", json!(verified.files));
        out.member("bytes", json!(verified.bytes));
        out.member("damaged", json!(verified.findings.len()));
    }
    out.debug(format_args!("{} files, {} read", verified.files, size(verified.bytes)));
    if verified.findings.is_empty() {
        out.info("backup successfully verified");
        return;
    }
    out.error(format_args!("verify backup failure on directory '{}'", data.display()));
    for finding in &verified.findings {
        out.error(finding);
    }
}

/// Says that a manifest was written.
pub fn manifest_generated(out: &mut Reporter, backup: &str, server: &ServerName, made: &Generated) {
    if out.format() == OutputFormat::Json {
        out.member("manifest", json!(made.path.display().to_string()));
        out.member("files", json!(made.files));
    }
    out.info(format_args!(
        "Backup manifest for backup '{backup}' successfully generated for server ['{server}']"
    ));
}
