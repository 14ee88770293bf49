//! What PostgreSQL's own programs make of a chain of backups, to be compared with what we make.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::scratch::{command, must};
use super::{Cluster, Tapster};

/// A program of a major version, which `scripts/setup` gets where it can.
///
/// `left_out` says what the caller does not look at without it. It is printed past the capture of
/// the test's output: a comparison that was not made must not look like one that was.
fn stock_tool(major: u32, program: &str, left_out: &str) -> Option<Command> {
    let cache = std::env::var_os("TAPSTER_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache"));
    let path = cache.join(format!("tools/{major}/bin/{program}"));
    if path.exists() {
        return Some(command(path));
    }
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let sentence = format!(
        "\n*** NOT COMPARED: {test} has no {program} of {major} at {} (scripts/setup gets it): \
         {left_out}\n",
        path.display()
    );
    std::io::stderr().write_all(sentence.as_bytes()).expect("standard error");
    None
}

/// Unpacks a stored backup, each tablespace into a folder of `pg_tblspc`, where `pg_combinebackup`
/// takes it for one that has always been there.
fn unpack(backup: &Path, folder: &Path) {
    let data = backup.join("data");
    fs::create_dir(folder).expect("a folder");
    if data.join("PG_VERSION").exists() {
        must(command("cp").arg("-a").arg(data.join(".")).arg(folder));
        for entry in fs::read_dir(backup).expect("the backup").flatten() {
            let oid = entry.file_name().into_string().expect("ASCII");
            if oid.bytes().all(|byte| byte.is_ascii_digit()) {
                let space = folder.join("pg_tblspc").join(oid);
                let _ = fs::remove_file(&space);
                must(command("cp").arg("-a").arg(entry.path()).arg(&space));
            }
        }
        return;
    }
    let mut archives: Vec<PathBuf> = fs::read_dir(&data)
        .expect("the archives")
        .map(|entry| entry.expect("an archive").path())
        .filter(|path| name_of(path).contains(".tar"))
        .collect();
    // `base.tar` brings links where the folders of the tablespaces are to be.
    archives.sort_by_key(|path| !name_of(path).starts_with("base"));
    for archive in archives {
        let name = name_of(&archive);
        let (stem, suffix) = name.split_once(".tar").expect("an archive");
        let place = match stem {
            "base" => folder.to_owned(),
            oid => folder.join("pg_tblspc").join(oid),
        };
        if stem != "base" {
            let _ = fs::remove_file(&place);
            fs::create_dir_all(&place).expect("a folder");
        }
        let read = match suffix {
            "" => "cat",
            ".gz" => "gzip -dc",
            ".zst" => "zstd -qdc",
            ".lz4" => "lz4 -dc",
            other => panic!("{other} is not known here"),
        };
        let line = format!("{read} \"$1\" | tar xf - -C \"$2\"");
        must(command("bash").args(["-o", "pipefail", "-c", &line, "-"]).arg(&archive).arg(&place));
    }
    let manifest = "backup_manifest";
    fs::copy(data.join(manifest), folder.join(manifest)).expect("the manifest");
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Lets `program` combine stored backups, oldest first, and returns the result's folder.
fn combined(mut program: Command, backups: &[PathBuf], place: &Path) -> PathBuf {
    fs::create_dir(place).expect("a place");
    for backup in backups {
        let folder = place.join(name_of(backup));
        unpack(backup, &folder);
        program.arg(folder);
    }
    let result = place.join("combined");
    must(program.arg("-o").arg(&result));
    result
}

/// The files below a folder, by their path in it; links are followed.
fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_string_lossy();
                found.insert(name.into_owned(), path.clone());
            }
        }
    }
    found
}

/// Whether the servers of the tests tell incremental backups of every cleared bit in visibility
/// maps; before 17.11 and 18.6 they do not, and a restore empties such maps on purpose.
pub fn keeps_visibility_maps(cluster: &Cluster) -> bool {
    let number: u32 = cluster.value("SHOW server_version_num").parse().expect("a number");
    !matches!(number, 170_000..170_011 | 180_000..180_006)
}

