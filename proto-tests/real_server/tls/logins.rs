//! Logging in over TLS: bound passwords, certificates instead of passwords, direct negotiation,
//! servers that have no TLS.

use tapster::conninfo::{ConnectOptions, Purpose};
use tapster::net::{NetError, Walsender};

use crate::on_every_version;
use crate::real_server::Cluster;
use crate::real_server::cluster::Builder;
use crate::tls::workshop::{Authority, Files, Home, Issued, no_change};

/// A server with a certificate for `db.example.test`, and what trusts it.
struct Site {
    root: Authority,
    files: Files,
    cluster: Cluster,
}

impl Site {
    fn new(major: u32, shape: impl FnOnce(Builder) -> Builder) -> Site {
        let root = Authority::root("root");
        let server = root.issue(&["db.example.test"], no_change);
        Site::serving(major, root, &server, shape)
    }

    fn serving(
        major: u32,
        root: Authority,
        server: &Issued,
        shape: impl FnOnce(Builder) -> Builder,
    ) -> Site {
        let files = Files::new();
        files.put(".postgresql/root.crt", root.pem(), 0o644);
        let builder = Cluster::builder(major)
            .tls(&server.pem(), &server.key_pem())
            .file("clients.crt", root.pem(), 0o644)
            .setting("ssl_ca_file", "clients.crt");
        let cluster = shape(builder).start();
        Site { root, files, cluster }
    }

    /// Opens a walsender, asks who it talks to, and tells how the server sees the connection.
    fn connect(&self, conninfo: &str) -> Result<String, NetError> {
        let conninfo = format!(
            "host=db.example.test hostaddr=127.0.0.1 port={} sslmode=verify-full {conninfo}",
            self.cluster.port()
        );
        let home = Home(self.files.path(""));
        let options = ConnectOptions::resolve(&conninfo, Purpose::Replication, &home).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut server = Walsender::connect(&options, "tls test").await?;
            server.identify_system().await?;
            let stream = server.parts().0.describe();
            server.close().await;
            Ok(stream)
        })
    }

    fn set_password(&self, encryption: &str) {
        self.cluster.sql(&format!(
            "SET password_encryption = '{encryption}'; \
             ALTER ROLE streaming_barman PASSWORD 'correct horse'"
        ));
    }
}

const SCRAM: &[&str] = &[
    "hostssl all all 127.0.0.1/32 scram-sha-256",
    "hostssl replication all 127.0.0.1/32 scram-sha-256",
];
const LOGIN: &str = "user=streaming_barman password='correct horse'";

on_every_version! {
    fn a_password_is_bound_to_the_certificate(major) {
        let site = Site::new(major, |builder| builder.hba(SCRAM));
        site.set_password("scram-sha-256");
        let stream = site.connect(LOGIN).unwrap();
        assert!(stream.starts_with("TLSv1."), "{stream}");
        let bound = site.connect(&format!("{LOGIN} channel_binding=require require_auth=scram-sha-256"));
        // 10 knows no SCRAM-SHA-256-PLUS.
        assert_eq!(bound.is_ok(), major >= 11, "{bound:?}");
        site.connect(&format!("{LOGIN} channel_binding=disable")).unwrap();
        let wrong = site.connect("user=streaming_barman password=wrong").unwrap_err();
        assert!(matches!(wrong, NetError::Login { .. }), "{wrong:?}");
    }
}

#[test]
fn a_certificate_signed_with_ed25519_works_until_binding_is_required() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let root = Authority::with_key("root", key, no_change);
    let server = root.issue(&["db.example.test"], no_change);
    let site = Site::serving(15, root, &server, |builder| builder.hba(SCRAM));
    site.set_password("scram-sha-256");
    site.connect(LOGIN).unwrap();
    let refused = site.connect(&format!("{LOGIN} channel_binding=require")).unwrap_err();
    assert!(matches!(refused, NetError::Login { .. }), "{refused:?}");
}

#[test]
fn binding_is_refused_where_the_server_asks_for_no_scram() {
    let site =
        Site::new(15, |builder| builder.hba(&["hostssl replication all 127.0.0.1/32 trust"]));
    site.connect("user=streaming_barman").unwrap();
    let refused = site.connect("user=streaming_barman channel_binding=require").unwrap_err();
    assert!(matches!(refused, NetError::Login { .. }), "{refused:?}");
}

