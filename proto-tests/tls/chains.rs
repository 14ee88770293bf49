//! Which chains lead to a trusted root.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use tapster::net::tls::{CertificateProblem, TlsError};

use super::peer::{Connected, Peer, problem};
use super::workshop::{Authority, Files, Issued, no_change, pem};

/// Connects to `db` where `server` is shown and `roots` (PEM) are trusted.
fn connect(server: &Issued, roots: &str, sslmode: &str) -> Result<Connected, TlsError> {
    let files = Files::new();
    let root = files.put("roots.pem", roots, 0o644);
    let options = files.options(&format!("host=db sslmode={sslmode} sslrootcert={root}"));
    Peer::new(server).connect(&options, "db")
}

#[track_caller]
fn accepted(server: &Issued, roots: &str) {
    for sslmode in ["prefer", "require", "verify-ca", "verify-full"] {
        connect(server, roots, sslmode).unwrap_or_else(|error| panic!("{sslmode}: {error:?}"));
    }
}

/// Refused in every mode, because a root file is there.
#[track_caller]
fn refused(server: &Issued, roots: &str) -> CertificateProblem {
    for sslmode in ["prefer", "require", "verify-full"] {
        problem(connect(server, roots, sslmode));
    }
    problem(connect(server, roots, "verify-ca"))
}

#[test]
fn a_chain_to_the_root_is_accepted_with_any_number_of_authorities_between() {
    let root = Authority::root("root");
    accepted(&root.issue(&["db"], no_change), &root.pem());
    let first = root.below("first", no_change);
    let second = first.below("second", no_change);
    accepted(&second.issue(&["db"], no_change), &root.pem());
    // Several roots in one file, comments between them.
    let roots = format!("a comment\n{}\nmore\n{}", Authority::root("other").pem(), root.pem());
    accepted(&second.issue(&["db"], no_change), &roots);
}

#[test]
fn what_another_authority_of_the_same_name_signed_is_refused() {
    let root = Authority::root("root");
    let impostor = Authority::root("root");
    let found = refused(&impostor.issue(&["db"], no_change), &root.pem());
    assert!(matches!(found, CertificateProblem::BadSignature { .. }), "{found:?}");
    let stranger = Authority::root("stranger").issue(&["db"], no_change);
    let found = refused(&stranger, &root.pem());
    assert!(matches!(found, CertificateProblem::Untrusted { self_signed: false, .. }), "{found:?}");
    let found = refused(&impostor.as_server(), &root.pem());
    assert!(!matches!(found, CertificateProblem::Other { .. }), "{found:?}");
}

#[test]
fn an_authority_that_is_missing_between_may_lie_in_the_root_file_but_cannot_end_the_chain() {
    let root = Authority::root("root");
    let between = root.below("between", no_change);
    let alone = || between.issue(&["db"], no_change).alone();
    assert!(matches!(refused(&alone(), &root.pem()), CertificateProblem::Untrusted { .. }));
    accepted(&alone(), &format!("{}{}", root.pem(), between.pem()));
    let only_between = connect(&alone(), &between.pem(), "require").unwrap_err();
    assert!(only_between.to_string().contains("no self-signed certificate"), "{only_between}");
}

#[test]
fn a_self_signed_certificate_is_its_own_root_whatever_it_says_of_itself() {
    // `openssl req -x509`, the manual's first recipe: an authority.
    let authority = Authority::shaped("db", |params| params.key_usages.clear());
    accepted(&authority.as_server(), &authority.pem());
    // Debian's snakeoil: no authority.
    let snakeoil = Authority::shaped("db", |params| {
        params.key_usages.clear();
        params.is_ca = IsCa::ExplicitNoCa;
    });
    accepted(&snakeoil.as_server(), &snakeoil.pem());
    let found = refused(&snakeoil.issue(&["db"], no_change), &snakeoil.pem());
    assert!(matches!(found, CertificateProblem::NotAuthority { .. }), "{found:?}");
    let other = Authority::shaped("other", |params| params.key_usages.clear());
    let found = refused(&other.as_server(), &authority.pem());
    assert!(matches!(found, CertificateProblem::Untrusted { self_signed: true, .. }), "{found:?}");
    assert!(found.hint().unwrap().contains("root certificate file"));
}

