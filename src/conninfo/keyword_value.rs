//! The first form of a connection string: `host=db1 user='tapster'`.
//!
//! White space between pairs and around `=`; single quotes around values that hold blanks;
//! a backslash makes the next character ordinary, inside quotes and outside; an empty value
//! needs quotes unless it ends the string. The last of several values wins.

use super::settings::Settings;
use super::{ConninfoError, Origin};

/// Reads the whole string.
///
/// # Errors
/// The position of what is wrong, never the text around it.
pub fn parse(text: &str) -> Result<Settings, ConninfoError> {
    let mut reader = Reader { text, at: 0 };
    let mut settings = Settings::default();
    let mut password_seen = false;
    loop {
        reader.skip_blanks();
        if reader.peek().is_none() {
            return Ok(settings);
        }
        let start = reader.position();
        let word = reader.name();
        reader.skip_blanks();
        if reader.peek() != Some('=') {
            return Err(syntax(start, "no \"=\" follows the name of the option"));
        }
        reader.next();
        reader.skip_blanks();
        let value_start = reader.position();
        let value = match reader.peek() {
            Some('\'') => {
                reader.quoted().ok_or(syntax(value_start, "the quoted value does not end"))?
            }
            _ => reader.plain(),
        };
        let origin = Origin::ConnectionString { position: start };
        // A blank in an unquoted password makes its rest look like an option.
        settings.store(word, value.into_bytes(), origin, password_seen)?;
        password_seen |= matches!(word, "password" | "sslpassword");
    }
}

fn syntax(position: usize, problem: &'static str) -> ConninfoError {
    ConninfoError::Syntax { origin: Origin::ConnectionString { position }, problem }
}

struct Reader<'a> {
    text: &'a str,
    /// Bytes consumed; always at the start of a character.
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    /// Characters counted from 1, as an editor counts columns.
    fn position(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.next();
        }
    }

    fn name(&mut self) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(|character| character != '=' && !is_blank(character)) {
            self.next();
        }
        &self.text[start..self.at]
    }

    fn plain(&mut self) -> String {
        let mut value = String::new();
        while let Some(character) = self.next() {
            match character {
                '\\' => value.extend(self.next()),
                blank if is_blank(blank) => break,
                other => value.push(other),
            }
        }
        value
    }

    /// `None` when the closing quote is missing.
    fn quoted(&mut self) -> Option<String> {
        self.next();
        let mut value = String::new();
        loop {
            match self.next()? {
                '\'' => return Some(value),
                '\\' => value.extend(self.next()),
                other => value.push(other),
            }
        }
    }
}

/// What C's `isspace` calls white space, in the C locale.
pub fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}
