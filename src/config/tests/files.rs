//! What the files say together: inheritance, defaults, models, and the table behind it all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::options::{OPTIONS, find};
use crate::config::{
    BackupMethod, CompressionLevel, Config, ConfigError, ConfigSource, CreateSlot, Kind, Loaded,
    Value,
};

struct Files {
    home: tempfile::TempDir,
}

impl Files {
    fn new(text: &str) -> Files {
        let files = Files { home: tempfile::tempdir().expect("a directory") };
        let home = files.home.path().display();
        fs::write(files.main(), format!("[barman]\nbarman_home = {home}\n{text}"))
            .expect("written");
        files
    }

    fn main(&self) -> PathBuf {
        self.home.path().join("tapster.conf")
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        Config::load(&ConfigSource::File(self.main()))
    }
}

fn load(text: &str) -> Loaded {
    Files::new(text).load().expect(text)
}

#[test]
fn the_samples_are_understood_without_a_word() {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-tests/fixtures/barman/config");
    let main = fs::read_to_string(directory.join("barman.conf")).expect("the main file");
    let files = Files::new("");
    let text = main.replace("/etc/barman.d", &directory.display().to_string());
    // The directory holds main files too; only the servers' are wanted.
    let servers = files.home.path().join("servers");
    fs::create_dir(&servers).expect("a directory");
    for name in ["main", "main-gzip", "main-lz4", "main-none", "main-rsync", "main-zstd", "pg17"] {
        let file = format!("{name}.conf");
        fs::copy(directory.join(&file), servers.join(&file)).expect(name);
    }
    let text = text.replace(&directory.display().to_string(), &servers.display().to_string());
    fs::write(files.main(), text).expect("written");
    let loaded = files.load().expect("the samples");
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.home, Path::new("/var/lib/barman"));
    assert_eq!(config.log_file.as_deref(), Some(Path::new("/var/log/barman/barman.log")));
    assert_eq!(config.servers().count(), 7);
    assert!(config.servers().all(|server| !server.disabled && server.immediate_checkpoint));

    let main = config.server("main").expect("main");
    assert_eq!(main.description.as_deref(), Some("Main DB Server"));
    let streaming = main.streaming_conninfo.as_ref().expect("a conninfo").expose();
    assert_eq!(streaming, "host=127.0.0.1 port=55431 user=streaming_barman");
    assert_eq!(main.backup_method, BackupMethod::Postgres);
    assert_eq!((main.archiver, main.streaming_archiver), (false, true));
    assert_eq!(main.slot_name.as_deref(), Some("barman"));
    assert_eq!(main.create_slot, CreateSlot::Manual);
    assert_eq!(main.directories.wals, Path::new("/var/lib/barman/main/wals"));
    assert_eq!(main.streaming_archiver_name, "barman_receive_wal");
    assert_eq!(main.check_timeout, Some(Duration::from_secs(30)));
    assert_eq!(config.server("main-gzip").expect("gzip").create_slot, CreateSlot::Auto);
    assert!(!config.server("main-zstd").expect("zstd").active);
    assert_eq!(
        config.server("pg17").expect("pg17").settings.origin("encryption").map(|at| at.line),
        Some(9)
    );
}

#[test]
fn the_default_method_of_the_dialect_is_rsync() {
    let loaded = load("[main]\nconninfo = x\narchiver = on\n");
    let server = loaded.config.server("main").expect("main");
    assert_eq!(server.backup_method, BackupMethod::Rsync);
    assert_eq!(server.errors, ["backup_method = rsync needs ssh_command"]);
    assert!(server.disabled);
}

#[test]
fn an_inherited_option_reaches_servers_unless_they_block_it_with_nothing() {
    let loaded = load(
        "bandwidth_limit = 7\nconninfo = ignored\nretention_policy = REDUNDANCY 2\n\
         [a]\nconninfo = x\nbackup_method = postgres\n\
         [b]\nconninfo = x\nbackup_method = postgres\nretention_policy =\nbandwidth_limit = None\n",
    );
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let (a, b) = (loaded.config.server("a").expect("a"), loaded.config.server("b").expect("b"));
    assert_eq!(a.bandwidth_limit, Some(7 * 1024));
    assert_eq!(a.retention_policy.as_deref(), Some("REDUNDANCY 2"));
    assert_eq!((b.bandwidth_limit, b.retention_policy.as_deref()), (None, None));
    assert_eq!(a.conninfo.as_ref().map(|text| text.expose()), Some("x"));
}

#[test]
fn names_that_barman_knows_by_itself_may_be_referred_to() {
    let files = Files::new(
        "[main]\nconninfo = x\nwals_directory = %(backup_directory)s/w\nerrors_directory = \
         %(barman_home)s/%(name)s-errors\n",
    );
    let config = files.load().expect("a configuration").config;
    let directories = &config.server("main").expect("main").directories;
    assert_eq!(directories.wals, files.home.path().join("main/w"));
    assert_eq!(directories.xlogdb, directories.wals);
    assert_eq!(directories.errors, files.home.path().join("main-errors"));
}

