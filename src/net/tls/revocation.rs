//! Certificate revocation lists, enforced for every certificate of a chain as libpq does it
//! (OpenSSL's `X509_V_FLAG_CRL_CHECK_ALL`). No files, no clock.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer, ReasonCode};

use super::certificate::{Certificate, shown};
use super::problem::CertificateProblem;
use super::rules;
use super::signature::verify_signed;

/// The lists that were found. While there is one of these, every certificate needs a current
/// list of its issuer, and must not be on it.
#[derive(Debug)]
pub(super) struct RevocationLists {
    lists: Vec<CertificateRevocationListDer<'static>>,
}

impl RevocationLists {
    /// Takes lists that can be read; see [`is_list`].
    pub(super) fn new(lists: Vec<CertificateRevocationListDer<'static>>) -> RevocationLists {
        RevocationLists { lists }
    }

    /// Checks a chain, the server's certificate first, a self-signed root last.
    pub(super) fn check(
        &self,
        path: &[&Certificate<'_>],
        now: i64,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertificateProblem> {
        let lists: Vec<_> = self.lists.iter().filter_map(parse).collect();
        for (position, certificate) in path.iter().enumerate() {
            // A root is its own issuer.
            let issuer = path.get(position + 1).unwrap_or(certificate);
            check_one(&lists, certificate, issuer, now, algorithms)?;
        }
        Ok(())
    }
}

/// Whether these bytes are a revocation list at all.
pub(super) fn is_list(list: &CertificateRevocationListDer<'static>) -> bool {
    parse(list).is_some()
}

fn parse<'a>(
    list: &'a CertificateRevocationListDer<'static>,
) -> Option<CertificateRevocationList<'a>> {
    let (rest, list) = CertificateRevocationList::from_der(list.as_ref()).ok()?;
    rest.is_empty().then_some(list)
}

fn check_one(
    lists: &[CertificateRevocationList<'_>],
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    now: i64,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), CertificateProblem> {
    let mut usable = None;
    let mut problem = CertificateProblem::NoRevocationList { certificate: certificate.describe() };
    let issuer_name = certificate.parsed().issuer().as_raw();
    for list in lists.iter().filter(|list| list.issuer().as_raw() == issuer_name) {
        match check_list(list, issuer, now, algorithms) {
            Ok(()) => {
                let newer = usable.is_none_or(|other: &CertificateRevocationList<'_>| {
                    list.last_update().timestamp() > other.last_update().timestamp()
                });
                usable = if newer { Some(list) } else { usable };
            }
            Err(found) => problem = found,
        }
    }
    let list = usable.ok_or(problem)?;
    let serial = &certificate.parsed().serial;
    let revoked = list
        .iter_revoked_certificates()
        .filter(|entry| entry.serial() == serial)
        .any(|entry| !matches!(entry.reason_code(), Some((_, ReasonCode::RemoveFromCRL))));
    match revoked {
        true => Err(CertificateProblem::Revoked { certificate: certificate.describe() }),
        false => Ok(()),
    }
}

/// Whether a list may be relied on: complete, of today, and signed by the issuer.
fn check_list(
    list: &CertificateRevocationList<'_>,
    issuer: &Certificate<'_>,
    now: i64,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), CertificateProblem> {
    let name = || shown(&list.issuer().to_string());
    let bad =
        |why: &str| CertificateProblem::BadRevocationList { issuer: name(), why: why.to_owned() };
    if rules::key_usage(issuer).is_some_and(|usage| !usage.crl_sign()) {
        return Err(bad("the key usage of its issuer lacks cRLSign"));
    }
    let key = issuer.parsed().public_key().raw;
    verify_signed(algorithms, key, list.as_raw())
        .map_err(|_| bad("its issuer did not sign it, or with an algorithm not accepted"))?;
    // Partial lists (deltas, single distribution points) are marked by critical extensions.
    let limited = list.extensions().iter().any(|extension| {
        let partial =
            matches!(extension.parsed_extension(), ParsedExtension::IssuingDistributionPoint(_));
        extension.critical || partial
    });
    let limited_entry = list
        .iter_revoked_certificates()
        .any(|entry| entry.extensions().iter().any(|extension| extension.critical));
    if limited || limited_entry {
        return Err(bad("it covers a part of the certificates only"));
    }
    let stale = |why: String| CertificateProblem::StaleRevocationList { issuer: name(), why };
    if list.last_update().timestamp() > now {
        return Err(stale(format!("is not valid before {}", list.last_update())));
    }
    match list.next_update() {
        Some(next) if next.timestamp() <= now => Err(stale(format!("expired at {next}"))),
        _ => Ok(()),
    }
}
