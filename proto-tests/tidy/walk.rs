//! The files that the rules look at: what is in the project, not what was built from it.

use std::fs;
use std::path::Path;

/// Folders that are made, not written.
const MADE: [&str; 6] = [".git", ".cache", "target", "corpus", "artifacts", "node_modules"];

/// Every text file of the project, relative to its top.
pub fn files() -> Vec<String> {
    let mut found = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the project").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().expect("its kind");
        if MADE.contains(&name.as_str()) {
            // In a worktree .git is a file.
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), found);
        } else if kind.is_file()
            && !name.ends_with(".lock")
            && fs::read_to_string(entry.path()).is_ok()
        {
            found.push(format!("{prefix}{name}"));
        }
    }
}

/// The text of one of them.
pub fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}
