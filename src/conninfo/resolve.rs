//! From settings to options: precedence, defaults, and what does not go together.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::hosts::PasswordSource;
use super::passfile::{PasswordFile, Wanted};
use super::settings::Settings;
use super::{
    ChannelBindingMode, ConnectOptions, ConninfoError, Environment, FileOption, Host, Keepalives,
    Keyword, LoadBalanceHosts, Origin, Purpose, RequireAuth, RootCertificates, Secret, SslCertMode,
    SslMode, SslNegotiation, Target, TargetSessionAttrs, TlsOptions, TlsVersion,
};
use super::{hosts_list, keyword_value, service, unsupported, uri};

/// See [`ConnectOptions::resolve`].
pub fn resolve(
    text: &str,
    purpose: Purpose,
    environment: &dyn Environment,
) -> Result<ConnectOptions, ConninfoError> {
    let settings = gather(text, environment)?;
    let mut warnings = Vec::new();
    unsupported::refuse(&settings, &mut warnings)?;

    let user = match settings.text(Keyword::User)? {
        Some((user, _)) => user.to_owned(),
        None => environment.user().ok_or(ConninfoError::NoUser)?,
    };
    let named_dbname = settings.text(Keyword::Dbname)?.map(|(dbname, _)| dbname.to_owned());
    let dbname = named_dbname.clone().unwrap_or_else(|| user.clone());
    let databases = match purpose {
        Purpose::Sql => vec![dbname.as_str()],
        // pg_receivewal and pg_basebackup look for `replication`; those of 17 and later for the
        // database, if one is named. Either line is meant for us.
        Purpose::Replication => {
            std::iter::once("replication").chain(named_dbname.as_deref()).collect()
        }
    };
    let mut hosts = hosts_list::read(&settings)?;
    find_passwords(&mut hosts, &settings, environment, &user, &databases, &mut warnings);

    Ok(ConnectOptions {
        purpose,
        hosts,
        load_balance_hosts: settings
            .word(Keyword::LoadBalanceHosts, LoadBalanceHosts::from_word, || {
                one_of(LoadBalanceHosts::WORDS)
            })?
            .unwrap_or(LoadBalanceHosts::Disable),
        target_session_attrs: settings
            .word(Keyword::TargetSessionAttrs, TargetSessionAttrs::from_word, || {
                one_of(TargetSessionAttrs::WORDS)
            })?
            .unwrap_or(TargetSessionAttrs::Any),
        user,
        dbname,
        require_auth: require_auth(&settings)?,
        channel_binding: settings
            .word(Keyword::ChannelBinding, ChannelBindingMode::from_word, || {
                one_of(ChannelBindingMode::WORDS)
            })?
            .unwrap_or(ChannelBindingMode::Prefer),
        connect_timeout: seconds(&settings, Keyword::ConnectTimeout)?,
        server_options: owned_text(&settings, Keyword::Options)?,
        application_name: owned_text(&settings, Keyword::ApplicationName)?,
        fallback_application_name: owned_text(&settings, Keyword::FallbackApplicationName)?,
        keepalives: keepalives(&settings)?,
        tcp_user_timeout: positive(&settings, Keyword::TcpUserTimeout)?
            .map(|milliseconds| Duration::from_millis(u64::from(milliseconds))),
        require_peer: owned_text(&settings, Keyword::RequirePeer)?,
        tls: tls(&settings, environment)?,
        warnings,
    })
}

/// All sources in their order: string, service file, environment.
fn gather(text: &str, environment: &dyn Environment) -> Result<Settings, ConninfoError> {
    let mut settings = match uri::strip_scheme(text) {
        Some(_) => uri::parse(text)?,
        None => keyword_value::parse(text)?,
    };
    for keyword in [Keyword::Service, Keyword::ServiceFile] {
        fill_from_variable(&mut settings, keyword, environment);
    }
    service::apply(&mut settings, environment)?;
    for keyword in Keyword::ALL {
        fill_from_variable(&mut settings, *keyword, environment);
    }
    let old_variable = environment.variable("PGREQUIRESSL");
    if old_variable.is_some_and(|value| value.as_bytes().starts_with(b"1")) {
        settings.fill(Keyword::SslMode, b"require", || Origin::Variable("PGREQUIRESSL"));
    }
    Ok(settings)
}