#[test]
fn a_section_for_defaults_works_with_a_warning() {
    let loaded = load("[DEFAULT]\narchiver = on\nu = joe\n[main]\nconninfo = user=%(u)s\n");
    let server = loaded.config.server("main").expect("main");
    assert!(server.archiver);
    assert_eq!(server.conninfo.as_ref().map(|text| text.expose()), Some("user=joe"));
    assert!(loaded.warnings.iter().any(|warning| warning.starts_with("Section [DEFAULT] in ")));
}

#[test]
fn a_percent_sign_that_barman_cannot_read_is_noted_without_its_value() {
    let loaded = load("[main]\nconninfo = postgres://u:s3cret%20@h/db\n");
    let server = loaded.config.server("main").expect("main");
    let text = server.conninfo.as_ref().map(|text| text.expose());
    assert_eq!(text, Some("postgres://u:s3cret%20@h/db"));
    assert!(loaded.notices.iter().any(|notice| notice.contains("option conninfo")));
    assert!(!format!("{loaded:?}").contains("s3cret"));
}

#[test]
fn the_model_that_was_switched_on_overrides_its_server() {
    let text = "[main]\nconninfo = x\ndescription = plain\nparallel_jobs = 1\n\
                [main:other]\nmodel = true\ncluster = main\ndescription = switched\n\
                [foreign]\nmodel = yes\ncluster = elsewhere\ndescription = wrong\n";
    let files = Files::new(text);
    let describe = |model: Option<&str>| {
        let path = files.home.path().join("main/.active-model.auto");
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        match model {
            Some(model) => fs::write(&path, model).expect("written"),
            None => drop(fs::remove_file(&path)),
        }
        let config = files.load().expect("a configuration").config;
        assert_eq!(config.servers().count(), 1);
        let server = config.server("main").expect("main").clone();
        (server.description.unwrap_or_default(), server.active_model)
    };
    assert_eq!(describe(None), ("plain".into(), None));
    assert_eq!(describe(Some("main:other")), ("switched".into(), Some("main:other".into())));
    assert_eq!(describe(Some("foreign")), ("plain".into(), None));
    assert_eq!(describe(Some("gone")), ("plain".into(), None));
}

#[test]
fn a_model_without_a_cluster_is_refused_and_one_with_directories_warned_about() {
    let refused = Files::new("[m]\nmodel = true\n").load().expect_err("no cluster");
    assert!(matches!(refused, ConfigError::ModelWithoutCluster { line: 3, .. }), "{refused}");
    let loaded = load("[m]\nmodel = true\ncluster = x\nwals_directory = /w\n");
    let warning = "Invalid configuration option \"wals_directory\" in [m] section.";
    assert_eq!(loaded.warnings, [warning]);
}

#[test]
fn contradictions_disable_a_server_and_say_why() {
    for (options, reason) in [
        ("reuse_backup = link", "reuse_backup cannot be used with backup_method = postgres"),
        ("network_compression = on", "network_compression cannot be used"),
        (
            "streaming_archiver = on",
            "streaming_archiver = on without archiver = on needs slot_name",
        ),
        ("backup_compression_workers = 2", "backup_compression_workers needs"),
    ] {
        let text = format!("[main]\nconninfo = x\nbackup_method = postgres\n{options}\n");
        let loaded = load(&text);
        let server = loaded.config.server("main").expect("main");
        assert!(server.disabled && server.errors.len() == 1, "{options}: {:?}", server.errors);
        assert!(server.errors[0].starts_with(reason), "{:?}", server.errors);
    }
}

#[test]
fn without_any_archiver_the_file_archiver_is_assumed_and_noted() {
    let loaded = load("[main]\nconninfo = x\nbackup_method = postgres\n");
    assert!(loaded.config.server("main").expect("main").archiver);
    assert!(loaded.notices.iter().any(|notice| notice.contains("archiver = on is assumed")));
    let passive = load("[main]\nprimary_ssh_command = ssh x\n");
    assert!(!passive.config.server("main").expect("main").archiver);
}