/// Files of a restored directory, and of one that was only combined.
///
/// Not compared: the WAL and the settings of the recovery, which only a restore brings; the
/// manifest, which it keeps elsewhere and whose times differ; and the map of tablespaces, which
/// leads to where they were. Visibility maps that are empty on purpose are in both, unless `maps`.
fn assert_same_files(
    ours: &BTreeMap<String, PathBuf>,
    stock: &BTreeMap<String, PathBuf>,
    of_restore: &[&str],
    maps: bool,
) {
    const OF_RESTORE: [&str; 5] = [
        ".barman-recover.info",
        "recovery.signal",
        "postgresql.auto.conf",
        "backup_manifest",
        "tablespace_map",
    ];
    let mut different = Vec::new();
    let mut compared = 0;
    let names: BTreeSet<&String> = ours.keys().chain(stock.keys()).collect();
    for name in names {
        // As they were, before the restore changed them.
        let of_restore = name.ends_with(".origin")
            || OF_RESTORE.iter().chain(of_restore).any(|known| name == known);
        if of_restore || name.starts_with("pg_wal/") {
            continue;
        }
        let read = |side: &BTreeMap<String, PathBuf>| {
            side.get(name).map(|path| fs::read(path).expect("a file"))
        };
        let (got, expected) = (read(ours), read(stock));
        let is_emptied = !maps && name.ends_with("_vm") && got.as_deref() == Some(&[]);
        if is_emptied && expected.is_some() {
            continue;
        }
        if got != expected {
            let length = |side: Option<Vec<u8>>| side.map(|bytes| bytes.len());
            different.push(format!("{name}: {:?} and {:?}", length(got), length(expected)));
        }
        compared += 1;
    }
    assert!(different.is_empty(), "{different:#?}");
    assert!(compared > 900, "only {compared} files compared");
}

/// The folder of what PostgreSQL's own program makes of stored backups, oldest first; `None` where
/// it is not there.
pub fn combine_by_stock_tools(tapster: &Tapster, major: u32, ids: &[String]) -> Option<PathBuf> {
    let newest = ids.last().expect("a backup");
    let left_out = "the result beside that of pg_combinebackup, file by file";
    let program = stock_tool(major, "pg_combinebackup", left_out)?;
    let base = tapster.server("main").join("base");
    let backups: Vec<PathBuf> = ids.iter().map(|id| base.join(id)).collect();
    Some(combined(program, &backups, &tapster.path().join(format!("stock {newest}"))))
}

/// What PostgreSQL's own program combines out of the same backups is the same, file for file, and
/// its other program finds in the result what the manifest says.
pub fn assert_as_stock_tools(
    tapster: &Tapster,
    major: u32,
    ids: &[String],
    data: &Path,
    maps: bool,
) {
    let newest = ids.last().expect("a backup");
    let manifest = format!("backup_manifest.{newest}");
    if let Some(stock) = combine_by_stock_tools(tapster, major, ids) {
        assert_same_files(&files(data), &files(&stock), &[&manifest], maps);
    }
    let left_out = "the restored directory against the manifest that came with it";
    if let Some(mut program) = stock_tool(major, "pg_verifybackup", left_out) {
        // The manifest says nothing of what a restore adds; its WAL is not in `pg_wal` yet.
        let added =
            ["postgresql.conf.origin", "postgresql.auto.conf.origin", ".barman-recover.info"];
        for name in [&manifest[..]].iter().chain(&added) {
            program.args(["--ignore", name]);
        }
        program.args(["--no-parse-wal", "-m"]);
        let said = must(program.arg(data.join(&manifest)).arg(data));
        assert!(said.contains("backup successfully verified"), "{said}");
    }
}
