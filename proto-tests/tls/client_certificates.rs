//! Who we are: certificates and keys of the client, their files and what others may do to them.

use rustls::ALL_VERSIONS;
use rustls::version::{TLS12, TLS13};
use tapster::net::tls::{TlsClient, TlsError};

use super::peer::{Connected, Peer};
use super::workshop::{Authority, Files, Issued, no_change};

/// A server that trusts `root`, before a client whose home directory is `files`.
fn connect(
    root: &Authority,
    files: &Files,
    conninfo: &str,
    required: bool,
) -> Result<Connected, TlsError> {
    let server = root.issue(&["db"], no_change);
    let peer = Peer::with_versions(&server, ALL_VERSIONS, Some((root, required)));
    peer.connect(&files.options(&format!("host=db {conninfo}")), "db")
}

/// A client's certificate in the default files.
fn client(root: &Authority) -> (Files, Issued) {
    let files = Files::new();
    let issued = root.issue_to_common_name("streaming_barman");
    files.put(".postgresql/postgresql.crt", issued.pem(), 0o644);
    files.put(".postgresql/postgresql.key", issued.key_pem(), 0o600);
    (files, issued)
}

#[test]
fn the_certificate_is_shown_when_the_server_asks_and_the_mode_allows_it() {
    let root = Authority::root("root");
    let (files, issued) = client(&root);
    for conninfo in ["", "sslcertmode=allow", "sslcertmode=require"] {
        let connected = connect(&root, &files, conninfo, true).expect(conninfo);
        assert_eq!(connected.client_certificate.as_deref(), Some(issued.chain[0].as_ref()));
    }
    let connected = connect(&root, &files, "sslcertmode=disable", false).unwrap();
    assert_eq!(connected.client_certificate, None);
}

#[test]
fn a_server_that_must_ask_and_does_not_is_refused() {
    let root = Authority::root("root");
    let (files, _) = client(&root);
    for versions in [&[&TLS12], &[&TLS13]] {
        let peer = Peer::with_versions(&root.issue(&["db"], no_change), versions, None);
        let result = peer.connect(&files.options("host=db sslcertmode=require"), "db");
        assert!(matches!(result, Err(TlsError::CertificateNotRequested)), "{result:?}");
    }
    let nothing = Files::new();
    let result = connect(&root, &nothing, "sslcertmode=require", false);
    assert!(matches!(result, Err(TlsError::NoClientCertificate)), "{result:?}");
    connect(&root, &nothing, "", false).expect("nothing to show, nothing demanded");
}

#[test]
fn a_certificate_that_the_server_refuses_is_reported_as_its_alert() {
    let root = Authority::root("root");
    for (files, expected) in
        [(client(&Authority::root("stranger")).0, "CA"), (Files::new(), "Required")]
    {
        let error = connect(&root, &files, "", true).unwrap_err();
        match &error {
            TlsError::Alert { alert } => assert!(alert.contains(expected), "{alert}"),
            other => panic!("an alert was expected, not {other:?}"),
        }
        assert!(error.hint().unwrap().contains("sslcert"), "{error:?}");
    }
}

#[test]
fn keys_are_read_in_every_form_that_openssl_writes() {
    let root = Authority::root("root");
    let (files, issued) = client(&root);
    files.openssl("ec -in .postgresql/postgresql.key -out sec1.pem");
    files.openssl("pkcs8 -topk8 -nocrypt -in sec1.pem -outform DER -out key.der");
    files.openssl("ec -in sec1.pem -outform DER -out sec1.der");
    files.openssl("pkcs8 -topk8 -v2 aes-256-cbc -passout pass:secret -in sec1.pem -out aes.pem");
    files.openssl("pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA512 -passout pass:secret -in sec1.pem -outform DER -out aes.der");
    files.openssl("pkcs8 -topk8 -scrypt -passout pass:secret -in sec1.pem -out scrypt.pem");
    let with_parameters = format!("{}{}", files.read("sec1.pem"), files.read("aes.pem"));
    assert!(with_parameters.contains("BEGIN EC PRIVATE KEY"));
    for name in ["sec1.pem", "key.der", "sec1.der", "aes.pem", "aes.der", "scrypt.pem"] {
        let key = files.put(name, std::fs::read(files.path(name)).unwrap(), 0o600);
        let conninfo = format!("sslkey={key} sslpassword=secret");
        let connected = connect(&root, &files, &conninfo, true)
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(connected.client_certificate.as_deref(), Some(issued.chain[0].as_ref()));
    }
    for name in ["aes.pem", "aes.der", "scrypt.pem"] {
        let key = files.path(name).display().to_string();
        let wrong = connect(&root, &files, &format!("sslkey={key} sslpassword=wrong"), true);
        assert!(matches!(&wrong, Err(TlsError::KeyWrongPassword { .. })), "{name}: {wrong:?}");
        assert!(!format!("{wrong:?}").contains("sslpassword=wrong"));
        let none = connect(&root, &files, &format!("sslkey={key}"), true).unwrap_err();
        assert!(matches!(none, TlsError::KeyNeedsPassword { .. }), "{name}: {none:?}");
        assert!(none.hint().unwrap().contains("sslpassword"));
    }
}

