//! What libpq can do and Tapster cannot: refused by name, so that nobody believes that it works.

use super::settings::Settings;
use super::{ConninfoError, Keyword};

const GSSAPI: &str = "GSSAPI is not built in";
const OAUTH: &str = "OAuth is not built in";
const SCRAM_KEYS: &str = "SCRAM needs the password here, not keys derived from it";

/// Refuses what would change the meaning of the connection, and warns of what merely has no
/// effect.
///
/// # Errors
/// [`ConninfoError::NotSupported`], or a value that libpq would refuse too.
pub fn refuse(settings: &Settings, warnings: &mut Vec<String>) -> Result<(), ConninfoError> {
    for (keyword, reason) in [
        (Keyword::ScramClientKey, SCRAM_KEYS),
        (Keyword::ScramServerKey, SCRAM_KEYS),
        (Keyword::OauthIssuer, OAUTH),
        (Keyword::OauthClientId, OAUTH),
        (Keyword::OauthClientSecret, OAUTH),
        (Keyword::OauthScope, OAUTH),
        (Keyword::OauthCaFile, OAUTH),
        (Keyword::SslKeyLogFile, "keys of a session are never written down"),
    ] {
        refuse_if(settings, keyword, reason, |_| true)?;
    }

    let gss_modes = || "one of disable, prefer, require".to_owned();
    let known = |text: &str| matches!(text, "disable" | "prefer" | "require").then_some(());
    settings.word(Keyword::GssEncMode, known, gss_modes)?;
    refuse_if(settings, Keyword::GssEncMode, GSSAPI, |mode| mode == "require")?;
    refuse_if(settings, Keyword::GssDelegation, GSSAPI, |value| value != "0")?;
    refuse_if(settings, Keyword::MinProtocolVersion, "protocol 3.0 is spoken", |version| {
        version != "3.0"
    })?;
    refuse_if(
        settings,
        Keyword::Replication,
        "Tapster chooses the kind of each connection itself",
        |value| !matches!(value, "true" | "on" | "yes" | "1"),
    )?;

    // They only name something that is never used.
    for keyword in [Keyword::KrbServiceName, Keyword::GssLibrary] {
        if settings.has(keyword)
            && settings.get(keyword).is_some_and(|s| &s.value[..] != b"postgres")
        {
            warnings.push(format!("{keyword} has no effect: {GSSAPI}"));
        }
    }
    if settings.get(Keyword::SslCompression).is_some_and(|setting| &setting.value[..] == b"1") {
        warnings.push("sslcompression has no effect: compression below TLS is unsafe".to_owned());
    }
    if let Some((encoding, _)) = settings.text(Keyword::ClientEncoding)? {
        let same = encoding.replace(['-', '_'], "").to_ascii_lowercase();
        if !matches!(same.as_str(), "auto" | "utf8" | "unicode") {
            warnings.push("client_encoding has no effect: sessions use UTF8".to_owned());
        }
    }
    Ok(())
}

fn refuse_if(
    settings: &Settings,
    keyword: Keyword,
    reason: &'static str,
    unwanted: impl FnOnce(&str) -> bool,
) -> Result<(), ConninfoError> {
    let Some(setting) = settings.get(keyword) else { return Ok(()) };
    let text = if keyword.is_secret() { None } else { Some(setting.text(keyword)?) };
    if !unwanted(text.unwrap_or_default()) {
        return Ok(());
    }
    Err(ConninfoError::NotSupported {
        origin: setting.origin.clone(),
        keyword,
        value: text.map(str::to_owned),
        reason,
    })
}
