//! A configuration that is wrong is said to be so with file, line and remedy; one that Barman
//! accepts works.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{Outcome, Site, captured, finish};

const MAIN: &str = "[main]\ndescription = \"Main DB Server\"\nconninfo = host=nowhere\n\
                    backup_method = postgres\narchiver = on\n";

#[test]
fn servers_are_listed_as_barman_lists_them() {
    let rsync = "[main-rsync]\ndescription = 'Main DB Server (rsync)'\nconninfo = x\n\
                 ssh_command = ssh x\narchiver = on\n";
    let site = Site::new(&format!("{MAIN}{rsync}"));
    for (arguments, command) in [
        (vec!["list-servers"], "barman list-servers"),
        (vec!["list-server", "--minimal"], "barman list-servers --minimal"),
        (vec!["-f", "json", "list-servers"], "barman -f json list-servers"),
    ] {
        assert_eq!(site.run(&arguments), captured("list-servers.txt", command, 0), "{command}");
    }
}

#[test]
fn a_servers_state_stands_behind_its_description() {
    let site = Site::new(
        "[b]\ndescription = B\nactive = off\nconninfo = x\nbackup_method = postgres\n\
         [c]\ndescription = C\nprimary_ssh_command = ssh x\n\
         [d]\ndescription = D\nbackup_method = postgres\nconninfo = x\nreuse_backup = link\n",
    );
    let text = "b - B (inactive)\nc - C (Passive)\nd - D (WARNING: disabled)\n";
    assert_eq!(site.run(&["list-servers"]), Outcome::ok(text));
}

#[test]
fn unknown_options_and_bad_values_are_warned_about_in_barmans_words() {
    let wrong = "unknown_key = 1\ncheck_timeout = ten\ncompression_level = banana\n";
    let site = Site::new(&format!("{MAIN}{wrong}"));
    let outcome = site.run(&["list-servers", "--minimal"]);
    let mut warnings: Vec<&str> = outcome.stderr.lines().collect();
    warnings.sort_unstable();
    assert_eq!(
        warnings,
        [
            "WARNING: Ignoring invalid configuration value 'banana' for key compression_level in \
             [main] section: Invalid value: 'banana' (must be one in [low, medium, high] or an \
             acceptable integer)",
            "WARNING: Ignoring invalid configuration value 'ten' for key check_timeout in [main] \
             section: invalid literal for int() with base 10: 'ten'",
            "WARNING: Invalid configuration option \"unknown_key\" in [main] section.",
        ]
    );
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("main\n", 0));
    let json = site.run(&["-f", "json", "list-servers"]);
    assert_eq!(json.stderr, "");
    assert!(json.stdout.starts_with("{\"_WARNING\": [\""), "{}", json.stdout);
}

/// The message about a configuration, with the home replaced by `~`.
fn refusal(configuration: &str) -> String {
    let site = Site::new(configuration);
    let outcome = site.run(&["list-servers"]);
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("", 1), "{configuration}");
    outcome.stderr.replace(&site.path("").display().to_string(), "~")
}

#[test]
fn a_malformed_file_is_refused_with_file_line_and_remedy() {
    assert_eq!(
        refusal("[main]\nconninfo = x\n\nthis is no option\n"),
        "ERROR: ~/tapster.conf:6: this line is neither \"key = value\", nor a [section], nor a \
         comment\n  try: write key = value; indent the line to continue the one above; begin a \
         comment with #\n"
    );
    assert_eq!(
        refusal("[main\nconninfo = x\n"),
        "ERROR: ~/tapster.conf:3: this section header is not of the form [name]\n  \
         try: write [server-name] on a line of its own\n"
    );
    assert_eq!(
        refusal("[main]\nconninfo = %(nosuch)s\n"),
        "ERROR: ~/tapster.conf:4: option conninfo in [main]: %(nosuch)s refers to a key that is \
         not in the same section\n  try: name a key of the same section, or write %%%% for a \
         percent sign\n"
    );
    assert!(refusal("[all]\nconninfo = x\n").starts_with("ERROR: ~/tapster.conf:3: section [all]"));
    let shared = "[a]\nconninfo = x\nbackup_directory = /x\n[b]\nbackup_directory = /x\n";
    assert!(refusal(shared).starts_with("ERROR: servers a and b share the directory /x"));
}

