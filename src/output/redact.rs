//! Passwords that found their way into a message are taken out before it is shown.

/// What stands in for a password, in Barman's words.
const REDACTED: &str = "*REDACTED*";

/// Replaces the value behind `password=` (bare or quoted) and the password of a connection URI.
pub fn redact(text: &str) -> String {
    uri_passwords(&keyword_passwords(text))
}

fn keyword_passwords(text: &str) -> String {
    const KEY: &str = "password=";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find(KEY) {
        let value = &rest[at + KEY.len()..];
        out.push_str(&rest[..at + KEY.len()]);
        out.push_str(REDACTED);
        rest = &value[value_length(value)..];
    }
    out.push_str(rest);
    out
}

/// Length of a conninfo value: to the closing quote, or to the next blank; `&` ends one in a
/// URI.
fn value_length(value: &str) -> usize {
    let quoted = value.starts_with('\'');
    let mut escaped = false;
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted && at > 0 => return at + 1,
            c if !quoted && (c.is_whitespace() || c == '&') => return at,
            _ => {}
        }
    }
    value.len()
}

fn uri_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        out.push_str(before);
        let end = behind.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(behind.len());
        let authority = &behind[..end];
        match authority.rfind('@').map(|at| authority.split_at(at)) {
            Some((user, host)) if user.contains(':') => {
                let user = user.split(':').next().unwrap_or_default();
                out.push_str(&format!("{user}:{REDACTED}{host}"));
            }
            _ => out.push_str(authority),
        }
        rest = &behind[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_password_gets_through() {
        for (text, shown) in [
            ("host=a password=s3cret user=b", "host=a password=*REDACTED* user=b"),
            (r"PASSWORD='a b\' c' x", "PASSWORD=*REDACTED* x"),
            ("postgresql://u:p@h/db", "postgresql://u:*REDACTED*@h/db"),
            ("postgresql://u@h/db?password=p&x=1", "postgresql://u@h/db?password=*REDACTED*&x=1"),
            ("postgres://u:p@q@h:1,h2/db and more", "postgres://u:*REDACTED*@h:1,h2/db and more"),
            ("nothing here", "nothing here"),
            ("password=", "password=*REDACTED*"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