#[test]
fn a_version_1_certificate_is_accepted_for_a_server_and_for_nothing_else() {
    let root = Authority::root("root");
    accepted(&root.issue_version_1("db"), &root.pem());
    let between = root.below("between", no_change);
    accepted(&between.issue_version_1("db"), &root.pem());
    let found = refused(&Authority::root("root").issue_version_1("db"), &root.pem());
    assert!(matches!(found, CertificateProblem::BadSignature { .. }), "{found:?}");
    let found = refused(&Authority::root("stranger").issue_version_1("db"), &root.pem());
    assert!(matches!(found, CertificateProblem::Untrusted { .. }), "{found:?}");
}

#[test]
fn a_version_1_certificate_does_not_vouch_for_others() {
    let root = Authority::root("root");
    let server = root.issue_version_1("between");
    let key = rcgen::KeyPair::try_from(server.key.serialize_der()).unwrap();
    // Signed with the server's key, under the server's name.
    let forger = Authority::with_key("between", key, no_change);
    let mut forged = forger.issue(&["db"], no_change);
    forged.chain.push(server.chain[0].clone());
    let found = refused(&forged, &root.pem());
    assert!(matches!(found, CertificateProblem::NotAuthority { .. }), "{found:?}");
}

#[test]
fn an_ordinary_certificate_does_not_vouch_for_others() {
    let root = Authority::root("root");
    let limits: [fn(&mut CertificateParams); 3] = [
        |params| params.is_ca = IsCa::ExplicitNoCa,
        |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        |params| params.is_ca = IsCa::NoCa,
    ];
    for limit in limits {
        let between = root.below("between", limit);
        let found = refused(&between.issue(&["db"], no_change), &root.pem());
        assert!(matches!(found, CertificateProblem::NotAuthority { .. }), "{found:?}");
        let found = refused(&between.issue_version_1("db"), &root.pem());
        assert!(matches!(found, CertificateProblem::NotAuthority { .. }), "{found:?}");
    }
}

#[test]
fn an_authority_may_serve_as_well() {
    let root = Authority::root("root");
    let server = root.below("db", |params| {
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    });
    accepted(&server.as_server(), &root.pem());
}

#[test]
fn every_date_in_the_chain_counts_that_of_the_root_included() {
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2021, 1, 1);
    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(2048, 1, 1);
    let root = Authority::root("root");
    let found = refused(&root.issue(&["db"], expired), &root.pem());
    let text = found.to_string();
    assert!(text.contains("expired at Jan  1 00:00:00 2021"), "{text}");
    let found = refused(&root.issue(&["db"], future), &root.pem());
    assert!(matches!(found, CertificateProblem::NotYetValid { .. }), "{found:?}");
    let between = root.below("between", expired);
    let found = refused(&between.issue(&["db"], no_change), &root.pem());
    assert!(matches!(found, CertificateProblem::Expired { .. }), "{found:?}");
    for bad_root in [Authority::shaped("root", expired), Authority::shaped("root", future)] {
        refused(&bad_root.issue(&["db"], no_change), &bad_root.pem());
        refused(&bad_root.issue_version_1("db"), &bad_root.pem());
        refused(&bad_root.as_server(), &bad_root.pem());
    }
}

#[test]
fn a_renewed_root_with_the_key_of_the_expired_one_is_found() {
    let expired = Authority::shaped("root", |params| params.not_after = date_time_ymd(2021, 1, 1));
    let renewed = Authority::with_key("root", expired.key(), no_change);
    let roots = format!("{}{}", expired.pem(), renewed.pem());
    accepted(&expired.issue(&["db"], no_change), &roots);
    accepted(&expired.issue_version_1("db"), &roots);
}

#[test]
fn a_root_that_allows_no_authority_below_it_is_heard() {
    let strict = Authority::shaped("root", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    accepted(&strict.issue(&["db"], no_change), &strict.pem());
    let between = strict.below("between", no_change);
    let found = refused(&between.issue(&["db"], no_change), &strict.pem());
    assert!(found.to_string().contains("more authorities"), "{found}");
}

#[test]
fn a_certificate_made_for_something_else_is_refused() {
    let root = Authority::root("root");
    let edits: [fn(&mut CertificateParams); 3] = [
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        |params| params.key_usages = vec![KeyUsagePurpose::CrlSign],
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any],
    ];
    for edit in edits {
        let found = refused(&root.issue(&["db"], edit), &root.pem());
        assert!(matches!(found, CertificateProblem::Purpose { .. }), "{found:?}");
    }
    let mail = Authority::shaped("root", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    });
    refused(&mail.issue(&["db"], no_change), &mail.pem());
    let good: [fn(&mut CertificateParams); 2] = [
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
    ];
    for edit in good {
        accepted(&root.issue(&["db"], edit), &root.pem());
    }
}

