//! How server certificates come about: by the manual's commands, by habit, by mistake.
//!
//! One step a line. `ROOT x`: a self-signed authority with extensions `x`. `REQUEST name`: the
//! server's key and request. `KEY …`: the same with a key by `openssl genpkey`. `SIGN x`: the
//! root signs. `BETWEEN x`: an authority below the root. `SIGN-BELOW x`: that one signs.
//! `SEND a b`: the server sends these. `TRUST a b`: the root file. `v1` in place of extensions
//! makes a certificate of version 1. Everything else is a command of openssl.

/// One server certificate: what it is, its steps, the names to connect by.
pub type Recipe = (&'static str, &'static str, &'static [&'static str]);

/// The sections that the steps name.
pub const EXTENSIONS: &str = "
[authority]
basicConstraints = CA:TRUE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[strict_authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
[constrained]
basicConstraints = CA:TRUE
nameConstraints = permitted;DNS:example.test
[constrained_elsewhere]
basicConstraints = CA:TRUE
nameConstraints = permitted;DNS:elsewhere.test
[mail_authority]
basicConstraints = CA:TRUE
extendedKeyUsage = emailProtection
[no_authority]
basicConstraints = CA:FALSE
[san]
basicConstraints = CA:FALSE
subjectAltName = DNS:db.example.test, DNS:*.wild.example.test, IP:127.0.0.1
[addresses]
subjectAltName = IP:127.0.0.1, IP:2001:db8::1
[address_as_dns]
subjectAltName = DNS:127.0.0.1
[other_name]
subjectAltName = DNS:other.example.test
[mail]
subjectAltName = email:a@example.test
[client_only]
extendedKeyUsage = clientAuth
[server_only]
subjectAltName = DNS:db.example.test
extendedKeyUsage = serverAuth
keyUsage = critical, digitalSignature
[signing_only]
keyUsage = critical, keyCertSign
[netscape_client]
nsCertType = client
[unknown_critical]
1.2.3.4.5 = critical, DER:0500
";

const ONE: &[&str] = &["db.example.test"];
const DB: &[&str] = &["db.example.test", "other.example.test", "127.0.0.1"];

pub const CHAINS: &[Recipe] = &[
    (
        "the manual's self-signed certificate",
        "req -new -x509 -days 365 -nodes -text -newkey rsa:2048 -out server.crt -keyout server.key -subj /CN=db.example.test
         TRUST server.crt",
        ONE,
    ),
    (
        "the manual's authority and a certificate of version 1",
        "req -new -nodes -newkey rsa:2048 -text -out root.csr -keyout root.key -subj /CN=root.example.test
         x509 -req -in root.csr -text -days 3650 -extfile extensions.cnf -extensions authority -signkey root.key -out root.crt
         req -new -nodes -newkey rsa:2048 -text -out server.csr -keyout server.key -subj /CN=db.example.test
         SIGN v1",
        ONE,
    ),
    ("version 1 throughout", "ROOT v1\nREQUEST db\nSIGN v1", ONE),
    ("a modern certificate of an authority of version 1", "ROOT v1\nREQUEST db\nSIGN san", ONE),
    ("an Ed25519 key", "ROOT authority\nKEY -algorithm ed25519\nSIGN san", ONE),
    (
        "an Ed25519 key that signed itself",
        "KEY -algorithm ed25519
         req -new -x509 -key server.key -days 365 -out server.crt -subj /CN=db.example.test
         TRUST server.crt",
        ONE,
    ),
    ("an RSA-PSS key", "ROOT authority\nKEY -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048\nSIGN san", ONE),
    (
        "an RSA-PSS key bound to SHA-384",
        "ROOT authority
         KEY -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_pss_keygen_md:sha384 -pkeyopt rsa_pss_keygen_mgf1_md:sha384 -pkeyopt rsa_pss_keygen_saltlen:48
         SIGN san",
        ONE,
    ),
    ("an EC key on P-384", "ROOT authority\nKEY -algorithm EC -pkeyopt ec_paramgen_curve:P-384\nSIGN san", ONE),
    (
        "Debian's snakeoil",
        "REQUEST db
         x509 -req -in server.csr -days 365 -extfile extensions.cnf -extensions san -signkey server.key -out server.crt
         TRUST server.crt",
        ONE,
    ),
    ("an authority between", "ROOT authority\nREQUEST db\nBETWEEN authority\nSIGN-BELOW san\nSEND server.crt between.crt", ONE),
    ("an authority between, not sent", "ROOT authority\nREQUEST db\nBETWEEN authority\nSIGN-BELOW san", ONE),
    (
        "an authority between, not sent but trusted",
        "ROOT authority\nREQUEST db\nBETWEEN authority\nSIGN-BELOW san\nTRUST root.crt between.crt",
        ONE,
    ),
    (
        "nothing but the authority between is trusted",
        "ROOT authority\nREQUEST db\nBETWEEN authority\nSIGN-BELOW san\nTRUST between.crt",
        ONE,
    ),
    ("version 1 below an authority between", "ROOT authority\nREQUEST db\nBETWEEN authority\nSIGN-BELOW v1\nSEND server.crt between.crt", ONE),
    ("version 1 between", "ROOT authority\nREQUEST db\nBETWEEN v1\nSIGN-BELOW san\nSEND server.crt between.crt", ONE),
    ("no authority between", "ROOT authority\nREQUEST db\nBETWEEN no_authority\nSIGN-BELOW san\nSEND server.crt between.crt", ONE),
    ("an authority for mail between", "ROOT authority\nREQUEST db\nBETWEEN mail_authority\nSIGN-BELOW san\nSEND server.crt between.crt", ONE),
    (
        "too many authorities below a strict root",
        "ROOT strict_authority\nREQUEST db\nBETWEEN authority\nSIGN-BELOW san\nSEND server.crt between.crt",
        ONE,
    ),
    ("a strict root", "ROOT strict_authority\nREQUEST db\nSIGN san", ONE),
    ("names within the constraints", "ROOT authority\nREQUEST db\nBETWEEN constrained\nSIGN-BELOW server_only\nSEND server.crt between.crt", ONE),
    (
        "names outside the constraints",
        "ROOT authority\nREQUEST db\nBETWEEN constrained_elsewhere\nSIGN-BELOW server_only\nSEND server.crt between.crt",
        ONE,
    ),
    ("an authority that serves", "ROOT authority\nREQUEST db\nSIGN authority", ONE),
    ("a root that is no authority", "ROOT no_authority\nREQUEST db\nSIGN san", ONE),
    ("a root that signs by key usage alone", "ROOT signing_only\nREQUEST db\nSIGN san", ONE),
    ("a certificate for clients", "ROOT authority\nREQUEST db\nSIGN client_only", ONE),
    ("a certificate for servers", "ROOT authority\nREQUEST db\nSIGN server_only", ONE),
    ("a certificate for signing", "ROOT authority\nREQUEST db\nSIGN signing_only", ONE),
    ("a Netscape client's certificate", "ROOT authority\nREQUEST db\nSIGN netscape_client", ONE),
    ("an unknown critical extension", "ROOT authority\nREQUEST db\nSIGN unknown_critical", ONE),
    ("another authority of the same name", "ROOT authority\nREQUEST db\nSIGN san\nROOT authority", ONE),
    ("another authority of the same name, version 1", "ROOT authority\nREQUEST db\nSIGN v1\nROOT authority", ONE),
    ("an expired certificate", "ROOT authority\nREQUEST db\nx509 -req -in server.csr -days -1 -CA root.crt -CAkey root.key -CAcreateserial -out server.crt", ONE),
    (
        "an expired root",
        "ROOT authority
         x509 -req -in root.csr -days -1 -extfile extensions.cnf -extensions authority -signkey root.key -out root.crt
         REQUEST db
         SIGN san",
        ONE,
    ),
];

pub const NAMES: &[Recipe] = &[
    (
        "the name in the subject only",
        "ROOT authority\nREQUEST db.example.test\nSIGN no_authority",
        &["db.example.test", "DB.Example.Test", "other.example.test", "127.0.0.1", "db"],
    ),
    (
        "alternative names",
        "ROOT authority\nREQUEST ignored.example.test\nSIGN san",
        &[
            "db.example.test",
            "DB.Example.Test",
            "a.wild.example.test",
            "a.b.wild.example.test",
            "wild.example.test",
            "ignored.example.test",
            "127.0.0.1",
            "127.0.0.2",
        ],
    ),
    (
        "two common names",
        "ROOT authority\nREQUEST db.example.test/CN=other.example.test\nSIGN no_authority",
        DB,
    ),
    (
        "another name than the common name",
        "ROOT authority\nREQUEST db.example.test\nSIGN other_name",
        DB,
    ),
    (
        "an alternative name that is no host",
        "ROOT authority\nREQUEST db.example.test\nSIGN mail",
        DB,
    ),
    (
        "addresses and a common name",
        "ROOT authority\nREQUEST db.example.test\nSIGN addresses",
        &["db.example.test", "127.0.0.1", "2001:db8::1", "2001:DB8:0:0::1", "2001:db8::2"],
    ),
    (
        "an address as a DNS name",
        "ROOT authority\nREQUEST db.example.test\nSIGN address_as_dns",
        &["127.0.0.1", "127.0.0.2", "db.example.test"],
    ),
    (
        "an address as the common name",
        "ROOT authority\nREQUEST 127.0.0.1\nSIGN other_name",
        &["127.0.0.1", "127.0.0.2", "other.example.test"],
    ),
    (
        "a wildcard as the common name",
        "ROOT authority\nREQUEST *.example.test\nSIGN v1",
        &["db.example.test", "a.db.example.test", "example.test", ".example.test"],
    ),
    ("no name at all", "ROOT authority\nREQUEST \nSIGN no_authority", DB),
];

pub const REVOCATION: &[Recipe] = &[
    ("a list without the certificate", "ROOT authority\nREQUEST db\nSIGN san\nLIST", ONE),
    ("a revoked certificate", "ROOT authority\nREQUEST db\nSIGN san\nREVOKE server.crt\nLIST", ONE),
    (
        "a revoked certificate of version 1",
        "ROOT authority\nREQUEST db\nSIGN v1\nREVOKE server.crt\nLIST",
        ONE,
    ),
    (
        "another certificate is revoked",
        "ROOT authority\nREQUEST db\nSIGN v1\nREVOKE server.crt\nLIST\nSIGN v1",
        ONE,
    ),
    ("a list of somebody else", "ROOT authority\nLIST\nROOT authority\nREQUEST db\nSIGN san", ONE),
    (
        "a list of an authority of another name",
        "ROOT authority\nLIST\nKEY -algorithm ed25519\nreq -new -x509 -key server.key -days 365 -out server.crt -subj /CN=own\nTRUST server.crt",
        ONE,
    ),
    (
        "a list of the root, none of the authority between",
        "ROOT authority\nREQUEST db\nBETWEEN authority\nSIGN-BELOW san\nSEND server.crt between.crt\nLIST",
        ONE,
    ),
];
