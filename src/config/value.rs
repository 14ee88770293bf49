//! The types of options: from text to a value, or why not.

use std::path::PathBuf;
use std::time::Duration;

use super::options::LEVEL_WORDS;

/// How the text of an option is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that may hold a password: never printed.
    Secret,
    /// `true t yes 1 on`, `false f no 0 off`, any case.
    Flag,
    /// A whole number, not negative.
    Number,
    /// A number and a unit from hours to months.
    Interval,
    /// Bytes, with an optional suffix.
    Size,
    /// An absolute path.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words, separated by commas.
    Words(&'static [&'static str]),
    /// The name of a replication slot.
    Slot,
    /// A compression level: a word or a number, which may be negative.
    Level,
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// [`Kind::Text`], [`Kind::Choice`], [`Kind::Slot`].
    Text(String),
    /// [`Kind::Secret`].
    Secret(SecretText),
    /// [`Kind::Flag`].
    Flag(bool),
    /// [`Kind::Number`].
    Number(u64),
    /// [`Kind::Interval`].
    Interval(Duration),
    /// [`Kind::Size`], in bytes.
    Size(u64),
    /// [`Kind::Path`].
    Path(PathBuf),
    /// [`Kind::Words`].
    Words(Vec<String>),
    /// [`Kind::Level`].
    Level(CompressionLevel),
}

/// How hard to compress.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CompressionLevel {
    /// `low`.
    Low,
    /// `medium`.
    Medium,
    /// `high`.
    High,
    /// A level of the algorithm.
    Number(i32),
}

/// Text that may hold a password (a connection string in either form of libpq, a command), so
/// that it shows nothing of itself.
#[derive(Clone, Eq, PartialEq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> SecretText {
        SecretText(text.into())
    }

    /// The string itself, to be parsed and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Kind {
    /// Reads `text`, which is not empty. The error completes "Ignoring invalid configuration
    /// value … : ", as Barman words it where its wording is known.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Secret => Ok(Value::Secret(SecretText::new(text))),
            Kind::Flag => flag(text).map(Value::Flag),
            Kind::Number => number(text).map(Value::Number),
            Kind::Interval => interval(text).map(Value::Interval),
            Kind::Size => size(text).map(Value::Size),
            Kind::Path => path(text).map(Value::Path),
            Kind::Choice(words) => choice(words, text).map(Value::Text),
            Kind::Words(words) => some_of(words, text).map(Value::Words),
            Kind::Slot => slot(text).map(Value::Text),
            Kind::Level => level(text).map(Value::Level),
        }
    }
}

fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "1" | "on" => Ok(true),
        "false" | "f" | "no" | "0" | "off" => Ok(false),
        _ => Err("Invalid boolean representation (use 'true' or 'false')".into()),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let not_a_number = || format!("invalid literal for int() with base 10: '{text}'");
    let number: i64 = text.trim().parse().map_err(|_| not_a_number())?;
    u64::try_from(number).map_err(|_| format!("must not be negative: '{text}'"))
}

/// A month is 31 days.
fn interval(text: &str) -> Result<Duration, String> {
    const HOUR: u64 = 3600;
    let invalid = || format!("'{text}' is not of the form <n> hours|days|weeks|months");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().map_err(|_| invalid())?;
    let seconds = match unit.trim().to_ascii_lowercase().as_str() {
        "hour" | "hours" => HOUR,
        "day" | "days" => 24 * HOUR,
        "week" | "weeks" => 7 * 24 * HOUR,
        "month" | "months" => 31 * 24 * HOUR,
        _ => return Err(invalid()),
    };
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(invalid)
}

/// `k`, `M`, `G`, `T` are powers of 1000, with an `i` behind them powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let invalid = || format!("'{text}' is not of the form <n>[k|Ki|M|Mi|G|Gi|T|Ti]");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, suffix) = text.split_at(digits);
    let count: u64 = count.parse().map_err(|_| invalid())?;
    let suffix = suffix.trim();
    let (letter, base) = match suffix.strip_suffix('i') {
        Some(letter) => (letter, 1024u64),
        None => (suffix, 1000),
    };
    let power = match (letter, suffix) {
        ("", "") => 0,
        ("k" | "K", _) => 1,
        ("M", _) => 2,
        ("G", _) => 3,
        ("T", _) => 4,
        _ => return Err(invalid()),
    };
    count.checked_mul(base.pow(power)).ok_or_else(invalid)
}

fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(format!("'{text}' is not an absolute path")) }
}

fn choice(words: &[&str], text: &str) -> Result<String, String> {
    let word = text.to_ascii_lowercase();
    if words.contains(&word.as_str()) {
        return Ok(word);
    }
    Err(format!("Invalid value: '{text}' (must be one in [{}])", words.join(", ")))
}

fn some_of(words: &[&str], text: &str) -> Result<Vec<String>, String> {
    let given = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    given.map(|word| choice(words, word)).collect()
}

/// Source: manual, "Replication Slots": lower-case letters, digits and underscores.
fn slot(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    // NAMEDATALEN - 1, `src/include/pg_config_manual.h`.
    if name.len() > 63 || !name.bytes().all(fits) {
        return Err(
            "slot names consist of at most 63 lower-case letters, digits and underscores".into()
        );
    }
    Ok(name)
}

fn level(text: &str) -> Result<CompressionLevel, String> {
    match text.to_ascii_lowercase().as_str() {
        "low" => Ok(CompressionLevel::Low),
        "medium" => Ok(CompressionLevel::Medium),
        "high" => Ok(CompressionLevel::High),
        number => number.parse().map(CompressionLevel::Number).map_err(|_| {
            let words = LEVEL_WORDS.join(", ");
            format!("Invalid value: '{text}' (must be one in [{words}] or an acceptable integer)")
        }),
    }
}
