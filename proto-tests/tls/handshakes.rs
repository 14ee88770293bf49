//! What the handshake says and demands: modes, names, versions, ALPN, signatures.

use rustls::version::{TLS12, TLS13};
use tapster::net::tls::{BindingData, CertificateProblem, TlsClient, TlsError};

use super::peer::{Peer, problem};
use super::workshop::{Authority, Files, Issued, no_change};

/// The root in `~/.postgresql/root.crt`, where nothing else is said.
fn trusting(root: &Authority) -> Files {
    let files = Files::new();
    files.put(".postgresql/root.crt", root.pem(), 0o644);
    files
}

#[test]
fn without_a_root_file_weak_modes_take_any_certificate_and_strong_ones_say_what_to_do() {
    let server = Authority::root("anybody").issue(&["elsewhere"], no_change);
    let files = Files::new();
    for sslmode in ["allow", "prefer", "require"] {
        let options = files.options(&format!("host=db sslmode={sslmode}"));
        assert!(!TlsClient::new(&options).unwrap().checks_certificate());
        Peer::new(&server).connect(&options, "db").expect(sslmode);
    }
    for sslmode in ["verify-ca", "verify-full"] {
        let options = files.options(&format!("host=db sslmode={sslmode}"));
        let error = TlsClient::new(&options).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(".postgresql/root.crt") && text.contains(sslmode), "{text}");
        assert!(error.hint().unwrap().contains("sslrootcert=system"));
    }
}

#[test]
fn only_verify_full_compares_the_name_and_it_takes_host_as_written() {
    let root = Authority::root("root");
    let files = trusting(&root);
    let connect = |server: &Issued, sslmode: &str, host: &str| {
        let options = files.options(&format!("host={host} sslmode={sslmode}"));
        Peer::new(server).connect(&options, host)
    };
    let server = root.issue(&["db.example.org", "192.0.2.7"], no_change);
    for host in ["db.example.org", "DB.EXAMPLE.ORG", "192.0.2.7"] {
        connect(&server, "verify-full", host).expect(host);
    }
    for host in ["example.org", "192.0.2.8", "2001:db8::7"] {
        let found = problem(connect(&server, "verify-full", host));
        let text = found.to_string();
        assert!(text.contains("db.example.org, 192.0.2.7") && text.contains(host), "{text}");
        connect(&server, "verify-ca", host).expect("no name is compared");
    }
    let old = root.issue_version_1("db_1");
    connect(&old, "verify-full", "db_1").expect("the common name");
    connect(&root.issue_to_common_name("192.0.2.7"), "verify-full", "192.0.2.7")
        .expect("libpq compares the common name with addresses too");
    problem(connect(&old, "verify-full", "db_2"));
}

#[test]
fn verify_full_without_a_host_is_an_error_before_anything_is_sent() {
    let root = Authority::root("root");
    let files = trusting(&root);
    let options = files.options("hostaddr=192.0.2.7 sslmode=verify-full");
    let result = Peer::new(&root.issue(&["192.0.2.7"], no_change)).connect(&options, "");
    assert!(matches!(result, Err(TlsError::NoHostName)), "{result:?}");
}

#[test]
fn a_server_that_does_not_have_the_key_of_its_certificate_is_refused_in_every_mode() {
    let root = Authority::root("root");
    for mut thief in [root.issue(&["db"], no_change), root.issue_version_1("db")] {
        thief.key = rcgen::KeyPair::generate().unwrap();
        for files in [Files::new(), trusting(&root)] {
            for versions in [&[&TLS12], &[&TLS13]] {
                let options = files.options("host=db sslmode=require");
                let peer = Peer::with_versions(&thief, versions, None);
                let result = peer.connect(&options, "db");
                assert!(matches!(result, Err(TlsError::Protocol { .. })), "{result:?}");
            }
        }
    }
}

#[test]
fn both_versions_are_spoken_with_certificates_of_every_kind_and_bounds_are_kept() {
    let root = Authority::root("root");
    let files = trusting(&root);
    for server in [root.issue(&["db"], no_change), root.issue_version_1("db")] {
        let connect = |bounds: &str, versions: &[&'static rustls::SupportedProtocolVersion]| {
            let options = files.options(&format!("host=db sslmode=verify-full {bounds}"));
            let peer = Peer::with_versions(&server, versions, None);
            peer.connect(&options, "db").map(|connected| connected.version)
        };
        assert_eq!(connect("", &[&TLS12, &TLS13]).unwrap(), "TLSv1.3");
        assert_eq!(connect("", &[&TLS12]).unwrap(), "TLSv1.2");
        assert_eq!(
            connect("ssl_max_protocol_version=TLSv1.2", &[&TLS12, &TLS13]).unwrap(),
            "TLSv1.2"
        );
        assert_eq!(connect("ssl_min_protocol_version=TLSv1", &[&TLS12]).unwrap(), "TLSv1.2");
        let refused = connect("ssl_min_protocol_version=TLSv1.3", &[&TLS12]).unwrap_err();
        assert!(
            matches!(&refused, TlsError::Alert { alert } if alert == "ProtocolVersion"),
            "{refused:?}"
        );
        assert!(refused.hint().unwrap().contains("ssl_min_protocol_version"));
        connect("ssl_max_protocol_version=TLSv1.2", &[&TLS13]).unwrap_err();
    }
}

