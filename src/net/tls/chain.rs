//! From a server's certificate to a trusted root, by libpq's rules. No files, no clock.
//!
//! Ordinary certificates go through webpki. Two kinds that it refuses and that the PostgreSQL
//! manual itself teaches to make, certificates of version 1 and authorities used as servers,
//! go through a search of our own. Whatever finds a path, [`rules`] and the revocation lists
//! have the last word on it, because webpki asks nothing of a root but its name and key.

use std::cell::{Cell, RefCell};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::oid_registry::OID_X509_EXT_NAME_CONSTRAINTS;
use x509_parser::x509::X509Version;

use super::certificate::Certificate;
use super::problem::CertificateProblem;
use super::revocation::RevocationLists;
use super::rules::{self, Authority};
use super::signature::{BadSignature, verify_signed};

/// Certificates of one chain. Real ones have three or four.
const PATH_LENGTH_MAX: usize = 10;
/// Certificates that a server may send; each costs time before it is known to be who it says.
const SENT_CERTIFICATES_MAX: usize = 20;
/// Signatures verified while looking for a path, for the same reason.
const SIGNATURE_CHECKS_MAX: u32 = 64;

/// A certificate that is trusted because the user said so.
#[derive(Debug)]
pub(super) struct Root {
    der: CertificateDer<'static>,
    /// `None` when it may not sign others: then it vouches for itself alone.
    anchor: Option<TrustAnchor<'static>>,
}

