//! Every method that can be served, over every way to a server.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::scratch::Scratch;
use super::*;

#[test]
fn every_method_of_every_era_lets_both_kinds_of_session_in() {
    for major in [10, 13, 15, 18] {
        let cluster = cluster_of_methods(major);
        let at = format!("host=127.0.0.1 port={}", cluster.port());
        let around = Surroundings::default();
        both(&format!("{at} user=trusted"), &around);
        for role in ["plain", "hashed", "salted"] {
            both(&format!("{at} user={role} password=sesame"), &around);
        }
    }
}

#[test]
fn sockets_and_both_families_of_addresses_lead_in() {
    let cluster = cluster_of_methods(15);
    let (port, around) = (cluster.port(), Surroundings::default());
    for host in ["127.0.0.1", "::1", &cluster.socket().display().to_string()] {
        both(&format!("host={host} port={port} user=trusted"), &around);
    }
    both(&format!("host=nowhere.invalid hostaddr=127.0.0.1 port={port} user=trusted"), &around);
    both(&format!("host=localhost port={port} user=trusted"), &around);
    let socket = cluster.socket().display().to_string().replace('/', "%2F");
    run(async {
        let uri =
            format!("postgresql://trusted@{socket}:{port}/postgres?application_name=by%20uri");
        let server = sql(&uri, &around).await.expect("a URI leads in");
        let name = server.show("application_name").await.expect("an answer");
        assert_eq!(name, "by uri");
    });
}

#[test]
fn the_server_behind_a_socket_is_the_one_that_was_meant() {
    let cluster = cluster_of_methods(15);
    let at = format!("host={} port={} user=trusted", cluster.socket().display(), cluster.port());
    let owner = match super::super::scratch::server_user() {
        Some(_) => "postgres".to_owned(),
        None => RealEnvironment.user().expect("we have a name"),
    };
    both(&format!("{at} requirepeer={owner}"), &Surroundings::default());
    for error in neither(&format!("{at} requirepeer=somebody"), &Surroundings::default()) {
        says(&error, &["belongs to", &owner, "requirepeer is somebody"]);
    }
}

#[test]
fn a_password_file_serves_the_line_that_fits_and_only_when_it_is_private() {
    let cluster = cluster_of_methods(15);
    let scratch = Scratch::new("home");
    let port = cluster.port();
    let file = scratch.path().join(".pgpass");
    fs::write(
        &file,
        format!(
            "# for tests\n127.0.0.1:{port}:*:hashed:wrong\n127.0.0.1:{port}:replication:salted:sesame\n\
             *:*:postgres:salted:sesame\n"
        ),
    )
    .expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
    let around = Surroundings::home(scratch.path());
    let text = format!("host=127.0.0.1 port={port} user=salted");
    both(&text, &around);

    let wrong = format!("host=127.0.0.1 port={port} user=hashed");
    for error in neither(&wrong, &around) {
        says(&error, &["password authentication failed", &format!("{}, line 2", file.display())]);
        assert!(!said(&error).contains("sesame"));
    }

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("its mode");
    let ignored = options(&text, Purpose::Sql, &around).warnings;
    assert!(ignored[0].contains("is ignored: others may read it"), "{ignored:?}");
    for error in neither(&text, &around) {
        says(&error, &["asks for a password", "none is given", "passfile"]);
    }
}

#[test]
fn a_service_and_the_environment_complete_the_string() {
    let cluster = cluster_of_methods(15);
    let scratch = Scratch::new("home");
    let service = format!("[prod]\nhost=127.0.0.1\nport={}\nuser=salted\n", cluster.port());
    fs::write(scratch.path().join(".pg_service.conf"), service).expect("a file");
    let around = Surroundings::home(scratch.path()).with("PGPASSWORD", "sesame");
    both("service=prod", &around);
    let around = around.with("PGSERVICE", "prod").with("PGUSER", "ignored");
    both("connect_timeout=10", &around);
}

#[test]
fn settings_of_the_string_reach_the_server() {
    let cluster = cluster_of_methods(15);
    let text = format!(
        "host=127.0.0.1 port={} user=trusted options='-c work_mem=5MB' application_name=mine",
        cluster.port()
    );
    run(async {
        let around = Surroundings::default();
        let mut server = walsender(&text, &around).await.expect("let in");
        assert_eq!(server.show("work_mem").await.expect("known"), "5MB");
        assert_eq!(server.show("application_name").await.expect("known"), "mine");
        let system = server.identify_system().await.expect("an answer");
        assert_eq!(system.dbname, None, "a walsender with a database is woken late");
        let server = sql(&format!("{text} dbname=postgres"), &around).await.expect("let in");
        assert_eq!(server.show("work_mem").await.expect("known"), "5MB");
        assert_eq!(server.show("client_encoding").await.expect("known"), "UTF8");
    });
}
