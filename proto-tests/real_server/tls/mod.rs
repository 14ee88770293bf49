//! Whoever libpq trusts is trusted here, and nobody else.
//!
//! A certificate that is accepted wrongly gives the cluster away; one that is refused wrongly
//! ends the backups of a site that moves here. So psql, which is libpq, is asked first, and our
//! answer has to be the same, certificate by certificate, name by name.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod logins;
mod recipes;

use std::time::Duration;

use tapster::conninfo::HostName;
use tapster::net::tls::{TlsClient, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::recipes::{CHAINS, EXTENSIONS, NAMES, REVOCATION, Recipe};
use super::Cluster;
use super::scratch::{self, command, give_to_server};
use crate::tls::workshop::Files;

#[test]
fn libpq_and_we_agree_on_chains() {
    compare(CHAINS);
}

#[test]
fn libpq_and_we_agree_on_names() {
    compare(NAMES);
}

#[test]
fn libpq_and_we_agree_on_revocation() {
    compare(REVOCATION);
}

fn compare(recipes: &[Recipe]) {
    let cluster = Cluster::start(15);
    let mut disagreements = Vec::new();
    let mut trusted = 0;
    for (name, steps, hosts) in recipes {
        let files = cook(steps);
        serve(&cluster, &files);
        for (index, host) in hosts.iter().enumerate() {
            let modes: &[&str] = match index {
                0 => &[
                    "require",
                    "verify-ca",
                    "verify-full",
                    "verify-full ssl_max_protocol_version=TLSv1.2",
                ],
                _ => &["verify-full"],
            };
            for sslmode in modes {
                let conninfo = conninfo(&cluster, &files, host, sslmode);
                let (theirs, ours) = (psql(&conninfo), connect(&files, &conninfo, host));
                trusted += usize::from(theirs.is_ok());
                // The one thing that libpq can and we cannot: it has to be named.
                let known = matches!(ours, Err(TlsError::KeyNeedsTls13))
                    && name.starts_with("an RSA-PSS key")
                    && sslmode.ends_with("TLSv1.2");
                if theirs.is_ok() != ours.is_ok() && !known {
                    disagreements.push(format!(
                        "{name}, {sslmode}, host {host}:\n  libpq: {theirs:?}\n  we: {ours:?}"
                    ));
                }
            }
        }
    }
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    assert!(trusted > 0, "libpq trusted nobody: the test is broken");
}

fn conninfo(cluster: &Cluster, files: &Files, host: &str, sslmode: &str) -> String {
    let root = files.path("root.crt");
    let mut conninfo = format!(
        "host={host} hostaddr=127.0.0.1 port={} user=barman dbname=postgres sslmode={sslmode} \
         sslrootcert={} gssencmode=disable",
        cluster.port(),
        root.display()
    );
    if files.path("revoked.crl").exists() {
        conninfo.push_str(&format!(" sslcrl={}", files.path("revoked.crl").display()));
    }
    conninfo
}

/// What libpq says.
fn psql(conninfo: &str) -> Result<(), String> {
    let output = command("psql").args(["-X", "-d", conninfo, "-c", "SELECT 1"]).output();
    let output = output.expect("psql has to be installed for this test");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// What we say: the handshake, after the server's consent to TLS.
fn connect(files: &Files, conninfo: &str, host: &str) -> Result<(), TlsError> {
    let client = TlsClient::new(&files.options(conninfo))?;
    let port: u16 = conninfo
        .split(' ')
        .find_map(|word| word.strip_prefix("port="))
        .and_then(|port| port.parse().ok())
        .expect("the connection string has a port");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        //                      length         SSLRequest, 80877103
        stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'S');
        client.connect(stream, &HostName::new(host)).await.map(|_| ())
    })
}

/// Makes the server show `server.crt`.
fn serve(cluster: &Cluster, files: &Files) {
    for name in ["server.crt", "server.key"] {
        let path = cluster.data().join(name);
        std::fs::write(&path, files.read(name)).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        give_to_server(&path);
    }
    let loaded = || cluster.value("SELECT pg_conf_load_time()");
    let before = loaded();
    cluster.sql("ALTER SYSTEM SET ssl = on");
    cluster.reload();
    let deadline = Duration::from_secs(20);
    scratch::wait_until(
        "a server process with the new certificate",
        deadline,
        || (loaded() != before).then_some(()),
        || cluster.log_tail(),
    );
    let log = cluster.log();
    assert!(!log.contains("SSL configuration was not reloaded"), "{}", cluster.log_tail());
}

/// Carries the steps of a recipe out.
fn cook(steps: &str) -> Files {
    let files = Files::new();
    files.put("extensions.cnf", EXTENSIONS, 0o644);
    files.put("index.txt", "", 0o644);
    files.put(
        "ca.cnf",
        "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\ndefault_md = sha256\n",
        0o644,
    );
    let ec = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256";
    let how = |section: &str| match section {
        "v1" => "-days 365".to_owned(),
        _ => format!("-days 365 -extfile extensions.cnf -extensions {section}"),
    };
    let join = |names: &str, to: &str| {
        let all: String = names.split(' ').map(|name| files.read(name)).collect();
        files.put(to, all, 0o644);
    };
    let root = "-CA root.crt -CAkey root.key -CAcreateserial";
    let list = "ca -config ca.cnf -keyfile root.key -cert root.crt";
    for step in steps.lines().map(str::trim_start) {
        let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
        match word {
            "ROOT" => {
                files.openssl(&format!("req -new {ec} -out root.csr -keyout root.key -subj /CN=root"));
                files.openssl(&format!("x509 -req -in root.csr {} -signkey root.key -out root.crt", how(rest)));
            }
            "REQUEST" => {
                let subject = match rest {
                    "" => "/O=nobody".to_owned(),
                    "db" => "/CN=db.example.test".to_owned(),
                    name => format!("/CN={name}"),
                };
                files.openssl(&format!("req -new {ec} -out server.csr -keyout server.key -subj {subject}"));
            }
            "KEY" => {
                files.openssl(&format!("genpkey {rest} -out server.key"));
                files.openssl("req -new -key server.key -out server.csr -subj /CN=db.example.test");
            }
            "SIGN" => {
                files.openssl(&format!("x509 -req -in server.csr {} {root} -out server.crt", how(rest)));
            }
            "BETWEEN" => {
                files.openssl(&format!("req -new {ec} -out between.csr -keyout between.key -subj /CN=between"));
                files.openssl(&format!("x509 -req -in between.csr {} {root} -out between.crt", how(rest)));
            }
            "SIGN-BELOW" => files.openssl(&format!(
                "x509 -req -in server.csr {} -CA between.crt -CAkey between.key -CAcreateserial -out server.crt",
                how(rest)
            )),
            "SEND" => join(rest, "server.crt"),
            "TRUST" => join(rest, "root.crt"),
            "REVOKE" => files.openssl(&format!("{list} -revoke {rest}")),
            "LIST" => files.openssl(&format!("{list} -gencrl -crldays 30 -out revoked.crl")),
            _ => files.openssl(step),
        }
    }
    files
}
