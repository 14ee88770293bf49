//! Certificates of every kind, made on the spot.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, SigningKey,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tapster::conninfo::{ConnectOptions, Environment, Purpose, SourceFile, TlsOptions};

/// Someone who signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    serial: u64,
    /// What a server must send so that the root is reached: empty for a root.
    chain: Vec<CertificateDer<'static>>,
}

/// A certificate with its key and what belongs between it and the root.
pub struct Issued {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
    serial: u64,
}

static SERIAL: AtomicU64 = AtomicU64::new(1000);

fn params(name: &str) -> (CertificateParams, u64) {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.serial_number = Some(SerialNumber::from(serial));
    params.use_authority_key_identifier_extension = true;
    (params, serial)
}

fn authority_params(name: &str) -> (CertificateParams, u64) {
    let (mut params, serial) = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params, serial)
}

pub fn no_change(_: &mut CertificateParams) {}

impl Authority {
    pub fn root(name: &str) -> Authority {
        Authority::shaped(name, no_change)
    }

    /// A root that differs from a good one in what `edit` does.
    pub fn shaped(name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Authority {
        Authority::with_key(name, KeyPair::generate().unwrap(), edit)
    }

    pub fn with_key(
        name: &str,
        key: KeyPair,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> Authority {
        let (mut params, serial) = authority_params(name);
        edit(&mut params);
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Authority { issuer, serial, chain: Vec::new() }
    }

    /// One that this one vouches for.
    pub fn below(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> Authority {
        let (mut params, serial) = authority_params(name);
        edit(&mut params);
        let issuer =
            CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let mut chain = vec![issuer.der().clone()];
        chain.extend(self.chain.iter().cloned());
        Authority { issuer, serial, chain }
    }

    pub fn key(&self) -> KeyPair {
        KeyPair::try_from(self.issuer.key().serialize_der()).unwrap()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Uses the authority's own certificate as a server's.
    pub fn as_server(&self) -> Issued {
        let mut chain = vec![self.issuer.der().clone()];
        chain.extend(self.chain.iter().skip(1).cloned());
        Issued { chain, key: self.key(), serial: self.serial }
    }

    /// A server's certificate for these names and addresses.
    pub fn issue(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Issued {
        let (mut params, serial) = params("");
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            });
        }
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.issued(certificate.der().clone(), key, serial)
    }

    /// The same with the name in the subject only.
    pub fn issue_to_common_name(&self, name: &str) -> Issued {
        self.issue(&[], |params| params.distinguished_name.push(DnType::CommonName, name))
    }

    fn issued(&self, der: CertificateDer<'static>, key: KeyPair, serial: u64) -> Issued {
        let mut chain = vec![der];
        chain.extend(self.chain.iter().cloned());
        Issued { chain, key, serial }
    }

    /// A certificate of X.509 version 1, which has no extensions: what `openssl x509 -req` made
    /// before version 3.
    pub fn issue_version_1(&self, common_name: &str) -> Issued {
        let modern = self.issue_to_common_name(common_name);
        let (_, parsed) = x509_parser::parse_x509_certificate(&modern.chain[0]).unwrap();
        // AlgorithmIdentifier of ecdsa-with-SHA256, 1.2.840.10045.4.3.2.
        let algorithm = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02".to_vec();
        let validity = sequence(&[b"\x17\x0d200101000000Z", b"\x17\x0d490101000000Z"]);
        let body = sequence(&[
            &[0x02, 0x02, (modern.serial >> 8) as u8, modern.serial as u8],
            &algorithm,
            parsed.issuer().as_raw(),
            &validity,
            parsed.subject().as_raw(),
            parsed.public_key().raw,
        ]);
        let mut signature = vec![0];
        signature.extend(self.issuer.key().sign(&body).unwrap());
        let der = sequence(&[&body, &algorithm, &element(0x03, &signature)]);
        self.issued(der.into(), modern.key, modern.serial)
    }

    /// A revocation list of this authority, PEM.
    pub fn revokes(&self, serials: &[u64]) -> String {
        self.revokes_shaped(serials, |_| {})
    }

    pub fn revokes_shaped(
        &self,
        serials: &[u64],
        edit: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let mut params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2049, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        edit(&mut params);
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub fn serial(&self) -> u64 {
        self.serial
    }
}

impl Issued {
    pub fn serial(&self) -> u64 {
        self.serial
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    /// The whole chain, PEM.
    pub fn pem(&self) -> String {
        self.chain.iter().map(|der| pem("CERTIFICATE", der)).collect()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The same, but the server sends its own certificate only.
    pub fn alone(mut self) -> Issued {
        self.chain.truncate(1);
        self
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut der = match length {
        0..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    der.extend(contents);
    der
}

/// A machine with a home directory and nothing else.
#[derive(Debug)]
pub struct Home(pub PathBuf);

impl Environment for Home {
    fn variable(&self, _: &str) -> Option<std::ffi::OsString> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        Some(self.0.clone())
    }

    fn user(&self) -> Option<String> {
        Some("tester".to_owned())
    }

    fn read_file(&self, _: &Path) -> std::io::Result<SourceFile> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// A directory for the files of one test, also its home directory.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file with permission bits `mode`; its path, for a connection string.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    /// The TLS options of a connection string, with this directory as the home directory.
    pub fn options(&self, conninfo: &str) -> TlsOptions {
        let home = Home(self.0.path().to_owned());
        ConnectOptions::resolve(conninfo, Purpose::Replication, &home).unwrap().tls
    }

    /// Runs the openssl program in this directory; it has to succeed.
    pub fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("openssl has to be installed for this test");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}
