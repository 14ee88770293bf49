//! What is stored of a backup is listed and verified in Barman's words.

use std::fs;

use super::{Outcome, Site, captured};

const SECTION: &str = "[main-gzip]\nconninfo = host=nowhere\nbackup_method = postgres\n\
                       streaming_archiver = on\nslot_name = tapster\n";

/// The server of Barman's captures, with the files that they speak of.
fn gzip() -> Site {
    let site = Site::new(SECTION);
    site.backup("main-gzip", "20261123T063000", "postgres-tar-gzip", &[]);
    site.xlogdb("main-gzip", "main-gzip", "00000001000000000000000F");
    for name in ["16390.tar.gz", "backup_manifest", "base.tar.gz"] {
        site.write(&format!("main-gzip/base/20261123T063000/data/{name}"), "");
    }
    fs::create_dir(site.path("main-gzip/base/20261123T063000/16390")).expect("a folder");
    site
}

/// What Barman printed, with our home in the place of its own.
fn as_at(site: &Site, barman: Outcome) -> Outcome {
    let home = site.path("").display().to_string();
    Outcome { stdout: barman.stdout.replace("/var/lib/barman", &home), ..barman }
}

#[test]
fn the_files_of_a_backup_are_listed_as_barman_lists_them() {
    let site = gzip();
    for target in ["standalone", "data", "wal", "full"] {
        let line = format!("barman list-files --target {target} main-gzip latest");
        let barman = as_at(&site, captured("list-files.txt", &line, 0));
        assert_eq!(site.run(&["list-files", "--target", target, "main-gzip", "latest"]), barman);
    }
    let line = "barman list-files --list-empty-directories --target data main-gzip latest";
    let barman = as_at(&site, captured("list-files.txt", line, 0));
    let arguments = ["list-files", "--list-empty-directories", "--target=data", "main-gzip"];
    assert_eq!(site.run(&[&arguments[..], &["latest"]].concat()), barman);
    let standalone = site.run(&["list-files", "--target=standalone", "main-gzip", "latest"]);
    assert_eq!(site.run(&["list-files", "main-gzip", "latest"]), standalone, "it is the default");
    let json = site.run(&["-f", "json", "list-files", "--target", "wal", "main-gzip", "oldest"]);
    assert!(json.stdout.starts_with("{\"_INFO\": [\""), "{}", json.stdout);
}

#[test]
fn a_backup_without_a_manifest_is_no_success_and_the_way_to_one_is_said() {
    let site = gzip();
    fs::remove_file(site.path("main-gzip/base/20261123T063000/data/backup_manifest"))
        .expect("removed");
    let outcome = site.run(&["verify", "main-gzip", "latest"]);
    assert_eq!(outcome.code, 1);
    assert_eq!(
        outcome.stdout,
        "Verifying backup 'latest' on server ['main-gzip']\nCalling pg_verifybackup\n"
    );
    let data = site.path("main-gzip/base/20261123T063000/data");
    let first = format!("ERROR: verify backup failure on directory '{}'", data.display());
    assert_eq!(outcome.stderr.lines().next(), Some(&first[..]));
    assert!(
        outcome.stderr.contains("try: tapster generate-manifest main-gzip 20261123T063000"),
        "{}",
        outcome.stderr
    );
}
