//! What all sources together come to.

use std::time::Duration;

use super::*;

#[test]
fn without_anything_the_usual_sockets_the_users_name_and_libpqs_defaults_apply() {
    let options = resolve("", &Machine::default());
    assert_eq!(options.hosts.len(), 1);
    assert_eq!(
        options.hosts[0].to_string(),
        "socket /var/run/postgresql/.s.PGSQL.5432 or /tmp/.s.PGSQL.5432"
    );
    assert_eq!((options.user.as_str(), options.dbname.as_str()), ("amy", "amy"));
    assert_eq!(options.tls.mode, SslMode::Prefer);
    assert_eq!(options.tls.min_version, TlsVersion::V1_2);
    assert_eq!(options.tls.max_version, None);
    assert!(options.tls.sni);
    assert_eq!(options.connect_timeout, None);
    assert_eq!(options.target_session_attrs, TargetSessionAttrs::Any);
    assert!(options.keepalives.enabled);
    let root = FileOption { path: "/home/amy/.postgresql/root.crt".into(), given: false };
    assert_eq!(options.tls.root_certificates, RootCertificates::File(root));
    assert!(options.warnings.is_empty());
}

#[test]
fn the_string_beats_the_service_which_beats_the_environment() {
    let machine = Machine::default()
        .with("PGHOST", "from-env")
        .with("PGUSER", "from-env")
        .with("PGPORT", "7000")
        .with("PGSERVICE", "prod")
        .file("/home/amy/.pg_service.conf", "[prod]\nhost=from-service\nuser=from-service\n");
    let options = resolve("user=from-string", &machine);
    assert_eq!(options.user, "from-string");
    assert_eq!(options.hosts[0].to_string(), "host from-service, port 7000");
}

#[test]
fn an_empty_value_hides_the_environment_and_an_empty_variable_hides_nothing() {
    let machine =
        Machine::default().with("PGDATABASE", "app").with("PGPORT", "").with("PGUSER", "u");
    assert_eq!(resolve("dbname=''", &machine).dbname, "u");
    assert_eq!(resolve("", &machine).dbname, "app");
    assert_eq!(resolve("", &machine).hosts[0].port, 5432);
}

#[test]
fn kinds_of_hosts_are_told_apart() {
    for (text, expected) in [
        ("host=/tmp", Target::Sockets(vec![SocketAddress::Path("/tmp/.s.PGSQL.5432".into())])),
        (
            "host=@pg port=1",
            Target::Sockets(vec![SocketAddress::Abstract(b"pg/.s.PGSQL.1".to_vec())]),
        ),
        ("host=10.1.2.3", Target::Address("10.1.2.3".parse().unwrap())),
        ("host=::1", Target::Address("::1".parse().unwrap())),
        ("host=db1", Target::Name("db1".to_owned())),
        ("host=db1 hostaddr=10.0.0.1", Target::Address("10.0.0.1".parse().unwrap())),
        ("hostaddr=fe80::1%eth0", Target::Name("fe80::1%eth0".to_owned())),
    ] {
        assert_eq!(resolve(text, &Machine::default()).hosts[0].target, expected, "{text}");
    }
    let options = resolve("host=db1 hostaddr=10.0.0.1", &Machine::default());
    assert_eq!(options.hosts[0].name.as_str(), "db1");
    assert_eq!(options.hosts[0].to_string(), "host db1 (10.0.0.1), port 5432");
    assert!(!resolve("hostaddr=::1", &Machine::default()).hosts[0].name.is_given());
}

#[test]
fn lists_fit_together_or_are_refused() {
    let shown = |text: &str| -> Vec<String> {
        resolve(text, &Machine::default()).hosts.iter().map(Host::to_string).collect()
    };
    assert_eq!(shown("host=a,b port=6000"), ["host a, port 6000", "host b, port 6000"]);
    assert_eq!(shown("host=a,b port=6000,"), ["host a, port 6000", "host b, port 5432"]);
    assert_eq!(shown("host=a, hostaddr=10.0.0.1,10.0.0.2")[1], "host 10.0.0.2, port 5432");
    assert_eq!(shown("host=a,b hostaddr=,10.0.0.2")[0], "host a, port 5432");
    for (text, expected) in [
        ("host=a,b port=1,2,3", "3 ports cannot be matched to 2 hosts"),
        ("host=a port=1,2", "2 ports cannot be matched to 1 hosts"),
        ("host=a hostaddr=10.0.0.1,10.0.0.2", "1 host names cannot be matched to 2 hosts"),
    ] {
        assert_eq!(refusal(text, &Machine::default()), expected, "{text}");
    }
}

