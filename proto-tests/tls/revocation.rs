//! What an authority took back stays taken back: with a revocation list in use, every
//! certificate of the chain needs a current list of its issuer, and must not be on it.

use rcgen::{CertificateRevocationListParams, KeyUsagePurpose, date_time_ymd};
use tapster::net::tls::{CertificateProblem, TlsError};

use super::peer::{Connected, Peer, problem};
use super::workshop::{Authority, Files, Issued, no_change};

/// Connects where `lists` (PEM) is `sslcrl`.
fn connect(server: &Issued, roots: &str, lists: &str) -> Result<Connected, TlsError> {
    let files = Files::new();
    let root = files.put("roots.pem", roots, 0o644);
    let crl = files.put("revoked.pem", lists, 0o644);
    let conninfo = format!("host=db sslmode=verify-full sslrootcert={root} sslcrl={crl}");
    Peer::new(server).connect(&files.options(&conninfo), "db")
}

#[track_caller]
fn refused(server: &Issued, roots: &str, lists: &str) -> CertificateProblem {
    problem(connect(server, roots, lists))
}

#[test]
fn a_revoked_server_is_refused_and_its_neighbour_is_not() {
    let root = Authority::root("root");
    for issue in [
        |root: &Authority| root.issue(&["db"], no_change),
        |root: &Authority| root.issue_version_1("db"),
    ] {
        let (bad, good) = (issue(&root), issue(&root));
        let list = root.revokes(&[7, bad.serial()]);
        let found = refused(&bad, &root.pem(), &list);
        assert!(matches!(found, CertificateProblem::Revoked { .. }), "{found:?}");
        connect(&good, &root.pem(), &list).expect("not revoked");
    }
}

#[test]
fn a_revoked_authority_between_takes_its_servers_with_it() {
    let root = Authority::root("root");
    let between = root.below("between", no_change);
    let server = between.issue(&["db"], no_change);
    let good = format!("{}{}", root.revokes(&[]), between.revokes(&[]));
    connect(&server, &root.pem(), &good).expect("nothing is revoked");
    let bad = format!("{}{}", root.revokes(&[between.serial()]), between.revokes(&[]));
    assert!(matches!(refused(&server, &root.pem(), &bad), CertificateProblem::Revoked { .. }));
}

#[test]
fn an_authority_without_a_list_is_not_believed() {
    let root = Authority::root("root");
    let between = root.below("between", no_change);
    let server = between.issue(&["db"], no_change);
    for lists in [root.revokes(&[]), between.revokes(&[]), Authority::root("other").revokes(&[])] {
        let found = refused(&server, &root.pem(), &lists);
        assert!(matches!(found, CertificateProblem::NoRevocationList { .. }), "{found:?}");
        assert!(found.hint().unwrap().contains("sslcrl"));
    }
    // A self-signed server needs one of its own, too.
    let own = Authority::shaped("db", |params| params.key_usages.clear());
    let found = refused(&own.as_server(), &own.pem(), &root.revokes(&[]));
    assert!(matches!(found, CertificateProblem::NoRevocationList { .. }), "{found:?}");
    connect(&own.as_server(), &own.pem(), &own.revokes(&[])).expect("it has one");
    let found = refused(&own.as_server(), &own.pem(), &own.revokes(&[own.serial()]));
    assert!(matches!(found, CertificateProblem::Revoked { .. }), "{found:?}");
}

#[test]
fn a_list_that_expired_or_begins_tomorrow_or_is_forged_is_not_believed() {
    let root = Authority::root("root");
    let server = root.issue(&["db"], no_change);
    let old = root.revokes_shaped(&[], |list| list.next_update = date_time_ymd(2025, 1, 1));
    let future = root.revokes_shaped(&[], |list| list.this_update = date_time_ymd(2048, 1, 1));
    for list in [&old, &future] {
        let found = refused(&server, &root.pem(), list);
        assert!(matches!(found, CertificateProblem::StaleRevocationList { .. }), "{found:?}");
    }
    let forged = Authority::root("root").revokes(&[]);
    let found = refused(&server, &root.pem(), &forged);
    assert!(matches!(found, CertificateProblem::BadRevocationList { .. }), "{found:?}");
    // A good one beside a bad one is enough.
    let both = format!("{forged}{old}{}", root.revokes(&[]));
    connect(&server, &root.pem(), &both).expect("one of them is good");
}

#[test]
fn of_several_good_lists_the_newest_counts() {
    let root = Authority::root("root");
    let server = root.issue(&["db"], no_change);
    let at = |year: i32| {
        move |list: &mut CertificateRevocationListParams| {
            list.this_update = date_time_ymd(year, 6, 1);
        }
    };
    let before = root.revokes_shaped(&[], at(2024));
    let after = root.revokes_shaped(&[server.serial()], at(2025));
    for lists in [format!("{before}{after}"), format!("{after}{before}")] {
        let found = refused(&server, &root.pem(), &lists);
        assert!(matches!(found, CertificateProblem::Revoked { .. }), "{found:?}");
    }
}

#[test]
fn an_authority_that_may_not_sign_lists_is_not_believed() {
    let root = Authority::shaped("root", |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    });
    let mute = Authority::with_key("root", root.key(), |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let server = root.issue(&["db"], no_change);
    let found = refused(&server, &mute.pem(), &root.revokes(&[]));
    assert!(found.to_string().contains("cRLSign"), "{found}");
}

#[test]
fn lists_are_found_in_their_directory_under_hashed_names_only() {
    let root = Authority::root("root");
    let server = root.issue(&["db"], no_change);
    let files = Files::new();
    let roots = files.put("roots.pem", root.pem(), 0o644);
    files.put("lists/root.pem", root.revokes(&[server.serial()]), 0o644);
    let lists = files.path("lists").display().to_string();
    let conninfo = format!("host=db sslmode=verify-ca sslrootcert={roots} sslcrldir={lists}");
    let connect = || Peer::new(&server).connect(&files.options(&conninfo), "db");
    let empty = connect().unwrap_err();
    assert!(empty.to_string().contains("openssl rehash"), "{empty}");
    files.openssl("rehash lists");
    assert!(matches!(problem(connect()), CertificateProblem::Revoked { .. }));
}

#[test]
fn the_default_list_counts_where_it_exists_and_a_missing_one_does_not() {
    let root = Authority::root("root");
    let server = root.issue(&["db"], no_change);
    let files = Files::new();
    files.put(".postgresql/root.crt", root.pem(), 0o644);
    let connect = |conninfo: &str| Peer::new(&server).connect(&files.options(conninfo), "db");
    connect("host=db sslmode=verify-full").expect("no list");
    connect("host=db sslmode=verify-full sslcrl=/nowhere/at/all").expect("as libpq: if it exists");
    files.put(".postgresql/root.crl", root.revokes(&[server.serial()]), 0o644);
    assert!(matches!(
        problem(connect("host=db sslmode=require")),
        CertificateProblem::Revoked { .. }
    ));
    files.put(".postgresql/root.crl", "junk", 0o644);
    assert!(matches!(connect("host=db sslmode=require"), Err(TlsError::Malformed { .. })));
}
