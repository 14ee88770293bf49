//! A backup in every form comes back, by this program and without it.
//!
//! A format that only its writer can read is a bet on the writer. So each backup is restored
//! with what every machine has: `tar` and the codecs' own programs.
//!
//! Each version takes a backup in every form that it knows, before there are tablespaces and
//! with two of them. Which half of them is restored by this program too changes from version to
//! version.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::scratch::{Mount, command, give_to_server, must};
use super::servers::programs;
use super::tables::{Checksums, assert_same_tables};
use super::{Cluster, Tapster};

/// What `backup_compression` says, and what reads it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Form {
    options: &'static str,
    recorded: &'static str,
    suffix: &'static str,
    program: Option<&'static str>,
}

const PLAIN: Form = Form { options: "", recorded: "None", suffix: "", program: None };

/// The same, but it comes compressed.
const PLAIN_OF_SENT: Form = Form {
    options: "backup_compression = gzip\nbackup_compression_location = server\nbackup_compression_format = plain\n",
    ..PLAIN
};

const NONE: Form = Form {
    options: "backup_compression = none\n",
    recorded: "none",
    suffix: ".tar",
    program: None,
};

const PACKED: [Form; 3] = [
    Form {
        options: "backup_compression = gzip\n",
        recorded: "gzip",
        suffix: ".tar.gz",
        program: Some("gzip"),
    },
    Form {
        options: "backup_compression = zstd\nbackup_compression_workers = 2\n",
        recorded: "zstd",
        suffix: ".tar.zst",
        program: Some("zstd"),
    },
    Form {
        options: "backup_compression = lz4\n",
        recorded: "lz4",
        suffix: ".tar.lz4",
        program: Some("lz4"),
    },
];

/// As the server compresses it.
const SENT: [Form; 3] = [
    Form {
        options: "backup_compression = gzip\nbackup_compression_location = server\n",
        ..PACKED[0]
    },
    Form {
        options: "backup_compression = zstd\nbackup_compression_location = server\nbackup_compression_workers = 2\n",
        ..PACKED[1]
    },
    Form {
        options: "backup_compression = lz4\nbackup_compression_location = server\nbackup_compression_level = 2\n",
        ..PACKED[2]
    },
];

/// The forms that a server of the tests can give. Of those only the distribution's own was built
/// with zstd and lz4.
fn forms(major: u32) -> Vec<Form> {
    let client = [&[PLAIN, NONE][..], &PACKED].concat();
    match major {
        ..15 => client,
        _ if links(major, "libzstd") && links(major, "liblz4") => {
            [&client[..], &SENT, &[PLAIN_OF_SENT]].concat()
        }
        _ => [&client[..], &SENT[..1], &[PLAIN_OF_SENT]].concat(),
    }
}

fn links(major: u32, library: &str) -> bool {
    must(command("ldd").arg(programs(major).join("postgres"))).contains(library)
}

impl Form {
    fn is_plain(self) -> bool {
        self.suffix.is_empty()
    }
}

/// A backup, and what was in the cluster when it was taken.
struct Taken {
    form: Form,
    id: String,
    tables: Checksums,
}

crate::on_every_version! {
    fn a_backup_in_every_form_is_restored_by_ordinary_tools_and_by_tapster(major) {
        let cluster = Cluster::start(major);
        let tapster = Tapster::new();
        cluster.sql(
            "CREATE TABLE t AS SELECT n, md5(n::text), repeat('x', n % 90) FROM generate_series(1, 60000) n",
        );
        let forms = forms(major);
        let turn = |number: usize| number + major as usize;
        let mut taken = Vec::new();
        for with_tablespaces in [false, true] {
            if with_tablespaces {
                for name in ["one", "the second"] {
                    cluster.create_tablespace(name);
                    cluster.sql(&format!(
                        "CREATE TABLE \"in {name}\" TABLESPACE \"{name}\" AS SELECT n, md5(n::text) FROM generate_series(1, 5000) n"
                    ));
                }
            }
            let tables = cluster.checksums();
            for (number, form) in forms.iter().enumerate() {
                let id = back_up(&cluster, &tapster, *form);
                taken.push((number, Taken { form: *form, id, tables: tables.clone() }));
            }
        }
        for (number, backup) in &taken {
            let check = |restored: Cluster| {
                restored.wait_until_writable();
                assert_same_tables(&backup.tables, &restored.checksums());
            };
            check(restore_by_tools(&cluster, &tapster, backup));
            if turn(*number).is_multiple_of(2) {
                check(restore_by_tapster(&cluster, &tapster, backup));
            }
        }
    }
}