#[test]
fn a_critical_extension_that_nobody_understands_is_refused() {
    let unknown = |critical| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4, 5], vec![5, 0]);
        extension.set_criticality(critical);
        extension
    };
    let root = Authority::root("root");
    let server = root.issue(&["db"], |params| params.custom_extensions.push(unknown(true)));
    let found = refused(&server, &root.pem());
    assert!(found.to_string().contains("1.2.3.4.5"), "{found}");
    accepted(
        &root.issue(&["db"], |params| params.custom_extensions.push(unknown(false))),
        &root.pem(),
    );
    let own = Authority::shaped("db", |params| {
        params.key_usages.clear();
        params.custom_extensions.push(unknown(true));
    });
    refused(&own.as_server(), &own.pem());
}

#[test]
fn name_constraints_hold_and_shut_certificates_out_to_which_they_cannot_be_applied() {
    let only = |name: &str| {
        let name = name.to_owned();
        move |params: &mut CertificateParams| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName(name)],
                excluded_subtrees: vec![],
            });
        }
    };
    let root = Authority::root("root");
    accepted(&root.below("between", only("db")).issue(&["db"], no_change), &root.pem());
    refused(&root.below("between", only("elsewhere")).issue(&["db"], no_change), &root.pem());
    refused(&root.below("between", only("db")).issue_version_1("db"), &root.pem());
}

#[test]
fn a_server_that_sends_a_heap_of_certificates_is_not_listened_to() {
    let root = Authority::root("root");
    let mut server = root.issue(&["db"], no_change);
    let filler = Authority::root("root").as_server().chain[0].clone();
    server.chain.extend(std::iter::repeat_n(filler, 30));
    assert!(matches!(refused(&server, &root.pem()), CertificateProblem::Malformed { .. }));
}

#[test]
fn a_certificate_that_is_no_certificate_is_refused_by_name() {
    let root = Authority::root("root");
    let mut server = root.issue(&["db"], no_change);
    server.chain[0] = vec![0x30, 0x03, 0x02, 0x01, 0x01].into();
    assert!(matches!(refused(&server, &root.pem()), CertificateProblem::Malformed { .. }));
}

#[test]
fn a_root_file_without_certificates_or_with_broken_ones_is_an_error_in_every_mode() {
    let server = Authority::root("root").issue(&["db"], no_change);
    for roots in
        ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"]
    {
        let error = connect(&server, roots, "require").unwrap_err();
        assert!(matches!(error, TlsError::Malformed { .. }), "{roots:?}: {error:?}");
        assert!(error.to_string().contains("roots.pem"), "{error}");
    }
    let junk = pem("CERTIFICATE", &[0x30, 0x00]);
    assert!(matches!(connect(&server, &junk, "require"), Err(TlsError::Malformed { .. })));
}

#[test]
fn a_certificate_changed_in_any_byte_or_cut_anywhere_is_refused() {
    let root = Authority::root("root");
    let files = Files::new();
    files.put(".postgresql/root.crt", root.pem(), 0o644);
    let options = files.options("host=db sslmode=verify-ca");
    let client = tapster::net::tls::TlsClient::new(&options).unwrap();
    for mut server in [root.issue(&["db"], no_change), root.issue_version_1("db")] {
        Peer::new(&server).connect_with(&client, "db").expect("unchanged");
        let whole = server.chain[0].to_vec();
        for position in 0..whole.len() {
            for changed in [whole[position] ^ 0x01, whole[position] ^ 0x80, !whole[position]] {
                let mut der = whole.clone();
                der[position] = changed;
                server.chain[0] = der.into();
                let result = Peer::new(&server).connect_with(&client, "db");
                assert!(result.is_err(), "{changed:02x} at {position} was accepted");
            }
            server.chain[0] = whole[..position].to_vec().into();
            assert!(Peer::new(&server).connect_with(&client, "db").is_err(), "cut at {position}");
        }
    }
}
