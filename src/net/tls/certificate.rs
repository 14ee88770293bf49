//! One X.509 certificate, parsed: the few questions that trust depends on. No files, no clock.

use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::problem::CertificateProblem;

/// Characters of a name that are shown; the rest of a longer one was not written to be read.
const NAME_SHOWN_MAX: usize = 200;

/// A parsed certificate and the bytes it was parsed from.
pub(super) struct Certificate<'a> {
    der: &'a [u8],
    parsed: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads one certificate; bytes behind it are an error.
    pub(super) fn parse(der: &'a [u8]) -> Result<Certificate<'a>, CertificateProblem> {
        let malformed = |reason: String| CertificateProblem::Malformed { reason };
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("bytes follow the certificate".to_owned()));
        }
        // An extension that is there twice would be read one way here and another there.
        parsed.extensions_map().map_err(|error| malformed(error.to_string()))?;
        Ok(Certificate { der, parsed })
    }

    /// The bytes of the whole certificate.
    pub(super) fn der(&self) -> &'a [u8] {
        self.der
    }

    /// All that the parser found.
    pub(super) fn parsed(&self) -> &X509Certificate<'a> {
        &self.parsed
    }

    /// The extension of this kind, if it is there and could be read.
    pub(super) fn extension(&self, oid: &Oid<'_>) -> Option<&ParsedExtension<'a>> {
        let mut found = self.parsed.iter_extensions().filter(|extension| extension.oid == *oid);
        found.next().map(|extension| extension.parsed_extension())
    }

    /// `basicConstraints` as (CA, longest path below), if the extension is there.
    pub(super) fn basic_constraints(&self) -> Option<(bool, Option<u32>)> {
        let found = self.parsed.basic_constraints().ok().flatten()?;
        Some((found.value.ca, found.value.path_len_constraint))
    }

    /// Whether subject and issuer are the same name.
    pub(super) fn is_self_issued(&self) -> bool {
        self.parsed.subject().as_raw() == self.parsed.issuer().as_raw()
    }

    /// Whether the names, and the key identifiers where both are there, say that it signed itself.
    pub(super) fn is_self_signed(&self) -> bool {
        use x509_parser::oid_registry::{
            OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
        };
        let own = match self.extension(&OID_X509_EXT_SUBJECT_KEY_IDENTIFIER) {
            Some(ParsedExtension::SubjectKeyIdentifier(key)) => Some(key.0),
            _ => None,
        };
        let issuers = match self.extension(&OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER) {
            Some(ParsedExtension::AuthorityKeyIdentifier(key)) => {
                key.key_identifier.as_ref().map(|key| key.0)
            }
            _ => None,
        };
        let same_key = own.zip(issuers).is_none_or(|(own, issuers)| own == issuers);
        self.is_self_issued() && same_key
    }

    /// Whether `issuer` is the name that signed this one.
    pub(super) fn names_as_issuer(&self, issuer: &Certificate<'_>) -> bool {
        self.parsed.issuer().as_raw() == issuer.parsed.subject().as_raw()
    }

    /// How messages name it.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} (issuer {}, serial {})",
            shown(&self.parsed.subject().to_string()),
            shown(&self.parsed.issuer().to_string()),
            shown(&self.parsed.raw_serial_as_string()),
        )
    }
}

/// A name that a stranger wrote, safe to print: no control characters, not endless.
pub(super) fn shown(name: &str) -> String {
    let name = name.trim();
    if name.is_empty() {
        return "without a name".to_owned();
    }
    let mut text: String = name
        .chars()
        .take(NAME_SHOWN_MAX)
        .map(|character| if character.is_control() { '?' } else { character })
        .collect();
    if name.chars().nth(NAME_SHOWN_MAX).is_some() {
        text.push('…');
    }
    text
}