/// Backs the cluster up in a form, and returns the id.
fn back_up(cluster: &Cluster, tapster: &Tapster, form: Form) -> String {
    let options = Tapster::server_options(cluster) + form.options;
    tapster.write_server("main", &options);
    tapster.ok(&["backup", "main"]);
    let listed = tapster.ok(&["list-backups", "--minimal", "main"]).stdout;
    let id = listed.lines().max().expect("a backup").to_owned();
    let info = info(tapster, &id);
    for line in ["status=DONE".to_owned(), format!("compression={}", form.recorded)] {
        assert!(info.lines().any(|other| other == line), "{line} is not in:\n{info}");
    }
    let size = format!("size={}", bytes_below(&tapster.server("main").join("base").join(&id)));
    assert!(info.lines().any(|line| line == size), "{size} is not in:\n{info}");
    id
}

fn info(tapster: &Tapster, id: &str) -> String {
    let path = tapster.server("main").join(format!("meta/{id}-backup.info"));
    fs::read_to_string(path).expect("it is recorded")
}

/// As Barman sums it up.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let bytes = entries.map(|entry| match entry.file_type().expect("known") {
        kind if kind.is_dir() => bytes_below(&entry.path()),
        kind if kind.is_file() => entry.metadata().expect("known").len(),
        _ => 0,
    });
    bytes.sum()
}