/// An empty variable counts as not set: that is how scripts mean it.
fn fill_from_variable(settings: &mut Settings, keyword: Keyword, environment: &dyn Environment) {
    let Some(variable) = keyword.variable() else { return };
    if let Some(value) = environment.variable(variable).filter(|value| !value.is_empty()) {
        settings.fill(keyword, value.as_bytes(), || Origin::Variable(variable));
    }
}

fn find_passwords(
    hosts: &mut [Host],
    settings: &Settings,
    environment: &dyn Environment,
    user: &str,
    databases: &[&str],
    warnings: &mut Vec<String>,
) {
    if let Some(setting) = settings.get(Keyword::Password) {
        let source = match &setting.origin {
            Origin::Variable(_) => PasswordSource::Environment,
            _ => PasswordSource::Options,
        };
        for host in hosts {
            host.password = Some((Secret::new(setting.value.to_vec()), source.clone()));
        }
        return;
    }
    let path = settings
        .path(Keyword::PassFile)
        .or_else(|| environment.home().map(|home| home.join(".pgpass")));
    let Some(path) = path else { return };
    let (file, warning) = PasswordFile::open(&path, environment);
    warnings.extend(warning);
    let Some(file) = file else { return };
    for host in hosts {
        let names = passfile_names(host);
        let wanted = Wanted {
            hosts: names.iter().map(String::as_str).collect(),
            port: &host.port.to_string(),
            databases: databases.to_vec(),
            user,
        };
        host.password = file.find(&wanted).map(|(password, line)| {
            (password, PasswordSource::File { path: file.path().to_owned(), line })
        });
    }
}

/// What the first field of a password-file line may say for a host.
fn passfile_names(host: &Host) -> Vec<String> {
    let given = host.name.as_str();
    match &host.target {
        _ if hosts_list::DEFAULT_DIRECTORIES.contains(&given) => {
            vec!["localhost".to_owned(), given.to_owned()]
        }
        _ if host.name.is_given() => vec![given.to_owned()],
        Target::Address(address) => vec![address.to_string()],
        Target::Name(name) => vec![name.clone()],
        Target::Sockets(_) => vec!["localhost".to_owned()],
    }
}

fn require_auth(settings: &Settings) -> Result<RequireAuth, ConninfoError> {
    let Some((text, origin)) = settings.text(Keyword::RequireAuth)? else {
        return Ok(RequireAuth::ANY);
    };
    let keyword = Keyword::RequireAuth;
    let required = RequireAuth::parse(text).map_err(|problem| ConninfoError::InvalidValue {
        origin: origin.clone(),
        keyword,
        value: Some(text.to_owned()),
        expected: format!(
            "a comma list of password, md5, scram-sha-256, none, gss, sspi, oauth, all or none \
             of them preceded by an exclamation mark; it {problem}"
        ),
    })?;
    if !required.leaves_a_supported_method() {
        return Err(ConninfoError::NotSupported {
            origin: origin.clone(),
            keyword,
            value: Some(text.to_owned()),
            reason: "password, md5, scram-sha-256 and none are the methods that can be served",
        });
    }
    Ok(required)
}

fn keepalives(settings: &Settings) -> Result<Keepalives, ConninfoError> {
    Ok(Keepalives {
        enabled: settings.integer(Keyword::Keepalives)?.unwrap_or(1) != 0,
        idle: seconds(settings, Keyword::KeepalivesIdle)?,
        interval: seconds(settings, Keyword::KeepalivesInterval)?,
        count: positive(settings, Keyword::KeepalivesCount)?,
    })
}

