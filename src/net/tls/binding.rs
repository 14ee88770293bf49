//! What ties SCRAM to this TLS connection: the hash of the server's certificate. Pure.
//!
//! Source: RFC 5929, section 4 (`tls-server-end-point`).

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_parser::signature_algorithm::RsaSsaPssParams;

use super::certificate::Certificate;

/// The data for `tls-server-end-point`, or why there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BindingData {
    /// The hash of the certificate that the server showed.
    EndPoint(Vec<u8>),
    /// The reason, as a clause: `the server's certificate is signed with Ed25519, …`.
    Impossible(String),
}

impl BindingData {
    /// Computes the hash of a certificate, DER, with the digest of its signature algorithm.
    pub(super) fn of(der: &[u8]) -> BindingData {
        let certificate = match Certificate::parse(der) {
            Ok(certificate) => certificate,
            Err(problem) => return BindingData::Impossible(problem.to_string()),
        };
        match digest_of(&certificate) {
            Some(hash) => BindingData::EndPoint(hash(der)),
            None => BindingData::Impossible(format!(
                "the server's certificate is signed with {}, which has no digest to bind to",
                algorithm_name(&certificate)
            )),
        }
    }
}

type Hash = fn(&[u8]) -> Vec<u8>;

const SHA224: Hash = |bytes| Sha224::digest(bytes).to_vec();
const SHA256: Hash = |bytes| Sha256::digest(bytes).to_vec();
const SHA384: Hash = |bytes| Sha384::digest(bytes).to_vec();
const SHA512: Hash = |bytes| Sha512::digest(bytes).to_vec();

const RSA_PSS: &str = "1.2.840.113549.1.1.10";

/// Signature algorithms, their names, and the digest to bind with: their own, except that
/// MD5 and SHA-1 are replaced by SHA-256.
const ALGORITHMS: [(&str, &str, Option<Hash>); 16] = [
    ("1.2.840.113549.1.1.4", "MD5 and RSA", Some(SHA256)),
    ("1.2.840.113549.1.1.5", "SHA-1 and RSA", Some(SHA256)),
    ("1.3.14.3.2.29", "SHA-1 and RSA", Some(SHA256)),
    ("1.2.840.113549.1.1.14", "SHA-224 and RSA", Some(SHA224)),
    ("1.2.840.113549.1.1.11", "SHA-256 and RSA", Some(SHA256)),
    ("1.2.840.113549.1.1.12", "SHA-384 and RSA", Some(SHA384)),
    ("1.2.840.113549.1.1.13", "SHA-512 and RSA", Some(SHA512)),
    ("1.2.840.10045.4.1", "SHA-1 and ECDSA", Some(SHA256)),
    ("1.2.840.10045.4.3.1", "SHA-224 and ECDSA", Some(SHA224)),
    ("1.2.840.10045.4.3.2", "SHA-256 and ECDSA", Some(SHA256)),
    ("1.2.840.10045.4.3.3", "SHA-384 and ECDSA", Some(SHA384)),
    ("1.2.840.10045.4.3.4", "SHA-512 and ECDSA", Some(SHA512)),
    ("1.2.840.10040.4.3", "SHA-1 and DSA", Some(SHA256)),
    ("2.16.840.1.101.3.4.3.2", "SHA-256 and DSA", Some(SHA256)),
    ("1.3.101.112", "Ed25519", None),
    ("1.3.101.113", "Ed448", None),
];

fn digest_of(certificate: &Certificate<'_>) -> Option<Hash> {
    let algorithm = &certificate.parsed().signature_algorithm;
    let oid = algorithm.algorithm.to_id_string();
    if oid == RSA_PSS {
        let parameters = RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()?;
        return match parameters.hash_algorithm_oid().to_id_string().as_str() {
            "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(SHA256), // SHA-1 counts as SHA-256
            "2.16.840.1.101.3.4.2.2" => Some(SHA384),
            "2.16.840.1.101.3.4.2.3" => Some(SHA512),
            "2.16.840.1.101.3.4.2.4" => Some(SHA224),
            _ => None,
        };
    }
    ALGORITHMS.iter().find(|(known, _, _)| *known == oid).and_then(|(_, _, hash)| *hash)
}

/// The name of the algorithm that signed a certificate, or its object identifier.
pub(super) fn algorithm_name(certificate: &Certificate<'_>) -> String {
    let oid = certificate.parsed().signature_algorithm.algorithm.to_id_string();
    if oid == RSA_PSS {
        return "RSA-PSS".to_owned();
    }
    match ALGORITHMS.iter().find(|(known, _, _)| *known == oid) {
        Some((_, name, _)) => (*name).to_owned(),
        None => format!("algorithm {oid}"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn signed_with(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["db".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_digest_is_that_of_the_signature_and_ed25519_has_none() {
        let sha256 = signed_with(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(BindingData::of(&sha256), BindingData::EndPoint(SHA256(&sha256)));
        let sha384 = signed_with(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(BindingData::of(&sha384), BindingData::EndPoint(SHA384(&sha384)));
        let ed25519 = BindingData::of(&signed_with(&rcgen::PKCS_ED25519));
        assert!(matches!(ed25519, BindingData::Impossible(why) if why.contains("Ed25519")));
        assert!(matches!(BindingData::of(b"junk"), BindingData::Impossible(_)));
    }
}
