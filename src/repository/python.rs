//! Values as Python prints them, which is how Barman writes lists, texts and numbers.

use std::fmt;

/// A literal: what `ast.literal_eval` reads and `repr` writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// `42`
    Integer(i64),
    /// `2.5`
    Float(f64),
    /// `'text'`
    Text(String),
    /// `[1, 2]`
    List(Vec<Literal>),
    /// `(1, 2)`
    Tuple(Vec<Literal>),
    /// `{'key': 1}`, in the order written
    Dict(Vec<(Literal, Literal)>),
}

/// Deeper nesting than anything Barman writes; protects the stack.
const DEPTH_MAX: usize = 16;

impl Literal {
    /// Reads a literal; `None` when the text is not one, or has something behind it.
    pub fn parse(text: &str) -> Option<Literal> {
        let mut reader = Reader { rest: text };
        let value = reader.value(0)?;
        reader.skip_blanks();
        reader.rest.is_empty().then_some(value)
    }

    /// The text of a text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Literal::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of an integer or a float.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Literal::Integer(number) => Some(*number as f64),
            Literal::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of a key in a dict.
    pub fn get(&self, key: &str) -> Option<&Literal> {
        match self {
            Literal::Dict(entries) => {
                entries.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Literal> {
        self.skip_blanks();
        if depth > DEPTH_MAX {
            return None;
        }
        match self.rest.chars().next()? {
            '\'' | '"' => self.text().map(Literal::Text),
            '[' => self.sequence("[", "]", depth).map(Literal::List),
            '(' => self.sequence("(", ")", depth).map(Literal::Tuple),
            '{' => self.dict(depth),
            _ => self.word(),
        }
    }

    fn sequence(&mut self, open: &str, close: &str, depth: usize) -> Option<Vec<Literal>> {
        let mut items = Vec::new();
        self.take(open);
        while !self.take(close) {
            items.push(self.value(depth + 1)?);
            if !self.take(",") {
                return self.take(close).then_some(items);
            }
        }
        Some(items)
    }

    fn dict(&mut self, depth: usize) -> Option<Literal> {
        let mut entries = Vec::new();
        self.take("{");
        while !self.take("}") {
            let key = self.value(depth + 1)?;
            let value = self.take(":").then(|| self.value(depth + 1))??;
            entries.push((key, value));
            if !self.take(",") {
                return self.take("}").then_some(Literal::Dict(entries));
            }
        }
        Some(Literal::Dict(entries))
    }

    fn word(&mut self) -> Option<Literal> {
        let end = self.rest.find(|c: char| ",]}): ".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(match word {
            "None" => Literal::None,
            "True" => Literal::Bool(true),
            "False" => Literal::Bool(false),
            _ if word.contains(['.', 'e', 'n', 'i']) => Literal::Float(word.parse().ok()?),
            _ => Literal::Integer(word.parse().ok()?),
        })
    }

    fn text(&mut self) -> Option<String> {
        let mut chars = self.rest.chars();
        let quote = chars.next()?;
        let mut text = String::new();
        loop {
            match chars.next()? {
                c if c == quote => break,
                '\\' => text.push(escaped(&mut chars)?),
                c => text.push(c),
            }
        }
        self.rest = chars.as_str();
        Some(text)
    }
}

/// What stands behind a backslash; `None` when it is not an escape that `repr` writes.
fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let digits = match chars.next()? {
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        c @ ('\\' | '\'' | '"') => return Some(c),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let text = chars.as_str();
    let code = u32::from_str_radix(text.get(..digits)?, 16).ok()?;
    *chars = text.get(digits..)?.chars();
    char::from_u32(code)
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::None => f.write_str("None"),
            Literal::Bool(true) => f.write_str("True"),
            Literal::Bool(false) => f.write_str("False"),
            Literal::Integer(number) => number.fmt(f),
            Literal::Float(number) => f.write_str(&float(*number)),
            Literal::Text(text) => f.write_str(&quoted(text)),
            Literal::List(items) => write_items(f, "[", items, "]"),
            Literal::Tuple(items) if items.len() == 1 => write_items(f, "(", items, ",)"),
            Literal::Tuple(items) => write_items(f, "(", items, ")"),
            Literal::Dict(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{key}: {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_items(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    items: &[Literal],
    close: &str,
) -> fmt::Result {
    f.write_str(open)?;
    for (at, item) in items.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    f.write_str(close)
}

/// `repr` of a text: single quotes, unless only those occur in it.
pub fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            // Python escapes what it counts as not printable; of that, controls occur.
            c if c.is_control() || c == '\u{AD}' || c == '\u{A0}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `repr` of a float: the shortest digits that read back the same, with an exponent below
/// 1e-4 and from 1e16 on.
pub fn float(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .into();
    }
    let scientific = format!("{number:e}");
    let exponent = scientific.split_once('e').and_then(|(digits, exponent)| {
        exponent.parse::<i32>().ok().map(|exponent| (digits, exponent))
    });
    match exponent {
        Some((digits, exponent)) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{number:?}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn floats_are_printed_as_python_prints_them() {
        for (number, text) in [
            (2.933653, "2.933653"),
            (1795415437.1866806, "1795415437.1866806"),
            (3.0, "3.0"),
            (0.0, "0.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn quotes_change_only_when_that_saves_escapes() {
        assert_eq!(quoted("it is"), "'it is'");
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted("it's \"x\""), "'it\\'s \"x\"'");
        assert_eq!(quoted("a\\b\n\u{1}é"), "'a\\\\b\\n\\x01é'");
    }

    #[test]
    fn what_is_no_literal_is_refused_at_every_cut() {
        let whole = "{'a': [1, 2.5, ('x', None)], 'b': \"it's\", 'c': {}, 'd': True}";
        let value = Literal::parse(whole).expect("a literal");
        assert_eq!(value.to_string(), whole);
        for cut in 0..whole.len() {
            assert_eq!(Literal::parse(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Literal::parse(&"[".repeat(10_000)), None);
    }

    proptest! {
        #[test]
        fn every_text_and_float_survives_writing_and_reading(text: String, number in proptest::num::f64::NORMAL) {
            let list = Literal::List(vec![Literal::Text(text), Literal::Float(number)]);
            prop_assert_eq!(Literal::parse(&list.to_string()), Some(list));
        }
    }
}