#[test]
fn a_file_that_is_not_there_or_cannot_be_read_is_refused_by_name() {
    let site = Site::new(MAIN);
    let missing = site.run(&["-c", "/nonexistent/x.conf", "list-servers"]);
    assert_eq!(
        missing.stderr,
        "ERROR: cannot read the configuration file /nonexistent/x.conf\n  because: No such file or \
         directory (os error 2)\n  try: check the path given with -c or in the environment\n"
    );
    assert_eq!(missing.code, 1);

    let directory = site.run(&["-c", "/", "list-servers"]);
    assert!(directory.stderr.contains("Is a directory"), "{}", directory.stderr);
    if rustix::process::geteuid().is_root() {
        return; // Nothing is unreadable for root.
    }
    let path = site.path("tapster.conf");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).expect("mode");
    assert!(site.run(&["list-servers"]).stderr.contains("try: let this user read it"));
}

#[test]
fn the_places_are_searched_in_order() {
    let site = Site::new(MAIN);
    let named = |name: &str, server: &str| {
        let home = site.path("");
        let text =
            format!("[barman]\nbarman_home = {}\n[{server}]\nconninfo = x\n", home.display());
        site.write(name, &text);
        site.path(name)
    };
    named(".barman.conf", "from-barman-home");
    let answer = |variables: &[(&str, &PathBuf)], arguments: &[&str]| -> String {
        let mut command = site.command(arguments);
        command.env_remove("TAPSTER_CONFIG_FILE");
        for (name, value) in variables {
            command.env(name, value);
        }
        finish(command).stdout
    };
    let list = ["list-servers", "--minimal"];
    // The files of this machine's /etc stand between the two homes; the test has none there.
    if !std::path::Path::new("/etc/tapster.conf").exists() {
        assert_eq!(answer(&[], &list), "from-barman-home\n");
    }
    named(".tapster.conf", "from-tapster-home");
    assert_eq!(answer(&[], &list), "from-tapster-home\n");
    let barman = named("b.conf", "from-barman-variable");
    assert_eq!(answer(&[("BARMAN_CONFIG_FILE", &barman)], &list), "from-barman-variable\n");
    let tapster = named("t.conf", "from-tapster-variable");
    let both = [("BARMAN_CONFIG_FILE", &barman), ("TAPSTER_CONFIG_FILE", &tapster)];
    assert_eq!(answer(&both, &list), "from-tapster-variable\n");
    let option = named("o.conf", "from-option");
    let option = option.to_str().expect("text");
    assert_eq!(answer(&both, &["-c", option, "list-servers", "--minimal"]), "from-option\n");
}

#[test]
fn without_any_file_the_places_are_named() {
    let home = tempfile::tempdir().expect("a directory");
    let site = Site::new(MAIN);
    let mut command = site.command(&["list-servers"]);
    command.env_remove("TAPSTER_CONFIG_FILE").env("HOME", home.path());
    if ["/etc/tapster.conf", "/etc/barman.conf", "/etc/barman/barman.conf"]
        .iter()
        .any(|place| std::path::Path::new(place).exists())
    {
        return;
    }
    let outcome = finish(command);
    assert!(outcome.stderr.starts_with("ERROR: no configuration file; looked for "));
    assert!(outcome.stderr.contains("/etc/barman/barman.conf"), "{}", outcome.stderr);
    assert_eq!(outcome.code, 1);
}