on_every_version! {
    fn a_certificate_is_as_good_as_a_password(major) {
        let site = Site::new(major, |builder| {
            builder.hba(&["hostssl replication all 127.0.0.1/32 cert"])
        });
        let nothing = site.connect("user=streaming_barman").unwrap_err();
        assert!(matches!(nothing, NetError::Login { .. }), "{nothing:?}");
        let client = site.root.issue_to_common_name("streaming_barman");
        let certificate = site.files.put("client.crt", client.pem(), 0o644);
        let key = site.files.put("client.key", client.key_pem(), 0o600);
        let with = |key: &str| {
            site.connect(&format!("user=streaming_barman sslcert={certificate} sslkey={key} sslpassword=secret"))
        };
        with(&key).unwrap();
        site.files.openssl(
            "pkcs8 -topk8 -v2 aes-256-cbc -passout pass:secret -in client.key -out encrypted.key",
        );
        let encrypted = site.files.put("encrypted.key", site.files.read("encrypted.key"), 0o600);
        with(&encrypted).unwrap();
        let somebody_else = site.connect(&format!("user=barman sslcert={certificate} sslkey={key}"));
        assert!(matches!(somebody_else, Err(NetError::Login { .. })), "{somebody_else:?}");
    }
}

#[test]
fn a_certificate_of_a_stranger_is_refused_by_the_server_and_the_reason_arrives() {
    let site = Site::new(15, |builder| builder);
    let client = Authority::root("stranger").issue_to_common_name("streaming_barman");
    site.files.put(".postgresql/postgresql.crt", client.pem(), 0o644);
    site.files.put(".postgresql/postgresql.key", client.key_pem(), 0o600);
    let error = site.connect("user=streaming_barman").unwrap_err();
    let mut text = error.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(found) = cause {
        text.push_str(&format!(": {found}"));
        cause = found.source();
    }
    assert!(text.contains("UnknownCA"), "{text}");
    site.connect("user=streaming_barman sslcertmode=disable").unwrap();
}

#[test]
fn a_certificate_beside_a_password_is_demanded_by_clientcert() {
    let lines = &["hostssl replication all 127.0.0.1/32 scram-sha-256 clientcert=verify-full"];
    let site = Site::new(15, |builder| builder.hba(lines));
    site.set_password("scram-sha-256");
    assert!(site.connect(LOGIN).is_err());
    let client = site.root.issue_to_common_name("streaming_barman");
    site.files.put(".postgresql/postgresql.crt", client.pem(), 0o644);
    site.files.put(".postgresql/postgresql.key", client.key_pem(), 0o600);
    site.connect(&format!("{LOGIN} sslcertmode=require channel_binding=require")).unwrap();
}

on_every_version! {
    fn direct_negotiation_works_where_the_server_knows_it(major) {
        let site = Site::new(major, |builder| builder);
        let direct = site.connect("user=streaming_barman sslnegotiation=direct");
        assert_eq!(direct.is_ok(), major >= 17, "{direct:?}");
        site.connect("user=streaming_barman sslnegotiation=postgres").unwrap();
    }
}

#[test]
fn a_server_without_tls_is_refused_by_every_mode_that_wants_it() {
    let site = Site::new(15, |builder| builder.setting("ssl", "off"));
    for sslmode in ["require", "verify-ca", "verify-full"] {
        let refused = site.connect(&format!("user=streaming_barman sslmode={sslmode}"));
        assert!(matches!(refused, Err(NetError::NoTls { .. })), "{refused:?}");
    }
    for sslmode in ["disable", "allow", "prefer"] {
        let stream = site.connect(&format!("user=streaming_barman sslmode={sslmode}")).unwrap();
        assert_eq!(stream, "TCP without TLS");
    }
}

#[test]
fn a_server_with_another_name_is_refused_though_its_address_is_right() {
    let site = Site::new(15, |builder| builder);
    let refused = site.connect("user=streaming_barman host=other.example.test");
    assert!(matches!(refused, Err(NetError::Tls { .. })), "{refused:?}");
    site.connect("user=streaming_barman host=other.example.test sslmode=verify-ca").unwrap();
}

#[test]
fn versions_of_tls_are_kept_within_their_bounds() {
    let site = Site::new(15, |builder| builder.setting("ssl_max_protocol_version", "TLSv1.2"));
    let stream = site.connect("user=streaming_barman").unwrap();
    assert!(stream.starts_with("TLSv1.2"), "{stream}");
    let refused =
        site.connect("user=streaming_barman ssl_min_protocol_version=TLSv1.3").unwrap_err();
    assert!(matches!(refused, NetError::Tls { .. }), "{refused:?}");
}