#[test]
fn the_host_is_named_in_clear_when_it_is_a_name_and_the_user_allows_it() {
    let root = Authority::root("root");
    let files = trusting(&root);
    let named = |conninfo: &str, host: &str| {
        let server = root.issue(&["db.example.org", "192.0.2.7", "2001:db8::7"], no_change);
        let peer = Peer::new(&server);
        let hello = std::sync::Arc::clone(&peer.hello);
        peer.connect(&files.options(&format!("host={host} {conninfo}")), host).unwrap();
        hello.server_name.lock().unwrap().clone()
    };
    assert_eq!(named("sslmode=verify-full", "db.example.org").as_deref(), Some("db.example.org"));
    assert_eq!(named("sslmode=verify-full sslsni=0", "db.example.org"), None);
    assert_eq!(named("sslmode=verify-full", "192.0.2.7"), None);
    assert_eq!(named("sslmode=verify-full", "2001:db8::7"), None);
    assert_eq!(named("sslmode=require", "no/name"), None);
}

#[test]
fn alpn_is_offered_always_and_demanded_in_direct_negotiation() {
    let root = Authority::root("root");
    let files = trusting(&root);
    let server = root.issue(&["db"], no_change);
    let connect = |conninfo: &str, alpn: &[&str]| {
        let options = files.options(&format!("host=db sslmode=verify-full {conninfo}"));
        Peer::new(&server).speaking(alpn).connect(&options, "db").map(|_| ())
    };
    connect("", &["postgresql"]).unwrap();
    connect("", &[]).expect("servers before 17");
    connect("sslnegotiation=direct", &["postgresql"]).unwrap();
    let error = connect("sslnegotiation=direct", &[]).unwrap_err();
    assert!(matches!(error, TlsError::NoAlpn), "{error:?}");
    let error = connect("", &["http/1.1"]).unwrap_err();
    assert!(error.hint().unwrap().contains("ALPN"), "{error:?}");
}

#[test]
fn the_binding_is_the_hash_of_the_certificate_that_was_shown() {
    use sha2::{Digest, Sha256};
    let root = Authority::root("root");
    for server in [root.issue(&["db"], no_change), root.issue_version_1("db")] {
        let shown = Sha256::digest(&server.chain[0]).to_vec();
        let files = trusting(&root);
        let connected = Peer::new(&server).connect(&files.options("host=db"), "db").unwrap();
        assert_eq!(connected.binding, BindingData::EndPoint(shown));
    }
}

#[test]
fn a_stranger_is_not_trusted_by_the_roots_of_the_system() {
    let files = Files::new();
    let options = files.options("host=db sslrootcert=system");
    // Which roots the machine has is not ours to say; whether a stranger's do, is.
    let server = Authority::root("stranger").issue(&["db"], no_change);
    match Peer::new(&server).connect(&options, "db") {
        Err(TlsError::NoSystemRoots { .. }) => {}
        other => {
            let found = problem(other);
            assert!(matches!(found, CertificateProblem::Untrusted { .. }), "{found:?}");
        }
    }
}

#[test]
fn a_peer_that_speaks_no_tls_is_told_from_a_lost_connection() {
    use tapster::conninfo::HostName;
    use tokio::io::AsyncWriteExt;
    let client = TlsClient::new(&Files::new().options("host=db sslmode=require")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let host = HostName::new("db");
    for (answer, is_protocol) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], true), (b"", false)] {
        let error = runtime.block_on(async {
            let (here, mut there) = tokio::io::duplex(1 << 16);
            there.write_all(answer).await.unwrap();
            drop(there);
            client.connect(here, &host).await.unwrap_err()
        });
        let expected = match &error {
            TlsError::Protocol { .. } => is_protocol,
            TlsError::Lost { .. } => true, // a write into the closed pipe may fail first
            _ => false,
        };
        assert!(expected, "{answer:?}: {error:?}");
    }
}
