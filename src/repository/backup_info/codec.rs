//! How the values of `backup.info` are written: `None` for nothing, else by type.
//!
//! Each module is one way: `read` says what was expected when the text is not it; `write`
//! gives `None` when there is to be no line.

/// Nothing, or what `some` makes of the text.
fn unless_none<T>(
    text: &str,
    expected: &'static str,
    some: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, &'static str> {
    if text == "None" { Ok(None) } else { some(text).map(Some).ok_or(expected) }
}

fn or_none(text: Option<String>) -> Option<String> {
    Some(text.unwrap_or_else(|| "None".to_owned()))
}

/// Plain text.
pub(super) mod text {
    pub fn read(text: &str) -> Result<Option<String>, &'static str> {
        super::unless_none(text, "text", |text| Some(text.to_owned()))
    }
    pub fn write(value: &Option<String>) -> Option<String> {
        super::or_none(value.clone())
    }
}

/// Plain text from a place that may hold newlines.
pub(super) mod one_line {
    pub use super::text::read;
    pub fn write(value: &Option<String>) -> Option<String> {
        let join = |text: &String| {
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        };
        super::or_none(value.as_ref().map(join))
    }
}

/// Plain text whose line is not there when there is none.
pub(super) mod optional_line {
    pub use super::text::read;
    pub fn write(value: &Option<String>) -> Option<String> {
        value.clone()
    }
}

/// Something that is always there.
pub(super) mod required {
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn read<T: FromStr>(text: &str) -> Result<T, &'static str> {
        text.parse().map_err(|_| "a word")
    }
    pub fn write<T: Display>(value: &T) -> Option<String> {
        Some(value.to_string())
    }
}

/// A type that prints and reads itself.
pub(super) mod parsed {
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn read<T: FromStr>(text: &str) -> Result<Option<T>, &'static str> {
        super::unless_none(text, "of the right form", |text| text.parse().ok())
    }
    pub fn write<T: Display>(value: &Option<T>) -> Option<String> {
        super::or_none(value.as_ref().map(T::to_string))
    }
}

/// A number, not negative.
pub(super) mod number {
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn read<T: FromStr>(text: &str) -> Result<Option<T>, &'static str> {
        super::unless_none(text, "a whole number", |text| text.parse().ok())
    }
    pub fn write<T: Display>(value: &Option<T>) -> Option<String> {
        super::or_none(value.as_ref().map(T::to_string))
    }
}

/// `on`, `off`.
pub(super) mod on_off {
    pub fn read(text: &str) -> Result<Option<bool>, &'static str> {
        super::unless_none(text, "on or off", |text| match text {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        })
    }
    pub fn write(value: &Option<bool>) -> Option<String> {
        super::or_none(value.map(|on| if on { "on" } else { "off" }.to_owned()))
    }
}

/// A moment.
pub(super) mod time {
    use crate::repository::BackupTime;

    pub fn read(text: &str) -> Result<Option<BackupTime>, &'static str> {
        super::unless_none(text, "a time such as 2026-11-23 06:25:41+00:00", BackupTime::parse)
    }
    pub fn write(value: &Option<BackupTime>) -> Option<String> {
        super::or_none(value.as_ref().map(BackupTime::to_string))
    }
}

/// A quoted text with escapes.
///
/// A passive copy holds the quoted text in quotes again, as Barman puts it there; both layers
/// are taken off.
pub(super) mod literal {
    use crate::repository::python::{Literal, quoted};

    fn unquoted(text: &str) -> Option<String> {
        match Literal::parse(text) {
            Some(Literal::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn read(text: &str) -> Result<Option<String>, &'static str> {
        super::unless_none(text, "a quoted text", |text| {
            let once = unquoted(text)?;
            Some(unquoted(&once).unwrap_or(once))
        })
    }
    pub fn write(value: &Option<String>) -> Option<String> {
        super::or_none(value.as_deref().map(quoted))
    }
}

/// Ids, separated by commas.
pub(super) mod ids {
    use crate::repository::BackupId;

    pub fn read(text: &str) -> Result<Vec<BackupId>, &'static str> {
        let ids = |text: &str| text.split(',').map(|id| id.trim().parse().ok()).collect();
        let ids = super::unless_none(text, "backup ids separated by commas", ids)?;
        Ok(ids.unwrap_or_default())
    }
    pub fn write(ids: &[BackupId]) -> Option<String> {
        let texts: Vec<&str> = ids.iter().map(BackupId::as_str).collect();
        super::or_none((!texts.is_empty()).then(|| texts.join(",")))
    }
}

/// A list of texts.
pub(super) mod texts {
    use crate::repository::python::Literal;

    pub fn read(text: &str) -> Result<Option<Vec<String>>, &'static str> {
        super::unless_none(text, "a list of texts", |text| match Literal::parse(text)? {
            Literal::List(items) | Literal::Tuple(items) => {
                items.iter().map(|item| item.as_text().map(str::to_owned)).collect()
            }
            _ => None,
        })
    }
    pub fn write(value: &Option<Vec<String>>) -> Option<String> {
        let list = |texts: &Vec<String>| {
            Literal::List(texts.iter().cloned().map(Literal::Text).collect()).to_string()
        };
        super::or_none(value.as_ref().map(list))
    }
}

/// A list of triples.
pub(super) mod tablespaces {
    use crate::repository::Tablespace;
    use crate::repository::python::Literal;

    pub fn read(text: &str) -> Result<Option<Vec<Tablespace>>, &'static str> {
        let expected = "a list of (name, oid, location)";
        super::unless_none(text, expected, |text| match Literal::parse(text)? {
            Literal::List(items) => items.iter().map(Tablespace::from_literal).collect(),
            _ => None,
        })
    }
    pub fn write(value: &Option<Vec<Tablespace>>) -> Option<String> {
        let some = value.as_ref().filter(|tablespaces| !tablespaces.is_empty());
        super::or_none(some.map(|tablespaces| {
            Literal::List(tablespaces.iter().map(Tablespace::to_literal).collect()).to_string()
        }))
    }
}

/// Bytes of a segment.
pub(super) mod segment_size {
    use crate::wal::SegmentSize;

    pub fn read(text: &str) -> Result<SegmentSize, &'static str> {
        let size = text.parse().ok().and_then(|bytes| SegmentSize::new(bytes).ok());
        size.ok_or("the size of a WAL segment in bytes")
    }
    pub fn write(value: &SegmentSize) -> Option<String> {
        Some(value.bytes().to_string())
    }
}