#[test]
fn packaged_files_are_read_in_order_and_may_not_be_global() {
    let site = Site::new("");
    let directory = site.path("conf.d");
    let text = format!(
        "[barman]\nbarman_home = {}\nconfiguration_files_directory = {}\n",
        site.path("").display(),
        directory.display()
    );
    site.write("tapster.conf", &text);
    site.write("conf.d/20.conf", "[one]\ndescription = second\n");
    site.write("conf.d/10.conf", "[one]\ndescription = first\nconninfo = x\n[two]\nconninfo = x\n");
    site.write("conf.d/ignored.txt", "rubbish");
    site.write(".barman.auto.conf", "[two]\ndescription = by config-update\n");
    let outcome = site.run(&["list-servers"]);
    // Without ssh_command the rsync method, which is the default, cannot work.
    let tail = " (WARNING: disabled)";
    let text = format!("one - second{tail}\ntwo - by config-update{tail}\n");
    assert_eq!(outcome, Outcome::ok(&text));
    site.write("conf.d/30.conf", "[barman]\nlog_level = DEBUG\n");
    let outcome = site.run(&["list-servers"]);
    assert!(
        outcome.stderr.contains("30.conf:1: section [barman] is allowed in the main file only")
    );
}

#[test]
fn a_password_in_the_configuration_is_never_printed() {
    let wrong = "[main]\nconninfo = host=x password=s3cret %(a)s\n";
    assert!(!refusal(wrong).contains("s3cret"));
    let site = Site::new("[main]\nconninfo = host=x password=s3cret%\nbackup_method = postgres\n");
    for format in ["console", "json"] {
        let outcome = site.run(&["-d", "--log-level", "DEBUG", "-f", format, "list-servers"]);
        assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:?}");
    }
}

#[test]
fn a_log_file_that_cannot_be_opened_is_a_warning() {
    let site = Site::new(&format!("log_file = /nonexistent/tapster.log\n{MAIN}"));
    let outcome = site.run(&["list-servers", "--minimal"]);
    assert!(outcome.stderr.starts_with("WARNING: cannot open log file /nonexistent/tapster.log"));
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("main\n", 0));
}

#[test]
fn options_that_a_backup_does_not_carry_out_are_named_each_time() {
    let site = Site::new(
        "[main]\nconninfo = host=/nowhere\nbackup_method = postgres\nstreaming_archiver = on\n\
         slot_name = x\npre_backup_script = /bin/true\n",
    );
    let outcome = site.run(&["backup", "main"]);
    let words = "WARNING: server main: pre_backup_script is not run";
    assert!(outcome.stderr.contains(words), "{words}\nnot in\n{}", outcome.stderr);
    assert_eq!(outcome.code, 1);
}

#[test]
fn options_of_a_backup_that_make_no_sense_are_refused_before_anybody_is_asked() {
    let section = "[main]\nconninfo = host=/nowhere\nbackup_method = postgres\n\
                   streaming_archiver = on\nslot_name = x\n";
    let refused = |configured: &str, typed: &[&str], words: &str, code| {
        let site = Site::new(&format!("{section}{configured}"));
        let outcome = site.run(&[&["backup"], typed, &["main"]].concat());
        assert!(outcome.stderr.contains(words), "{words}\nnot in\n{}", outcome.stderr);
        assert_eq!(outcome.code, code, "{outcome:?}");
    };
    let pairs = "tablespace_bandwidth_limit = fast cannot be used: expected name:kB/s pairs";
    refused("tablespace_bandwidth_limit = fast\n", &[], pairs, 1);
    refused("", &["--method", "rsync"], "backup_method = rsync is not supported yet", 1);
    refused("", &["--reuse-backup=link"], "--reuse-backup = link is not supported yet", 1);
    refused("", &["--reuse-backup"], "invalid value 'main' for '--reuse-backup", 2);
    refused("", &["--manifest-checksums", "md5"], "expected none, crc32c, sha224", 2);
    let zstd = "backup_compression = zstd\n";
    refused(zstd, &["--jobs", "1000"], "backup_compression_workers = 1000 is not between 1", 1);
    refused("", &["--label", "two\nlines"], "expected one line", 2);
    refused("", &["--no-retry", "--retry-times", "3"], "cannot be used with", 2);
}
