//! Certificates for one test: an authority, and a server's leaf for localhost.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// All PEM.
#[derive(Debug)]
pub struct Certificates {
    /// What `sslrootcert` names.
    pub authority: String,
    /// The server's certificate.
    pub server: String,
    /// The server's key.
    pub key: String,
}

impl Certificates {
    /// A new authority, and a leaf for `localhost` and 127.0.0.1.
    pub fn new() -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).expect("no names to refuse");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of one test");
        let authority_key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&authority_key).expect("a certificate").pem();
        let issuer = Issuer::new(params, authority_key);

        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("two good names");
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let key = KeyPair::generate().expect("a key");
        let server = params.signed_by(&key, &issuer).expect("a certificate").pem();
        Certificates { authority, server, key: key.serialize_pem() }
    }
}
