//! Words of options: read exactly, refused otherwise.

use super::*;

#[test]
fn every_word_is_read_back_and_nothing_else_is() {
    for word in SslMode::WORDS {
        assert_eq!(SslMode::from_word(word).map(SslMode::as_str), Some(*word));
    }
    for text in
        ["sslmode=Require", "sslmode=", "channel_binding=yes", "load_balance_hosts=1", "sslsni=on"]
    {
        assert!(refusal(text, &Machine::default()).contains("expected"), "{text}");
    }
    assert!(SslMode::Prefer < SslMode::Require && SslMode::VerifyCa < SslMode::VerifyFull);
}

#[test]
fn require_auth_takes_lists_that_allow_or_forbid() {
    let parse = |text| RequireAuth::parse(text).map(|required| required.to_string());
    assert_eq!(parse("scram-sha-256").as_deref(), Ok("scram-sha-256"));
    assert_eq!(parse("none,password").as_deref(), Ok("password,none"));
    assert_eq!(parse("!password,!none").as_deref(), Ok("md5,gss,sspi,scram-sha-256,oauth"));
    for (text, problem) in [
        ("md5,!none", "mixes methods with and without an exclamation mark"),
        ("!md5,none", "mixes methods with and without an exclamation mark"),
        ("md5,md5", "names a method twice"),
        ("md5,", "names an unknown method"),
        ("scram", "names an unknown method"),
    ] {
        assert_eq!(parse(text), Err(problem), "{text}");
    }
    assert!(RequireAuth::ANY.allows(AuthMethod::Password));
    assert!(!RequireAuth::except(&[AuthMethod::Password]).allows(AuthMethod::Password));
    let all_refused = "!password,!md5,!scram-sha-256,!none";
    assert!(!RequireAuth::parse(all_refused).expect("valid").leaves_a_supported_method());
}

#[test]
fn old_tls_versions_are_minimums_only() {
    let machine = Machine::default();
    assert_eq!(
        resolve("ssl_min_protocol_version=tlsv1", &machine).tls.min_version,
        TlsVersion::V1_0
    );
    let options = resolve("ssl_min_protocol_version=TLSv1.3", &machine);
    assert_eq!(options.tls.min_version, TlsVersion::V1_3);
    let both = "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2";
    assert!(refusal(both, &machine).contains("not below ssl_min_protocol_version"));
    assert_eq!(resolve("ssl_max_protocol_version=''", &machine).tls.max_version, None);
}
