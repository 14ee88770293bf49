//! `sslmode`, with what a server offers and what its pg_hba.conf lets in.
//!
//! Certificates and their checks have tests of their own; here it is about when TLS is used.

use std::fs;

use super::super::certificates::Certificates;
use super::super::scratch::Scratch;
use super::*;

fn encrypted(text: &str) -> bool {
    run(async {
        let mut server = walsender(text, &Surroundings::default())
            .await
            .unwrap_or_else(|error| panic!("{text}: {}", said(&error)));
        let (stream, _) = server.parts();
        stream.is_encrypted()
    })
}

fn cluster(major: u32, kind: &str) -> Cluster {
    let made = Certificates::new();
    let line = admits(kind, "all", "127.0.0.1/32", "scram-sha-256");
    let cluster = Cluster::builder(major).tls(&made.server, &made.key).hba(&[&line]).start();
    cluster.sql("SET password_encryption = 'scram-sha-256'; ALTER ROLE barman PASSWORD 'sesame'");
    cluster
}

fn at(cluster: &Cluster) -> String {
    format!("host=127.0.0.1 port={} user=barman password=sesame", cluster.port())
}

#[test]
fn each_mode_encrypts_when_the_manual_says_so() {
    let cluster = cluster(15, "host");
    for (mode, expected) in
        [("disable", false), ("allow", false), ("prefer", true), ("require", true)]
    {
        assert_eq!(encrypted(&format!("{} sslmode={mode}", at(&cluster))), expected, "{mode}");
    }
    let local =
        format!("host={} port={} user=postgres", cluster.socket().display(), cluster.port());
    assert!(!encrypted(&format!("{local} sslmode=require")), "never over a socket");
}

#[test]
fn allow_and_prefer_try_the_other_way_when_pg_hba_turns_one_down() {
    let only_tls = cluster(15, "hostssl");
    assert!(encrypted(&format!("{} sslmode=allow", at(&only_tls))));
    let error =
        &neither(&format!("{} sslmode=disable", at(&only_tls)), &Surroundings::default())[0];
    says(error, &["pg_hba.conf", "28000"]);
    let only_clear = cluster(15, "hostnossl");
    assert!(!encrypted(&format!("{} sslmode=prefer", at(&only_clear))));
    let error =
        &neither(&format!("{} sslmode=require", at(&only_clear)), &Surroundings::default())[0];
    says(error, &["pg_hba.conf", "hostssl replication barman"]);
}

#[test]
fn a_server_without_tls_serves_those_who_can_do_without() {
    let cluster = Cluster::start(15);
    let at = format!("host=127.0.0.1 port={} user=barman", cluster.port());
    assert!(!encrypted(&format!("{at} sslmode=prefer")));
    for error in neither(&format!("{at} sslmode=require"), &Surroundings::default()) {
        says(&error, &["does not offer TLS", "ssl = on"]);
    }
}

#[test]
fn logins_are_bound_to_the_connection_beneath_them() {
    for major in [11, 15, 18] {
        let cluster = cluster(major, "host");
        both(
            &format!("{} channel_binding=require sslmode=require", at(&cluster)),
            &Surroundings::default(),
        );
        for error in neither(
            &format!("{} channel_binding=require sslmode=disable", at(&cluster)),
            &Surroundings::default(),
        ) {
            says(&error, &["channel binding is required"]);
        }
        both(&format!("{} channel_binding=disable", at(&cluster)), &Surroundings::default());
    }
    // Before 11 no server knows binding.
    let old = cluster(10, "host");
    both(&at(&old), &Surroundings::default());
    for error in neither(&format!("{} channel_binding=require", at(&old)), &Surroundings::default())
    {
        says(&error, &["channel binding is required"]);
    }
}

#[test]
fn direct_negotiation_works_where_servers_know_it_and_fails_elsewhere_with_a_hint() {
    let new = cluster(17, "host");
    let text = format!("{} sslmode=require sslnegotiation=direct", at(&new));
    assert!(encrypted(&text));
    both(&text, &Surroundings::default());
    let old = cluster(15, "host");
    let text = format!("{} sslmode=require sslnegotiation=direct", at(&old));
    for error in neither(&text, &Surroundings::default()) {
        says(&error, &["cannot use TLS with 127.0.0.1"]);
    }
}

#[test]
fn verify_full_is_satisfied_by_the_right_root_and_name_only() {
    let made = Certificates::new();
    let scratch = Scratch::new("root");
    let root = scratch.path().join("root.crt");
    fs::write(&root, &made.authority).expect("a file");
    let other = scratch.path().join("other.crt");
    fs::write(&other, Certificates::new().authority).expect("a file");
    let cluster = Cluster::builder(15).tls(&made.server, &made.key).start();
    let at = |host: &str, root: &Path| {
        format!(
            "host={host} hostaddr=127.0.0.1 port={} user=barman sslmode=verify-full sslrootcert={}",
            cluster.port(),
            root.display()
        )
    };
    both(&at("localhost", &root), &Surroundings::default());
    for text in [at("elsewhere", &root), at("localhost", &other)] {
        for error in neither(&text, &Surroundings::default()) {
            says(&error, &["cannot use TLS with", "certificate"]);
        }
    }
    let missing = scratch.path().join("none.crt");
    for error in neither(&at("localhost", &missing), &Surroundings::default()) {
        says(&error, &["none.crt", "sslrootcert"]);
    }
}

#[test]
fn a_command_on_an_encrypted_session_is_cancelled_over_an_encrypted_connection() {
    let cluster = cluster(15, "hostssl");
    run(async {
        let text = format!("{} sslmode=require dbname=postgres", at(&cluster));
        let server = sql(&text, &Surroundings::default()).await.expect("in");
        let canceller = server.canceller();
        let sleep = server.rows("sleep", "SELECT pg_sleep(600)");
        let cancel = async {
            let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            while cluster.value(sleeping) == "0" {
                tokio::task::yield_now().await;
            }
            canceller.cancel().await.expect("cancelled");
        };
        let (slept, ()) = tokio::join!(sleep, cancel);
        says(&slept.expect_err("it was ended"), &["57014"]);
    });
}