#[test]
fn values_are_read_by_their_types() {
    let read = |kind: Kind, text: &str| kind.parse(text).ok();
    for text in ["true", "T", "Yes", "1", "on"] {
        assert_eq!(read(Kind::Flag, text), Some(Value::Flag(true)));
    }
    assert_eq!(read(Kind::Flag, "oui"), None);
    assert_eq!(read(Kind::Number, "-1"), None);
    let days = |days: u64| Some(Value::Interval(Duration::from_secs(days * 86_400)));
    assert_eq!(read(Kind::Interval, "1 month"), days(31));
    assert_eq!(read(Kind::Interval, "2 WEEKS"), days(14));
    assert_eq!(read(Kind::Interval, "24hours"), days(1));
    assert_eq!(read(Kind::Interval, "1"), None);
    assert_eq!(read(Kind::Interval, "99999999999999999999 days"), None);
    assert_eq!(read(Kind::Size, "30Gi"), Some(Value::Size(30 << 30)));
    assert_eq!(read(Kind::Size, "2 k"), Some(Value::Size(2000)));
    assert_eq!(read(Kind::Size, "5"), Some(Value::Size(5)));
    assert_eq!(read(Kind::Size, "5x"), None);
    assert_eq!(read(Kind::Size, "99999999999999T"), None);
    assert_eq!(read(Kind::Slot, "Barman_1"), Some(Value::Text("barman_1".into())));
    assert_eq!(read(Kind::Slot, "barman-1"), None);
    assert_eq!(read(Kind::Level, "-7"), Some(Value::Level(CompressionLevel::Number(-7))));
    assert_eq!(read(Kind::Path, "relative"), None);
    let words = Kind::Words(&["get-wal", "delta-restore"]);
    let both = Value::Words(vec!["get-wal".into(), "delta-restore".into()]);
    assert_eq!(read(words, "GET-WAL, delta-restore,"), Some(both));
    assert_eq!(read(words, "get-wal, other"), None);
}

#[test]
fn every_default_of_the_table_is_a_value_of_its_type_and_every_name_stands_once() {
    let mut names = BTreeSet::new();
    for option in OPTIONS {
        assert!(names.insert(option.name), "{} stands twice", option.name);
        assert_eq!(option.name, option.name.to_lowercase());
        if !option.default.is_empty() {
            assert!(option.kind.parse(option.default).is_ok(), "{}", option.name);
        }
    }
    assert!(find("conninfo").is_some() && find("unknown_key").is_none());
}

#[test]
fn every_option_that_the_code_asks_for_is_in_the_table() {
    let source = include_str!("../server.rs").to_owned() + include_str!("../mod.rs");
    let mut asked = 0;
    for getter in ["text", "secret", "flag", "number", "seconds", "path", "words", "level"] {
        for call in source.split(&format!("settings.{getter}(\"")).skip(1) {
            let name = call.split('"').next().unwrap_or_default();
            assert!(find(name).is_some(), "{name} is asked for, but not in the table");
            asked += 1;
        }
    }
    assert!(asked > 30, "the search for calls finds {asked}");
}

#[test]
fn several_servers_are_chosen_once_each_and_all_stands_alone() {
    let config = load("[b]\nconninfo = x\n[a]\nconninfo = x\n").config;
    let names = |wanted: &[&str]| {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        config.servers_named(&wanted).map(|servers| {
            servers.into_iter().map(|server| server.name.to_string()).collect::<Vec<_>>()
        })
    };
    assert_eq!(names(&["all"]).expect("all"), ["a", "b"]);
    assert_eq!(names(&["b", "a", "b"]).expect("both"), ["b", "a"]);
    assert!(matches!(names(&["all", "a"]), Err(ConfigError::AllWithOthers)));
    let unknown = names(&["c"]).expect_err("unknown");
    assert_eq!(unknown.to_string(), "Unknown server 'c'");
    assert_eq!(unknown.hint().as_deref(), Some("configured servers are a, b"));
    assert!(matches!(config.server("all"), Err(ConfigError::AllInSingleContext)));
}

#[test]
fn what_two_servers_share_is_refused_whichever_options_lead_there() {
    for text in [
        "[a]\nconninfo = x\nbackup_directory = /x\n[b]\nconninfo = y\nbackup_directory = /x\n",
        "[a]\nconninfo = x\nwals_directory = /x\n[b]\nconninfo = y\nincoming_wals_directory = /x\n",
        "[a]\nconninfo = x\nstreaming_wals_directory = /x\nincoming_wals_directory = /x\n",
        "[a]\nconninfo = x\nbackup_directory = /x/\n[b]\nconninfo = y\nbackup_directory = /x/./\n",
    ] {
        let refused = Files::new(text).load().expect_err(text);
        assert!(matches!(refused, ConfigError::SharedDirectory { .. }), "{refused}");
    }
    load("xlogdb_directory = /x\n[a]\nconninfo = x\n[b]\nconninfo = y\n");
}

#[test]
fn a_home_is_required_and_absolute() {
    let files = Files::new("");
    let load = |text: &str| {
        fs::write(files.main(), text).expect("written");
        files.load().expect_err(text)
    };
    assert!(matches!(load("[main]\nconninfo = x\n"), ConfigError::NoHome { .. }));
    assert!(matches!(load("[barman]\nlog_level = INFO\n"), ConfigError::NoHome { .. }));
    assert!(matches!(load("[barman]\nbarman_home = x\n"), ConfigError::RelativeHome { .. }));
}