fn tls(settings: &Settings, environment: &dyn Environment) -> Result<TlsOptions, ConninfoError> {
    let directory = environment.home().map(|home| home.join(".postgresql"));
    let file = |keyword, default: &str| match settings.path(keyword) {
        Some(path) => Some(FileOption { path, given: true }),
        None => directory.as_ref().map(|d| FileOption { path: d.join(default), given: false }),
    };
    let root_certificates = match file(Keyword::SslRootCert, "root.crt") {
        Some(root) if root.given && root.path.as_os_str() == "system" => RootCertificates::System,
        Some(root) => RootCertificates::File(root),
        None => RootCertificates::Nowhere,
    };
    let system = root_certificates == RootCertificates::System;
    let default_mode = if system { SslMode::VerifyFull } else { SslMode::Prefer };
    let mode = settings
        .word(Keyword::SslMode, SslMode::from_word, || one_of(SslMode::WORDS))?
        .unwrap_or(default_mode);
    let negotiation = settings
        .word(Keyword::SslNegotiation, SslNegotiation::from_word, || one_of(SslNegotiation::WORDS))?
        .unwrap_or(SslNegotiation::Postgres);
    let weak = |first, remedy| ConninfoError::WeakSslMode { first, mode: mode.as_str(), remedy };
    if system && mode != SslMode::VerifyFull {
        return Err(weak("sslrootcert=system", "verify-full"));
    }
    if negotiation == SslNegotiation::Direct && mode < SslMode::Require {
        return Err(weak("sslnegotiation=direct", "require, verify-ca or verify-full"));
    }
    let crl_directory: Option<PathBuf> = settings.path(Keyword::SslCrlDir);
    let crl = match file(Keyword::SslCrl, "root.crl") {
        Some(default) if !default.given && crl_directory.is_some() => None,
        other => other,
    };
    let (min_version, max_version) = tls_versions(settings)?;
    Ok(TlsOptions {
        mode,
        negotiation,
        root_certificates,
        crl,
        crl_directory,
        certificate: file(Keyword::SslCert, "postgresql.crt"),
        key: file(Keyword::SslKey, "postgresql.key"),
        key_password: settings
            .get(Keyword::SslPassword)
            .map(|setting| Secret::new(setting.value.to_vec())),
        certificate_mode: settings
            .word(Keyword::SslCertMode, SslCertMode::from_word, || one_of(SslCertMode::WORDS))?
            .unwrap_or(SslCertMode::Allow),
        sni: settings.word(Keyword::SslSni, zero_or_one, || "0 or 1".to_owned())?.unwrap_or(true),
        min_version,
        max_version,
    })
}

fn tls_versions(settings: &Settings) -> Result<(TlsVersion, Option<TlsVersion>), ConninfoError> {
    let version = |keyword| -> Result<Option<TlsVersion>, ConninfoError> {
        // An empty value lifts the bound.
        let Some((_, _)) = settings.text(keyword)? else { return Ok(None) };
        settings.word(keyword, TlsVersion::from_word, || {
            "one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3".to_owned()
        })
    };
    let min = version(Keyword::SslMinVersion)?.unwrap_or(TlsVersion::V1_2);
    let max = version(Keyword::SslMaxVersion)?;
    let Some((text, origin)) = settings.text(Keyword::SslMaxVersion)? else {
        return Ok((min, None));
    };
    if max < Some(TlsVersion::V1_2) {
        return Err(ConninfoError::NotSupported {
            origin: origin.clone(),
            keyword: Keyword::SslMaxVersion,
            value: Some(text.to_owned()),
            reason: "TLS 1.2 and 1.3 are the versions that are still safe",
        });
    }
    if max < Some(min) {
        return Err(ConninfoError::InvalidValue {
            origin: origin.clone(),
            keyword: Keyword::SslMaxVersion,
            value: Some(text.to_owned()),
            expected: "a version not below ssl_min_protocol_version".to_owned(),
        });
    }
    Ok((min, max))
}

/// `sslsni` and its like.
fn zero_or_one(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn owned_text(settings: &Settings, keyword: Keyword) -> Result<Option<String>, ConninfoError> {
    Ok(settings.text(keyword)?.map(|(text, _)| text.to_owned()))
}

/// A whole number; 0 and less mean that the option is off.
fn positive(settings: &Settings, keyword: Keyword) -> Result<Option<u32>, ConninfoError> {
    Ok(settings.integer(keyword)?.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0))
}

fn seconds(settings: &Settings, keyword: Keyword) -> Result<Option<Duration>, ConninfoError> {
    Ok(positive(settings, keyword)?.map(|n| Duration::from_secs(u64::from(n))))
}

fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}
