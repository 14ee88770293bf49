//! Several hosts: who is tried, who is passed over, who will do.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::*;

/// A port on which connections are made and nobody ever answers.
struct BlackHole(TcpListener);

impl BlackHole {
    fn new() -> BlackHole {
        BlackHole(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("it is bound").port()
    }
}

#[test]
fn a_server_of_the_wanted_kind_is_found_among_several() {
    for major in [10, 13, 14, 18] {
        let primary = Cluster::start(major);
        let standby = primary.standby();
        let list = format!(
            "host=127.0.0.1,127.0.0.1 port={},{} user=barman dbname=postgres",
            standby.port(),
            primary.port()
        );
        let around = Surroundings::default();
        for (wanted, expected) in [
            ("any", standby.port()),
            ("read-write", primary.port()),
            ("read-only", standby.port()),
            ("primary", primary.port()),
            ("standby", standby.port()),
            ("prefer-standby", standby.port()),
        ] {
            let text = format!("{list} target_session_attrs={wanted}");
            run(async {
                let server = walsender(&text, &around).await.expect(&text);
                let shown = server.endpoint().to_owned();
                assert!(shown.ends_with(&format!("port {expected}")), "{major} {wanted}: {shown}");
                let server = sql(&text, &around).await.expect(&text);
                let shown = server.endpoint().to_owned();
                assert!(shown.ends_with(&format!("port {expected}")), "{major} {wanted}: {shown}");
            });
        }
        let only = format!("host=127.0.0.1 port={} user=barman", primary.port());
        both(&format!("{only} target_session_attrs=prefer-standby"), &around);
        for error in neither(&format!("{only} target_session_attrs=standby"), &around) {
            says(&error, &["is a primary, but target_session_attrs is standby"]);
        }
    }
}

#[test]
fn a_primary_that_is_read_only_by_default_is_no_place_to_write() {
    for major in [13, 15] {
        let cluster = Cluster::start(major);
        cluster.sql("ALTER ROLE barman SET default_transaction_read_only = on");
        cluster.sql("ALTER SYSTEM SET default_transaction_read_only = on");
        cluster.reload();
        let at = format!("host=127.0.0.1 port={} user=barman", cluster.port());
        let around = Surroundings::default();
        both(&format!("{at} target_session_attrs=primary"), &around);
        both(&format!("{at} target_session_attrs=read-only"), &around);
        for error in neither(&format!("{at} target_session_attrs=read-write"), &around) {
            says(&error, &["a primary that is read-only by default"]);
        }
    }
}

#[test]
fn a_black_hole_costs_no_more_than_connect_timeout_and_the_next_host_is_tried() {
    let cluster = Cluster::start(15);
    let hole = BlackHole::new();
    let around = Surroundings::default();
    let one = format!("host=127.0.0.1 port={} connect_timeout=1 user=barman", hole.port());
    let begun = Instant::now();
    for error in neither(&one, &around) {
        says(&error, &["no session with 127.0.0.1", "within 1 s"]);
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "both waited for their second");
    let several = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} connect_timeout=1 user=barman",
        hole.port(),
        cluster.port()
    );
    both(&several, &around);
}

#[test]
fn a_refused_login_is_final_and_does_not_hide_behind_the_next_host() {
    let strict = cluster_of_methods(15);
    let open = Cluster::start(15);
    open.sql("CREATE ROLE salted LOGIN REPLICATION");
    let list = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=salted password=wr0ng",
        strict.port(),
        open.port()
    );
    for error in neither(&list, &Surroundings::default()) {
        says(&error, &["password authentication failed"]);
    }
}

#[test]
fn when_no_host_will_do_each_one_is_named_with_its_reason() {
    let hole = BlackHole::new();
    let primary = Cluster::start(15);
    let text = format!(
        "host=127.0.0.1,127.0.0.1,/nowhere port={},{},5432 user=barman connect_timeout=1 \
         target_session_attrs=standby",
        hole.port(),
        primary.port()
    );
    for error in neither(&text, &Surroundings::default()) {
        let (first, second) = (format!("port {}", hole.port()), format!("port {}", primary.port()));
        says(&error, &["no host will do", &first, &second, "/nowhere/.s.PGSQL.5432"]);
    }
}

#[test]
fn random_order_reaches_every_host() {
    let (one, two) = (Cluster::start(15), Cluster::start(15));
    let text = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=barman load_balance_hosts=random",
        one.port(),
        two.port()
    );
    let mut seen = std::collections::BTreeSet::new();
    run(async {
        // Forty sessions on the same host by chance: once in 550 thousand million runs.
        for _ in 0..40 {
            let server = walsender(&text, &Surroundings::default()).await.expect("both are open");
            seen.insert(server.endpoint().to_owned());
            server.close().await;
        }
    });
    assert_eq!(seen.len(), 2, "{seen:?}");
}
