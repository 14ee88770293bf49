//! The second form of a connection string: `postgresql://user@db1:5432,db2/app?sslmode=require`.
//!
//! `scheme://[user[:password]@][host[:port]][,…][/dbname][?option=value&…]`. Every part may be
//! percent-encoded; an IPv6 address stands in brackets; a socket directory is written with `%2F`.

use super::settings::Settings;
use super::{ConninfoError, Origin};

/// The rest behind the scheme, if the string is of this form.
pub fn strip_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"))
}

/// Reads a string that begins with one of the schemes.
///
/// # Errors
/// The position of what is wrong, never the text around it: a password with an unencoded `/` or
/// `@` can turn up in any part.
pub fn parse(text: &str) -> Result<Settings, ConninfoError> {
    let rest = strip_scheme(text).unwrap_or(text);
    let mut reader = Reader { text, rest, settings: Settings::default() };
    reader.credentials()?;
    reader.hosts()?;
    if reader.skip('/') {
        let start = reader.rest;
        let dbname = reader.take_until(&['?']);
        // An empty one would hide PGDATABASE.
        reader.store("dbname", dbname, start)?;
    }
    if reader.skip('?') {
        reader.parameters()?;
    }
    Ok(reader.settings)
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    settings: Settings,
}

impl<'a> Reader<'a> {
    fn credentials(&mut self) -> Result<(), ConninfoError> {
        let Some(end) = self.rest.find(['@', '/']).filter(|end| self.rest[*end..].starts_with('@'))
        else {
            return Ok(());
        };
        let (credentials, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        self.store("user", user, user)?;
        if let Some(password) = password {
            self.store("password", password, password)?;
        }
        self.rest = rest;
        Ok(())
    }

    fn hosts(&mut self) -> Result<(), ConninfoError> {
        let start = self.rest;
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        loop {
            let at = self.rest;
            let host = if self.skip('[') {
                self.bracketed(at)?
            } else {
                self.take_until(&[':', '/', '?', ','])
            };
            if host.contains('@') {
                return Err(self.syntax(
                    at,
                    "a second \"@\"; inside a user name or password it is written %40",
                ));
            }
            hosts.push(host);
            let has_port = self.skip(':');
            let port_start = self.rest;
            let port = if has_port { self.take_until(&['/', '?', ',']) } else { "" };
            // Checked here because a value shown later might be a piece of a password.
            let decoded = self.decode(port, port_start)?;
            if !decoded.iter().all(|byte| {
                byte.is_ascii_digit() || byte.is_ascii_whitespace() || matches!(byte, b'-' | b'+')
            }) {
                return Err(self.syntax(
                    port_start,
                    "this is not a port number; in a password \"/\" is written %2F and \":\" %3A",
                ));
            }
            ports.push(port);
            if !self.skip(',') {
                break;
            }
        }
        self.store("host", &hosts.join(","), start)?;
        self.store("port", &ports.join(","), start)
    }

    fn bracketed(&mut self, at: &'a str) -> Result<&'a str, ConninfoError> {
        let host = self.take_until(&[']']);
        if !self.skip(']') {
            return Err(self.syntax(at, "no \"]\" ends the IPv6 address"));
        }
        if host.is_empty() {
            return Err(self.syntax(at, "the IPv6 address is empty"));
        }
        match self.rest.chars().next() {
            None | Some(':' | '/' | '?' | ',') => Ok(host),
            Some(_) => Err(self
                .syntax(self.rest, "only \":\", \"/\", \"?\" or \",\" can follow an IPv6 address")),
        }
    }

    fn parameters(&mut self) -> Result<(), ConninfoError> {
        while !self.rest.is_empty() {
            let start = self.rest;
            let pair = self.take_until(&['&']);
            self.skip('&');
            let Some((word, value)) = pair.split_once('=') else {
                return Err(self.syntax(start, "a query parameter without \"=\""));
            };
            if value.contains('=') {
                return Err(self.syntax(
                    start,
                    "a query parameter with a second \"=\"; inside a value it is written %3D",
                ));
            }
            let word = String::from_utf8_lossy(&self.decode(word, start)?).into_owned();
            let value = self.decode(value, start)?;
            let origin = self.origin(start);
            // A JDBC habit that libpq serves.
            if word == "ssl" && value == b"true" {
                self.settings.store("sslmode", b"require".to_vec(), origin, false)?;
            } else {
                self.settings.store(&word, value, origin, false)?;
            }
        }
        Ok(())
    }

    /// Decodes and stores a part unless it is empty.
    fn store(&mut self, word: &str, encoded: &str, start: &str) -> Result<(), ConninfoError> {
        if encoded.is_empty() {
            return Ok(());
        }
        let value = self.decode(encoded, start)?;
        let origin = self.origin(start);
        self.settings.store(word, value, origin, false)
    }

    fn decode(&self, encoded: &str, start: &str) -> Result<Vec<u8>, ConninfoError> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let mut decoded = Vec::with_capacity(encoded.len());
        let mut bytes = encoded.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                decoded.push(byte);
                continue;
            }
            let byte = bytes.next().and_then(digit).zip(bytes.next().and_then(digit));
            match byte.map(|(high, low)| high << 4 | low) {
                None => {
                    return Err(self.syntax(
                        start,
                        "\"%\" without two hexadecimal digits; a percent sign is written %25",
                    ));
                }
                Some(0) => {
                    return Err(
                        self.syntax(start, "%00 stands for a zero byte, which no value can hold")
                    );
                }
                Some(byte) => decoded.push(byte),
            }
        }
        Ok(decoded)
    }

    fn take_until(&mut self, ends: &[char]) -> &'a str {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip(&mut self, character: char) -> bool {
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The place of a piece that was cut out of the text.
    fn origin(&self, piece: &str) -> Origin {
        let offset = (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let before = self.text.get(..offset).unwrap_or(self.text);
        Origin::ConnectionString { position: before.chars().count() + 1 }
    }

    fn syntax(&self, piece: &str, problem: &'static str) -> ConninfoError {
        ConninfoError::Syntax { origin: self.origin(piece), problem }
    }
}