#[test]
fn numbers_outside_of_their_range_are_refused_where_they_stand() {
    for (text, expected) in [
        ("port=0", r#"position 1: port is "0"; expected a number from 1 to 65535"#),
        ("host=a port=65536", r#"position 8: port is "65536"; expected a number from 1 to 65535"#),
        ("host=a,b port=1,x", r#"position 10: port is "x"; expected a number from 1 to 65535"#),
        (
            "connect_timeout=soon",
            r#"position 1: connect_timeout is "soon"; expected a whole number"#,
        ),
        (
            "hostaddr=db1",
            r#"position 1: hostaddr is "db1"; expected an IPv4 or IPv6 address; names belong into host"#,
        ),
    ] {
        assert_eq!(refusal(text, &Machine::default()), format!("connection string, {expected}"));
    }
    let machine = Machine::default().with("PGCONNECT_TIMEOUT", "never");
    assert!(refusal("", &machine).starts_with("environment variable PGCONNECT_TIMEOUT: "));
}

#[test]
fn times_are_seconds_but_for_the_user_timeout_and_zero_means_off() {
    let options = resolve(
        "connect_timeout=' 7 ' keepalives_idle=30 keepalives_interval=5 keepalives_count=3 \
         tcp_user_timeout=1500",
        &Machine::default(),
    );
    assert_eq!(options.connect_timeout, Some(Duration::from_secs(7)));
    let keepalives = Keepalives {
        enabled: true,
        idle: Some(Duration::from_secs(30)),
        interval: Some(Duration::from_secs(5)),
        count: Some(3),
    };
    assert_eq!(options.keepalives, keepalives);
    assert_eq!(options.tcp_user_timeout, Some(Duration::from_millis(1500)));
    let options = resolve("connect_timeout=0 keepalives=0 tcp_user_timeout=0", &Machine::default());
    assert_eq!((options.connect_timeout, options.tcp_user_timeout), (None, None));
    assert!(!options.keepalives.enabled);
    assert_eq!(resolve("connect_timeout=-1", &Machine::default()).connect_timeout, None);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (text, named) in [
        ("gssencmode=require", "gssencmode=require is not supported"),
        ("gssdelegation=1", "gssdelegation=1 is not supported"),
        ("scram_client_key=c2VzYW1l", "scram_client_key is not supported"),
        ("oauth_issuer=https://x", "oauth_issuer=https://x is not supported"),
        ("oauth_client_secret=sesame", "oauth_client_secret is not supported"),
        ("sslkeylogfile=/tmp/x", "sslkeylogfile=/tmp/x is not supported"),
        ("require_auth=gss", "require_auth=gss is not supported"),
        ("require_auth=oauth,sspi", "require_auth=oauth,sspi is not supported"),
        ("ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version=TLSv1.1 is not supported"),
        ("min_protocol_version=3.2", "min_protocol_version=3.2 is not supported"),
        ("replication=database", "replication=database is not supported"),
    ] {
        let message = refusal(text, &Machine::default());
        assert!(message.contains(named), "{text}: {message}");
        assert!(!message.contains("sesame") && !message.contains("c2VzYW1l"), "{message}");
    }
    for text in ["gssencmode=prefer", "gssencmode=disable", "replication=true", "sslcompression=0"]
    {
        assert!(resolve(text, &Machine::default()).warnings.is_empty(), "{text}");
    }
    for text in ["krbsrvname=pg", "sslcompression=1", "client_encoding=LATIN1"] {
        assert_eq!(resolve(text, &Machine::default()).warnings.len(), 1, "{text}");
    }
}

#[test]
fn weak_modes_do_not_go_with_strong_options() {
    let machine = Machine::default();
    assert_eq!(resolve("sslrootcert=system", &machine).tls.mode, SslMode::VerifyFull);
    let error = refusal("sslrootcert=system sslmode=verify-ca", &machine);
    assert_eq!(
        error,
        "sslrootcert=system cannot be used with sslmode=verify-ca, which is too weak"
    );
    let error = refusal("sslnegotiation=direct", &machine);
    assert_eq!(
        error,
        "sslnegotiation=direct cannot be used with sslmode=prefer, which is too weak"
    );
    let options = resolve("sslnegotiation=direct sslmode=require", &machine);
    assert_eq!(options.tls.negotiation, SslNegotiation::Direct);
}

#[test]
fn the_old_variable_for_tls_counts_unless_the_new_one_is_set() {
    let machine = Machine::default().with("PGREQUIRESSL", "1");
    assert_eq!(resolve("", &machine).tls.mode, SslMode::Require);
    assert_eq!(resolve("", &machine.with("PGSSLMODE", "allow")).tls.mode, SslMode::Allow);
    let machine = Machine::default().with("PGREQUIRESSL", "0");
    assert_eq!(resolve("", &machine).tls.mode, SslMode::Prefer);
}

#[test]
fn a_directory_of_revocation_lists_replaces_the_default_file() {
    let machine = Machine::default();
    assert!(resolve("", &machine).tls.crl.is_some_and(|crl| !crl.given));
    assert_eq!(resolve("sslcrldir=/crl", &machine).tls.crl, None);
    let both = resolve("sslcrldir=/crl sslcrl=/one.crl", &machine).tls;
    assert_eq!(both.crl, Some(FileOption { path: "/one.crl".into(), given: true }));
}

#[test]
fn the_users_application_name_goes_before_ours() {
    let machine = Machine::default();
    assert_eq!(resolve("", &machine).application_name_or("tapster"), "tapster");
    let options = resolve("fallback_application_name=f", &machine);
    assert_eq!(options.application_name_or("tapster"), "f");
    let options = resolve("fallback_application_name=f application_name=a", &machine);
    assert_eq!(options.application_name_or("tapster"), "a");
}
