//! The table of all connection options.

use std::fmt;

/// Declares the table: variant, keyword, environment variable if there is one.
macro_rules! keywords {
    ($($variant:ident = $word:literal $(, $variable:literal)?;)+) => {
        /// An option of libpq, by its keyword.
        ///
        /// Source: PostgreSQL manual, "Parameter Key Words" and "Environment Variables", 10 to 18.
        #[allow(missing_docs)] // The manual describes them; the keyword is the name.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Keyword { $($variant,)+ }

        impl Keyword {
            /// All of them.
            pub const ALL: &'static [Keyword] = &[$(Keyword::$variant,)+];

            /// The option of a keyword; libpq compares case-sensitively.
            pub fn from_word(word: &str) -> Option<Keyword> {
                match word {
                    $($word => Some(Keyword::$variant),)+
                    _ => None,
                }
            }

            /// As written in a connection string.
            pub fn as_str(self) -> &'static str {
                match self { $(Keyword::$variant => $word,)+ }
            }

            /// The environment variable that is asked where the option is not given.
            pub fn variable(self) -> Option<&'static str> {
                match self { $(Keyword::$variant => keywords!(@variable $($variable)?),)+ }
            }
        }
    };
    (@variable) => { None };
    (@variable $variable:literal) => { Some($variable) };
}

keywords! {
    Service = "service", "PGSERVICE";
    ServiceFile = "servicefile", "PGSERVICEFILE";
    Host = "host", "PGHOST";
    HostAddress = "hostaddr", "PGHOSTADDR";
    Port = "port", "PGPORT";
    Dbname = "dbname", "PGDATABASE";
    User = "user", "PGUSER";
    Password = "password", "PGPASSWORD";
    PassFile = "passfile", "PGPASSFILE";
    RequireAuth = "require_auth", "PGREQUIREAUTH";
    ChannelBinding = "channel_binding", "PGCHANNELBINDING";
    ConnectTimeout = "connect_timeout", "PGCONNECT_TIMEOUT";
    ClientEncoding = "client_encoding", "PGCLIENTENCODING";
    Options = "options", "PGOPTIONS";
    ApplicationName = "application_name", "PGAPPNAME";
    FallbackApplicationName = "fallback_application_name";
    Keepalives = "keepalives";
    KeepalivesIdle = "keepalives_idle";
    KeepalivesInterval = "keepalives_interval";
    KeepalivesCount = "keepalives_count";
    TcpUserTimeout = "tcp_user_timeout";
    SslMode = "sslmode", "PGSSLMODE";
    SslNegotiation = "sslnegotiation", "PGSSLNEGOTIATION";
    SslCompression = "sslcompression", "PGSSLCOMPRESSION";
    SslCert = "sslcert", "PGSSLCERT";
    SslKey = "sslkey", "PGSSLKEY";
    SslPassword = "sslpassword";
    SslCertMode = "sslcertmode", "PGSSLCERTMODE";
    SslRootCert = "sslrootcert", "PGSSLROOTCERT";
    SslCrl = "sslcrl", "PGSSLCRL";
    SslCrlDir = "sslcrldir", "PGSSLCRLDIR";
    SslSni = "sslsni", "PGSSLSNI";
    SslKeyLogFile = "sslkeylogfile";
    SslMinVersion = "ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION";
    SslMaxVersion = "ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION";
    MinProtocolVersion = "min_protocol_version", "PGMINPROTOCOLVERSION";
    MaxProtocolVersion = "max_protocol_version", "PGMAXPROTOCOLVERSION";
    RequirePeer = "requirepeer", "PGREQUIREPEER";
    GssEncMode = "gssencmode", "PGGSSENCMODE";
    KrbServiceName = "krbsrvname", "PGKRBSRVNAME";
    GssLibrary = "gsslib", "PGGSSLIB";
    GssDelegation = "gssdelegation", "PGGSSDELEGATION";
    Replication = "replication";
    TargetSessionAttrs = "target_session_attrs", "PGTARGETSESSIONATTRS";
    LoadBalanceHosts = "load_balance_hosts", "PGLOADBALANCEHOSTS";
    ScramClientKey = "scram_client_key";
    ScramServerKey = "scram_server_key";
    OauthIssuer = "oauth_issuer";
    OauthClientId = "oauth_client_id";
    OauthClientSecret = "oauth_client_secret";
    OauthScope = "oauth_scope";
    OauthCaFile = "oauth_ca_file", "PGOAUTHCAFILE";
}

impl Keyword {
    /// Whether its value must never be shown.
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Keyword::Password
                | Keyword::SslPassword
                | Keyword::ScramClientKey
                | Keyword::ScramServerKey
                | Keyword::OauthClientSecret
        )
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