#[test]
fn rsa_keys_of_both_forms_are_used() {
    let files = Files::new();
    files.openssl("genrsa -traditional -out pkcs1.pem 2048");
    files.openssl("rsa -in pkcs1.pem -traditional -outform DER -out pkcs1.der");
    files.openssl("pkcs8 -topk8 -nocrypt -in pkcs1.pem -out pkcs8.pem");
    files.openssl("req -x509 -key pkcs1.pem -subj /CN=streaming_barman -days 30 -out own.crt");
    let certificate = files.path("own.crt").display().to_string();
    for name in ["pkcs1.pem", "pkcs1.der", "pkcs8.pem"] {
        let key = files.put(name, std::fs::read(files.path(name)).unwrap(), 0o600);
        let options = files.options(&format!("host=db sslcert={certificate} sslkey={key}"));
        TlsClient::new(&options).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    let small = Files::new();
    small.openssl("genrsa -out small.pem 1024");
    small.openssl("req -x509 -key small.pem -subj /CN=x -days 30 -out small.crt");
    let (key, certificate) = (small.path("small.pem"), small.path("small.crt"));
    small.put("small.pem", small.read("small.pem"), 0o600);
    let conninfo = format!("host=db sslcert={} sslkey={}", certificate.display(), key.display());
    let error = TlsClient::new(&small.options(&conninfo)).unwrap_err();
    assert!(matches!(error, TlsError::KeyUnusable { .. }), "{error:?}");
}

#[test]
fn old_ways_of_encrypting_a_key_are_refused_with_the_command_that_converts_it() {
    let root = Authority::root("root");
    let (files, _) = client(&root);
    files.openssl("ec -in .postgresql/postgresql.key -aes256 -passout pass:secret -out legacy.pem");
    files.openssl(
        "pkcs8 -topk8 -v2 des3 -passout pass:secret -in .postgresql/postgresql.key -out des3.pem",
    );
    for name in ["legacy.pem", "des3.pem"] {
        let key = files.put(name, files.read(name), 0o600);
        let error =
            connect(&root, &files, &format!("sslkey={key} sslpassword=secret"), true).unwrap_err();
        assert!(matches!(error, TlsError::KeyEncryption { .. }), "{name}: {error:?}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("openssl pkcs8 -topk8") && hint.contains(&key), "{hint}");
    }
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let root = Authority::root("root");
    let (files, issued) = client(&root);
    let is_root = rustix::process::getuid().is_root();
    for (mode, allowed) in [
        (0o600, true),
        (0o400, true),
        (0o640, is_root),
        (0o660, false),
        (0o604, false),
        (0o644, false),
    ] {
        files.put(".postgresql/postgresql.key", issued.key_pem(), mode);
        match connect(&root, &files, "", true) {
            Ok(_) => assert!(allowed, "{mode:o}"),
            Err(error @ TlsError::KeyExposed { .. }) => {
                assert!(!allowed, "{mode:o}");
                assert!(error.hint().unwrap().starts_with("chmod 06"), "{error:?}");
                assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
            }
            Err(other) => panic!("{mode:o}: {other:?}"),
        }
    }
}

#[test]
fn a_missing_half_is_named_and_so_are_two_that_do_not_belong_together() {
    let root = Authority::root("root");
    let (files, _) = client(&root);
    files.put(
        ".postgresql/postgresql.key",
        rcgen::KeyPair::generate().unwrap().serialize_pem(),
        0o600,
    );
    let error = connect(&root, &files, "", true).unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error:?}");
    std::fs::remove_file(files.path(".postgresql/postgresql.key")).unwrap();
    let error = connect(&root, &files, "", true).unwrap_err();
    assert!(matches!(error, TlsError::KeyMissing { .. }), "{error:?}");
    std::fs::create_dir(files.path(".postgresql/postgresql.key")).unwrap();
    let error = connect(&root, &files, "", true).unwrap_err();
    assert!(matches!(error, TlsError::KeyNotRegular { .. }), "{error:?}");
    let error = connect(&root, &files, "sslkey=pkcs11:token", true).unwrap_err();
    assert!(matches!(error, TlsError::KeyInEngine { .. }), "{error:?}");
    // As in libpq, no certificate is no error, whoever named it.
    connect(&root, &files, "sslcert=/nowhere/client.crt", false).unwrap();
    files.put(".postgresql/postgresql.crt", "junk", 0o644);
    let error = connect(&root, &files, "", true).unwrap_err();
    assert!(matches!(error, TlsError::Malformed { .. }), "{error:?}");
    // Whoever disables it does not want to hear of it.
    connect(&root, &files, "sslcertmode=disable", false).unwrap();
}

#[test]
fn neither_keys_nor_passwords_are_printed() {
    let root = Authority::root("root");
    let (files, issued) = client(&root);
    let options = files.options("host=db sslpassword=hunter2");
    let client = TlsClient::new(&options).unwrap();
    let secret_line = issued.key_pem().lines().nth(1).unwrap().to_owned();
    for text in [format!("{options:?}"), format!("{client:?}")] {
        assert!(!text.contains("hunter2") && !text.contains(&secret_line), "{text}");
    }
}
