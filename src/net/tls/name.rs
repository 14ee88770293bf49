//! Whether a certificate is for a host, by libpq's rules. Pure.
//!
//! Source: PostgreSQL manual, "SSL Support" of libpq, "Client Verification of Server
//! Certificates".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;

use super::certificate::{Certificate, shown};
use super::problem::CertificateProblem;

/// Names shown in a message; a certificate may bear thousands.
const NAMES_SHOWN_MAX: usize = 8;

/// Compares `host`, as the user wrote it, with the names in the certificate.
///
/// The alternative names decide; the common name is looked at only when none of them is of
/// the host's kind (DNS name or address). An address is also compared, as text, with DNS
/// names and the common name.
pub(super) fn check(certificate: &Certificate<'_>, host: &str) -> Result<(), CertificateProblem> {
    let address: Option<IpAddr> = host.parse().ok();
    let mut examined = Vec::new();
    let mut use_common_name = true;
    for name in alternative_names(certificate) {
        match name {
            GeneralName::DNSName(name) => {
                use_common_name &= address.is_some();
                if text_matches(name.as_bytes(), host, address.is_some()) {
                    return Ok(());
                }
                examined.push(shown(name));
            }
            GeneralName::IPAddress(bytes) => {
                use_common_name &= address.is_none();
                let found = address_of(bytes);
                if address.is_some() && found == address {
                    return Ok(());
                }
                examined.push(
                    found.map_or_else(|| "a malformed address".to_owned(), |a| a.to_string()),
                );
            }
            // A DNS name or an address that cannot be read matches nothing, and shuts the
            // common name out just the same.
            GeneralName::Invalid(..) => use_common_name = false,
            _ => {}
        }
    }
    if use_common_name && let Some(name) = common_name(certificate) {
        if text_matches(name, host, address.is_some()) {
            return Ok(());
        }
        examined.push(shown(&String::from_utf8_lossy(name)));
    }
    Err(CertificateProblem::WrongHost { host: shown(host), names: listed(examined) })
}

fn alternative_names<'a>(certificate: &'a Certificate<'_>) -> &'a [GeneralName<'a>] {
    match certificate.extension(&OID_X509_EXT_SUBJECT_ALT_NAME) {
        Some(ParsedExtension::SubjectAlternativeName(names)) => &names.general_names,
        _ => &[],
    }
}

/// The common name that libpq looks at: the first, in the order of the encoding.
fn common_name<'a>(certificate: &'a Certificate<'_>) -> Option<&'a [u8]> {
    certificate.parsed().subject().iter_common_name().next().map(|name| name.as_slice())
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// Equal but for the case of ASCII letters, or covered by a wildcard. A NUL in the name (an
/// old trick to be cut there) makes it match nothing, because no host has one.
fn text_matches(name: &[u8], host: &str, host_is_address: bool) -> bool {
    let host = host.as_bytes();
    if name.contains(&0) || host.is_empty() {
        return false;
    }
    name.eq_ignore_ascii_case(host) || (!host_is_address && wildcard_matches(name, host))
}

/// `*.` and a rest stand for exactly one label and that rest.
fn wildcard_matches(pattern: &[u8], host: &[u8]) -> bool {
    let Some(suffix) = pattern.strip_prefix(b"*") else { return false };
    if suffix.len() < 2 || suffix[0] != b'.' {
        return false;
    }
    let Some(label_end) = host.iter().position(|&byte| byte == b'.') else { return false };
    label_end > 0 && host[label_end..].eq_ignore_ascii_case(suffix)
}

fn listed(mut names: Vec<String>) -> String {
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.is_empty() {
        return "no host at all".to_owned();
    }
    let mut text = names[..names.len().min(NAMES_SHOWN_MAX)].join(", ");
    if names.len() > NAMES_SHOWN_MAX {
        text.push_str(&format!(" and {} more", names.len() - NAMES_SHOWN_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn der(common_names: &[&str], dns: &[&str], addresses: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        for name in dns {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into().unwrap()));
        }
        for address in addresses {
            params.subject_alt_names.push(SanType::IpAddress(address.parse().unwrap()));
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn accepts(der: &[u8], host: &str) -> bool {
        check(&Certificate::parse(der).unwrap(), host).is_ok()
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_leftmost_label() {
        let certificate = der(&[], &["*.example.org"], &[]);
        for host in ["db.example.org", "DB.Example.ORG"] {
            assert!(accepts(&certificate, host), "{host}");
        }
        for host in
            ["example.org", ".example.org", "a.b.example.org", "db.example.com", "dbexample.org"]
        {
            assert!(!accepts(&certificate, host), "{host}");
        }
        let odd = der(&[], &["d*.example.org", "*", "*."], &[]);
        for host in ["db.example.org", "x", "x.", "*"] {
            assert_eq!(accepts(&odd, host), host == "*", "{host}");
        }
    }

    #[test]
    fn the_common_name_counts_only_when_no_alternative_name_is_of_the_hosts_kind() {
        assert!(accepts(&der(&["db"], &[], &[]), "db"));
        assert!(accepts(&der(&["db"], &[], &["192.0.2.1"]), "db"));
        assert!(!accepts(&der(&["db"], &["other"], &[]), "db"));
        assert!(accepts(&der(&["192.0.2.1"], &["other"], &[]), "192.0.2.1"));
        assert!(!accepts(&der(&["192.0.2.1"], &[], &["192.0.2.2"]), "192.0.2.1"));
    }

    #[test]
    fn an_address_matches_its_entry_in_any_spelling_or_the_same_text_but_no_wildcard() {
        assert!(accepts(&der(&[], &[], &["2001:db8::1"]), "2001:DB8:0::1"));
        assert!(accepts(&der(&[], &[], &["192.0.2.1"]), "192.0.2.1"));
        assert!(accepts(&der(&[], &["192.0.2.1"], &[]), "192.0.2.1"));
        assert!(!accepts(&der(&[], &["*.0.2.1"], &[]), "192.0.2.1"));
        assert!(!accepts(&der(&[], &[], &["192.0.2.1"]), "db"));
    }

    #[test]
    fn a_refusal_names_the_host_and_what_the_certificate_is_for_without_control_characters() {
        let der = der(&[], &["a", "b"], &["192.0.2.1"]);
        let problem = check(&Certificate::parse(&der).unwrap(), "c\u{1b}[2J").unwrap_err();
        let text = problem.to_string();
        assert_eq!(text, "the certificate is for a, b, 192.0.2.1, not for host c?[2J");
        assert!(problem.hint().is_some());
    }
}