/// Where trust begins, and what takes it away.
#[derive(Debug)]
pub(super) struct Trust {
    /// Self-signed certificates.
    roots: Vec<Root>,
    /// Others from the same place: they help to find a path and end none, as in OpenSSL.
    helpers: Vec<CertificateDer<'static>>,
    revocation: Option<RevocationLists>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// Sorts trusted certificates into roots and helpers. Fails on one that cannot be read.
    pub(super) fn new(
        trusted: Vec<CertificateDer<'static>>,
        revocation: Option<RevocationLists>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Trust, CertificateProblem> {
        let mut trust = Trust { roots: Vec::new(), helpers: Vec::new(), revocation, algorithms };
        for der in trusted {
            let certificate = Certificate::parse(&der)?;
            if !certificate.is_self_signed() {
                trust.helpers.push(der);
                continue;
            }
            let may_sign = !matches!(rules::authority(&certificate), Authority::No(_));
            // One that webpki cannot read is left to the search of our own.
            let anchor = may_sign.then(|| webpki::anchor_from_trusted_cert(&der).ok()).flatten();
            let anchor = anchor.map(|anchor| anchor.to_owned());
            trust.roots.push(Root { der, anchor });
        }
        Ok(trust)
    }

    /// How many certificates may end a path.
    pub(super) fn root_count(&self) -> usize {
        self.roots.len()
    }

    /// Accepts a server's certificate if a chain leads from it to a root, using what the
    /// server sent along.
    pub(super) fn check(
        &self,
        server: &Certificate<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateProblem> {
        if sent.len() > SENT_CERTIFICATES_MAX {
            let reason = format!("the server sent {} more certificates with it", sent.len());
            return Err(CertificateProblem::Malformed { reason });
        }
        let root = self.roots.iter().find(|root| root.der.as_ref() == server.der());
        if root.is_some() {
            return self.accept(&[server], now);
        }
        let is_authority = matches!(server.basic_constraints(), Some((true, _)));
        let search = || Search::new(self, server, sent, now)?.run();
        if server.parsed().version() == X509Version::V3 && !is_authority {
            self.check_with_webpki(server, sent, now).map_err(|refused| match refused {
                // webpki does not say which certificate it means; the search does.
                CertificateProblem::Other { .. } => search().err().unwrap_or(refused),
                named => named,
            })
        } else {
            search()
        }
    }

    fn check_with_webpki(
        &self,
        server: &Certificate<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateProblem> {
        let other = |error: webpki::Error| CertificateProblem::Other {
            certificate: server.describe(),
            reason: error.to_string(),
        };
        let server_der = CertificateDer::from(server.der());
        let end_entity = EndEntityCert::try_from(&server_der).map_err(other)?;
        let between: Vec<CertificateDer<'_>> = sent
            .iter()
            .chain(&self.helpers)
            .map(|der| CertificateDer::from(der.as_ref()))
            .collect();
        let anchors: Vec<TrustAnchor<'_>> =
            self.roots.iter().filter_map(|root| root.anchor.clone()).collect();
        let problem = RefCell::new(None);
        let accept = |path: &webpki::VerifiedPath<'_>| {
            let ders: Vec<_> =
                path.intermediate_certificates().map(|certificate| certificate.der()).collect();
            self.accept_below(server, &ders, path.anchor(), now).map_err(|found| {
                problem.replace(Some(found));
                webpki::Error::UnknownIssuer
            })
        };
        end_entity
            .verify_for_usage(
                self.algorithms.all,
                &anchors,
                &between,
                now,
                KeyUsage::server_auth(),
                None,
                Some(&accept),
            )
            .map(|_| ())
            .map_err(|error| problem.take().unwrap_or_else(|| other(error)))
    }

    /// The last word on a path that webpki found: some root behind the anchor must do.
    /// (A renewed root has the name and the key of the expired one.)
    fn accept_below(
        &self,
        server: &Certificate<'_>,
        between: &[CertificateDer<'_>],
        anchor: &TrustAnchor<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateProblem> {
        let between: Vec<_> =
            between.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
        let mut refused = None;
        for root in self.roots.iter().filter(|root| root.anchor.as_ref() == Some(anchor)) {
            let root = Certificate::parse(&root.der)?;
            let mut path = vec![server];
            path.extend(&between);
            path.push(&root);
            match self.accept(&path, now) {
                Ok(()) => return Ok(()),
                Err(problem) => refused = Some(problem),
            }
        }
        Err(refused.unwrap_or_else(|| untrusted(server)))
    }

    fn accept(&self, path: &[&Certificate<'_>], now: UnixTime) -> Result<(), CertificateProblem> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        rules::check(path, now)?;
        match &self.revocation {
            Some(lists) => lists.check(path, now, &self.algorithms),
            None => Ok(()),
        }
    }
}

fn untrusted(certificate: &Certificate<'_>) -> CertificateProblem {
    CertificateProblem::Untrusted {
        certificate: certificate.describe(),
        self_signed: certificate.is_self_signed(),
    }
}

/// The search of our own: from issuer to issuer, depth first, roots before what was sent.
struct Search<'a> {
    trust: &'a Trust,
    roots: Vec<Certificate<'a>>,
    between: Vec<Certificate<'a>>,
    server: &'a Certificate<'a>,
    now: UnixTime,
    checks_left: Cell<u32>,
    /// The most telling reason why no path was accepted so far.
    refused: RefCell<Option<CertificateProblem>>,
}

impl<'a> Search<'a> {
    fn new(
        trust: &'a Trust,
        server: &'a Certificate<'a>,
        sent: &'a [CertificateDer<'a>],
        now: UnixTime,
    ) -> Result<Search<'a>, CertificateProblem> {
        let roots = trust.roots.iter().map(|root| Certificate::parse(&root.der));
        let between = sent.iter().chain(&trust.helpers).map(|der| Certificate::parse(der));
        Ok(Search {
            trust,
            roots: roots.collect::<Result<_, _>>()?,
            between: between.collect::<Result<_, _>>()?,
            server,
            now,
            checks_left: Cell::new(SIGNATURE_CHECKS_MAX),
            refused: RefCell::new(None),
        })
    }

    fn run(&self) -> Result<(), CertificateProblem> {
        match self.extend(&mut vec![self.server]) {
            true => Ok(()),
            false => Err(self.refused.take().unwrap_or_else(|| untrusted(self.server))),
        }
    }

    /// Whether some path that begins with `path` is accepted.
    fn extend<'p>(&'p self, path: &mut Vec<&'p Certificate<'a>>) -> bool {
        let Some(&last) = path.last() else { return false };
        if path.len() >= PATH_LENGTH_MAX {
            return false;
        }
        for root in self.roots.iter().filter(|root| last.names_as_issuer(root)) {
            if self.signed_by(last, root) {
                path.push(root);
                let verdict = self.accept(path);
                path.pop();
                match verdict {
                    Ok(()) => return true,
                    Err(problem) => _ = self.refused.replace(Some(problem)),
                }
            }
        }
        for issuer in self.between.iter().filter(|issuer| last.names_as_issuer(issuer)) {
            let in_use = path.iter().any(|used| used.der() == issuer.der());
            if !in_use && self.signed_by(last, issuer) {
                path.push(issuer);
                let found = self.extend(path);
                path.pop();
                if found {
                    return true;
                }
            }
        }
        self.refused.borrow_mut().get_or_insert_with(|| untrusted(last));
        false
    }

    fn signed_by(&self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
        let Some(left) = self.checks_left.get().checked_sub(1) else { return false };
        self.checks_left.set(left);
        let key = issuer.parsed().public_key().raw;
        let problem = match verify_signed(&self.trust.algorithms, key, certificate.der()) {
            Ok(()) => return true,
            Err(BadSignature::Wrong) => {
                CertificateProblem::BadSignature { certificate: certificate.describe() }
            }
            Err(BadSignature::Unsupported) => CertificateProblem::SignatureAlgorithm {
                certificate: certificate.describe(),
                algorithm: super::binding::algorithm_name(certificate),
            },
        };
        self.refused.borrow_mut().get_or_insert(problem);
        false
    }

    fn accept(&self, path: &[&Certificate<'_>]) -> Result<(), CertificateProblem> {
        // Only webpki knows how to compare names with such limits.
        let limited = path
            .iter()
            .find(|certificate| certificate.extension(&OID_X509_EXT_NAME_CONSTRAINTS).is_some());
        match limited {
            Some(limited) if path.len() > 1 => Err(CertificateProblem::NotAuthority {
                certificate: limited.describe(),
                why: "its name constraints cannot be applied to a certificate of this kind",
            }),
            _ => self.trust.accept(path, self.now),
        }
    }
}
