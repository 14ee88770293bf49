//! Signatures of certificates, revocation lists and handshakes, with the algorithms of the TLS
//! library. Needed where its own functions accept version 3 certificates only. No clock.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::SignatureVerificationAlgorithm;
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use x509_parser::oid_registry::OID_PKCS1_RSASSAPSS;
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::SubjectPublicKeyInfo;

/// `rsa_pss_pss_sha256`, `…384` and `…512`: signatures by keys that are bound to RSA-PSS.
/// Source: RFC 8446, section 4.2.3. The TLS library has no names for them; the digests are
/// their own object identifiers.
const PSS_SCHEMES: [(u16, SignatureScheme, &str); 3] = [
    (0x0809, SignatureScheme::RSA_PSS_SHA256, "2.16.840.1.101.3.4.2.1"),
    (0x080a, SignatureScheme::RSA_PSS_SHA384, "2.16.840.1.101.3.4.2.2"),
    (0x080b, SignatureScheme::RSA_PSS_SHA512, "2.16.840.1.101.3.4.2.3"),
];

/// What the handshake offers: the library's schemes and those of RSA-PSS keys.
pub(super) fn offered_schemes(algorithms: &WebPkiSupportedAlgorithms) -> Vec<SignatureScheme> {
    let pss = PSS_SCHEMES.iter().map(|(number, _, _)| SignatureScheme::from(*number));
    algorithms.supported_schemes().into_iter().chain(pss).collect()
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BadSignature {
    /// No algorithm for this pair of key and signature.
    Unsupported,
    /// Not made by this key over these bytes.
    Wrong,
}

/// Verifies a `SIGNED` structure of X.509: a certificate or a revocation list, DER, with the
/// issuer's `SubjectPublicKeyInfo`, DER.
///
/// ```text
/// SEQUENCE { tbs ANY, algorithm SEQUENCE { … }, signature BIT STRING }
/// ```
pub(super) fn verify_signed(
    algorithms: &WebPkiSupportedAlgorithms,
    issuer_key: &[u8],
    signed: &[u8],
) -> Result<(), BadSignature> {
    let parts = split_signed(signed).ok_or(BadSignature::Wrong)?;
    let key = split_key(issuer_key).ok_or(BadSignature::Wrong)?;
    let mut fitting = algorithms.all.iter().filter(|candidate| {
        candidate.signature_alg_id().as_ref() == parts.algorithm
            && candidate.public_key_alg_id().as_ref() == key.algorithm
    });
    let algorithm = fitting.next().ok_or(BadSignature::Unsupported)?;
    algorithm
        .verify_signature(key.bits, parts.message, parts.signature)
        .map_err(|_| BadSignature::Wrong)
}

/// Verifies what the server signed in the handshake, with the key of its certificate.
///
/// The library's own functions refuse certificates of version 1 and RSA-PSS keys; the rules
/// are the same: only offered schemes, in TLS 1.3 no PKCS #1 padding and the curve that the
/// scheme names.
pub(super) fn verify_handshake(
    algorithms: &WebPkiSupportedAlgorithms,
    server_key: &[u8],
    message: &[u8],
    signed: &DigitallySignedStruct,
    tls13: bool,
) -> Result<HandshakeSignatureValid, Error> {
    let key =
        split_key(server_key).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
    let candidates = candidates(algorithms, server_key, signed.scheme, tls13)?;
    for (algorithm, key_is_pss) in candidates {
        if key_is_pss || algorithm.public_key_alg_id().as_ref() == key.algorithm {
            return algorithm
                .verify_signature(key.bits, message, signed.signature())
                .map(|()| HandshakeSignatureValid::assertion())
                .map_err(|_| bad());
        }
    }
    Err(bad())
}

type Candidate = (&'static dyn SignatureVerificationAlgorithm, bool);

/// The algorithms that a scheme may mean; the flag says that the key was found to be RSA-PSS.
fn candidates(
    algorithms: &WebPkiSupportedAlgorithms,
    server_key: &[u8],
    scheme: SignatureScheme,
    tls13: bool,
) -> Result<Vec<Candidate>, Error> {
    let unadvertised = || Error::from(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme);
    let pss = PSS_SCHEMES.iter().find(|(number, _, _)| SignatureScheme::from(*number) == scheme);
    let looked_up = match pss {
        Some((_, _, digest)) if !is_pss_key_for(server_key, digest) => return Err(unadvertised()),
        Some((_, padding, _)) => *padding,
        None => scheme,
    };
    let allowed_in_tls13 = matches!(
        looked_up,
        SignatureScheme::ECDSA_NISTP256_SHA256
            | SignatureScheme::ECDSA_NISTP384_SHA384
            | SignatureScheme::ED25519
            | SignatureScheme::RSA_PSS_SHA256
            | SignatureScheme::RSA_PSS_SHA384
            | SignatureScheme::RSA_PSS_SHA512
    );
    if tls13 && !allowed_in_tls13 {
        return Err(unadvertised());
    }
    let (_, found) = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == looked_up)
        .ok_or_else(unadvertised)?;
    // TLS 1.2 names the hash only and leaves the curve to the key.
    let count = if tls13 { 1 } else { found.len() };
    Ok(found.iter().take(count).map(|algorithm| (*algorithm, pss.is_some())).collect())
}

/// Whether a key is bound to RSA-PSS, and if to one digest, to this one.
fn is_pss_key_for(key: &[u8], digest: &str) -> bool {
    let Ok((_, key)) = SubjectPublicKeyInfo::from_der(key) else { return false };
    if key.algorithm.algorithm != OID_PKCS1_RSASSAPSS {
        return false;
    }
    match &key.algorithm.parameters {
        None => true,
        Some(parameters) => RsaSsaPssParams::try_from(parameters)
            .is_ok_and(|parameters| parameters.hash_algorithm_oid().to_id_string() == digest),
    }
}

struct Signed<'a> {
    message: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn split_signed(der: &[u8]) -> Option<Signed<'_>> {
    let (body, rest) = sequence(der)?;
    if !rest.is_empty() {
        return None;
    }
    let (_, after_message) = element(body)?;
    let message = &body[..body.len() - after_message.len()];
    let (algorithm, after_algorithm) = sequence(after_message)?;
    Some(Signed { message, algorithm, signature: bit_string(after_algorithm)? })
}

