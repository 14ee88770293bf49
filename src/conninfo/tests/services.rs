//! Service files: found, searched, blamed by line.

use super::*;

const USER_FILE: &str = "/home/amy/.pg_service.conf";

#[test]
fn a_section_gives_what_the_string_left_open() {
    let machine = Machine::default().file(
        USER_FILE,
        "# comment\n[other]\nhost=wrong\n\n  [prod]  \n host=db1 \nport=6000\nport=6001\n#user=x\n[more]\nuser=wrong\n",
    );
    let options = resolve("service=prod", &machine);
    assert_eq!(options.hosts[0].to_string(), "host db1, port 6000");
    assert_eq!(options.user, "amy");
    assert_eq!(resolve("postgresql:///?service=prod&port=1", &machine).hosts[0].port, 1);
}

#[test]
fn the_system_file_is_asked_where_the_users_lacks_the_section() {
    let machine = Machine::default()
        .file(USER_FILE, "[other]\nhost=wrong\n")
        .file("/etc/postgresql-common/pg_service.conf", "[prod]\nhost=system\n");
    assert_eq!(resolve("service=prod", &machine).hosts[0].to_string(), "host system, port 5432");
    let machine = machine
        .with("PGSYSCONFDIR", "/opt/etc")
        .file("/opt/etc/pg_service.conf", "[prod]\nhost=sysconf\n");
    assert_eq!(resolve("service=prod", &machine).hosts[0].to_string(), "host sysconf, port 5432");
}

#[test]
fn a_named_file_replaces_the_users_and_must_be_there() {
    let machine = Machine::default()
        .file(USER_FILE, "[prod]\nhost=home\n")
        .file("/srv/services", "[prod]\nhost=named\n");
    let options = resolve("service=prod servicefile=/srv/services", &machine);
    assert_eq!(options.hosts[0].to_string(), "host named, port 5432");
    let options = resolve("service=prod", &machine.clone().with("PGSERVICEFILE", "/srv/services"));
    assert_eq!(options.hosts[0].to_string(), "host named, port 5432");
    let error = refusal("service=prod servicefile=/srv/none", &machine);
    assert_eq!(error, "cannot read service file /srv/none");
}

#[test]
fn a_missing_section_is_an_error_that_names_the_files() {
    let machine = Machine::default().with("PGSYSCONFDIR", "/opt/etc");
    let error =
        ConnectOptions::resolve("service=prod", Purpose::Sql, &machine).expect_err("missing");
    assert_eq!(
        error.to_string(),
        "service \"prod\" is defined in none of: /home/amy/.pg_service.conf, /opt/etc/pg_service.conf"
    );
    assert_eq!(error.hint().as_deref(), Some("add a section [prod] to /home/amy/.pg_service.conf"));
}

#[test]
fn a_bad_line_is_named_by_file_and_number() {
    for (line, expected) in [
        ("host", "a line that is not key=value"),
        ("service=x", "a service cannot name another service or service file"),
        ("ldap://x/y", "look-ups by LDAP are not supported"),
        ("host =x", "\"host \" is not a connection option"),
        ("colour=red", "\"colour\" is not a connection option"),
    ] {
        let machine = Machine::default().file(USER_FILE, &format!("[prod]\nport=1\n{line}\n"));
        assert_eq!(
            refusal("service=prod", &machine),
            format!("service file {USER_FILE}, line 3: {expected}")
        );
        assert_eq!(resolve("", &machine).hosts[0].port, 5432, "unused sections are not read");
    }
    let machine = Machine::default().file(USER_FILE, "[prod]\n\nport=x\n");
    let expected = format!("service file {USER_FILE}, line 3: port is \"x\"; ");
    assert!(refusal("service=prod", &machine).starts_with(&expected));
}
