//! The rules that a chain must keep beyond its signatures, as OpenSSL applies them for libpq:
//! dates, purposes, authority, path length, critical extensions. No clock: the time is given.
//!
//! The TLS library checks some of them for some certificates (nothing of a root's, for
//! instance), so that all are checked here for every chain.

use x509_parser::extensions::{KeyUsage, NSCertType, ParsedExtension};
use x509_parser::oid_registry::*;
use x509_parser::x509::X509Version;

use super::certificate::Certificate;
use super::problem::CertificateProblem;

/// Critical extensions whose meaning is known, here or in the TLS library.
const KNOWN_EXTENSIONS: [Oid<'static>; 10] = [
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME,
    OID_X509_EXT_NAME_CONSTRAINTS,
    OID_X509_EXT_CERTIFICATE_POLICIES,
    OID_X509_EXT_POLICY_MAPPINGS,
    OID_X509_EXT_POLICY_CONSTRAINTS,
    OID_X509_EXT_INHIBIT_ANY_POLICY,
    OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
];

/// Checks a chain, the server's certificate first, the trusted root last, at `now` (seconds
/// of the Unix epoch). Signatures are the caller's matter.
pub(super) fn check(path: &[&Certificate<'_>], now: i64) -> Result<(), CertificateProblem> {
    // Authorities below the current one, self-issued ones not counted (RFC 5280, 4.2.1.9).
    let mut authorities_below = 0u32;
    for (position, certificate) in path.iter().enumerate() {
        check_extensions(certificate)?;
        if position == 0 {
            check_server(certificate)?;
        } else {
            let is_root = position + 1 == path.len();
            check_authority(certificate, is_root, authorities_below)?;
            if !certificate.is_self_issued() {
                authorities_below += 1;
            }
        }
        check_dates(certificate, now)?;
    }
    Ok(())
}

fn check_dates(certificate: &Certificate<'_>, now: i64) -> Result<(), CertificateProblem> {
    let validity = certificate.parsed().validity();
    if validity.not_before.timestamp() > now {
        return Err(CertificateProblem::NotYetValid {
            certificate: certificate.describe(),
            not_before: validity.not_before.to_string(),
        });
    }
    if validity.not_after.timestamp() <= now {
        return Err(CertificateProblem::Expired {
            certificate: certificate.describe(),
            not_after: validity.not_after.to_string(),
        });
    }
    Ok(())
}

fn check_extensions(certificate: &Certificate<'_>) -> Result<(), CertificateProblem> {
    for extension in certificate.parsed().iter_extensions() {
        if let Some(error) = extension.parsed_extension().error() {
            let reason = format!("extension {}: {error}", extension.oid);
            return Err(CertificateProblem::Malformed { reason });
        }
        let known = KNOWN_EXTENSIONS.contains(&extension.oid) || is_netscape_type(&extension.oid);
        if extension.critical && !known {
            return Err(CertificateProblem::CriticalExtension {
                certificate: certificate.describe(),
                extension: extension.oid.to_id_string(),
            });
        }
    }
    Ok(())
}

/// A server's certificate: neither extended key usage, nor key usage, nor the old Netscape
/// type may speak against it. One that is an authority as well is fine.
fn check_server(certificate: &Certificate<'_>) -> Result<(), CertificateProblem> {
    let refuse =
        |why| Err(CertificateProblem::Purpose { certificate: certificate.describe(), why });
    if !may_authenticate_servers(certificate) {
        return refuse("its extended key usage lacks serverAuth");
    }
    if netscape_type(certificate).is_some_and(|kind| !kind.ssl_server()) {
        return refuse("its Netscape type is not a server's");
    }
    let for_tls = |usage: &KeyUsage| {
        usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()
    };
    if key_usage(certificate).is_some_and(|usage| !for_tls(usage)) {
        return refuse("its key usage allows neither signatures nor key agreement");
    }
    Ok(())
}

fn check_authority(
    certificate: &Certificate<'_>,
    is_root: bool,
    authorities_below: u32,
) -> Result<(), CertificateProblem> {
    let refuse =
        |why| Err(CertificateProblem::NotAuthority { certificate: certificate.describe(), why });
    if !may_authenticate_servers(certificate) {
        return refuse("its extended key usage lacks serverAuth");
    }
    match authority(certificate) {
        Authority::No(why) => return refuse(why),
        Authority::ByCustom if !is_root => return refuse("it has no basic constraints"),
        Authority::ByCustom | Authority::Yes => {}
    }
    if let Some((_, Some(longest))) = certificate.basic_constraints()
        && authorities_below > longest
    {
        return refuse("more authorities stand below it than it allows");
    }
    Ok(())
}

/// Whether a certificate may sign others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Authority {
    /// Its basic constraints say so.
    Yes,
    /// They are missing, but it is a self-signed one of version 1, or an extension says so:
    /// good enough for a root, not for what stands between.
    ByCustom,
    /// And why not.
    No(&'static str),
}

/// OpenSSL's rule (`X509_check_ca`).
pub(super) fn authority(certificate: &Certificate<'_>) -> Authority {
    let usage = key_usage(certificate);
    if usage.is_some_and(|usage| !usage.key_cert_sign()) {
        return Authority::No("its key usage lacks keyCertSign");
    }
    match certificate.basic_constraints() {
        Some((true, _)) => Authority::Yes,
        Some((false, _)) => Authority::No("its basic constraints say CA:FALSE"),
        None if certificate.parsed().version() == X509Version::V1
            && certificate.is_self_signed() =>
        {
            Authority::ByCustom
        }
        None if usage.is_some() => Authority::ByCustom,
        None if netscape_type(certificate).is_some_and(|kind| kind.ssl_ca()) => Authority::ByCustom,
        None => Authority::No("it has no basic constraints"),
    }
}

fn may_authenticate_servers(certificate: &Certificate<'_>) -> bool {
    match certificate.extension(&OID_X509_EXT_EXTENDED_KEY_USAGE) {
        Some(ParsedExtension::ExtendedKeyUsage(usage)) => usage.server_auth,
        _ => true,
    }
}

/// Which uses the key is limited to, if it is.
pub(super) fn key_usage<'a>(certificate: &'a Certificate<'_>) -> Option<&'a KeyUsage> {
    match certificate.extension(&OID_X509_EXT_KEY_USAGE) {
        Some(ParsedExtension::KeyUsage(usage)) => Some(usage),
        _ => None,
    }
}

fn netscape_type(certificate: &Certificate<'_>) -> Option<NSCertType> {
    certificate.parsed().iter_extensions().find_map(|extension| {
        match extension.parsed_extension() {
            ParsedExtension::NSCertType(kind) => Some(*kind),
            _ => None,
        }
    })
}

/// `netscape-cert-type`.
fn is_netscape_type(oid: &Oid<'_>) -> bool {
    oid.to_id_string() == "2.16.840.1.113730.1.1"
}
