//! Which line of a password file is whose.

use super::*;

fn found(file: &str, text: &str, purpose: Purpose) -> Option<String> {
    let machine = Machine::default().file("/home/amy/.pgpass", file);
    let options = ConnectOptions::resolve(text, purpose, &machine).expect(text);
    let (password, source) = options.hosts[0].password.clone()?;
    let PasswordSource::File { line, .. } = source else { panic!("{source:?}") };
    Some(format!("{}:{}", line, String::from_utf8_lossy(password.expose())))
}

#[test]
fn the_first_line_that_fits_wins() {
    let file =
        "# comment\n\nother:*:*:*:no\ndb1:5433:*:*:no\r\ndb1:5432:app:amy:yes\r\n*:*:*:*:later\n";
    assert_eq!(found(file, "host=db1 dbname=app", Purpose::Sql).as_deref(), Some("5:yes"));
    assert_eq!(found(file, "host=db2 dbname=app", Purpose::Sql).as_deref(), Some("6:later"));
    assert_eq!(found(file, "host=db1 port=5433", Purpose::Sql).as_deref(), Some("4:no"));
    assert_eq!(found("db1:5432:app:bob:x", "host=db1 dbname=app", Purpose::Sql), None);
}

#[test]
fn escapes_and_cut_lines_are_read_as_libpq_reads_them() {
    for (line, expected) in [
        (r"d\:b:*:*:*:p\:w\\x", Some(r"1:p:w\x")),
        (r"d:b:*:*:*:pw:ignored", Some("1:pw")),
        ("d:b:*:*:*:", Some("1:")),
        ("d:b:*:*:*", None),
        ("d:b:*:*", None),
        ("d:b", None),
        ("d:b*:*:*:*:x", None),
        ("*", None),
    ] {
        let found = found(line, "host=d:b", Purpose::Sql);
        assert_eq!(found.as_deref(), expected, "{line}");
    }
}

#[test]
fn an_ipv6_host_may_stand_with_or_without_backslashes() {
    for line in [r"\:\:1:5432:*:*:pw", "::1:5432:*:*:pw"] {
        assert_eq!(found(line, "host=::1", Purpose::Sql).as_deref(), Some("1:pw"), "{line}");
    }
}

#[test]
fn replication_looks_for_its_own_word_and_for_a_named_database() {
    let file = "*:*:amy:*:user\n*:*:replication:*:word\n*:*:app:*:app\n";
    assert_eq!(found(file, "", Purpose::Replication).as_deref(), Some("2:word"));
    assert_eq!(found(file, "", Purpose::Sql).as_deref(), Some("1:user"));
    let file = "*:*:app:*:app\n";
    assert_eq!(found(file, "dbname=app", Purpose::Replication).as_deref(), Some("1:app"));
    assert_eq!(found(file, "", Purpose::Replication), None);
}

#[test]
fn the_default_socket_is_localhost_in_the_file() {
    let file = "localhost:*:*:*:local\n";
    for text in ["", "host=/var/run/postgresql", "host=/tmp", "host=localhost hostaddr=10.0.0.1"] {
        assert_eq!(found(file, text, Purpose::Sql).as_deref(), Some("1:local"), "{text}");
    }
    for text in ["host=/srv/sockets", "host=127.0.0.1", "hostaddr=127.0.0.1"] {
        assert_eq!(found(file, text, Purpose::Sql), None, "{text}");
    }
    assert_eq!(
        found("10.0.0.1:*:*:*:a", "hostaddr=10.0.0.1", Purpose::Sql).as_deref(),
        Some("1:a")
    );
}

#[test]
fn each_host_of_a_list_has_its_own_password() {
    let machine =
        Machine::default().file("/p", "a:*:*:*:for-a\nb:*:*:*:for-b\n").with("PGPASSFILE", "/p");
    let options = resolve("host=a,c,b", &machine);
    let passwords: Vec<Option<&[u8]>> = options
        .hosts
        .iter()
        .map(|host| host.password.as_ref().map(|(password, _)| password.expose()))
        .collect();
    assert_eq!(passwords, [Some(&b"for-a"[..]), None, Some(b"for-b")]);
}

#[test]
fn a_file_that_others_may_read_is_ignored_with_a_warning() {
    for mode in [0o640, 0o604, 0o660, 0o666] {
        let machine = Machine::default().file_with_mode("/home/amy/.pgpass", b"*:*:*:*:x", mode);
        let options = resolve("", &machine);
        assert!(options.hosts[0].password.is_none(), "{mode:o}");
        assert_eq!(options.warnings.len(), 1);
        assert!(options.warnings[0].contains("chmod 0600 /home/amy/.pgpass"));
    }
    assert!(resolve("passfile=/nowhere", &Machine::default()).warnings.is_empty());
}

#[test]
fn a_given_password_needs_no_file_and_says_where_it_was() {
    let machine =
        Machine::default().file("/home/amy/.pgpass", "*:*:*:*:file").with("PGPASSWORD", "env");
    let source = |text: &str| resolve(text, &machine).hosts[0].password.clone().expect("given");
    assert_eq!(source(""), (Secret::from("env"), PasswordSource::Environment));
    assert_eq!(source("password=string"), (Secret::from("string"), PasswordSource::Options));
    // Empty: not given, and the variable is hidden by it.
    assert_eq!(source("password=''").0, Secret::from("file"));
}