struct Key<'a> {
    algorithm: &'a [u8],
    bits: &'a [u8],
}

fn split_key(der: &[u8]) -> Option<Key<'_>> {
    let (body, _) = sequence(der)?;
    let (algorithm, rest) = sequence(body)?;
    Some(Key { algorithm, bits: bit_string(rest)? })
}

fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let ((tag, contents), rest) = element(der)?;
    (tag == 0x30).then_some((contents, rest))
}

/// A BIT STRING of whole bytes that ends its input.
fn bit_string(der: &[u8]) -> Option<&[u8]> {
    let ((tag, contents), rest) = element(der)?;
    let (unused_bits, bytes) = contents.split_first()?;
    (tag == 0x03 && *unused_bits == 0 && rest.is_empty()).then_some(bytes)
}

type Element<'a> = ((u8, &'a [u8]), &'a [u8]);

/// The first DER element as (tag, contents), and what follows it. One-byte tags only: the
/// structures above have no others.
fn element(der: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().try_fold(0usize, |length, &byte| {
                Some(length.checked_mul(256)? + usize::from(byte))
            })?;
            (length, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some(((tag, contents), rest))
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData;

    use super::*;

    fn algorithms() -> WebPkiSupportedAlgorithms {
        rustls::crypto::ring::default_provider().signature_verification_algorithms
    }

    #[test]
    fn a_certificate_cut_anywhere_or_changed_in_one_bit_is_not_signed() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["db".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der = certificate.der().as_ref();
        let (_, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
        let spki = parsed.tbs_certificate.subject_pki.raw;
        assert_eq!(verify_signed(&algorithms(), spki, der), Ok(()));
        for cut in 0..der.len() {
            assert!(verify_signed(&algorithms(), spki, &der[..cut]).is_err(), "cut at {cut}");
        }
        for cut in 0..spki.len() {
            assert!(verify_signed(&algorithms(), &spki[..cut], der).is_err(), "key cut at {cut}");
        }
        for position in 4..der.len() {
            let mut changed = der.to_vec();
            changed[position] ^= 1;
            assert!(verify_signed(&algorithms(), spki, &changed).is_err(), "bit at {position}");
        }
    }

    #[test]
    fn tls_1_3_takes_no_pkcs1_padding_and_nobody_takes_what_was_not_offered() {
        let key = rcgen::KeyPair::generate().unwrap();
        let spki = key.subject_public_key_info();
        for (scheme, tls13) in [
            (SignatureScheme::RSA_PKCS1_SHA256, true),
            (SignatureScheme::RSA_PKCS1_SHA1, false),
            (SignatureScheme::ED448, true),
            (SignatureScheme::from(0x0809), true), // an EC key is not an RSA-PSS key
        ] {
            assert!(candidates(&algorithms(), &spki, scheme, tls13).is_err(), "{scheme:?}");
        }
    }
}