fn restore_by_tapster(cluster: &Cluster, tapster: &Tapster, backup: &Taken) -> Cluster {
    let Taken { form, id, .. } = backup;
    let folder = cluster.folder("by tapster").join(id);
    let mut arguments =
        ["restore", "--target-immediate", "--target-action", "promote"].map(str::to_owned).to_vec();
    for (oid, name) in tablespaces(cluster, tapster, id) {
        let location = folder.with_extension(&oid);
        arguments.extend(["--tablespace".to_owned(), format!("{name}:{}", location.display())]);
    }
    arguments.extend(["main".to_owned(), id.clone(), folder.display().to_string()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = tapster.ok(&arguments);
    assert!(outcome.stdout.contains("successfully prepared"), "{form:?}: {outcome}");
    for (oid, _) in tablespaces(cluster, tapster, id) {
        give_to_server(&folder.with_extension(&oid));
    }
    let restored = Cluster::of_directory(cluster.major(), &folder);
    restored.launch();
    restored
}

/// Those that the backup holds: number and name.
fn tablespaces(cluster: &Cluster, tapster: &Tapster, id: &str) -> Vec<(String, String)> {
    let info = info(tapster, id);
    let line = info.lines().find(|line| line.starts_with("tablespaces=")).expect("a line");
    let all = "SELECT oid, spcname FROM pg_tablespace WHERE spcname NOT LIKE 'pg\\_%'";
    let all = cluster.sql(all).into_iter();
    let text = |value: &Option<String>| value.clone().expect("not null");
    let all = all.map(|row| (text(&row[0]), text(&row[1])));
    all.filter(|(oid, _)| line.contains(&format!(" {oid},"))).collect()
}

/// Unpacks, links and starts, as somebody would who has lost everything but the repository.
fn restore_by_tools(cluster: &Cluster, tapster: &Tapster, backup: &Taken) -> Cluster {
    let Taken { form, id, .. } = backup;
    let stored = tapster.server("main").join("base").join(id).join("data");
    let folder = cluster.folder("by tools").join(id);
    if form.is_plain() {
        verify(cluster.major(), &stored);
    }
    fetch(*form, &stored, "base", &folder);
    let mut map = String::new();
    for (oid, _) in tablespaces(cluster, tapster, id) {
        let location = folder.with_extension(&oid);
        fetch(*form, &stored, &oid, &location);
        give_to_server(&location);
        let link = folder.join("pg_tblspc").join(&oid);
        if form.is_plain() {
            // It leads to the tablespace in the repository, as Barman's does.
            let stored = tapster.server("main").join("base").join(id).join(&oid);
            assert_eq!(fs::read_link(&link).expect("a link"), stored);
            fs::remove_file(&link).expect("it is there");
        }
        symlink(&location, link).expect("a link");
        map += &format!("{oid} {}\n", location.display());
    }
    if !form.is_plain() && stored.join("backup_manifest").exists() {
        fs::copy(stored.join("backup_manifest"), folder.join("backup_manifest")).expect("copied");
        verify(cluster.major(), &folder);
    }
    if form.is_plain() {
        assert!(!folder.join("tablespace_map").exists(), "it would lead to the old places");
    } else if !map.is_empty() {
        fs::write(folder.join("tablespace_map"), map).expect("the new places");
    }
    for segment in segments(tapster, id) {
        let name = segment.file_name().expect("a name");
        fs::copy(&segment, folder.join("pg_wal").join(name)).expect("copied");
    }
    let restored = Cluster::of_directory(cluster.major(), &folder);
    restored.launch();
    restored
}

/// Copies or unpacks the data directory (`base`) or a tablespace.
fn fetch(form: Form, stored: &Path, part: &str, folder: &Path) {
    if !form.is_plain() {
        return unpack(form, &stored.join(format!("{part}{}", form.suffix)), folder);
    }
    let source = if part == "base" { stored.to_owned() } else { stored.with_file_name(part) };
    quiet(command("cp").arg("-a").arg(source).arg(folder).stdout(Stdio::null()));
}

/// Nothing may be said on the way: a warning at a restore is taken for damage.
fn unpack(form: Form, archive: &Path, folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("as a server wants it");
    let tar = match form.program {
        None => archive.to_owned(),
        Some(program) => {
            let tar = folder.with_extension("tar");
            let file = fs::File::create(&tar).expect("room");
            let mut unpack = command(program);
            quiet(unpack.args(["-d", "-c"]).arg(archive).stdout(file));
            tar
        }
    };
    quiet(command("tar").arg("-xf").arg(&tar).arg("-C").arg(folder).stdout(Stdio::null()));
    if form.program.is_some() {
        fs::remove_file(&tar).expect("it was made here");
    }
}

fn quiet(command: &mut Command) {
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("installed");
    let output = output.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
}

/// The stock verifier's word, where it is installed: with the servers of the tests it comes only
/// for the distribution's own version.
fn verify(major: u32, folder: &Path) {
    let program = programs(major).join("pg_verifybackup");
    if program.exists() {
        must(command(program).arg("-n").arg(folder));
    }
}

/// The archived segments from the backup's first to its last.
fn segments(tapster: &Tapster, id: &str) -> Vec<PathBuf> {
    let info = info(tapster, id);
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{info}")).to_owned()
    };
    let (first, last) = (field("begin_wal="), field("end_wal="));
    tapster.archived("main").range(first..=last).map(|(_, path)| path.clone()).collect()
}

#[test]
fn compression_that_the_server_cannot_do_is_refused_with_what_to_set_instead() {
    let cluster = Cluster::start(14);
    let tapster = Tapster::new();
    tapster.write_server("main", &(Tapster::server_options(&cluster) + SENT[0].options));
    let refused = tapster.refused(&["backup", "main"]);
    assert!(refused.stderr.contains("server on PostgreSQL 14 is not supported"), "{refused}");
    assert!(refused.stderr.contains("backup_compression_location = client"), "{refused}");
    let listed = tapster.ok(&["list-backups", "main"]);
    assert!(listed.stdout.is_empty(), "nothing was begun: {listed}");

    // Nor is anything begun on a server that was built without it.
    let Some(major) = (15..=18).find(|major| !links(*major, "libzstd")) else { return };
    let cluster = Cluster::start(major);
    tapster.write_server("main", &(Tapster::server_options(&cluster) + SENT[1].options));
    let refused = tapster.refused(&["backup", "main"]);
    assert!(refused.stderr.contains("the server was built without zstd"), "{refused}");
    assert!(refused.stderr.contains("backup_compression_location = client"), "{refused}");
    let listed = tapster.ok(&["list-backups", "main"]);
    assert!(listed.stdout.is_empty(), "nothing was begun: {listed}");
}

/// How much room it needs is known before it is unpacked, although the stream does not say.
#[test]
fn the_room_for_what_the_server_compressed_is_known_before_a_restore() {
    let cluster = Cluster::start(15);
    cluster.sql("CREATE TABLE zeros AS SELECT repeat('0', 2000) FROM generate_series(1, 50000)");
    let tapster = Tapster::new();
    let id = back_up(&cluster, &tapster, SENT[1]);
    let stored = bytes_below(&tapster.server("main").join("base").join(&id));
    assert!(stored < 30 << 20, "{stored} bytes: it was to be far smaller than its content");
    let small = tapster.path().join("small");
    fs::create_dir(&small).expect("a folder");
    let Some(_mount) = Mount::tmpfs(&small, "size=80m") else { return };
    let data = small.join("data");
    let arguments = ["restore", "main", &id, data.to_str().expect("UTF-8")];
    let refused = tapster.refused(&arguments);
    assert!(refused.stderr.contains("bytes free, and the restore needs"), "{refused}");
    assert!(!data.exists(), "{refused}");
}
